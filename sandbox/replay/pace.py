"""When the exchange's clock moves on, and when the game is over.

At a given speed it runs by itself. At full speed it goes from moment to moment, as fast as those
who listen to the stream read what they are sent. Where nobody listens, a client that asks again for
candles which it has been shown already is waiting for news: then it moves by one moment. So it
serves a client that only polls, and stands still while there is none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from feeds.bars import NS_PER_SECOND
from sandbox.replay.clock import Clock, Moment, moments
from sandbox.replay.market import Markets
from sandbox.replay.stream import Stream

TIMES_ASKED = 5  # in a row, of a client that waits for the clock and asks for no candle meanwhile

Told = Callable[[int, int], None]  # bar times replayed, of how many


class Pace:
    def __init__(self, markets: Markets, clock: Clock, stream: Stream, told: Told) -> None:
        self._clock = clock
        self._stream = stream
        self._told = told
        self._moments = moments(markets, clock.speed)
        self._bars, self._done = len(markets.live_ns), 0
        self._shown: set[str] = set()  # ids of which all candles so far were shown, this moment
        self._times_asked = 0
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._asked_secs = time.monotonic()

    def asked(self) -> None:
        """A client has asked something, whatever it is."""
        self._asked_secs = time.monotonic()
        if not self._clock.begun:
            self._clock.begin()
            self._begun.set()

    def asks_candles(self, market_id: str) -> None:
        """Before a client is shown candles up to now."""
        self._times_asked = 0
        if market_id in self._shown:
            self._poll()

    def showed_candles(self, market_id: str) -> None:
        """A client has been shown all candles of a market up to now."""
        self._shown.add(market_id)

    def asks_time(self) -> None:
        """Before a client is told the time."""
        self._times_asked += 1
        if self._times_asked > TIMES_ASKED:
            self._poll()

    def _poll(self) -> None:
        if self._clock.speed is None and not self._stream.live:
            self._step()

    def _step(self) -> Moment | None:
        moment = next(self._moments, None)
        self._shown.clear()
        self._times_asked = 0
        if moment is None:
            self._ended.set()
            return None
        self._clock.reach(moment.time_ns)
        if moment.closes:
            self._done += 1
            self._told(self._done, self._bars)
            if self._done == self._bars:
                self._ended.set()
        return moment

    async def run(self) -> None:
        """Until the last bar has closed and its frames are sent, or something goes wrong."""
        await self._begun.wait()
        try:
            while not self._ended.is_set():
                if self._clock.speed is None:
                    await self._at_full_speed()
                else:
                    await self._in_time(self._clock.speed)
        finally:
            self._ended.set()

    async def _at_full_speed(self) -> None:
        ended = asyncio.create_task(self._ended.wait())
        live = asyncio.create_task(self._stream.wait_live())
        try:
            await asyncio.wait({ended, live}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            live.cancel()
        while self._stream.live and (moment := self._step()) is not None:
            await self._stream.send(moment.time_ns)
            if moment.closes:
                await self._stream.heard()

    async def _in_time(self, speed: float) -> None:
        moment = next(self._moments)
        await asyncio.sleep(self._clock.secs_until(moment.time_ns))
        late_ns = self._clock.now_ns - moment.time_ns
        if moment.closes:
            self._done += 1
            self._told(self._done, self._bars)
        if moment.closes or late_ns < speed * NS_PER_SECOND:
            await self._stream.send(moment.time_ns)
        if self._done == self._bars:
            self._ended.set()

    async def over(self, idle_secs: float) -> None:
        """Until the last bar has closed and nobody has asked anything for so long."""
        await self._ended.wait()
        while (left := self._asked_secs + idle_secs - time.monotonic()) > 0:
            await asyncio.sleep(left)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()
