"""The exchange's time: still until the first request, then so many times as fast as a clock here,
or moved from moment to moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from feeds.bars import NS_PER_SECOND
from sandbox.replay.market import Markets

FIRST_UPDATE_SECS, UPDATE_SECS = 0.25, 1.0  # of a running candle, by the clock here


class Clock:
    """speed: seconds of the exchange in a second here; None: it moves only by `reach`."""

    def __init__(
        self, start_ns: int, speed: float | None, wall_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.speed = speed
        self._start_ns = start_ns
        self._wall_ns = wall_ns
        self._begun_ns: int | None = None

    def begin(self) -> None:
        """From now on it runs; once is enough."""
        if self._begun_ns is None:
            self._begun_ns = self._wall_ns()

    @property
    def begun(self) -> bool:
        return self._begun_ns is not None

    @property
    def now_ns(self) -> int:
        if self._begun_ns is None or self.speed is None:
            return self._start_ns
        return self._start_ns + int((self._wall_ns() - self._begun_ns) * self.speed)

    def reach(self, time_ns: int) -> None:
        """Move to a moment; a clock that runs by itself is left alone."""
        if self.speed is None:
            self._start_ns = max(self._start_ns, time_ns)

    def secs_until(self, time_ns: int) -> float:
        """Seconds here until it shows a time; 0 for one that has passed."""
        if self.speed is None:
            return 0.0
        return max(0.0, (time_ns - self.now_ns) / self.speed / NS_PER_SECOND)


class Moment(NamedTuple):
    """When the stream sends frames."""

    time_ns: int
    closes: bool  # a bar closes then; else candles are running


def moments(markets: Markets, speed: float | None) -> Iterator[Moment]:
    """One or more while the bars of each bar time run, and their close; in order.

    A clock that does not run by itself goes a bar further in the end: then all bars are settled.
    """
    before, length = markets.start_ns, markets.timeframe.length_ns
    for close in markets.live_ns.tolist():
        opened = max(before, close - length)
        for time_ns in _while_running(opened, close, speed):
            yield Moment(time_ns, closes=False)
        yield Moment(close, closes=True)
        before = close
    if speed is None:
        yield Moment(before + length, closes=False)


def _while_running(opened: int, close: int, speed: float | None) -> Iterator[int]:
    middle = opened + (close - opened) // 2
    if speed is None:
        yield middle
        return
    second = speed * NS_PER_SECOND
    at = min(opened + int(FIRST_UPDATE_SECS * second), middle)
    while at < close:
        yield at
        at += max(int(UPDATE_SECS * second), 1)
