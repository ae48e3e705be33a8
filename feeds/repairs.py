"""What can be fixed in broken candles, and a sentence for everything that was."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from .bars import PRICES
from .errors import SourceError


class _Notes(list[str]):
    """Sentences of the form `SYMBOL: what (N rows, first TIME)`."""

    def __init__(self, symbol: str) -> None:
        super().__init__()
        self.symbol = symbol

    def add(self, bad: npt.NDArray[np.bool_], what: str, times: pd.DatetimeIndex) -> None:
        """Say `what` of the rows that are `bad` [bars], if any."""
        count = int(bad.sum())
        if count:
            first = times[int(np.argmax(bad))]
            when = "" if pd.isna(first) else f", first {first:%Y-%m-%d %H:%M}"
            rows = "row" if count == 1 else "rows"
            self.append(f"{self.symbol}: {what} ({count} {rows}{when})")


def repair(
    frame: pd.DataFrame, symbol: str, *, source: str | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The frame with everything fixed that can be, and one sentence for each kind of change.

    frame: a `DatetimeIndex` (UTC; missing, unsorted and doubled times are allowed) and float64
    columns: the four prices and, where there are any, volume and amount. In order: rows without a
    time, with a NaN or infinite value or with a price not above 0 are dropped; rows are sorted by
    time; of rows with one time the last is usable; high and low are widened to hold open and close;
    negative volumes and amounts become 0. Raises `SourceError` if no row is left.
    """
    notes = _Notes(symbol)
    frame = _drop_unusable(frame, notes)
    if frame.empty:
        remedy = "leave the symbol out, or correct the source"
        raise SourceError.at("no usable row is left", symbol=symbol, source=source, remedy=remedy)
    frame = _bound(_in_order(frame, notes), notes)
    return frame, tuple(notes)


def _drop_unusable(frame: pd.DataFrame, notes: _Notes) -> pd.DataFrame:
    times = pd.DatetimeIndex(frame.index)
    untimed = np.asarray(times.isna())
    broken = ~np.isfinite(frame.to_numpy(np.float64)).all(axis=1) & ~untimed
    unpriced = (frame[list(PRICES)].to_numpy() <= 0).any(axis=1) & ~untimed & ~broken
    notes.add(untimed, "dropped rows without a readable time", times)
    notes.add(broken, "dropped rows with a NaN or infinite value", times)
    notes.add(unpriced, "dropped rows with a price not above 0", times)
    usable: pd.DataFrame = frame.loc[~(untimed | broken | unpriced)]
    return usable


def _in_order(frame: pd.DataFrame, notes: _Notes) -> pd.DataFrame:
    times = pd.DatetimeIndex(frame.index)
    late = np.concatenate(([False], times[1:] < times[:-1]))
    notes.add(late, "sorted by time rows that were out of order", times)
    if late.any():
        frame = frame.sort_index(kind="stable")
        times = pd.DatetimeIndex(frame.index)
    doubled = np.asarray(times.duplicated(keep="last"))
    notes.add(doubled, "dropped all but the last row of a doubled time", times)
    return frame.loc[~doubled]


def _bound(frame: pd.DataFrame, notes: _Notes) -> pd.DataFrame:
    times = pd.DatetimeIndex(frame.index)
    bounds = {
        "high": frame[["open", "high", "close"]].max(axis=1),
        "low": frame[["open", "low", "close"]].min(axis=1),
    }
    for column, bound in bounds.items():
        changed = (frame[column] != bound).to_numpy()
        notes.add(changed, f"widened {column} to hold open and close", times)
    for column in ("volume", "amount"):
        if column in frame:
            bounds[column] = frame[column].clip(lower=0.0)
            changed = (frame[column] < 0).to_numpy()
            notes.add(changed, f"raised a negative {column} to 0", times)
    return frame.assign(**bounds)
