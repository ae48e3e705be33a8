"""An exchange's candles, warm-up and live, opened with everything checked that can be checked.

with open_feed("binance", ["BTC/USDT", "ETH/USDT"], "1h") as feed:
    start = feed.warmup(260)
    last = {name: rows[-1] if rows else None for name, rows in start.candles.items()}
    with feed.live(After(start.frontier_ns, last)) as live:
        bar = live.next(timeout=5.0)
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self

from ..errors import ExchangeError, SpecError
from ..words import listed
from .clock import SAMPLES
from .events import After
from .exchange import Exchange, Timing
from .fetch import insist
from .live import Live
from .loop import Loop
from .markets import Market, markets_of, replayed, unnamed
from .pages import NS_PER_MS
from .warmup import Warmup, read_warmup

MONTH = "1M"  # no fixed length
SHARE_OF_A_BAR = 0.5  # in which all markets must be asked, for a feed to keep up


class Feed:
    """One exchange, some of its markets, one timeframe; `close` ends all that it started."""

    def __init__(
        self,
        loop: Loop,
        exchange: Exchange,
        markets: tuple[Market, ...],
        timeframe: str,
        length_ns: int,
    ) -> None:
        self._loop = loop
        self._exchange = exchange
        self.markets = markets
        self.timeframe = timeframe
        self.length_ns = length_ns  # of a candle
        self._lives: list[Live] = []

    @property
    def exchange(self) -> str:
        """What it was opened as: `binance`, `replay:PORT`."""
        return self._exchange.name

    @property
    def is_replay(self) -> bool:
        return self._exchange.is_replay

    @property
    def speed(self) -> float | None:
        """Seconds of the exchange's clock in one second here; None: it jumps."""
        return self._exchange.clock.speed

    @property
    def requests(self) -> tuple[str, ...]:
        """Every address asked so far, as `GET http://…` or `WS ws://…`; the oldest are dropped."""
        return tuple(self._exchange.requests)

    def warmup(self, bars: int) -> Warmup:
        """Of each market the last `bars` final candles, all up to one common time.

        A market that was listed too late has fewer. Raises `ExchangeError` where the exchange keeps
        less history than that, or fails again and again.
        """
        if bars < 0:
            raise SpecError(f"a warm-up of {bars} bars: it must be 0 or more", value=bars)
        return self._loop.call(
            read_warmup(self._exchange, self.markets, self.timeframe, self.length_ns, bars)
        )

    def live(self, after: After) -> Live:
        """Bars that close after `after`, from a thread that starts now. One at a time."""
        for live in self._lives:
            live.close()
        live = Live(self._loop, self._exchange, self.markets, self.timeframe, self.length_ns, after)
        self._lives = [live]
        return live

    def close(self) -> None:
        """End the thread and all connections. More than once is as good as once."""
        for live in self._lives:
            live.close()
        self._lives = []
        with contextlib.suppress(Exception):
            if not self._loop.closed:
                self._loop.call(self._exchange.close())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_feed(
    exchange: str,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
    *,
    timing: Timing | None = None,
) -> Feed:
    """A feed of an exchange's candles.

    exchange: `replay:PORT`, or an exchange by ccxt's name. symbols: ccxt's, or the data's own in a
    replay; None: all of a replay. timeframe: ccxt's, such as `1h`; None: that of a replay.
    Raises `SpecError` for a name or timeframe that is not known, `SymbolError` for a symbol that
    the exchange does not have, `ExchangeError` where it cannot be reached or cannot keep up, and
    `FeedError` where ccxt is not installed.
    """
    client = Exchange(exchange, timing or Timing())
    if not (symbols or client.is_replay):
        raise unnamed(exchange)
    loop = Loop()
    try:
        markets, timeframe, length_ns = loop.call(opened(client, symbols, timeframe))
    except BaseException:
        with contextlib.suppress(Exception):
            loop.call(client.close())
        loop.close()
        raise
    return Feed(loop, client, markets, timeframe, length_ns)


async def opened(
    exchange: Exchange, symbols: Sequence[str] | None, timeframe: str | None
) -> tuple[tuple[Market, ...], str, int]:
    """Its markets and timeframe, checked, with the clock set."""
    if not exchange.is_replay:
        timeframe = _known_timeframe(exchange, timeframe)
    found = await insist(exchange, exchange.markets)
    if exchange.is_replay:
        told = replayed(exchange.name, found.values())
        exchange.clock.speed = told.speed
        if timeframe is not None and timeframe != told.timeframe:
            raise SpecError(
                f"{exchange.name}: it replays bars of {told.timeframe}, not of {timeframe}; leave "
                "the timeframe out",
                value=timeframe,
            )
        timeframe = told.timeframe
    assert timeframe is not None
    markets = markets_of(exchange.name, found, symbols, exchange.client.precisionMode)
    length_ns = int(exchange.client.parse_timeframe(timeframe) * 1000) * NS_PER_MS
    _check_pace(exchange, len(markets), timeframe, length_ns)
    for _ in range(SAMPLES):
        await insist(exchange, exchange.read_clock)
    if not exchange.clock.known:
        raise ExchangeError(f"{exchange.name}: it does not say what time it is there")
    return markets, timeframe, length_ns


def _known_timeframe(exchange: Exchange, timeframe: str | None) -> str:
    has = [name for name in exchange.timeframes if name != MONTH]
    if timeframe in has:
        return timeframe
    found = "is needed" if timeframe is None else f"is not {timeframe}"
    if timeframe == MONTH:
        found = f"cannot be {MONTH}: months differ in length"
    raise SpecError(
        f"{exchange.name}: a timeframe {found}; it has {listed(has, at_most=30)}", value=timeframe
    )


def _check_pace(exchange: Exchange, markets: int, timeframe: str, length_ns: int) -> None:
    secs = markets * exchange.secs_a_request
    if secs > SHARE_OF_A_BAR * length_ns / 1e9:
        raise ExchangeError(
            f"{exchange.name} may be asked once in {exchange.secs_a_request:g} s, so that "
            f"{markets} markets take {secs:.0f} s of every {timeframe}: take fewer markets or a "
            "longer timeframe",
            source=exchange.name,
            value=markets,
        )
