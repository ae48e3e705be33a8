"""The dashboard's web server: on this machine alone, for its own page alone.

A page of another site, in the same browser, can neither read from it (no CORS, `Host` is checked
against a name that was made to point here) nor show it in a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from reports.files import ReportError
from reports.formats import counted
from reports.pages import fragment
from reports.paper_view import SECOND_NS, facts, nominal_text
from reports.paper_watch import Watch, as_json
from reports.vendor import chart_library

HOST = "127.0.0.1"
HEARTBEAT_SECS = 10.0
AGAIN_MS = 1000  # after which a page that lost its stream asks again
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
T = TypeVar("T")
_HERE = Path(__file__).resolve().parent / "assets"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class _Asset:
    text: Callable[[], str]
    kind: str


def _file(name: str) -> Callable[[], str]:
    return lambda: (_HERE / name).read_text(encoding="utf-8")


ASSETS = {
    "lightweight-charts.js": _Asset(chart_library, "text/javascript"),
    "charts.js": _Asset(_file("charts.js"), "text/javascript"),
    "paper_charts.js": _Asset(_file("paper_charts.js"), "text/javascript"),
    "paper.js": _Asset(_file("paper.js"), "text/javascript"),
    "page.css": _Asset(_file("page.css"), "text/css"),
    "paper.css": _Asset(_file("paper.css"), "text/css"),
}


async def serve(path: Path, port: int, said: Callable[[str], None]) -> None:
    """Serve an account's page until the process ends; `said` is handed its address.

    Raises ReportError where the file is no account or the port cannot be had.
    """
    watch = Watch(path)
    runner = web.AppRunner(application(watch), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        bound = await _bind(runner, port)
        said(f"http://{HOST}:{bound}")
        await watch.run()
    finally:
        await watch.close()
        await runner.cleanup()


async def _bind(runner: web.AppRunner, port: int) -> int:
    site = web.TCPSite(runner, HOST, port)
    try:
        await site.start()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use: give another one, or 0 for a free one" if taken else error.strerror
        raise ReportError(
            f"port {port} of {HOST} {'' if taken else 'cannot be had: '}{reason}"
        ) from error
    return int(runner.addresses[0][1])


def application(watch: Watch) -> web.Application:
    """Routes of one account's page."""
    pages = _Pages(watch)
    app = web.Application(middlewares=[_guard])
    app.router.add_get("/", pages.page, allow_head=False)
    app.router.add_get("/assets/{name}", pages.asset, allow_head=False)
    app.router.add_get("/events", pages.events, allow_head=False)
    app.router.add_get("/forecast", pages.forecast, allow_head=False)
    app.router.add_get("/candles", pages.candles, allow_head=False)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    transport = request.transport
    port = transport.get_extra_info("sockname")[1] if transport else 0
    if request.host not in own_names(port):
        return web.Response(status=403, text="this host name is not served here\n", headers=HEADERS)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


def own_names(port: int) -> set[str]:
    """What the `Host` header may say."""
    names = ("127.0.0.1", "localhost", "[::1]")
    return {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())


class _Pages:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def page(self, _: web.Request) -> web.Response:
        terms = self._watch.terms
        data = {
            "symbols": terms.symbols,
            "started": terms.started_ns // SECOND_NS,
            "length": terms.length_ns / SECOND_NS,
        }
        text = fragment(
            "paper.html",
            title=terms.strategy,
            facts=facts(terms),
            samples=counted(terms.samples, "sample"),
            nominal=nominal_text(terms.samples),
            data=data,
        )
        return web.Response(text=text, content_type="text/html")

    async def asset(self, request: web.Request) -> web.Response:
        asset = ASSETS.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        return web.Response(text=asset.text(), content_type=asset.kind)

    async def forecast(self, request: web.Request) -> web.Response:
        """`?symbol=S&asof=SECONDS&step=-1|0|1`: that forecast, the one before or after it."""
        symbol, asof_ns = self._symbol(request), _seconds(request, "asof")
        step = {"-1": -1, "0": 0, "1": 1}.get(request.query.get("step", ""))
        if step is None:
            raise web.HTTPBadRequest(text="step must be -1, 0 or 1\n")
        found = await _read(self._watch.forecast(symbol, asof_ns, step))
        if found is None:
            raise web.HTTPNotFound(text="there is no such forecast\n")
        return web.Response(text=as_json(found), content_type="application/json")

    async def candles(self, request: web.Request) -> web.Response:
        """`?symbol=S&before=SECONDS`: earlier candles, and the fills on them."""
        symbol, before_ns = self._symbol(request), _seconds(request, "before")
        found = await _read(self._watch.earlier(symbol, before_ns))
        return web.Response(text=as_json(found), content_type="application/json")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """`?symbol=S[&after=CURSOR]`: what is there, or came after the cursor, and what comes."""
        symbol = self._symbol(request)
        cursor = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        response = web.StreamResponse(headers=HEADERS)
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        await response.prepare(request)
        try:
            await response.write(f"retry: {AGAIN_MS}\n\n".encode())
            await self._stream(response, cursor, symbol)
        except ConnectionError:
            pass  # the page is gone
        return response

    async def _stream(self, response: web.StreamResponse, cursor: str, symbol: str) -> None:
        watch, now = self._watch, None
        while not watch.is_closed:
            version = watch.version
            with contextlib.suppress(ReportError):  # the watch itself tells what is wrong
                content, moved = await watch.message(cursor, symbol)
                if moved != cursor or content["now"] != now:
                    cursor, now = moved, content["now"]
                    await response.write(f"id: {moved}\ndata: {as_json(content)}\n\n".encode())
            if not await watch.moved(version, HEARTBEAT_SECS):
                await response.write(b": still here\n\n")

    def _symbol(self, request: web.Request) -> str:
        symbol: Any = request.query.get("symbol")
        if symbol not in self._watch.terms.symbols:
            raise web.HTTPNotFound(text="there is no such symbol\n")
        return str(symbol)


def _seconds(request: web.Request, name: str) -> int:
    """A time of the query, in ns."""
    text = request.query.get(name, "")
    if not text.isdecimal() or len(text) > 10:
        raise web.HTTPBadRequest(text=f"{name} must be a time in whole seconds since 1970\n")
    return int(text) * SECOND_NS


async def _read(reading: Awaitable[T]) -> T:
    try:
        return await reading
    except ReportError as error:
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from error


def run(path: Path, port: int, said: Callable[[str], None]) -> None:
    """`serve`, in a loop of its own."""
    asyncio.run(serve(path, port, said))
