"""When in a bar an order can fill, and at what price before costs; pure functions of prices.

A bar shows where it opened and closed and how far prices went, and not in which order they went
there. So a fill has one of three stages: at the opening, at the close, or at some moment inside.
Prices are taken to move through every price between open, high and low: a stop inside a bar fills
at its own price, and a market that jumps over it would fill it worse (slippage stands for that).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Stage(IntEnum):
    """Moments of a bar, in the order they come; what happens at INSIDE has no order of its own."""

    OPEN = 0
    INSIDE = 1
    CLOSE = 2


class Bar(NamedTuple):
    """One candle's prices."""

    open: float
    high: float
    low: float
    close: float


class Match(NamedTuple):
    """Where an order can fill."""

    stage: Stage
    price: float  # before slippage and impact


class StopLimitMatch(NamedTuple):
    """What a bar does to a stop-limit order that was not yet triggered."""

    triggered: bool
    match: Match | None  # None: it waits, as a limit order once it is triggered


def match_market(bar: Bar) -> Match:
    return Match(Stage.OPEN, bar.open)


def match_close(bar: Bar) -> Match:
    return Match(Stage.CLOSE, bar.close)


def match_limit(bar: Bar, limit: float, *, buying: bool) -> Match | None:
    """At the open where that is as good as the limit or better, else at the limit if it is met."""
    if _reached(bar.open, limit, upward=not buying):
        return Match(Stage.OPEN, bar.open)
    extreme = bar.low if buying else bar.high
    return Match(Stage.INSIDE, limit) if _reached(extreme, limit, upward=not buying) else None


def match_stop(bar: Bar, stop: float, *, buying: bool) -> Match | None:
    """At the open where that is beyond the stop already, else at the stop if it is met."""
    if _reached(bar.open, stop, upward=buying):
        return Match(Stage.OPEN, bar.open)
    extreme = bar.high if buying else bar.low
    return Match(Stage.INSIDE, stop) if _reached(extreme, stop, upward=buying) else None


def match_stop_limit(bar: Bar, stop: float, limit: float, *, buying: bool) -> StopLimitMatch:
    """A stop that turns into a limit order when it is met.

    Triggered at the open it is a limit order for the whole bar. Triggered inside, it fills at the
    stop if its limit allows that price. Where the limit is better than the stop, prices have to
    come back: they have for certain only if the close is at the limit or beyond it.
    """
    trigger = match_stop(bar, stop, buying=buying)
    if trigger is None:
        return StopLimitMatch(False, None)
    if trigger.stage is Stage.OPEN:
        return StopLimitMatch(True, match_limit(bar, limit, buying=buying))
    if _reached(stop, limit, upward=not buying):
        return StopLimitMatch(True, trigger)
    came_back = _reached(bar.close, limit, upward=not buying)
    return StopLimitMatch(True, Match(Stage.INSIDE, limit) if came_back else None)


def gain_at_close(bar: Bar, price: float, *, buying: bool) -> float:
    """What a fill has gained by the bar's close, as a share of its price: below 0 for a loss.

    Where several orders could be first, those with the least are.
    """
    gain = bar.close / price - 1 if price else 0.0
    return gain if buying else -gain


def _reached(price: float, level: float, *, upward: bool) -> bool:
    return price >= level if upward else price <= level
