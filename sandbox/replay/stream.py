"""The kline stream: which sockets want which candles, and what they are sent."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from sandbox.replay.failing import send_badly
from sandbox.replay.faults import STALEST_BARS, Faults
from sandbox.replay.history import Candle, closed_bars, closed_candle, running_candle
from sandbox.replay.market import NS_PER_MS, Market, Markets

SEND_SECS = 5.0  # that a socket may take to accept what it is sent, before it is given up
PONG_SECS = 5.0  # that a client may take to answer a ping, before others are no longer kept waiting
QUIET_SECS = 0.2  # after a subscription, for others to follow before the clock moves on


class Socket:
    """One client's connection."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self.ws = ws
        self._transport = transport
        self.streams: set[str] = set()
        self.mute = False  # it sends nothing more and answers nothing, though it stays open
        self.behind = False  # its client has not answered a ping in time
        self.put_off: list[str] = []  # frames that go out after the next one
        self._pings = count()
        self._pinged: dict[bytes, asyncio.Future[None]] = {}

    @property
    def live(self) -> bool:
        """Whether somebody listens."""
        return bool(self.streams) and not (self.ws.closed or self.mute or self.behind)

    async def send(self, texts: Sequence[str]) -> None:
        """Frames, and those put off; the connection is given up where the client does not read."""
        if not texts:
            return
        texts, self.put_off = [*texts, *self.put_off], []
        try:
            async with asyncio.timeout(SEND_SECS):
                for text in texts:
                    if not (self.mute or self.ws.closed):
                        await self.ws.send_str(text)
        except TimeoutError:
            self.abort()
        except ConnectionError:
            pass  # its handler hears of it, too

    async def heard(self) -> None:
        """Wait until the client has read all that it was sent, or shows that it is behind."""
        name = str(next(self._pings)).encode()
        answered = self._pinged[name] = asyncio.get_running_loop().create_future()
        try:
            await self.ws.ping(name)
            async with asyncio.timeout(PONG_SECS):
                await answered
        except TimeoutError:
            self.behind = True
        except ConnectionError:
            pass
        finally:
            del self._pinged[name]

    def pong(self, name: bytes) -> None:
        self.behind = False
        answered = self._pinged.get(name)
        if answered is not None and not answered.done():
            answered.set_result(None)

    async def end(self) -> None:
        """Close the connection as it should be."""
        self.let_go()
        await self.ws.close()

    def abort(self, last: bytes = b"") -> None:
        """End the connection without a word, but for these bytes."""
        self.let_go()
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(last)
            self._transport.abort()

    def let_go(self) -> None:
        """Nobody waits for a pong any more."""
        for answered in self._pinged.values():
            if not answered.done():
                answered.set_result(None)


