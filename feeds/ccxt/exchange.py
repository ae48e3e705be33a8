"""An exchange as a client of it sees it: ccxt's own client, opened by name and listened to.

Only public data are asked for. No key is read or passed: not from the environment, not from files.
A replay on this machine is `replay:PORT`, ccxt's client for Binance with other addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

from ..errors import BusyError, ExchangeError, FeedError, PageError, SpecError
from ..words import nearest
from .clock import NS_PER_SECOND, Clock
from .pages import NS_PER_MS, Ask, Page, read_page

T = TypeVar("T")
EXTRA = "pip install 'kronos-sandbox[paper]'"
REPLAY = "replay"
DIALECT = "binance"  # of a replay
USUAL_PAGE = 500  # candles, where ccxt does not say how many an exchange gives
KEPT_REQUESTS = 50_000  # addresses, for whoever wants to know what was asked
CREDENTIALS = (
    "apiKey", "secret", "uid", "accountId", "login", "password", "twofa", "privateKey",
    "walletAddress", "token",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How patient a feed is, in seconds by the clock here."""

    settle_secs: float = 2.0  # after its close a candle has its last version
    prompt_secs: float = 0.05  # after a close, history is asked for the first time
    grace_secs: float = 1.0  # after a close without news, it is asked again
    silence_secs: float = 10.0  # a stream that has sent nothing for so long is dialled anew
    timeout_secs: float = 10.0  # for an answer
    first_pause_secs: float = 0.1  # before a request is repeated; doubles each time
    longest_pause_secs: float = 30.0
    tries: int = 6  # of a request, where somebody waits for it


@dataclass
class _Answer:
    """What the last answer to a request said besides its content."""

    status: int = 0
    date_ns: int | None = None
    retry_after_secs: float | None = None


_ANSWER: ContextVar[_Answer | None] = ContextVar("answer", default=None)


class _Listened:
    """Goes before a client's class: keeps addresses, reads headers, takes only real JSON."""

    requests: deque[str]
    clients: dict[str, Any] | None

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        self.requests.append(f"{method} {url}")
        return await super().fetch(url, method, headers, body)  # type: ignore[misc]

    def client(self, url: str) -> Any:
        if url not in (self.clients or {}):  # it will be dialled
            self.requests.append(f"WS {url}")
        return super().client(url)  # type: ignore[misc]

    def on_rest_response(
        self, code: int, reason: str, url: str, method: str, headers: Any, *rest: Any
    ) -> Any:
        answer = _ANSWER.get()
        if answer is not None:
            by_name = {name.lower(): value for name, value in headers.items()}
            answer.status = code
            answer.date_ns = _date_ns(by_name.get("date"))
            answer.retry_after_secs = _retry_secs(by_name.get("retry-after"))
        return super().on_rest_response(code, reason, url, method, headers, *rest)  # type: ignore[misc]

    def parse_json(self, body: str) -> Any:
        answer = _ANSWER.get()
        if answer is None or not 200 <= answer.status < 300:
            return super().parse_json(body)  # type: ignore[misc]
        return strict_json(body)


def strict_json(body: str) -> Any:
    """What `body` says; raises PageError where that is nothing or cut short. Text that is no JSON
    at all is None."""
    text = body.strip()
    if text in ("", "null"):
        raise PageError(f"the answer is {'empty' if not text else 'null'}", value=body)
    if text[0] not in "[{":
        return None
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        raise PageError("the answer is no whole JSON", value=body) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _date_ns(text: str | None) -> int | None:
    try:
        return (
            None if text is None else int(parsedate_to_datetime(text).timestamp()) * NS_PER_SECOND
        )
    except (ValueError, TypeError):
        return None


