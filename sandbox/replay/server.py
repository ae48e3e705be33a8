"""The exchange itself: Binance's public addresses, answered as of the exchange's clock."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from feeds.bars import NS_PER_SECOND
from sandbox.errors import ConfigError
from sandbox.replay.clock import Clock
from sandbox.replay.failing import hold_back, refusal, spoilt, spoilt_rows
from sandbox.replay.faults import AT, NONE, REFUSALS, SPOILS, FaultPlan, Faults, Kind
from sandbox.replay.history import MOST_ROWS, USUAL_ROWS, Range, Row, Seen, page, seen_at
from sandbox.replay.market import NS_PER_MS, Market, Markets
from sandbox.replay.pace import Pace, Told
from sandbox.replay.stream import Socket, Stream

HOST = "127.0.0.1"
API = "/api/v3"
CLOSE_SECS = 1.0  # that a client gets to end a connection with us
MOST_SIZE = 1e15  # of an order, in units
HIGHEST_PRICE = 1e15  # of an order
FAULTS = "/sandbox/faults"  # how many there were, by kind; asking for it moves nothing
FAULT: ContextVar[Kind | None] = ContextVar("FAULT", default=None)  # of the request in hand

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefusedError(Exception):
    """A request that the exchange does not take; `code` is Binance's own."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.answer = {"code": code, "msg": msg}


