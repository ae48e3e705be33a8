"""What the replay exchange trades: the data's candles as markets, with one timeframe for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import Candles, bar_times, times_ns, values_of
from feeds.bars import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND
from feeds.spacing import lengths_seen
from feeds.steps import Steps
from feeds.timing import in_words
from sandbox.errors import ConfigError
from sandbox.words import listed

Times = NDArray[np.int64]  # nanoseconds since 1970, UTC

QUOTE = "USDT"  # of a symbol that names no quote currency of its own
MOST_HISTORY = 600  # bar times before the replay starts, where no start is named
ENOUGH_BARS = 10  # of a symbol, for their spacing to tell a timeframe
NS_PER_MS = 10**6
MONTH = "1M"
MONTH_NS = 30 * NS_PER_DAY  # as ccxt counts a month
SHORTEST_MONTH_NS, LONGEST_MONTH_NS = 27 * NS_PER_DAY, 32 * NS_PER_DAY

# Binance's intervals; the same names are ccxt's timeframes.
TIMEFRAMES: Mapping[str, int] = MappingProxyType(
    {"1s": NS_PER_SECOND}
    | {f"{n}m": n * NS_PER_MINUTE for n in (1, 3, 5, 15, 30)}
    | {f"{n}h": n * NS_PER_HOUR for n in (1, 2, 4, 6, 8, 12)}
    | {f"{n}d": n * NS_PER_DAY for n in (1, 3)}
    | {"1w": 7 * NS_PER_DAY, MONTH: MONTH_NS}
)
# By cost preset, for symbols whose steps are not known. A size step is the preset's lot.
USUAL_STEPS: Mapping[str, Steps] = MappingProxyType(
    {
        "us": Steps(size=1.0, price=0.01, min_size=1.0),
        "ph": Steps(size=1.0, price=0.0001, min_size=1.0),
        "cn": Steps(size=100.0, price=0.01, min_size=100.0),
        "crypto": Steps(size=1e-6, price=1e-8, min_size=1e-6),
    }
)
ANY_STEPS = Steps(size=1.0, min_size=1.0)  # of a preset that is not among these


class Timeframe(NamedTuple):
    """How long a bar is."""

    name: str  # as Binance and ccxt call it, such as "1d"
    length_ns: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Market:
    """One symbol's candles, in order, as the exchange has them."""

    symbol: str  # the data's own
    base: str
    quote: str
    steps: Steps
    opens_ns: Times  # [bars], close minus timeframe
    shows_ns: Times  # [bars], after when a candle is seen while it runs: not before the last closed
    closes_ns: Times  # [bars]
    values: NDArray[np.float64] = field(repr=False)  # [bars, 6]
    ended_ns: int  # from when on the exchange says that trading has ended

    @property
    def id(self) -> str:
        """`AAPLUSDT`."""
        return f"{self.base}{self.quote}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Markets:
    """All markets of the exchange, and which of their bar times are replayed."""

    by_id: Mapping[str, Market]
    timeframe: Timeframe
    times_ns: Times  # bar times of all symbols
    first: int  # the first of `times_ns` that is replayed; those before are history at the start
    costs: str  # cost preset
    calendar: str | None

    @classmethod
    def of(cls, candles: Candles, start: date | None = None, end: date | None = None) -> Self:
        """start, end: first and last day (UTC) that is replayed. Without a start as many bar times
        are history as `history_bars` says; bars after the end are left out.

        Raises ConfigError where bars are of several lengths or of one that the exchange has no name
        for, where symbols cannot be told apart, and where no bar is left to replay.
        """
        _check_days(candles, start, end)
        shown = candles.between(end=end) if end is not None else candles
        timeframe = timeframe_of(shown)
        times = bar_times(shown.frames).as_unit("ns").asi8
        first = history_bars(len(times)) if start is None else _first_from(times, start)
        markets = [_market(shown, symbol, timeframe, times) for symbol in shown]
        _check_ids(markets)
        return cls(
            by_id={market.id: market for market in markets}, timeframe=timeframe, times_ns=times,
            first=first, costs=shown.costs, calendar=shown.calendar,
        )  # fmt: skip

    @property
    def start_ns(self) -> int:
        """Where the exchange's clock stands at first: at the close of the last bar of history."""
        if self.first:
            return int(self.times_ns[self.first - 1])
        return int(self.times_ns[0]) - self.timeframe.length_ns

    @property
    def end_ns(self) -> int:
        """The close of the last bar."""
        return int(self.times_ns[-1])

    @property
    def live_ns(self) -> Times:
        """The bar times that are replayed."""
        return self.times_ns[self.first :]


