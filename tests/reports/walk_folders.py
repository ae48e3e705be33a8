"""Folders of walk-forwards written by hand: folds with cards, scores, and two runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tests.reports.conftest import days, plan, write_run

# three folds of half a year to test; the first bar that is traded is the first day of a test
FOLDS = (
    {"number": 1, "train": ["2014-01-01", "2018-07-01"], "validate": ["2018-07-01", "2019-01-01"],
     "test": ["2019-01-01", "2019-07-01"], "train_windows": 4100, "validation_windows": 620},
    {"number": 2, "train": ["2014-01-01", "2019-01-01"], "validate": ["2019-01-01", "2019-07-01"],
     "test": ["2019-07-01", "2020-01-01"], "train_windows": 4720, "validation_windows": 615},
    {"number": 3, "train": ["2014-01-01", "2019-07-01"], "validate": ["2019-07-01", "2020-01-01"],
     "test": ["2020-01-01", "2020-07-01"], "train_windows": 5335, "validation_windows": 630},
)  # fmt: skip
# by fold: the base's validation loss and the losses after each epoch
LOSSES = {1: (2.50, (2.45, 2.41, 2.43)), 2: (2.48, (2.52, 2.49)), 3: (2.55, (2.50, 2.51))}
TRADED = days(380, "2019-01-02")  # to 2020-06-16
HORIZONS = (1, 5)
HASH = "c0ffee" * 8


def stage(base_loss: float, after: Sequence[float]) -> dict[str, Any]:
    """What a card says of a training whose validation losses were these."""
    losses = [base_loss, *after]
    best = losses.index(min(losses))
    return {
        "base_loss": base_loss, "best_loss": losses[best], "best_epoch": best,
        "epochs_run": len(after), "steps_run": 20 * len(after), "seconds": 75.5,
        "history": [
            {"epoch": epoch, "train_loss": loss + 0.02 if epoch else None, "validation_loss": loss,
             "best": epoch == best}
            for epoch, loss in enumerate(losses)
        ],
    }  # fmt: skip


def write_fold(folder: Path, number: int, card: Mapping[str, Any]) -> None:
    place = folder / "folds" / f"{number:02d}"
    place.mkdir(parents=True)
    (place / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with (place / "losses.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["stage", "step", "epoch", "loss", "rate", "seconds"])
        for name, entry in card["stages"].items():
            for step in range(1, entry["steps_run"] + 1):
                loss = entry["base_loss"] + 0.1 / step + 0.02 * (-1) ** step
                rows.writerow([name, step, 1 + (step - 1) // 20, loss, 1e-5, step / 2])


def crps_of(fold: int, model: str, horizon: int) -> float:
    """Better after fine-tuning in folds 1 and 3 at one bar, in fold 3 alone at five."""
    better = {1: (1, 3), 5: (3,)}[horizon]
    change = -0.0002 if fold in better else 0.0001
    return 0.01 * horizon**0.5 + 0.001 * fold + (change if model == "fine-tuned" else 0.0)


def scores() -> pd.DataFrame:
    rows = [
        {"fold": fold, "model": model, "horizon": horizon, "forecasts": 250 * (fold or 3),
         "crps": crps_of(fold, model, horizon),
         "rank_ic": 0.01 * fold + (0.02 if model == "fine-tuned" else 0.0),
         "rank_ic_t": 0.5 + fold, "dates": 25 * (fold or 3)}
        for fold in (0, 1, 2, 3) for model in ("fine-tuned", "zero-shot") for horizon in HORIZONS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def write_walk(
    folder: Path,
    *,
    seen_until: str | None = "2018-06-30",
    folds: Sequence[Mapping[str, Any]] = FOLDS,
    losses: Mapping[int, tuple[float, Sequence[float]]] = LOSSES,
    strategies: Sequence[str] = ("topk",),
    runs: bool = True,
    drift: float = 0.0012,
    **more: Any,
) -> Path:
    """A whole walk-forward; `more` goes over walk_forward.json.

    Both runs walk the same way, but the fine-tuned strategies have a `drift` of their own.
    """
    folder.mkdir(parents=True)
    record = {
        "name": "first", "data": "sample", "data_hash": HASH,
        "base": {"name": "bundled", "fingerprint": "0123abcd" * 8, "seen_until": seen_until},
        "window": "anchored", "begin_from": "base", "gap": "0 bars", "objective": "sandbox",
        "training": {"epochs": 3, "rate": 1e-5, "batch": 32}, "notes": [], "folds": list(folds),
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    } | more  # fmt: skip
    (folder / "walk_forward.json").write_text(json.dumps(record), encoding="utf-8")
    for fold in folds:
        predictor = stage(*losses[fold["number"]])
        until = pd.Timestamp(fold["validate"][1]) - pd.Timedelta(days=1)
        card = {
            "identity": "ab" * 8, "base": record["base"], "stages": {"predictor": predictor},
            "is_base": predictor["best_epoch"] == 0,
            "seen_until": None if seen_until is None else max(seen_until, f"{until:%Y-%m-%d}"),
        }  # fmt: skip
        write_fold(folder, fold["number"], card)
    scores().to_csv(folder / "scores.csv", index=False)
    if runs:
        portfolios = plan(strategies)
        for model, own in (("fine-tuned", drift), ("zero-shot", 0.0005)):
            write_run(
                folder / model, portfolios, TRADED, drifts=dict.fromkeys(strategies, own),
                data={"spec": "sample", "hash": HASH, "symbols": ["NA", "AAPL"]},
            )  # fmt: skip
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))
