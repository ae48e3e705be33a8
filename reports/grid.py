"""The times that the charts of a page share, and series brought to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

MOST_POINTS = 1_500  # of a line: about as many as a laptop's screen has columns
MOST_VALUES = 110_000  # of a page, some six bytes each

Thinning = Literal["last", "mean", "min"]


class Grid:
    """Bar times, thinned where they are too many: stretches of equally many, by their last time."""

    def __init__(self, times: pd.DatetimeIndex, most_points: int = MOST_POINTS) -> None:
        """`times`: every bar time, ascending and unique, UTC."""
        self._times = times
        self.bars_per_point = -(-len(times) // max(1, most_points))
        # counted from the end, so that the last stretch is whole and ends at the last bar
        from_end = np.arange(len(times) - 1, -1, -1) // self.bars_per_point
        self._stretch = from_end.max(initial=0) - from_end  # [bars]
        last = np.append(np.flatnonzero(np.diff(self._stretch)), len(times) - 1)
        self.times = times[last]

    @property
    def seconds(self) -> list[int]:
        """Unix seconds of the points."""
        seconds: list[int] = self.times.as_unit("s").asi8.tolist()
        return seconds

    @property
    def intraday(self) -> bool:
        return len(self._times.normalize().unique()) < len(self._times)

    def values(self, series: pd.Series, thinning: Thinning) -> list[float | None]:
        """A series by bar time, one value a point; None where it has none."""
        known = series.dropna()
        stretch = self._stretch[self._times.get_indexer(pd.DatetimeIndex(known.index))]
        if self.bars_per_point == 1:
            numbers = known.to_numpy(dtype=float)
        else:
            thinned = known.groupby(stretch).agg(thinning)
            numbers, stretch = thinned.to_numpy(dtype=float), thinned.index.to_numpy()
        found = np.full(len(self.times), np.nan)
        found[stretch] = numbers
        return [number if np.isfinite(number) else None for number in found.tolist()]

    def by_day(self, series: pd.Series, thinning: Thinning) -> list[float | None]:
        """A series by day (midnight, without a zone): its value at every bar of the day."""
        days = self._times.tz_localize(None).normalize()
        return self.values(pd.Series(series.reindex(days).to_numpy(), self._times), thinning)

    def first_after(self, day: pd.Timestamp) -> int:
        """How many points are of that day (no zone) or an earlier one."""
        return int((self.times.tz_localize(None).normalize() <= day).sum())


def points_for(series: int) -> int:
    """How many points a page of so many series can show without becoming heavy."""
    return max(2, min(MOST_POINTS, MOST_VALUES // max(1, series)))


def all_times(indexes: Sequence[pd.DatetimeIndex]) -> pd.DatetimeIndex:
    """Every time that is in one of them."""
    union = indexes[0]
    for index in indexes[1:]:
        if not index.equals(union):
            union = union.union(index)
    return union
