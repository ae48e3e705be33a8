"""Klines as of a moment: closed candles whole, the running one as far as it has come.

A running candle is drawn between its opening and its final values, the same at the same moment
whoever asks. So it tells where its bar is going: it is there to be heard, not to be traded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from feeds import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME
from sandbox.replay.market import NS_PER_MS, Market

MOST_ROWS = 1000
USUAL_ROWS = 500

Row = list[Any]  # the 12 columns of a kline


class Candle(NamedTuple):
    """A candle as it is told: values in the columns of `feeds`."""

    opens_ns: int
    closes_ns: int
    values: list[float]  # [6]
    closed: bool

    def row(self) -> Row:
        """Numbers as `repr` writes them, so that they are read back to the bit."""
        o, h, l, c, v, a = map(repr, self.values)  # noqa: E741
        first, last = self.opens_ns // NS_PER_MS, self.closes_ns // NS_PER_MS - 1
        return [first, o, h, l, c, v, last, a, 0, "0", "0", "0"]


def closed_bars(market: Market, now_ns: int) -> int:
    """How many candles have closed."""
    return int(np.searchsorted(market.closes_ns, now_ns, side="right"))


def closed_candle(market: Market, nth: int) -> Candle:
    opens, closes = int(market.opens_ns[nth]), int(market.closes_ns[nth])
    return Candle(opens, closes, market.values[nth].tolist(), closed=True)


def running_candle(market: Market, now_ns: int) -> Candle | None:
    """The candle that is not closed yet; None between two of them."""
    nth = closed_bars(market, now_ns)
    if nth == len(market.closes_ns) or not market.shows_ns[nth] < now_ns:
        return None
    shows, closes = int(market.shows_ns[nth]), int(market.closes_ns[nth])
    part = (now_ns - shows) / (closes - shows)
    values = _so_far(market.values[nth].tolist(), part)
    return Candle(int(market.opens_ns[nth]), closes, values, closed=False)


def _so_far(values: list[float], part: float) -> list[float]:
    """A candle of which a share of its time has passed: prices on the way from its opening."""
    opened = values[OPEN]
    now = list(values)
    for column in (HIGH, LOW, CLOSE):
        now[column] = opened + (values[column] - opened) * part
    now[HIGH] = min(now[HIGH], values[HIGH])
    now[LOW] = max(now[LOW], values[LOW])
    now[CLOSE] = min(max(now[CLOSE], now[LOW]), now[HIGH])
    for column in (VOLUME, AMOUNT):
        now[column] = values[column] * part
    return now


class Seen(NamedTuple):
    """What there is of a market at a moment."""

    closed: int  # candles
    running: Candle | None = None
    revised: Candle | None = None  # in place of the last closed one


def seen_at(market: Market, now_ns: int) -> Seen:
    return Seen(closed_bars(market, now_ns), running_candle(market, now_ns))


class Range(NamedTuple):
    """Which klines a request wants, by their opening times."""

    start_ms: int | None = None
    end_ms: int | None = None
    limit: int = USUAL_ROWS


def page(market: Market, seen: Seen, wanted: Range) -> list[Candle]:
    """At most `limit` candles in order: from the start where one is given, else the last ones."""
    start, end = 0, seen.closed
    if wanted.start_ms is not None:
        start = int(np.searchsorted(market.opens_ns, wanted.start_ms * NS_PER_MS))
    if wanted.end_ms is not None:
        last_ns = wanted.end_ms * NS_PER_MS
        end = min(end, int(np.searchsorted(market.opens_ns, last_ns, side="right")))
    running = seen.running if _inside(seen.running, wanted) else None
    if wanted.start_ms is None:
        start = max(start, end + (running is not None) - wanted.limit)
    else:
        end = min(end, start + wanted.limit)
    candles = [closed_candle(market, nth) for nth in range(start, end)]
    if candles and seen.revised is not None and end == seen.closed:
        candles[-1] = seen.revised
    if running is not None and len(candles) < wanted.limit:
        candles.append(running)
    return candles


def _inside(candle: Candle | None, wanted: Range) -> bool:
    if candle is None:
        return False
    opened = candle.opens_ns // NS_PER_MS
    return (wanted.start_ms is None or opened >= wanted.start_ms) and (
        wanted.end_ms is None or opened <= wanted.end_ms
    )
