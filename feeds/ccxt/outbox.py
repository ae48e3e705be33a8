"""Joins the candles of all symbols into bars, and hands these to another thread, a few at a time.

A bar time goes out once every symbol that has not ended is known up to it. All methods but `next`
and `events` belong to the thread that puts candles in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import FeedEnded
from .events import Event, Kind, LiveBar
from .frontier import Frontier
from .pages import Row

MOST_BARS = 256  # that wait for whoever reads them
MOST_WAITING = 2000  # candles of a symbol that wait for other symbols: then no more are asked for
KEPT_EVENTS = 10_000


@dataclass(eq=False)
class Lane:
    """The candles of one symbol on their way out."""

    name: str
    frontier: Frontier
    ended: bool = False  # its history has been read to its end
    end_told: bool = False
    waiting: deque[Row] = field(default_factory=deque)
    last_close_ns: int = 0  # of what has gone out

    @property
    def over(self) -> bool:
        """Whether nothing more will go out."""
        return self.ended and not self.waiting

    @property
    def full(self) -> bool:
        return len(self.waiting) >= MOST_WAITING

    @property
    def next_ns(self) -> int:
        """When the oldest candle that waits closed."""
        return self.waiting[0].opened_ns + self.frontier.length_ns


class Outbox:
    """now_ns: the exchange's time; on_room: called from the reading thread when bars were taken."""

    def __init__(
        self, lanes: Sequence[Lane], now_ns: Callable[[], int], on_room: Callable[[], None]
    ) -> None:
        self._lanes = lanes
        self._now_ns = now_ns
        self._on_room = on_room
        self._ready: deque[LiveBar] = deque()
        self._changed = threading.Condition()
        self._over: BaseException | None = None
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)

    def say(self, kind: Kind, symbol: str | None, text: str) -> None:
        """Record what happened."""
        self._events.append(Event(kind, symbol, text, time.time_ns()))

    def move(self) -> None:
        """Hand out what is complete, as long as there is room."""
        bars: list[LiveBar] = []
        room = MOST_BARS - len(self._ready)
        known_ns = self.known_ns
        while len(bars) < room and (bar := self._next_bar(known_ns)) is not None:
            bars.append(bar)
        if not (bars or self.over):
            return
        with self._changed:
            self._ready.extend(bars)
            if self.over and self._over is None:
                self._over = self._end()
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether every symbol has ended, and all that it had has gone out."""
        return all(lane.over for lane in self._lanes)

    @property
    def known_ns(self) -> int | None:
        """Everything that closed up to here is known; None: for ever, as all have ended."""
        return min(
            (lane.frontier.reached_ns for lane in self._lanes if not lane.ended), default=None
        )

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Symbols that keep back a bar that others have."""
        first_ns = min((lane.next_ns for lane in self._lanes if lane.waiting), default=None)
        if first_ns is None:
            return ()
        return tuple(
            lane.name
            for lane in self._lanes
            if not lane.ended and lane.frontier.reached_ns < first_ns
        )

    @property
    def is_empty(self) -> bool:
        """Whether all bars that are complete have been taken."""
        return not self._ready

    def fail(self, error: BaseException) -> None:
        """Nothing more will come: whoever reads is told why, after the bars that are ready."""
        with self._changed:
            self._over = self._over or error
            self._changed.notify_all()

    def next(self, timeout: float | None) -> LiveBar | None:
        """The next bar, None where none is ready in time. Raises what it was over with."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._over, timeout)
            if not self._ready:
                if self._over is not None:
                    raise self._over
                return None
            bar = self._ready.popleft()
            low = len(self._ready) == MOST_BARS // 2
        if low:
            self._on_room()
        return bar

    def events(self) -> list[Event]:
        """Those since the last call."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def _next_bar(self, known_ns: int | None) -> LiveBar | None:
        filled = [lane for lane in self._lanes if lane.waiting]
        if not filled:
            return None
        time_ns = min(lane.next_ns for lane in filled)
        if known_ns is not None and time_ns > known_ns:
            return None
        candles: dict[str, Row] = {}
        for lane in filled:
            if lane.next_ns == time_ns:
                candles[lane.name] = lane.waiting.popleft()
                lane.last_close_ns = time_ns
        return LiveBar(time_ns, candles, self._ended(time_ns), self._now_ns())

    def _ended(self, time_ns: int) -> tuple[str, ...]:
        """Symbols whose last candle closed before, which nobody was told of yet."""
        lanes = [
            lane
            for lane in self._lanes
            if lane.ended
            and not lane.end_told
            and not lane.waiting
            and lane.last_close_ns < time_ns
        ]
        return tuple(self._tell(lanes))

    def _tell(self, lanes: Iterable[Lane]) -> Iterable[str]:
        for lane in lanes:
            lane.end_told = True
            yield lane.name

    def _end(self) -> FeedEnded:
        ended = FeedEnded("every market has ended: the exchange trades none of them any more")
        ended.ended = tuple(self._tell(lane for lane in self._lanes if not lane.end_told))
        return ended