class Stream:
    """All sockets."""

    def __init__(self, markets: Markets, faults: Faults, now_ns: Callable[[], int]) -> None:
        self._faults = faults
        self._now_ns = now_ns
        self._interval = markets.timeframe.name
        self._markets = {self.name_of(market): market for market in markets.by_id.values()}
        self.sockets: set[Socket] = set()
        self._changed = asyncio.Event()

    def name_of(self, market: Market) -> str:
        """`aaplusdt@kline_1d`."""
        return f"{market.id.lower()}@kline_{self._interval}"

    @property
    def live(self) -> bool:
        return any(socket.live for socket in self.sockets)

    async def wait_live(self) -> None:
        """Until somebody listens and nobody has subscribed to more for a while."""
        while True:
            self._changed.clear()
            wait = QUIET_SECS if self.live else None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                return

    def changed(self) -> None:
        self._changed.set()

    async def serve(self, socket: Socket, asked: Callable[[], None]) -> None:
        """Answer a client until it or the connection ends. `asked`: called with each message."""
        self.sockets.add(socket)
        try:
            async for message in socket.ws:
                asked()
                await self._answer(socket, message)
        finally:
            self.sockets.discard(socket)
            socket.let_go()
            self.changed()

    async def _answer(self, socket: Socket, message: WSMessage) -> None:
        if socket.mute:
            return
        if message.type == WSMsgType.PING:
            with suppress(ConnectionError):  # its loop hears of it, too
                await socket.ws.pong(message.data)
        elif message.type == WSMsgType.PONG:
            was_behind = socket.behind
            socket.pong(bytes(message.data))
            if was_behind:
                self.changed()
        elif message.type == WSMsgType.TEXT:
            await socket.send([json.dumps(self._reply(socket, message.data))])

    def _reply(self, socket: Socket, text: str) -> dict[str, Any]:
        try:
            request = json.loads(text)
            number, method = request.get("id"), request.get("method")
            names = [str(name) for name in request.get("params") or ()]
        except (ValueError, AttributeError, TypeError):
            return _refusal(None, "the message is no JSON object with a list of params")
        if method in ("LIST_SUBSCRIPTIONS", "LIST"):
            return {"result": sorted(socket.streams), "id": number}
        unknown = [name for name in names if name not in self._markets]
        if method == "SUBSCRIBE" and not unknown:
            socket.streams.update(names)
        elif method == "UNSUBSCRIBE":
            socket.streams.difference_update(names)
        else:
            return _refusal(number, f"unknown stream {unknown[0]}" if unknown else "unknown method")
        self.changed()
        return {"result": None, "id": number}

    def frames(self, time_ns: int) -> dict[str, str]:
        """What streams that are listened to are sent at a moment: the final candle of a bar that
        closes then, or the running one; nothing of a symbol without a bar."""
        wanted = {name for socket in self.sockets for name in socket.streams}
        told = {name: _told(self._markets[name], time_ns) for name in sorted(wanted)}
        return {
            name: self.frame(name, candle, self._now_ns())
            for name, candle in told.items()
            if candle is not None
        }

    def frame(self, name: str, candle: Candle, now_ns: int) -> str:
        first, o, h, l, c, v, last, a, *_ = candle.row()  # noqa: E741
        symbol = self._markets[name].id
        kline = {
            "t": first, "T": last, "s": symbol, "i": self._interval, "f": -1, "L": -1, "o": o,
            "c": c, "h": h, "l": l, "v": v, "n": 0, "x": candle.closed, "q": a, "V": "0", "Q": "0",
            "B": "0",
        }  # fmt: skip
        return json.dumps({"e": "kline", "E": now_ns // NS_PER_MS, "s": symbol, "k": kline})

    async def send(self, time_ns: int) -> None:
        """To all sockets what they have subscribed to."""
        frames = self.frames(time_ns)
        await asyncio.gather(
            *(self._send(socket, time_ns, frames) for socket in list(self.sockets) if frames)
        )

    async def _send(self, socket: Socket, time_ns: int, frames: Mapping[str, str]) -> None:
        well: list[str] = []
        for name, text in frames.items():
            if name not in socket.streams or socket.mute or socket.ws.closed:
                continue
            kind = self._faults.of_frame(name)
            if kind is None:
                well.append(text)
                continue
            self._faults.count(kind)
            await socket.send(well)
            well = []
            dice = self._faults.dice("bad frame")
            await send_badly(socket, text, kind, dice, self._older(name, time_ns, dice))
        await socket.send(well)

    def _older(self, name: str, time_ns: int, dice: random.Random) -> str | None:
        """A frame of a candle that closed some bars ago."""
        market = self._markets[name]
        nth = closed_bars(market, time_ns) - 1 - dice.randint(1, STALEST_BARS)
        return None if nth < 0 else self.frame(name, closed_candle(market, nth), time_ns)

    async def heard(self) -> None:
        """Wait until all who listen have read what they were sent."""
        await asyncio.gather(*(socket.heard() for socket in list(self.sockets) if socket.live))

    async def close(self) -> None:
        await asyncio.gather(*(socket.ws.close() for socket in list(self.sockets)))


def _told(market: Market, time_ns: int) -> Candle | None:
    closed = closed_bars(market, time_ns)
    if closed and int(market.closes_ns[closed - 1]) == time_ns:
        return closed_candle(market, closed - 1)
    return running_candle(market, time_ns)


def _refusal(number: object, what: str) -> dict[str, Any]:
    return {"error": {"code": 2, "msg": f"Invalid request: {what}"}, "id": number}