class Exchange:
    """One replay, from the first request to the last."""

    def __init__(
        self, markets: Markets, speed: float | None, told: Told, plan: FaultPlan = NONE
    ) -> None:
        self.markets = markets
        self.clock = Clock(markets.start_ns, speed)
        self.faults = Faults(plan, speed, markets.timeframe.length_ns)
        self.stream = Stream(markets, self.faults, lambda: self.clock.now_ns)
        self.pace = Pace(markets, self.clock, self.stream, told)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._ask, self._fail, _refusals])
        app.on_response_prepare.append(self._date)
        app.add_routes(
            [
                web.get(f"{API}/ping", self._ping),
                web.get(f"{API}/time", self._time),
                web.get(f"{API}/exchangeInfo", self._exchange_info),
                web.get(f"{API}/klines", self._klines),
                web.get("/stream/ws", self._stream),
                web.get("/stream/ws/{rest:.*}", self._stream),
                web.get(FAULTS, self._counts),
            ]
        )
        return app

    @web.middleware
    async def _ask(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == FAULTS:
            return await handler(request)
        self.pace.asked()
        try:
            return await handler(request)
        finally:
            self.pace.asked()  # an answer may have been held back for a while

    @web.middleware
    async def _fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Act out what is drawn for a request; what concerns candles and clock its handler does."""
        what = _what(request)
        kind = self.faults.of_request(what, request.query.get("symbol", "")) if what else None
        FAULT.set(kind)
        if kind is None:
            return await handler(request)
        if kind in REFUSALS:
            self.faults.count(kind)
            return refusal(kind, self.faults.dice("refusal"), self.faults.retry_secs)
        if kind == "time-out":
            self.faults.count(kind)
            return await hold_back(request)
        honest = await handler(request)
        if kind in SPOILS and isinstance(honest, web.Response) and honest.status == 200:
            self.faults.count(kind)
            return await spoilt(request, honest, kind, self.faults.dice("body"))
        return honest

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response(self.faults.counts)

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        now = datetime.fromtimestamp(self.clock.now_ns // NS_PER_SECOND, UTC)
        response.headers["Date"] = format_datetime(now, usegmt=True)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, _: web.Request) -> web.Response:
        self.pace.asks_time()
        now_ns = self.clock.now_ns
        if FAULT.get() == "skew":
            self.faults.count("skew")
            now_ns += self.faults.skew_ns()
        return web.json_response({"serverTime": now_ns // NS_PER_MS})

    async def _exchange_info(self, _: web.Request) -> web.Response:
        now_ns = self.clock.now_ns
        return web.json_response(
            {
                "timezone": "UTC",
                "serverTime": now_ns // NS_PER_MS,
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": [self._symbol(market, now_ns) for market in self.markets.by_id.values()],
            }
        )

    def _symbol(self, market: Market, now_ns: int) -> dict[str, Any]:
        return {
            "symbol": market.id,
            "status": "BREAK" if now_ns >= market.ended_ns else "TRADING",
            "baseAsset": market.base,
            "quoteAsset": market.quote,
            "orderTypes": ["LIMIT", "MARKET"],
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "permissions": ["SPOT"],
            "filters": _filters(market),
            "sandbox": {
                "symbol": market.symbol,
                "costs": self.markets.costs,
                "speed": self.clock.speed,
                "timeframe": self.markets.timeframe.name,
                "calendar": self.markets.calendar,
            },
        }

    async def _klines(self, request: web.Request) -> web.Response:
        market = self._market(request)
        self._check_interval(request)
        wanted = _range(request)
        kind = FAULT.get()
        self.pace.asks_candles(market.id)
        rows = self._rows(market, wanted, missing=kind == "missing")
        if _is_up_to_now(rows, wanted) and kind not in SPOILS:
            self.pace.showed_candles(market.id)
        told = spoilt_rows(rows, kind, self.faults.dice("rows"))
        if kind is not None and told != rows:
            self.faults.count(kind)
        return web.json_response(told)

    def _rows(self, market: Market, wanted: Range, *, missing: bool) -> list[Row]:
        now_ns = self.clock.now_ns
        there = seen_at(market, now_ns)
        shown, why = self.faults.seen(market, there, now_ns, missing=missing)
        rows = _rows_of(market, shown, wanted)
        if why is not None and rows != _rows_of(market, there, wanted):
            self.faults.count(why)
        return rows

    def _market(self, request: web.Request) -> Market:
        market = self.markets.by_id.get(_given(request, "symbol"))
        if market is None:
            raise RefusedError(-1121, "Invalid symbol.")
        return market

    def _check_interval(self, request: web.Request) -> None:
        if _given(request, "interval") != self.markets.timeframe.name:
            raise RefusedError(-1120, "Invalid interval.")

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False, timeout=CLOSE_SECS, compress=False)
        await ws.prepare(request)
        await self.stream.serve(Socket(ws, request.transport), self.pace.asked)
        return ws


def _rows_of(market: Market, seen: Seen, wanted: Range) -> list[Row]:
    return [candle.row() for candle in page(market, seen, wanted)]


def _what(request: web.Request) -> str | None:
    """What is asked for, as `faults.AT` has it."""
    if request.path.startswith("/stream/ws"):
        return "ws"
    name = request.path.removeprefix(f"{API}/")
    return name if name in AT else None


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refused:
        return web.json_response(refused.answer, status=400)
    except web.HTTPNotFound:
        answer = {"code": -1, "msg": f"{request.path} is not part of the replay exchange"}
        return web.json_response(answer, status=404)


def _given(request: web.Request, name: str) -> str:
    value = request.query.get(name, "")
    if not value:
        msg = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        raise RefusedError(-1102, msg)
    return value


def _range(request: web.Request) -> Range:
    limit = _whole(request, "limit")
    if limit is not None and limit < 1:
        raise RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
    return Range(
        start_ms=_whole(request, "startTime"),
        end_ms=_whole(request, "endTime"),
        limit=min(limit or USUAL_ROWS, MOST_ROWS),
    )


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RefusedError(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)


def _is_up_to_now(rows: list[Row], wanted: Range) -> bool:
    """Whether no candle after these could have been shown."""
    return wanted.end_ms is None and (wanted.start_ms is None or len(rows) < wanted.limit)


def _filters(market: Market) -> list[dict[str, str]]:
    """Only of steps that are known: ccxt takes a missing filter as none."""
    steps, filters = market.steps, []
    if steps.price:
        prices = {
            "minPrice": _plain(steps.price),
            "maxPrice": _plain(HIGHEST_PRICE),
            "tickSize": _plain(steps.price),
        }
        filters.append({"filterType": "PRICE_FILTER"} | prices)
    if steps.size:
        sizes = {
            "minQty": _plain(steps.min_size),
            "maxQty": _plain(MOST_SIZE),
            "stepSize": _plain(steps.size),
        }
        filters.append({"filterType": "LOT_SIZE"} | sizes)
    if steps.min_notional:
        filters.append({"filterType": "NOTIONAL", "minNotional": _plain(steps.min_notional)})
    return filters


def _plain(number: float) -> str:
    """All its digits, without an exponent."""
    return format(Decimal(repr(number)), "f")


@asynccontextmanager
async def listening(exchange: Exchange, port: int) -> AsyncIterator[int]:
    """The exchange served while the block runs; gives the port.

    Raises ConfigError for a port that is in use.
    """
    runner = web.AppRunner(
        exchange.app(), access_log=None, shutdown_timeout=CLOSE_SECS, handler_cancellation=True
    )
    await runner.setup()
    try:
        await _bind(runner, port)
        async with _pacing(exchange.pace):
            yield int(runner.addresses[0][1])
    finally:
        await exchange.stream.close()
        await runner.cleanup()


@asynccontextmanager
async def _pacing(pace: Pace) -> AsyncIterator[None]:
    """Whatever goes wrong with the clock is raised when the block ends."""
    running = asyncio.create_task(pace.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _bind(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = "in use by another program; 0 takes a free one"
        else:
            text = error.strerror or str(error)
        raise ConfigError(f"--port {port}: {text}") from None
