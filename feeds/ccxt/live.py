"""Live bars: history is the truth, the stream only says when to ask for it.

One task a symbol asks for pages from its anchor on: when the stream shows a candle that opened
after the frontier, when a close has passed without news, and again until all is certain. Everything
runs in the thread of the feed's event loop, and bars are handed over through a bounded outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from typing import Self

from ..errors import ExchangeError, FeedError, GoneError
from .events import After, Event, LiveBar, Status
from .exchange import Exchange
from .fetch import Patience, certain_ns, frontier_of, turn
from .frontier import Taken
from .loop import Loop
from .markets import Market, is_active
from .outbox import Lane, Outbox
from .pages import shown_ns
from .stream import Stream

CLOCK_SECS = 30.0  # between two looks at the exchange's clock
REPLAY_CLOCK_SECS, JUMP_SECS = 2.0, 0.25  # the same, of a replay; and of one whose clock jumps
POLL_SECS = 0.02  # between two requests, where no stream moves a clock that jumps
MARKETS_SECS, REPLAY_MARKETS_SECS = 60.0, 0.5  # between two looks at which markets are traded
QUIET_BARS = 3  # without a candle, for a market to be asked whether it is still traded
INACTIVE_READS = 2  # in a row, for a market to have been taken off
REFUSED_READS = 5  # failures in a row, for the history of such a market to be closed, too
GONE_READS = 3  # in a row, for it to be believed that the exchange keeps no older candles
AT_ONCE = 32  # requests at a time
BATCH_SECS = 0.05  # for bars to gather, where a clock jumps


class _Symbol:
    """One market that is followed."""

    def __init__(self, market: Market, lane: Lane, patience: Patience) -> None:
        self.market = market
        self.lane = lane
        self.frontier = lane.frontier
        self.patience = patience
        self.bell = asyncio.Event()
        self.heard_ns = 0  # when the newest candle that was rung for opened
        self.asked_ns = 0  # the exchange's time at the last request that was answered
        self.again = True  # another page is wanted at once
        self.failing_since: float | None = None  # by the clock here, seconds since 1970
        self.late_ns = 0  # the bar that was said to be late
        self.gone = 0  # times in a row that pages began after the anchor
        self.inactive = 0  # times in a row that the exchange did not name it as traded
        self.over_ns: int | None = None  # the exchange's time when it was known to be taken off


class Live:
    """Bars from an exchange as they come; made by `Feed.live`. `close` ends its tasks."""

    def __init__(
        self,
        loop: Loop,
        exchange: Exchange,
        markets: Sequence[Market],
        timeframe: str,
        length_ns: int,
        after: After,
    ) -> None:
        self._loop = loop
        self._exchange = exchange
        self._clock = exchange.clock
        self._timeframe = timeframe
        self._length_ns = length_ns
        self._symbols = [self._symbol(market, after) for market in markets]
        self._by_symbol = {symbol.market.symbol: symbol for symbol in self._symbols}
        self._outbox = Outbox(
            [symbol.lane for symbol in self._symbols],
            lambda: self._clock.now_ns,
            lambda: loop.soon(self._move),
        )
        self._stream = Stream(
            exchange,
            [symbol.market.symbol for symbol in self._symbols if not symbol.lane.ended],
            timeframe,
            heard=self._heard,
            missed=self._ring_all,
            say=self._outbox.say,
        )
        self._room = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._answered_ns = 0
        self._began_ns = time.time_ns()
        loop.on_failure = self._stream.reader_died
        self._task = loop.start(self._run())

    # --- for whoever reads, in any thread ---

    def next(self, timeout: float | None = None) -> LiveBar | None:
        """The next bar; None where none was complete within `timeout` seconds (None: no limit).

        Raises `FeedEnded` once every market has ended and all bars were handed out, and what ended
        the feed's thread, if anything did.
        """
        return self._outbox.next(timeout)

    def events(self) -> list[Event]:
        """What has happened since this was last asked."""
        return self._outbox.events()

    def status(self) -> Status:
        """How it is doing now."""
        followed = [symbol for symbol in self._symbols if not symbol.lane.ended]
        failing = [s.failing_since for s in followed if s.failing_since is not None]
        streams = self._stream.connected or not self._stream.exists
        since_ns = self._stream.changed_ns if self._stream.exists else self._began_ns
        if failing:
            since_ns = int(min(failing) * 1e9)
        now_ns = self._clock.now_ns
        known_ns = self._outbox.known_ns
        return Status(
            connected=streams and not failing,
            since_ns=since_ns,
            last_message_ns=max(self._stream.last_message_ns, self._answered_ns),
            clock_ns=now_ns,
            frontier_ns=now_ns if known_ns is None else known_ns,
            next_close_ns=min((s.frontier.next_close_ns for s in followed), default=now_ns),
            waiting_for=self._outbox.waiting_for,
        )

    def caught_up(self) -> bool:
        """Whether every bar that has closed and settled by the exchange's clock was taken."""
        return self._loop.call(self._caught_up())

    def close(self) -> None:
        """End all tasks and the stream. More than once is as good as once."""
        self._task.cancel()
        with contextlib.suppress(CancelledError, Exception):
            self._task.result(timeout=1.0)
        with contextlib.suppress(CancelledError, Exception):
            if not self._loop.closed:
                self._loop.call(self._exchange.client.close_ws_clients())
        self._outbox.fail(FeedError("the feed was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- in the loop's thread ---

    def _symbol(self, market: Market, after: After) -> _Symbol:
        last = after.last.get(market.name)
        frontier = frontier_of(self._exchange, self._length_ns, after.frontier_ns, last)
        ended = market.name in after.ended
        lane = Lane(market.name, frontier, ended=ended, end_told=ended)
        return _Symbol(market, lane, Patience(self._exchange.timing))

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._stream.run()),
                    tasks.create_task(self._read_clock()),
                    tasks.create_task(self._read_markets()),
                ]
                follow = [tasks.create_task(self._follow(symbol)) for symbol in self._symbols]
                await asyncio.gather(*follow)
                while not all(
                    symbol.lane.ended and not symbol.lane.waiting for symbol in self._symbols
                ):
                    self._room.clear()
                    await self._wait(self._room, 1.0)
                    self._move()
                self._move()
                for helper in helpers:
                    helper.cancel()
        except* Exception as errors:  # none is expected: whoever reads is told
            self._outbox.fail(errors.exceptions[0])

    def _move(self) -> None:
        self._outbox.move()
        self._room.set()

    async def _caught_up(self) -> bool:
        settled_ns = certain_ns(self._exchange, self._clock.now_ns, self._length_ns)
        return self._outbox.is_empty and all(
            symbol.lane.ended or symbol.frontier.next_close_ns > settled_ns
            for symbol in self._symbols
        )

    def _heard(self, symbol: str, opened_ns: int) -> None:
        """A candle that opened after the frontier runs: what was before it has closed."""
        followed = self._by_symbol[symbol]
        self._clock.saw(opened_ns)
        if opened_ns > max(followed.frontier.reached_ns, followed.heard_ns):
            followed.heard_ns = opened_ns
            followed.bell.set()

    def _ring_all(self) -> None:
        for symbol in self._symbols:
            symbol.bell.set()

    async def _follow(self, symbol: _Symbol) -> None:
        """Ask for pages until the market has ended."""
        while not symbol.lane.ended:
            await self._wait_due(symbol)
            while symbol.lane.full:
                self._room.clear()
                await self._wait(self._room, 1.0)
            symbol.bell.clear()
            asked_ns = self._clock.now_ns
            try:
                async with self._slots:
                    taken, full = await turn(
                        self._exchange, symbol.market, self._timeframe, symbol.frontier
                    )
            except ExchangeError as error:
                await self._failed(symbol, error)
                continue
            self._answered(symbol, asked_ns)
            self._take(symbol, taken, full=full)
            self._move()

    async def _wait_due(self, symbol: _Symbol) -> None:
        """Until the bell rings, or something may be learnt without it."""
        if self._clock.speed is None:
            await self._wait_jump(symbol)
            return
        if symbol.again or self._settled(symbol):
            return
        due_ns = symbol.frontier.next_close_ns
        timing, speed = self._exchange.timing, self._clock.speed
        waits = self._waits(symbol, due_ns)
        if symbol.over_ns is not None:
            due_ns, waits = min(due_ns, self._over(symbol)), timing.settle_secs
        await self._wait(symbol.bell, self._clock.secs_until(due_ns + int(waits * speed * 1e9)))

    def _waits(self, symbol: _Symbol, due_ns: int) -> float:
        """Seconds here after a close at which history is asked for it: promptly, where the next
        candle often vouches for it already; after some grace; and when it has settled."""
        timing, speed = self._exchange.timing, self._clock.speed or 1.0
        asked_secs = (symbol.asked_ns - due_ns) / speed / 1e9
        for waits in (timing.prompt_secs, timing.grace_secs):
            if asked_secs < waits:
                return waits
        return timing.settle_secs

    async def _wait_jump(self, symbol: _Symbol) -> None:
        """The same where the clock jumps: a little later, so that a page brings many bars."""
        if not self._stream.connected:
            await asyncio.sleep(POLL_SECS)
            return
        if not (symbol.again or self._settled(symbol)):
            await self._wait(symbol.bell, JUMP_SECS)
        await asyncio.sleep(BATCH_SECS)

    def _settled(self, symbol: _Symbol) -> bool:
        """Whether something has settled that is not known yet."""
        settled_ns = certain_ns(self._exchange, self._clock.now_ns, self._length_ns)
        due_ns = symbol.frontier.next_close_ns
        if symbol.over_ns is not None:
            due_ns = min(due_ns, self._over(symbol))
        return due_ns <= settled_ns

    async def _wait(self, event: asyncio.Event, secs: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(secs):
                await event.wait()

    def _take(self, symbol: _Symbol, taken: Taken, *, full: bool) -> None:
        name, lane = symbol.market.name, symbol.lane
        lane.waiting.extend(taken.candles)
        symbol.again = taken.in_doubt or (full and bool(taken.candles))
        for row in taken.revised:
            text = (
                f"{name}: the candle that opened {shown_ns(row.opened_ns)} was revised: {row[1:]}"
            )
            self._outbox.say("revised", name, text)
        if (
            symbol.over_ns is not None
            and not full
            and lane.frontier.reached_ns >= self._over(symbol)
        ):
            self._end(symbol, "and its history has been read to the end")

    def _is_late(self, symbol: _Symbol) -> bool:
        """Whether a bar could have gone out by now, had requests not failed."""
        timing, speed = self._exchange.timing, self._clock.speed
        if speed is None:
            waited = time.time() - (symbol.failing_since or time.time())
            return waited >= timing.settle_secs + timing.grace_secs
        waits_ns = int((timing.settle_secs + timing.grace_secs) * speed * 1e9)
        return symbol.frontier.next_close_ns + waits_ns <= self._clock.now_ns

    def _over(self, symbol: _Symbol) -> int:
        """Up to when a market that was taken off must be known for its history to be at its end."""
        assert symbol.over_ns is not None
        return min(symbol.over_ns, self._clock.now_ns) if self._clock.stands else symbol.over_ns

    def _end(self, symbol: _Symbol, how: str) -> None:
        name = symbol.market.name
        symbol.lane.ended = True
        self._outbox.say("ended", name, f"{self._exchange.name} has taken {name} off, {how}")

    def _answered(self, symbol: _Symbol, asked_ns: int) -> None:
        self._answered_ns = time.time_ns()
        symbol.asked_ns = asked_ns
        symbol.patience.served()
        symbol.gone = 0
        if symbol.failing_since is not None:
            name, since = symbol.market.name, _clock_time(symbol.failing_since)
            symbol.failing_since = None
            self._outbox.say(
                "recovered", name, f"{name}: answered again, after failures since {since}"
            )

    async def _failed(self, symbol: _Symbol, error: ExchangeError) -> None:
        name = symbol.market.name
        symbol.gone = symbol.gone + 1 if isinstance(error, GoneError) else 0
        if symbol.gone == GONE_READS:
            raise ExchangeError(
                f"{self._exchange.name} no longer has what came after the last candle known: "
                f"{error}; begin anew",
                symbol=name,
                source=self._exchange.name,
            ) from error
        pause = symbol.patience.pause_secs(error)
        failures = symbol.patience.failures
        if symbol.failing_since is None:
            symbol.failing_since = time.time()
        since = _clock_time(symbol.failing_since)
        if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th …
            text = f"{name}: request {failures} in a row failed, since {since}: {error}"
            self._outbox.say("retry", name, f"{text}; again in {pause:.1f} s")
        due_ns = symbol.frontier.next_close_ns
        if symbol.late_ns < due_ns and self._is_late(symbol):
            symbol.late_ns = due_ns
            text = f"{name}: the bar of {shown_ns(due_ns)} is late: no good answer since {since}"
            self._outbox.say("late", name, text)
        if symbol.over_ns is not None and failures >= REFUSED_READS:
            self._end(symbol, "and gives its history no more")
            self._move()
            return
        await asyncio.sleep(pause)

    async def _read_clock(self) -> None:
        while True:
            pause = REPLAY_CLOCK_SECS if self._exchange.is_replay else CLOCK_SECS
            await asyncio.sleep(JUMP_SECS if self._clock.speed is None else pause)
            with contextlib.suppress(ExchangeError):
                await self._exchange.read_clock()

    async def _read_markets(self) -> None:
        """Notice markets that are no longer traded. An answer that fails proves nothing."""
        while True:
            pause = REPLAY_MARKETS_SECS if self._exchange.is_replay else MARKETS_SECS
            await asyncio.sleep(JUMP_SECS if self._clock.speed is None else pause)
            doubted = [symbol for symbol in self._symbols if self._is_doubted(symbol)]
            if not doubted:
                continue
            with contextlib.suppress(ExchangeError):
                found = await self._exchange.markets()
                for symbol in doubted:
                    gone = not is_active(found.get(symbol.market.symbol))
                    symbol.inactive = symbol.inactive + 1 if gone else 0
                over = [symbol for symbol in doubted if symbol.inactive >= INACTIVE_READS]
                if over:
                    await self._exchange.read_clock()  # it is later than when they were taken off
                for symbol in over:
                    symbol.over_ns = self._clock.now_ns + self._spare_ns
                    symbol.bell.set()

    @property
    def _spare_ns(self) -> int:
        """By how much the exchange's clock may be later than it is known to be."""
        speed = self._clock.speed
        if speed is None:
            return self._length_ns
        return int(self._exchange.timing.settle_secs * speed * 1e9)

    def _is_doubted(self, symbol: _Symbol) -> bool:
        """Whether it should be asked if a market is still traded."""
        if symbol.lane.ended or symbol.over_ns is not None:
            return False
        anchor = symbol.frontier.anchor
        quiet_ns = self._clock.now_ns - (anchor.opened_ns if anchor is not None else 0)
        return self._exchange.is_replay or quiet_ns > (QUIET_BARS + 2) * self._length_ns


def _clock_time(secs: float) -> str:
    return f"{datetime.fromtimestamp(secs, UTC):%Y-%m-%d %H:%M:%S}"
