"""The stream of running candles: only the bell that says when to ask for history.

What it says is never traded. It is watched: one that falls silent is dialled anew, and after every
dial all symbols are asked for, since what was sent meanwhile is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ExchangeError
from .events import Kind
from .exchange import Exchange
from .fetch import Patience
from .pages import NS_PER_MS

LOOK_SECS = 0.02  # between two looks at what the stream brought
JUMP_SILENCE_SECS = 2.0  # of a clock that jumps: it sends as fast as it can
LATEST_ROWS = 4  # of a symbol's running candles that are looked at: late ones come behind newer

Say = Callable[[Kind, str | None, str], None]
Heard = Callable[[str, int], None]  # of ccxt's symbol, when its newest candle opened


class Stream:
    """heard: called with what is new; missed: called when something may have been missed."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        timeframe: str,
        *,
        heard: Heard,
        missed: Callable[[], None],
        say: Say,
    ) -> None:
        self._exchange = exchange
        self._client = exchange.client
        self._symbols = symbols
        self._timeframe = timeframe
        self._heard, self._missed, self._say = heard, missed, say
        self._newest_ms: dict[str, int] = {}
        self._dialled: set[Any] = set()  # connections that were noticed
        self.connected = False
        self._said_lost = False
        self.changed_ns = time.time_ns()

    @property
    def exists(self) -> bool:
        """Whether the exchange has a stream of candles."""
        return bool(self._client.has.get("watchOHLCV"))

    @property
    def last_message_ns(self) -> int:
        """When something was heard last, by the clock here; 0: never."""
        times = [client.last_message_at or 0 for client in self._clients()]
        return max(times, default=0) * NS_PER_MS

    async def run(self) -> None:
        """Listen until cancelled; at once where there is no stream."""
        if not self.exists:
            return
        groups = [list(self._symbols)]
        if not self._client.has.get("watchOHLCVForSymbols"):
            groups = [[symbol] for symbol in self._symbols]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._guard())
            for group in groups:
                tasks.create_task(self._listen(group))

    def reader_died(self, error: BaseException | None) -> None:
        """ccxt's reader has met something that it cannot read, and reads no more."""
        for client in self._clients():
            self._drop(client, f"a frame that cannot be read ({type(error).__name__})")

    async def _listen(self, group: Sequence[str]) -> None:
        patience = Patience(self._exchange.timing)
        while True:
            try:
                await self._watch(group)
                patience.served()
                self._notice()
                self._look(group)
                await asyncio.sleep(LOOK_SECS)
                self._look(group)  # what came for others meanwhile wakes nobody
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                self._lost("the connection was closed")  # ccxt cancels what waits for it
            except Exception as error:
                self._lost(f"{type(error).__name__}: {error}"[:160])
                await asyncio.sleep(patience.pause_secs(ExchangeError(str(error))))

    async def _watch(self, group: Sequence[str]) -> None:
        """Until something new came for one of the group."""
        if self._client.has.get("watchOHLCVForSymbols"):
            pairs = [[symbol, self._timeframe] for symbol in group]
            await self._client.watch_ohlcv_for_symbols(pairs)
        else:
            await self._client.watch_ohlcv(group[0], self._timeframe)

    def _look(self, group: Sequence[str]) -> None:
        for symbol in group:
            rows = (self._client.ohlcvs.get(symbol) or {}).get(self._timeframe) or ()
            newest = max((row[0] for row in list(rows)[-LATEST_ROWS:]), default=None)
            if isinstance(newest, int) and newest > self._newest_ms.get(symbol, 0):
                self._newest_ms[symbol] = newest
                self._heard(symbol, newest * NS_PER_MS)

    def _clients(self) -> list[Any]:
        return list((self._client.clients or {}).values())

    def _notice(self) -> None:
        """Say so when a new connection has brought something."""
        for client in self._clients():
            if client not in self._dialled:
                if self.connected:
                    self._lost("it was closed, and dialled anew")
                self._dialled = {client}
                self._said_lost = False
                self._newest_ms.clear()
                self._set(connected=True)
                self._say("connected", None, f"listening to the stream of {self._exchange.name}")
                self._missed()

    def _lost(self, why: str) -> None:
        if not self._said_lost:
            self._said_lost = True
            self._say("disconnected", None, f"no stream of {self._exchange.name}: {why}")
        self._set(connected=False)
        self._dialled.clear()

    def _set(self, *, connected: bool) -> None:
        if connected != self.connected:
            self.connected, self.changed_ns = connected, time.time_ns()

    async def _guard(self) -> None:
        """Drop connections that have been silent for too long, though they were pinged."""
        silence = self._exchange.timing.silence_secs
        if self._exchange.clock.speed is None:
            silence = min(silence, JUMP_SILENCE_SECS)
        while True:
            await asyncio.sleep(silence / 4)
            for client in self._clients():
                heard_ms = max(client.last_message_at or 0, client.connectionEstablished or 0)
                if not heard_ms:
                    continue  # it is still being dialled, for which ccxt has a limit
                quiet = time.time() - heard_ms / 1000
                if quiet > silence:
                    self._drop(client, f"silent for {quiet:.1f} s")
                elif quiet > silence / 3:
                    await self._ping(client)

    async def _ping(self, client: Any) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await client.connection.ping()

    def _drop(self, client: Any, why: str) -> None:
        """End a connection; whoever watches hears of it and dials anew."""
        self._lost(why)
        self._exchange.drop(client, why)