def _retry_secs(text: str | None) -> float | None:
    """Seconds of a Retry-After, which may be a date."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        date_ns = _date_ns(text)
        return None if date_ns is None else max(0.0, date_ns / NS_PER_SECOND - time.time())


class Exchange:
    """One exchange. Its coroutines belong to one event loop, and `close` ends what it opened."""

    def __init__(self, name: str, timing: Timing = Timing()) -> None:
        self.name = name
        self.timing = timing
        self.is_replay, client = _client_of(name, timing)
        self.client = client
        self.requests: deque[str] = deque(maxlen=KEPT_REQUESTS)
        client.requests = self.requests
        self._has_time = client.has.get("fetchTime") is True
        self.clock = Clock(by_header=not self._has_time)
        self._free_at = 0.0  # by the monotonic clock; before it nothing is asked

    @property
    def timeframes(self) -> Mapping[str, Any]:
        """The timeframes of its candles, by ccxt's names."""
        return self.client.timeframes or {}

    @property
    def secs_a_request(self) -> float:
        """The pace at which it may be asked; 0 where that does not matter."""
        return self.client.rateLimit / 1000 if self.client.enableRateLimit else 0.0

    def page_limit(self, market_type: str = "spot") -> int:
        """How many candles it gives in one page."""
        features = self.client.features or {}
        known = (features.get(market_type) or {}).get("fetchOHLCV") or {}
        return int(known.get("limit") or USUAL_PAGE)

    async def markets(self) -> dict[str, dict[str, Any]]:
        """Its markets as they are now, by ccxt's symbol. The client goes on with those that it read
        first: so the history of one that has gone can still be asked for."""
        if not self.client.markets:
            found = await self._ask(self.client.load_markets(), "its markets")
            markets = dict(found)
        else:
            found = await self._ask(self.client.fetch_markets(), "its markets")
            markets = {market["symbol"]: market for market in found}
        if not markets:
            raise PageError(f"{self.name}: it names no market")
        return markets

    async def page(self, symbol: str, timeframe: str, ask: Ask) -> Page:
        """The candles that were asked for, checked; ccxt's symbol and timeframe."""
        since_ms = -(-ask.since_ns // NS_PER_MS)
        raw = await self._ask(
            self.client.fetch_ohlcv(symbol, timeframe, since_ms, ask.limit), symbol
        )
        try:
            return read_page(raw, ask)
        except PageError as error:
            text = f"{symbol}: {error}"
            raise type(error)(text, symbol=symbol, value=error.value) from error

    async def read_clock(self) -> None:
        """Set the clock by what the exchange says; where it has no such request, the dates of all
        answers do."""
        if self._has_time:
            began_ns = time.monotonic_ns()
            told_ms = await self._ask(self.client.fetch_time(), "its time")
            if not isinstance(told_ms, int | float) or told_ms <= 0:
                raise PageError(f"{self.name}: it says that its time is {told_ms!r}")
            self.clock.told(int(told_ms) * NS_PER_MS, time.monotonic_ns() - began_ns)

    async def close(self) -> None:
        """End connections; nothing of it can be used afterwards."""
        if self.is_replay:
            self.client.timeout_on_exit = 0
        await self.client.close()

    def drop(self, connection: Any, why: str) -> None:
        """End a connection of ccxt's stream: whoever watches is told, and dials anew."""
        with contextlib.suppress(Exception):
            connection.on_error(_ccxt().NetworkError(why))

    async def wait_free(self) -> None:
        """Until the exchange wants to be asked again."""
        while (left := self._free_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _ask(self, request: Awaitable[T], what: str) -> T:
        """The answer to a request; every failure of it is an `ExchangeError`."""
        await self.wait_free()
        answer = _Answer()
        token = _ANSWER.set(answer)
        try:
            result = await request
        except FeedError as error:
            raise PageError(f"{what}: {error}", value=error.value) from error
        except Exception as error:
            raise self._told(error, answer, what) from error
        finally:
            _ANSWER.reset(token)
        if answer.date_ns is not None and not self._has_time:
            self.clock.told(answer.date_ns)
        return result

    def _told(self, error: Exception, answer: _Answer, what: str) -> ExchangeError:
        """An error of ccxt in our words; a wish for patience holds for all requests."""
        ccxt = _ccxt()
        text = f"{what}: {_first_line(error)}"
        if answer.retry_after_secs is not None:
            self._free_at = max(self._free_at, time.monotonic() + answer.retry_after_secs)
        if answer.retry_after_secs is None and not isinstance(
            error, ccxt.DDoSProtection | ccxt.RateLimitExceeded
        ):
            return ExchangeError(text)
        busy = BusyError(text)
        busy.after_s = answer.retry_after_secs
        return busy


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    text = text if len(text) <= 160 else text[:159] + "…"
    return f"{type(error).__name__}{f' ({text})' if text else ''}"


def _client_of(name: str, timing: Timing) -> tuple[bool, Any]:
    """Whether it is a replay, and ccxt's client with nothing asked yet."""
    scheme, colon, port = name.partition(":")
    if scheme == REPLAY:
        return True, _replay(_port(name, port), timing)
    if colon or name not in known_exchanges():
        raise _unknown(name)
    client = _open(name, {"timeout": int(timing.timeout_secs * 1000)})
    if not client.has.get("fetchOHLCV"):
        raise SpecError(f"{name}: it has no candles that can be asked for", value=name)
    return False, client


def known_exchanges() -> list[str]:
    """The names that ccxt has."""
    return list(_ccxt().exchanges)


def _ccxt() -> Any:
    return _import("ccxt")


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise FeedError(
            f"live candles and ccxt: data need ccxt, which is not installed; {EXTRA}",
            remedy=EXTRA,
        ) from None


def _open(name: str, config: Mapping[str, Any]) -> Any:
    """ccxt's client of an exchange, with its stream where it has one, without a key."""
    pro = _import("ccxt.pro")
    module = pro if name in pro.exchanges else _import("ccxt.async_support")
    plain = getattr(module, name)
    listened = type(name, (_Listened, plain), {})
    settings = {"enableRateLimit": True, "rateLimiterAlgorithm": "rollingWindow", **config}
    client = listened({**settings, **dict.fromkeys(CREDENTIALS)})
    client.has = client.has | {"fetchCurrencies": False}  # not needed; some want a key for it
    return client


def _replay(port: int, timing: Timing) -> Any:
    client = _open(
        DIALECT,
        {
            "timeout": int(timing.timeout_secs * 1000),
            "enableRateLimit": False,
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        },
    )
    client.urls = {**client.urls, "api": _rewritten(client.urls["api"], f"127.0.0.1:{port}")}
    return client


def _rewritten(urls: Any, host: str, key: str = "") -> Any:
    """Every address on this machine: those that a replay does not have end in an error there."""
    if isinstance(urls, Mapping):
        return {name: _rewritten(value, host, name) for name, value in urls.items()}
    if urls.startswith("ws"):
        return f"ws://{host}/stream/ws"
    return f"http://{host}/api/v3" if key == "public" else f"http://{host}/none/{key}"


def _port(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise SpecError(
        f"exchange {name!r}: write replay:PORT, with the port that python -m sandbox.replay prints",
        value=name,
    )


def _unknown(name: str) -> SpecError:
    near = nearest(name, [*known_exchanges(), REPLAY])
    hint = f"did you mean {near}? " if near else ""
    return SpecError(
        f"exchange {name!r} is not known; {hint}ccxt has {len(known_exchanges())}, such as "
        f"binance, kraken, coinbase; a replay is {REPLAY}:PORT",
        value=name,
    )
