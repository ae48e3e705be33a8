"""An exchange on this machine that speaks Binance's dialect and fails when it is told to.

Its candles and its clock are known, so that a test can say what a feed must have handed out.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

START_MS = 1_700_000_040_000  # a whole minute, and the close of the last candle of history
MINUTE_MS = 60_000
Kline = list[float]  # open time in ms, open, high, low, close, volume


def candles(first: int, last: int, seed: int = 1, missing: Sequence[int] = ()) -> list[Kline]:
    """A walk of one-minute candles: the nth opens n minutes after the start, which is where the
    history of an exchange ends; negative ones are history."""
    chance = np.random.default_rng(seed)
    count = last - first
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, count)))
    open_ = close * np.exp(chance.normal(0, 0.003, count))
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    rows = zip(open_, high, low, close, chance.uniform(1, 9, count), strict=True)
    return [
        [START_MS + nth * MINUTE_MS, *map(float, row)]
        for nth, row in zip(range(first, last), rows, strict=True)
        if nth not in missing
    ]


class Loopback:
    """One exchange: `faults` are used up one a request, the first that fits its path."""

    def __init__(self, truth: Mapping[str, Sequence[Kline]], speed: float | None) -> None:
        self.truth = {symbol: [list(row) for row in rows] for symbol, rows in truth.items()}
        self.speed = speed
        self.faults: deque[tuple[str, str]] = deque()  # of (part of the address, fault)
        self.asked: Counter[str] = Counter()  # by path
        self.most_pages = 10**9  # after so many requests for candles all fail
        self.off: dict[str, str] = {}  # by base: "BREAK", or "gone" from the list
        self.young_faults: random.Random | None = None  # candles late or wrong until they settle
        self.settle_ms = 0.0
        self.muted = False  # the stream says nothing and answers nothing
        self.streaming = True
        self.sockets: set[web.WebSocketResponse] = set()
        self.dials = 0
        self._began: float | None = None
        self._at_ms = float(START_MS)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    @property
    def now_ms(self) -> float:
        if self._began is None or self.speed is None:
            return self._at_ms
        return self._at_ms + (time.monotonic() - self._began) * 1000 * self.speed

    def minute(self) -> float:
        """The clock, in minutes since the start."""
        return (self.now_ms - START_MS) / MINUTE_MS

    def jump(self, minute: float) -> None:
        """Set a clock that does not run."""
        self._at_ms = START_MS + minute * MINUTE_MS

    def fail(self, path: str, *faults: str) -> None:
        self.faults.extend((path, fault) for fault in faults)

    # --- REST ---

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/stream/ws/{rest:.*}", self._stream)
        app.router.add_get("/{path:.*}", self._rest)
        return app

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        if self._began is None:
            self._began = time.monotonic()
        name = request.path.rpartition("/")[2]
        self.asked[name] += 1
        answer = self._answer(name, request)
        fault = next((one for one in self.faults if one[0] in str(request.rel_url)), None)
        if name == "klines" and self.asked[name] > self.most_pages:
            return await self._failed("500", answer, request)
        if fault is None:
            date = formatdate(self.now_ms / 1000, usegmt=True)
            return web.json_response(answer, headers={"Date": date})
        self.faults.remove(fault)
        return await self._failed(fault[1], answer, request)

    async def _failed(self, fault: str, answer: Any, request: web.Request) -> web.StreamResponse:
        text = json.dumps(answer)
        match fault:
            case "429" | "418":
                return web.Response(status=int(fault), headers={"Retry-After": "0.3"}, text="{}")
            case "500" | "403" | "503":
                return web.Response(status=int(fault), text="<html>no</html>")
            case "empty":
                return web.Response(text="", content_type="application/json")
            case "null":
                return web.Response(text="null", content_type="application/json")
            case "truncated":
                cut = text[: max(2, len(text) * 2 // 3)]
                return web.Response(text=cut, content_type="application/json")
            case "list":
                return web.json_response([])
            case "nan":
                return web.Response(text="[[NaN,1,2,3,4,5]]", content_type="application/json")
            case "hang":
                await asyncio.sleep(30)
            case "cut":
                response = web.StreamResponse(headers={"Content-Length": str(len(text) + 50)})
                await response.prepare(request)
                await response.write(text[: len(text) // 2].encode())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _answer(self, name: str, request: web.Request) -> Any:
        match name:
            case "time":
                return {"serverTime": int(self.now_ms)}
            case "exchangeInfo":
                return {
                    "symbols": [self._market(s) for s in self.truth if self.off.get(s) != "gone"]
                }
            case "klines":
                return self._klines(request.query)
        return {"code": -1, "msg": "unknown"}

    def _market(self, symbol: str) -> dict[str, Any]:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "0", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.002", "maxQty": "9000", "stepSize": "0.001"},
            {"filterType": "NOTIONAL", "minNotional": "5.0"},
        ]
        extra = {
            "symbol": symbol, "costs": "us", "speed": self.speed, "timeframe": "1m",
            "calendar": None,
        }  # fmt: skip
        return {
            "symbol": f"{symbol}USDT", "status": self.off.get(symbol, "TRADING"),
            "baseAsset": symbol, "quoteAsset": "USDT", "filters": filters, "sandbox": extra,
            "isSpotTradingAllowed": True, "permissions": ["SPOT"],
        }  # fmt: skip

    def _klines(self, query: Mapping[str, str]) -> list[list[Any]]:
        symbol = query["symbol"].removesuffix("USDT")
        since, limit, now = int(query.get("startTime", 0)), int(query["limit"]), self.now_ms
        rows = [list(row) for row in self.truth[symbol] if since <= row[0] <= now]
        if self.young_faults is not None:
            rows = self._unsettled(rows, now, self.young_faults)
        return [
            [int(row[0]), *map(repr, row[1:]), 0, "0", 0, "0", "0", "0"] for row in rows[:limit]
        ]

    def _unsettled(self, rows: list[Kline], now: float, chance: random.Random) -> list[Kline]:
        """Candles that have not settled may be missing; the last of them may have other values."""
        shown = [
            row
            for row in rows
            if row[0] + MINUTE_MS + self.settle_ms <= now or chance.random() < 0.7
        ]
        if shown and shown[-1][0] + MINUTE_MS + self.settle_ms > now and chance.random() < 0.5:
            shown[-1] = [shown[-1][0], *(value * 1.01 for value in shown[-1][1:])]
        if len(shown) > 1 and chance.random() < 0.2:
            shown.insert(0, shown[0])
        return shown

    # --- the stream ---

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.sockets.add(socket)
        self.dials += 1
        pushing = asyncio.create_task(self._push(socket))
        try:
            async for message in socket:
                if self.muted:
                    continue
                if message.type == WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type == WSMsgType.TEXT:
                    await socket.send_json({"result": None, "id": json.loads(message.data)["id"]})
        finally:
            pushing.cancel()
            self.sockets.discard(socket)
        return socket

    async def _push(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await asyncio.sleep(0.02)
            if self.muted or not self.streaming:
                continue
            for symbol, rows in self.truth.items():
                running = [row for row in rows if row[0] <= self.now_ms][-1:]
                for row in running:
                    await socket.send_str(_frame(symbol, row))

    def each_socket(self, what: str) -> None:
        """Do something to all connections: "close", "abort" or "garbage"."""
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(self._each(what), self.loop).result(5)

    async def _each(self, what: str) -> None:
        for socket in list(self.sockets):
            if what == "close":
                await socket.close()
            elif what == "garbage":
                await socket.send_str('{"e":"kline","k":{"t":')
            elif socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()


def _frame(symbol: str, row: Kline) -> str:
    names = dict(zip("ohlcv", map(repr, row[1:]), strict=True))
    kline = {"t": int(row[0]), "s": f"{symbol}USDT", "i": "1m", "x": False} | names
    return json.dumps({"e": "kline", "E": int(row[0]), "s": f"{symbol}USDT", "k": kline})


@contextmanager
def loopback(
    truth: Mapping[str, Sequence[Kline]], speed: float | None = 240.0
) -> Iterator[Loopback]:
    """An exchange while the block runs; its clock starts with the first request."""
    exchange = Loopback(truth, speed)
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(exchange.app(), shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        exchange.port = runner.addresses[0][1]
        exchange.loop = asyncio.get_running_loop()
        ready.set()
        await stop.wait()
        for socket in list(exchange.sockets):
            await socket.close()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield exchange
    finally:
        assert exchange.loop is not None
        exchange.loop.call_soon_threadsafe(stop.set)
        thread.join()
