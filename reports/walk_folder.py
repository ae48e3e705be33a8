"""The folder of a walk-forward, read and checked: its folds, their training, scores and runs.

Knows the files; computes nothing. `walk_forward.json` lists the folds; each has a card and the
losses of its training under `folds/`. `scores.csv` holds what its forecasts were worth, and
`fine-tuned/` and `zero-shot/` are run folders of the same strategies on the folds' weights and on
the base that the folds began from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from reports.files import ReportError, one_line
from reports.folder import Run, read_run

FINE_TUNED, ZERO_SHOT = "fine-tuned", "zero-shot"  # models in scores.csv, and run folders
MODELS = (ZERO_SHOT, FINE_TUNED)  # before and after
ALL_FOLDS = 0  # the number of all folds together in scores.csv, which may say `all`
STAGES = ("tokenizer", "predictor")  # in the order of training
_DAY = pd.Timedelta(days=1)
_SCORES = ("crps", "rank_ic", "rank_ic_t")
_COUNTS = ("forecasts", "dates")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Days from `first` to before `end`, without a zone."""

    first: pd.Timestamp
    end: pd.Timestamp

    @property
    def last(self) -> pd.Timestamp:
        """The last day that is in it."""
        return self.end - _DAY

    @property
    def days(self) -> int:
        """Of the calendar."""
        return (self.end - self.first).days

    @property
    def text(self) -> str:
        return f"{self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Mean losses after an epoch; 0 is before any. None: not measured."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The training of one part of the model. Losses are those of the validation span."""

    base_loss: float | None  # of what it began from
    best_loss: float | None  # of what was kept
    best_epoch: int  # 0: nothing beat what it began from
    epochs_run: int
    steps_run: int
    seconds: float
    history: Sequence[Epoch]

    @property
    def improved(self) -> bool:
        return self.best_epoch > 0


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Weights of their own: fitted on `train`, chosen on `validate`, judged on `test`."""

    number: int  # from 1
    train: Span
    validate: Span
    test: Span
    train_windows: int
    validation_windows: int
    seen_until: pd.Timestamp | None  # last day that its weights may have seen
    is_base: bool  # nothing beat the base, whose weights it has
    stages: Mapping[str, Stage]
    losses: pd.DataFrame  # `stage, step, loss`, a row a step that was noted


@dataclass(frozen=True, kw_only=True)
class WalkForward:
    """What a page knows of a walk-forward."""

    folder: Path
    record: Mapping[str, Any]  # walk_forward.json
    folds: Sequence[Fold]
    scores: pd.DataFrame  # index fold, model, horizon; fold ALL_FOLDS may be there
    fine_tuned: Run
    zero_shot: Run

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def base(self) -> str:
        return str(self.record["base"]["name"])

    @cached_property
    def seen_until(self) -> pd.Timestamp | None:
        """Last day that the base may have seen; None: not known."""
        return _day(self.record["base"]["seen_until"])

    @property
    def horizons(self) -> list[int]:
        """In bars, ascending."""
        return sorted(set(self.scores.index.get_level_values("horizon")))


def read_walk_forward(folder: Path) -> WalkForward:
    """The walk-forward in `folder`; ReportError in one line where it lacks or garbles something.

    Both runs take the base's last seen day for their own: a figure is only out of sample for the
    one and the other on days that the base had not seen.
    """
    record = _record(folder)
    entries = record["folds"]
    _check_complete(folder, entries)
    folds = [_fold(folder, entry) for entry in entries]
    scores = _scores(folder, folds)
    runs = {model: _run(folder / model, record) for model in MODELS}
    _check_same_bars(folder, runs)
    return WalkForward(
        folder=folder, record=record, folds=folds, scores=scores,
        fine_tuned=runs[FINE_TUNED], zero_shot=runs[ZERO_SHOT],
    )  # fmt: skip