def history_bars(bars: int) -> int:
    """How many of so many bar times are history at the start, where no start is named."""
    return min(MOST_HISTORY, bars // 2)


def timeframe_of(candles: Candles) -> Timeframe:
    """The one that the spacing of the bars tells; symbols with few bars have no say."""
    long = [symbol for symbol in candles if len(candles[symbol]) >= ENOUGH_BARS]
    by_length: dict[tuple[int, ...], list[str]] = {}
    for symbol in long or candles.symbols:
        lengths = lengths_seen(pd.DatetimeIndex(candles[symbol].index))
        by_length.setdefault(lengths, []).append(symbol)
    if len(by_length) > 1 or any(len(lengths) > 1 for lengths in by_length):
        told = "; ".join(
            f"{' and '.join(map(in_words, lengths))} ({listed(symbols)})"
            for lengths, symbols in by_length.items()
        )
        raise ConfigError(
            f"{candles.spec}: bars are of several lengths: {told}; an exchange that is replayed "
            "has one timeframe, give data with bars of one length"
        )
    ((length,),) = by_length
    return _named(length, candles.spec)


def _named(length_ns: int, spec: str) -> Timeframe:
    if SHORTEST_MONTH_NS <= length_ns <= LONGEST_MONTH_NS:
        length_ns = MONTH_NS
    for name, known_ns in TIMEFRAMES.items():
        if known_ns == length_ns:
            return Timeframe(name, length_ns)
    raise ConfigError(
        f"{spec}: bars are {in_words(length_ns)} apart, a timeframe that Binance does not have; "
        f"it has {', '.join(TIMEFRAMES)}"
    )


def _market(candles: Candles, symbol: str, timeframe: Timeframe, times: Times) -> Market:
    frame = candles[symbol]
    closes = times_ns(frame)
    if (closes % NS_PER_MS).any():
        at = pd.Timestamp(int(closes[np.argmax(closes % NS_PER_MS > 0)]), tz="UTC")
        raise ConfigError(
            f"{candles.spec}: {symbol} has a bar at {at}: an exchange tells times in whole "
            "milliseconds, round the data's times"
        )
    opens = closes - timeframe.length_ns
    before = np.concatenate([[np.iinfo(np.int64).min], closes[:-1]])
    base, quote = _pair(symbol)
    steps = candles.steps.get(symbol) or USUAL_STEPS.get(candles.costs, ANY_STEPS)
    return Market(
        symbol=symbol, base=base, quote=quote, steps=steps, opens_ns=opens,
        shows_ns=np.maximum(opens, before), closes_ns=closes, values=values_of(frame),
        ended_ns=_ended(candles, symbol, int(closes[-1]), times),
    )  # fmt: skip


def _pair(symbol: str) -> tuple[str, str]:
    """Base and quote: `BTC/USDT` has its own, `AAPL` is priced in `QUOTE`."""
    base, slash, rest = symbol.partition("/")
    quote = rest.partition(":")[0]
    if not base.strip() or (slash and not quote.strip()):
        raise ConfigError(f"symbol {symbol!r}: a market needs a base and a quote, as in BTC/USDT")
    return base, quote or QUOTE


def _ended(candles: Candles, symbol: str, last_ns: int, times: Times) -> int:
    """With the next bar of other symbols it is known; at the data's end all markets have ended."""
    if candles.ended is not None:
        return candles.ended.get(symbol, int(times[-1]))
    after = int(np.searchsorted(times, last_ns, side="right"))
    return int(times[min(after, len(times) - 1)])


def _check_ids(markets: Iterable[Market]) -> None:
    """Streams are named in lower case, so that ids must differ in more than that."""
    counts = Counter(market.id.lower() for market in markets)
    same = [market.symbol for market in markets if counts[market.id.lower()] > 1]
    if same:
        raise ConfigError(f"symbols {listed(same)} would be one market: rename or leave out some")


def _check_days(candles: Candles, start: date | None, end: date | None) -> None:
    if start is not None and end is not None and end < start:
        raise ConfigError(f"--end {end} is before --start {start}")
    times = bar_times(candles.frames)
    has = f"{candles.spec} has {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}"
    if start is not None and start > times[-1].date():
        raise ConfigError(f"--start {start}: no bar is left to replay; {has}")
    if end is not None and end < times[0].date():
        raise ConfigError(f"--end {end}: no bar comes before it; {has}")


def _first_from(times: Times, start: date) -> int:
    first = int(np.searchsorted(times, pd.Timestamp(start, tz="UTC").value))
    if first == len(times):
        raise ConfigError(f"--start {start}: no bar is left to replay before --end")
    return first
