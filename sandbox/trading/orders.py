"""Orders as a strategy gives them: what kinds there are, and which make no sense.

Knows Backtrader's orders, and neither cash nor costs.
"""

from __future__ import annotations

import math

import backtrader as bt

from sandbox.errors import StrategyError
from sandbox.trading.feed import CandleFeed
from sandbox.trading.matching import (
    Bar,
    Match,
    match_close,
    match_limit,
    match_market,
    match_stop,
    match_stop_limit,
)

KINDS = ("market", "close", "limit", "stop", "stop_limit", "stop_trail", "stop_trail_limit")
STOPS = (bt.Order.Stop, bt.Order.StopTrail)  # a market order once the price is met
STOP_LIMITS = (bt.Order.StopLimit, bt.Order.StopTrailLimit)  # a limit order from then on
TRAILING = (bt.Order.StopTrail, bt.Order.StopTrailLimit)
NUMBERS = ("size", "trailamount", "trailpercent", "price", "pricelimit")


def check_begun(data: CandleFeed, what: str) -> None:
    """Nothing is ordered of a symbol that has not begun: it has no price yet."""
    if not len(data):
        raise StrategyError(
            f"{what} of {data.symbol} before its first bar: take symbols from self.tradable()"
        )


def check_order(order: bt.Order) -> None:
    """An unknown kind, or a number that is none, is an error where it is given.

    Its numbers become plain ones: a class of its own could compare as it likes.
    """
    side = "buy" if order.isbuy() else "sell"
    what = f"{side} of {order.data.symbol}"
    if order.exectype not in range(len(KINDS)):
        raise StrategyError(
            f"{what}: exectype {order.exectype!r} is not known, use one such as bt.Order.Limit"
        )
    for name in NUMBERS:
        value = getattr(order.created, name)
        if value is not None and not math.isfinite(value):
            raise StrategyError(f"{what}: {name} is {abs(value)}, a finite number is needed")
        if value is not None:
            setattr(order.created, name, float(value))
    if (order.created.size > 0) != order.isbuy() or not order.created.size:
        size = order.created.size if order.isbuy() else -order.created.size
        raise StrategyError(f"{what}: size is {size:g}, it must be above 0")
    order.executed.remsize = float(order.executed.remsize)


def kind_of(order: bt.Order) -> str:
    """One of `KINDS`."""
    return KINDS[order.exectype]


def worst_price(order: bt.Order) -> float:
    """What an order takes at worst: infinity for a buy without a limit, 0 for such a sell."""
    if order.exectype == bt.Order.Limit:
        return max(0.0, float(order.created.price))
    if order.exectype in STOP_LIMITS:
        return max(0.0, float(order.created.pricelimit))
    return math.inf if order.isbuy() else 0.0


def match_order(order: bt.Order, bar: Bar) -> Match | None:
    """Where in a bar the order can fill, None for nowhere; a stop-limit order may be triggered."""
    kind, buying = order.exectype, order.isbuy()
    if kind == bt.Order.Market or (kind in STOPS and order.triggered):
        return match_market(bar)
    if kind == bt.Order.Close:
        return match_close(bar)
    if kind == bt.Order.Limit:
        return match_limit(bar, order.created.price, buying=buying)
    if kind in STOPS:
        return match_stop(bar, order.created.price, buying=buying)
    stop, limit = order.created.price, order.created.pricelimit
    if order.triggered:
        return match_limit(bar, limit, buying=buying)
    order.triggered, match = match_stop_limit(bar, stop, limit, buying=buying)
    return match
