"""What an account was worth over time, thinned to what a page can draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 3000  # of a curve that is sent whole


class EquityCurve:
    """Grows bar by bar; drawdowns are below the highest value so far, the start's included."""

    def __init__(self, cash: float) -> None:
        self._peak = self.value = self.cash = self._start = cash
        self._times: list[int] = []  # ns
        self._values: list[float] = []
        self._drawdowns: list[float] = []  # percent, 0 or below
        self.worst_pct = 0.0  # the deepest drawdown so far

    def __len__(self) -> int:
        return len(self._times)

    @property
    def last_ns(self) -> int:
        return self._times[-1] if self._times else 0

    @property
    def return_pct(self) -> float:
        return 100 * (self.value / self._start - 1)

    @property
    def drawdown_pct(self) -> float:
        return self._drawdowns[-1] if self._drawdowns else 0.0

    def extend(self, rows: Sequence[tuple[int, float, float]]) -> None:
        """(time, cash, value), later than all before."""
        for time_ns, cash, value in rows:
            self._peak = max(self._peak, value)
            self._times.append(time_ns)
            self._values.append(value)
            self._drawdowns.append(100 * (value / self._peak - 1))
            self.worst_pct = min(self.worst_pct, self._drawdowns[-1])
            self.cash, self.value = cash, value

    def after(self, time_ns: int) -> list[list[float]] | None:
        """[seconds, value, drawdown %] of the later bars; None where they are too many to send."""
        first = int(np.searchsorted(np.asarray(self._times[-MOST_POINTS:]), time_ns, "right"))
        first += max(0, len(self._times) - MOST_POINTS)
        if len(self._times) - first >= MOST_POINTS:
            return None
        return [
            _row(*each)
            for each in zip(
                self._times[first:], self._values[first:], self._drawdowns[first:], strict=True
            )
        ]

    def thinned(self) -> list[list[float]]:
        """All bars; of more than MOST_POINTS the last of each cell of a grid over time.

        A cell's drawdown is the deepest in it.
        """
        if len(self._times) <= MOST_POINTS:
            return [
                _row(*each) for each in zip(self._times, self._values, self._drawdowns, strict=True)
            ]
        times = np.asarray(self._times)
        first, last = _cells(times)
        drawdowns = np.minimum.reduceat(np.asarray(self._drawdowns), first)
        values = np.asarray(self._values)[last]
        columns = (times[last].tolist(), values.tolist(), drawdowns.tolist())
        return [_row(*each) for each in zip(*columns, strict=True)]


def _cells(times: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last index of the bars of every cell that has any."""
    width = -(-(times[-1] - times[0] + 1) // MOST_POINTS)
    cell = (times - times[0]) // width
    edges = np.flatnonzero(np.diff(cell)) + 1
    return np.concatenate([[0], edges]), np.concatenate([edges - 1, [len(times) - 1]])


def _row(time_ns: int, value: float, drawdown_pct: float) -> list[float]:
    return [time_ns // 1_000_000_000, round(value, 4), round(drawdown_pct, 4)]
