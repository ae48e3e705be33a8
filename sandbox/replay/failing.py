"""How a fault is acted out: on an answer to a request, and on a frame of the stream."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Protocol

from aiohttp import web

from sandbox.replay.faults import Kind

HELD_SECS = 2.0  # that an answer is held back, before its connection ends without it
HALF_OPEN_SECS = 20.0  # that a mute connection stays open, if its client does not end it
HALF_A_FRAME = b'\x81\x7e\x01\x00{"e":"kline","E":'  # a text of 256 bytes begins

SERVER_ERRORS = (500, 502, 503, 504)
BUSY = "Too much request weight used; please use the websocket for live updates."
BANNED = "Way too much request weight used; IP banned for a while."


def refusal(kind: Kind, dice: random.Random, retry_secs: int) -> web.Response:
    """The answer to a request that is not served; `kind` is one of `REFUSALS`."""
    if kind in ("429", "418"):
        answer = {"code": -1003, "msg": BUSY if kind == "429" else BANNED}
        headers = {"Retry-After": str(retry_secs)}
        return web.json_response(answer, status=int(kind), headers=headers)
    if kind == "403":
        return _html(403, "Forbidden")
    status = dice.choice(SERVER_ERRORS)
    if status == 500:
        return web.json_response({"code": -1000, "msg": "An unknown error occurred."}, status=500)
    return _html(status, "The server could not answer")


def _html(status: int, text: str) -> web.Response:
    page = f"<html><body><h1>{status} {text}</h1></body></html>"
    return web.Response(status=status, text=page, content_type="text/html")


async def hold_back(request: web.Request) -> web.StreamResponse:
    """No answer, and after a while no connection."""
    await asyncio.sleep(HELD_SECS)
    return _dropped(request)


def _dropped(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # which goes nowhere


async def spoilt(
    request: web.Request, honest: web.Response, kind: Kind, dice: random.Random
) -> web.StreamResponse:
    """An answer that came out well, with its body spoilt as one of `SPOILS` says."""
    body = honest.body if isinstance(honest.body, bytes) else b""
    match kind:
        case "empty":
            return _json(b"")
        case "null":
            return _json(b"null")
        case "truncated":
            return _json(body[: dice.randrange(1, max(len(body), 2))])
        case "cut":
            return await _cut(request, body)
    return honest


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    """Fewer bytes than were announced."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body) + 1
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0.01)  # what is written before an end this hard may not arrive
    if request.transport is not None:
        request.transport.close()
    return response


def spoilt_rows(rows: list[Any], kind: Kind | None, dice: random.Random) -> list[Any]:
    """Rows of klines, doubled or in another order where that is the fault."""
    if kind == "rows-doubled" and rows:
        nth = dice.randrange(len(rows))
        return [*rows[: nth + 1], *rows[nth:]]
    if kind == "rows-reordered" and len(rows) > 1:
        first, second = dice.sample(range(len(rows)), 2)
        rows = list(rows)
        rows[first], rows[second] = rows[second], rows[first]
    return rows


class Sends(Protocol):
    """A socket, as far as faults need it."""

    mute: bool
    put_off: list[str]  # frames that go out after the next one

    async def send(self, texts: list[str]) -> None: ...

    async def end(self) -> None: ...

    def abort(self, last: bytes = b"") -> None: ...


async def send_badly(
    socket: Sends, text: str, kind: Kind, dice: random.Random, older: str | None
) -> None:
    """A frame with a fault. older: one of an older candle, where there is any."""
    match kind:
        case "frame-doubled":
            await socket.send([text, text])
        case "frame-reordered":
            socket.put_off.append(text)
        case "frame-stale":
            await socket.send([text] if older is None else [text, older])
        case "bad-json":
            await socket.send([text[: dice.randrange(1, len(text))]])
        case "closed":
            await socket.end()
        case "aborted":
            socket.abort(dice.choice([b"", HALF_A_FRAME]))
        case "half-open":
            socket.mute = True
            asyncio.get_running_loop().call_later(HALF_OPEN_SECS, socket.abort)
        case _:
            pass  # "frame-missing"