def fold_path(folder: Path, number: int) -> Path:
    return folder / "folds" / f"{number:02d}"


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "walk_forward.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["name"], record["data"], record["data_hash"]
        record["base"]["name"], _day(record["base"]["seen_until"])
        numbers = [int(entry["number"]) for entry in record["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(folder, path, error) from error
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 1:
        raise ReportError(f"{path}: folds must have different numbers from 1 up, got {numbers}")
    return record


def _check_complete(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Name everything that a walk-forward has at its end and this one lacks."""
    cards = [fold_path(folder, int(entry["number"])) / "card.json" for entry in entries]
    missing = [f"the card of fold {int(card.parent.name)}" for card in cards if not card.is_file()]
    missing += ["scores.csv"] * (not (folder / "scores.csv").is_file())
    missing += [f"the run folder {m}" for m in MODELS if not (folder / m).is_dir()]
    if missing:
        raise ReportError(
            f"{folder} holds a walk-forward that is not complete ({len(entries)} folds): it lacks "
            f"{', '.join(missing)}"
        )


def _fold(folder: Path, entry: Mapping[str, Any]) -> Fold:
    path = fold_path(folder, int(entry["number"])) / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return Fold(
            number=int(entry["number"]),
            **{name: _span(entry[name]) for name in ("train", "validate", "test")},
            train_windows=int(entry["train_windows"]),
            validation_windows=int(entry["validation_windows"]),
            seen_until=_day(card["seen_until"]),
            is_base=bool(card["is_base"]),
            stages={
                name: _stage(card["stages"][name]) for name in STAGES if name in card["stages"]
            },
            losses=_losses(folder, path.with_name("losses.csv")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(folder, path, error) from error


def _stage(entry: Mapping[str, Any]) -> Stage:
    return Stage(
        base_loss=known(entry["base_loss"]),
        best_loss=known(entry["best_loss"]),
        best_epoch=int(entry["best_epoch"]),
        epochs_run=int(entry["epochs_run"]),
        steps_run=int(entry["steps_run"]),
        seconds=float(entry["seconds"]),
        history=[
            Epoch(
                epoch=int(row["epoch"]),
                train_loss=known(row.get("train_loss")),
                validation_loss=known(row.get("validation_loss")),
            )
            for row in entry["history"]
        ],
    )


def _losses(folder: Path, path: Path) -> pd.DataFrame:
    """Empty where the file is not there: the page then has the losses by epoch alone."""
    names = ["stage", "step", "loss"]
    if not path.is_file():
        return pd.DataFrame({name: [] for name in names})
    try:
        return pd.read_csv(path, dtype={"stage": str, "step": float, "loss": float})[names]
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(folder, path, error) from error


def _scores(folder: Path, folds: Sequence[Fold]) -> pd.DataFrame:
    path = folder / "scores.csv"
    try:
        found = pd.read_csv(path, dtype={"fold": str, "model": str, "horizon": int})
        found["fold"] = found["fold"].replace("all", str(ALL_FOLDS)).astype(int)
        found[list(_SCORES)] = found[list(_SCORES)].astype(float)
        found[list(_COUNTS)] = found[list(_COUNTS)].astype(int)
        table = found.set_index(["fold", "model", "horizon"]).sort_index()
        if table.index.has_duplicates:
            fold, model, horizon = table.index[table.index.duplicated()][0]
            raise ValueError(f"two rows of fold {fold}, {model}, horizon {horizon}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(folder, path, error) from error
    there = set(zip(found["fold"], found["model"], strict=True))
    lacking = [(f.number, m) for f in folds for m in MODELS if (f.number, m) not in there]
    if lacking:
        number, model = lacking[0]
        raise ReportError(f"{path} has no row of fold {number}, {model}")
    return table


def _run(folder: Path, record: Mapping[str, Any]) -> Run:
    run = read_run(folder)
    model = dict(run.record.get("model") or {}) | {"seen_until": record["base"]["seen_until"]}
    return replace(run, record=run.record | {"model": model})


def _check_same_bars(folder: Path, runs: Mapping[str, Run]) -> None:
    ours, theirs = runs[FINE_TUNED], runs[ZERO_SHOT]
    if not ours.times.equals(theirs.times):
        raise ReportError(f"{folder}: {FINE_TUNED} and {ZERO_SHOT} do not share their bar times")
    names = {p.name for p in theirs.strategies}
    lacking = [p.name for p in ours.strategies if p.name not in names]
    if lacking:
        raise ReportError(f"{folder}: {ZERO_SHOT} has no strategy {lacking[0]} to compare with")


def _span(dates: Sequence[str]) -> Span:
    first, end = (pd.Timestamp(str(date)) for date in dates)
    if not first < end:
        raise ValueError(f"{dates[0]} does not come before {dates[1]}")
    return Span(first=first, end=end)


def _day(date: str | None) -> pd.Timestamp | None:
    return None if date is None else pd.Timestamp(str(date)).tz_localize(None).normalize()


def known(value: Any) -> float | None:
    """A number, None where it is not defined."""
    return float(value) if value is not None and math.isfinite(value) else None


def _unreadable(folder: Path, path: Path, error: Exception) -> ReportError:
    where = path.relative_to(folder)
    return ReportError(f"{folder} is not the folder of a walk-forward: {where}: {one_line(error)}")
