"""What time it is at the exchange: never later than it really is there.

An exchange is asked for its time now and then, and between that the clock here goes on. The clock
of a replay is faster, or jumps from one moment to the next without a clock's pace.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

NS_PER_SECOND = 10**9
SAMPLES = 3  # of the exchange's time, of which the earliest counts: one wrong answer does no harm
STOOD_NS = NS_PER_SECOND  # a clock that jumps and has not moved for so long stands
SLOW_NS = NS_PER_SECOND  # an answer that took longer says little where there are others


class Clock:
    """speed: seconds at the exchange in one second here; None: its clock jumps."""

    def __init__(
        self,
        speed: float | None = 1.0,
        *,
        by_header: bool = False,
        wall_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.speed = speed
        self._wall_ns = wall_ns
        # headers are in whole seconds, and old where an answer was kept: of them the latest counts
        self._pick: Callable[[deque[int]], int] = max if by_header else min
        self._ahead_ns: deque[int] = deque(maxlen=SAMPLES)
        self._highest_ns = 0
        self._moved_ns = wall_ns()
        self._told_since = 0  # times that it was told without having moved

    @property
    def known(self) -> bool:
        """Whether the exchange's time was ever told."""
        return bool(self._highest_ns or self._ahead_ns)

    def told(self, time_ns: int, took_ns: int = 0) -> None:
        """The exchange has just said that it is `time_ns`, in an answer that took so long."""
        if self.speed is None:
            self._told_since += 1
            self.saw(time_ns)
        elif took_ns <= SLOW_NS or not self._ahead_ns:
            self._ahead_ns.append(time_ns - int(self._wall_ns() * self.speed))

    def saw(self, time_ns: int) -> None:
        """Something of `time_ns` has been seen, so it is that late at least."""
        if time_ns > self._highest_ns:
            self._highest_ns = time_ns
            self._moved_ns = self._wall_ns()
            self._told_since = 0

    @property
    def now_ns(self) -> int:
        """The exchange's time in nanoseconds since 1970, or a little earlier."""
        if self.speed is not None and self._ahead_ns:
            now_ns = self._pick(self._ahead_ns) + int(self._wall_ns() * self.speed)
            self._highest_ns = max(self._highest_ns, now_ns)
        return self._highest_ns

    @property
    def stands(self) -> bool:
        """Whether a clock that jumps has come to its end, as it was told several times."""
        stood_ns = self._wall_ns() - self._moved_ns
        return self.speed is None and stood_ns >= STOOD_NS and self._told_since >= SAMPLES

    def secs_until(self, time_ns: int) -> float:
        """Seconds here until it is `time_ns` there; 0 where it has passed, or the clock jumps."""
        if self.speed is None:
            return 0.0
        return max(0.0, (time_ns - self.now_ns) / self.speed / NS_PER_SECOND)
