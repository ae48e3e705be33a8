"""Candles as Backtrader data feeds that hold nothing later than the current bar.

Backtrader reads one bar ahead of every feed to find out whose turn it is, and keeps what it read
where `data.close[1]` finds it. Here a clock that knows every bar's time says whose turn it is, so
a feed is asked for a bar only once that bar has closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from feeds import COLUMNS

NS_PER_DAY = 86_400 * 10**9
UNIX_EPOCH_DAY = 719_163  # 1970-01-01 in Backtrader's count of days


class Clock:
    """The close times of all bars of a run, oldest first, and which of them is now."""

    def __init__(self, times_ns: Iterable[np.ndarray]) -> None:
        self._times_ns = np.unique(np.concatenate(list(times_ns)))
        self._at = -1

    def tick(self) -> None:
        self._at += 1

    def bars_from(self, start: pd.Timestamp) -> int:
        return int((self._times_ns >= start.value).sum())

    @property
    def now_ns(self) -> int | None:
        """Nanoseconds since 1970, or None before the first bar and after the last."""
        return int(self._times_ns[self._at]) if 0 <= self._at < len(self._times_ns) else None

    @property
    def now(self) -> pd.Timestamp:
        return pd.Timestamp(self._times_ns[self._at], tz="UTC")

    @property
    def before(self) -> pd.Timestamp | None:
        """The close time of the bar before this one, whichever symbol it belongs to."""
        return pd.Timestamp(self._times_ns[self._at - 1], tz="UTC") if self._at > 0 else None


class CandleFeed(bt.feed.DataBase):  # type: ignore[misc]
    """One symbol's candles. The first feed of a run moves the clock."""

    lines = ("amount",)
    params = (("frame", None), ("clock", None), ("moves_clock", False))

    @classmethod
    def of(cls, frame: pd.DataFrame, clock: Clock, *, moves_clock: bool) -> CandleFeed:
        params: dict[str, Any] = {"frame": frame, "clock": clock, "moves_clock": moves_clock}
        return cls(**params)  # Backtrader takes them out before __init__

    def __init__(self) -> None:
        super().__init__()
        frame = self.p.frame
        self.p.frame = None  # only the bars delivered so far are for a strategy to see
        self._values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
        self._times_ns = times_ns(frame)
        self._row = -1

    # Backtrader's `==` compares current closes, so two symbols at one price would be the same one.
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    @property
    def symbol(self) -> str:
        return str(self._name)

    @property
    def asof(self) -> pd.Timestamp | None:
        """The close time of the latest bar delivered, None before the first."""
        return pd.Timestamp(self._times_ns[self._row], tz="UTC") if self._row >= 0 else None

    @property
    def has_bar(self) -> bool:
        """Whether this symbol has a bar that closes now; else its lines repeat an older one."""
        return self._row >= 0 and int(self._times_ns[self._row]) == self.p.clock.now_ns

    def next(self, datamaster: bt.feed.DataBase | None = None, ticks: bool = True) -> bool | None:
        if datamaster is None and self.p.moves_clock:
            self.p.clock.tick()
        if self._row + 1 >= len(self._times_ns):
            return False
        if int(self._times_ns[self._row + 1]) != self.p.clock.now_ns:
            return None
        delivered: bool = super().next(datamaster, ticks)
        return delivered

    def _load(self) -> bool:
        self._row += 1
        for name, value in zip(COLUMNS, self._values[self._row], strict=True):
            getattr(self.lines, name)[0] = value
        times = self.lines.datetime  # type: ignore[attr-defined]  # Backtrader makes it a line
        times[0] = UNIX_EPOCH_DAY + self._times_ns[self._row] / NS_PER_DAY
        return True


def times_ns(frame: pd.DataFrame) -> np.ndarray:
    """A frame's bar times as nanoseconds since 1970, `[n]` int64."""
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    return index.as_unit("ns").asi8
