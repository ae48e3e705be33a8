"""The last candles of every market before a live feed begins, all up to one common time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import ExchangeError
from .exchange import Exchange
from .fetch import certain_ns, frontier_of, read_until, side_by_side
from .markets import Market
from .pages import Row

SPARE_BARS = 5  # asked for beyond those that are needed, where none is missing


class Warmup(NamedTuple):
    """Final candles before a live feed begins."""

    frontier_ns: int  # everything that closed up to here is known, of all markets
    candles: Mapping[str, list[Row]]  # by name, oldest first; may be empty


async def read_warmup(
    exchange: Exchange, markets: Sequence[Market], timeframe: str, length_ns: int, bars: int
) -> Warmup:
    """The last `bars` candles of each market, fewer of one that was listed too late to have them.

    Raises ExchangeError where the exchange keeps less history than that, or fails.
    """
    until_ns = exchange.clock.now_ns
    if exchange.clock.speed is not None:
        until_ns = certain_ns(exchange, until_ns, length_ns)
    read = await side_by_side(
        [_last(exchange, market, timeframe, length_ns, bars, until_ns) for market in markets]
    )
    frontier_ns = min(reached_ns for reached_ns, _ in read)
    candles = {}
    for market, (_, rows) in zip(markets, read, strict=True):
        known = [row for row in rows if row.opened_ns + length_ns <= frontier_ns]
        candles[market.name] = known[-bars:] if bars else []
    return Warmup(frontier_ns, candles)


async def _last(
    exchange: Exchange, market: Market, timeframe: str, length_ns: int, bars: int, until_ns: int
) -> tuple[int, list[Row]]:
    """Candles up to `until_ns` or later, and up to where they are known. How far back they begin is
    found by asking: until there are enough, or going back twice as far finds no earlier one."""
    back_ns, found_ns = (bars + SPARE_BARS) * length_ns, -1  # -1: nothing was asked yet
    while True:
        since_ns = max(0, until_ns - back_ns)
        frontier, rows = frontier_of(exchange, length_ns, since_ns), list[Row]()
        await read_until(exchange, market, timeframe, frontier, until_ns, rows.extend)
        if sum(row.opened_ns + length_ns <= until_ns for row in rows) >= bars:
            return frontier.reached_ns, rows
        first_ns = rows[0].opened_ns if rows else 0
        if first_ns == found_ns or since_ns == 0:
            _check_depth(exchange, market, timeframe, length_ns, bars, rows)
            return frontier.reached_ns, rows
        found_ns, back_ns = first_ns, 2 * back_ns


def _check_depth(
    exchange: Exchange,
    market: Market,
    timeframe: str,
    length_ns: int,
    bars: int,
    rows: Sequence[Row],
) -> None:
    """Refuse an exchange that keeps one page of candles, of which the warm-up wants more."""
    kept = exchange.page_limit(market.type)
    spanned = (rows[-1].opened_ns - rows[0].opened_ns) // length_ns + 1 if rows else 0
    if len(rows) < bars and kept - SPARE_BARS <= spanned <= kept:
        raise ExchangeError(
            f"{exchange.name} gives only its newest {kept} candles of {timeframe}, and {bars} are "
            f"needed before {market.symbol} can be traded: take a smaller lookback or another "
            "exchange",
            symbol=market.name,
            source=exchange.name,
            value=bars,
        )
