"""When in a bar an order can fill, and at what price before costs; pure functions of prices.

`match(ask, bar)` is all that the broker calls; `CostModel.quote` makes the price after costs of it.

A bar shows where it opened and closed and how far prices went, and not in which order they went
there. So a fill has one of three stages: at the opening, at the close, or at some moment inside.
Prices are taken to move through every price between open, high and low: a stop inside a bar fills
at its own price, and a market that jumps over it would fill it worse (slippage stands for that).
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

KINDS = ("market", "close", "limit", "stop", "stop_limit", "stop_trail", "stop_trail_limit")
STOPS = ("stop", "stop_trail")  # a market order once the price is met
STOP_LIMITS = ("stop_limit", "stop_trail_limit")  # a limit order from then on


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


class Ask(NamedTuple):
    """An order, as far as its price goes."""

    kind: str  # one of `KINDS`
    buying: bool
    price: float  # of the limit or the stop
    limit: float  # of a stop-limit order, once its stop is met
    triggered: bool  # whether its stop has been met already

    @property
    def worst_price(self) -> float:
        """The most a buy pays, the least a sell takes: infinity or 0 where it has no limit."""
        if self.kind == "limit":
            return max(0.0, self.price)
        if self.kind in STOP_LIMITS:
            return max(0.0, self.limit)
        return math.inf if self.buying else 0.0


class Matched(NamedTuple):
    """What a bar does to an order."""

    triggered: bool  # whether its stop has been met, now or before
    match: Match | None  # None: it waits


def match(ask: Ask, bar: Bar) -> Matched:
    """Where in a bar an order can fill."""
    if ask.kind in STOP_LIMITS and not ask.triggered:
        return match_stop_limit(bar, ask.price, ask.limit, buying=ask.buying)
    return Matched(ask.triggered, _match_at_once(ask, bar))


def _match_at_once(ask: Ask, bar: Bar) -> Match | None:
    """Of any order but a stop-limit order whose stop has not been met."""
    if ask.kind == "market" or (ask.kind in STOPS and ask.triggered):
        return match_market(bar)
    if ask.kind == "close":
        return match_close(bar)
    if ask.kind in STOPS:
        return match_stop(bar, ask.price, buying=ask.buying)
    limit = ask.price if ask.kind == "limit" else ask.limit
    return match_limit(bar, limit, buying=ask.buying)


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


def match_stop_limit(bar: Bar, stop: float, limit: float, *, buying: bool) -> Matched:
    """A stop that turns into a limit order when it is met.

    Triggered at the open it is a limit order for the whole bar. Triggered inside, it fills at the
    stop if its limit allows that price. Where the limit is better than the stop, prices have to
    come back: they have for certain only if the close is at the limit or beyond it.
    """
    trigger = match_stop(bar, stop, buying=buying)
    if trigger is None:
        return Matched(False, None)
    if trigger.stage is Stage.OPEN:
        return Matched(True, match_limit(bar, limit, buying=buying))
    if _reached(stop, limit, upward=not buying):
        return Matched(True, trigger)
    came_back = _reached(bar.close, limit, upward=not buying)
    return Matched(True, Match(Stage.INSIDE, limit) if came_back else None)


def gain_at_close(bar: Bar, price: float, *, buying: bool) -> float:
    """What a fill has gained by the bar's close, as a share of its price: below 0 for a loss.

    Where several orders could be first, those with the least are.
    """
    gain = bar.close / price - 1 if price else 0.0
    return gain if buying else -gain


def _reached(price: float, level: float, *, upward: bool) -> bool:
    return price >= level if upward else price <= level
