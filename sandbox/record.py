"""What a run writes down about itself: everything needed to repeat it, and what to doubt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from sandbox.engine import Backtest
from sandbox.portfolios import Portfolio
from sandbox.run_folder import package_versions

if TYPE_CHECKING:
    import kronos
    from sandbox.job import Prepared


MOST_FILLS_AN_ORDER = 1.5  # on average, before a reader is told


def record(
    run: Prepared, traded: Sequence[tuple[Portfolio, Backtest]], notes: Sequence[str]
) -> dict[str, Any]:
    """The content of config.json."""
    model = run.checkpoint
    return {
        "name": run.name,
        "portfolios": [_portfolio(portfolio) for portfolio, _ in traded],
        "config": run.config.model_dump(mode="json"),
        "costs": {"preset": run.costs_name, **asdict(run.account.costs)},
        "window": {"first_bar": run.start.isoformat(), "last_bar": run.end.isoformat()},
        "data": {
            "spec": run.candles.spec,
            "hash": run.candles.data_hash,
            "symbols": list(run.candles.symbols),
        },
        "model": model
        and {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "seen_until": model.seen_until,
            "max_context": model.max_context,
        },
        "orders_refused": {portfolio.name: book.refused for portfolio, book in traded},
        "notes": list(notes),
        "packages": package_versions(),
    }


def _portfolio(portfolio: Portfolio) -> dict[str, Any]:
    loaded = portfolio.loaded
    return {
        "name": portfolio.name,
        "role": portfolio.role,
        "signal": portfolio.signal,
        "twin_of": portfolio.twin_of,
        "file": str(loaded.path),
        "sha256": hashlib.sha256(loaded.path.read_bytes()).hexdigest(),
        "params": dict(loaded.params),
    }


def notes(run: Prepared, traded: Sequence[tuple[Portfolio, Backtest]]) -> list[str]:
    """What a reader has to know before believing a figure."""
    told = [f"Data: {run.candles.note}"] if run.candles.note else []
    told += [*run.candles.repairs, *run.candles.timing]
    if run.checkpoint is not None:
        told.append(model_sentence(run.checkpoint, run.start, run.end))
    silent = [s for s, frame in run.candles.frames.items() if not (frame["volume"] > 0).any()]
    if silent:
        told.append(
            f"No volume is known for {_listed(silent)}: fills there have no market impact and no "
            "volume cap."
        )
    for portfolio, book in traded:
        if portfolio.role == "strategy":
            told += _carried(portfolio.name, book, run.account.costs.volume_cap_pct)
        if book.refused and portfolio.role == "strategy":
            told.append(
                f"{_counted(book.refused, 'order')} of {portfolio.name} refused: too little cash, "
                "less than a lot, or a sale of what it did not hold (nothing is sold short)."
            )
    return told


def _carried(name: str, book: Backtest, cap_pct: float | None) -> list[str]:
    """Whether orders took many bars: one that no cap cuts is filled in one bar."""
    orders, fills = int((book.decisions["kind"] != "cancel").sum()), len(book.trades)
    if cap_pct is None or fills <= MOST_FILLS_AN_ORDER * orders:
        return []
    return [
        f"{name} is large for these markets: {fills:,} fills of {orders:,} orders, since a fill is "
        f"at most {cap_pct:g} % of a bar's volume. What it wanted took many bars, or never came."
    ]


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing} was" if number == 1 else f"{number:,} {thing}s were"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def model_sentence(
    checkpoint: kronos.Checkpoint, first: pd.Timestamp, last: pd.Timestamp | None = None
) -> str:
    """Whether figures from `first` on, to `last`, can be called unseen."""
    weights = f"Model: {checkpoint.name} (weights {checkpoint.fingerprint[:12]})"
    if checkpoint.seen_until is None:
        return f"{weights}; up to when its training data runs is not known."
    seen_until = pd.Timestamp(checkpoint.seen_until).tz_localize("UTC")
    trained = f"{weights} was trained on data to {seen_until:%Y-%m-%d}"
    if seen_until < first.normalize():
        return f"{trained}; these candles came later."
    if last is not None and last.normalize() > seen_until:
        return f"{trained} and may have seen these candles up to then: figures are split there."
    return f"{trained} and may have seen these very candles: nothing here is out of sample."
