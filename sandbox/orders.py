"""Orders as a strategy gives them: what kinds there are, and which make no sense.

Knows Backtrader's orders, and neither cash nor costs.
"""

from __future__ import annotations

import math

import backtrader as bt

from sandbox.errors import StrategyError
from sandbox.feed import CandleFeed

KINDS = ("market", "close", "limit", "stop", "stop_limit", "stop_trail", "stop_trail_limit")
TRIGGERED = (bt.Order.Stop, bt.Order.StopTrail)  # a market order once the price is touched
NUMBERS = ("size", "trailamount", "trailpercent", "price", "pricelimit")


def check_begun(data: CandleFeed, what: str) -> None:
    """Nothing is ordered of a symbol that has not begun: it has no price yet."""
    if not len(data):
        raise StrategyError(
            f"{what} of {data.symbol} before its first bar: take symbols from self.tradable()"
        )


def check_order(order: bt.Order) -> None:
    """An unknown kind, or a number that is none, is an error where it is given."""
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


def kind_of(order: bt.Order) -> str:
    """One of `KINDS`."""
    return KINDS[order.exectype]


def worst_price(order: bt.Order) -> float:
    """What an order takes at worst: infinity for a buy without a limit, 0 for such a sell."""
    if order.exectype == bt.Order.Limit:
        return max(0.0, float(order.created.price))
    if order.exectype in (bt.Order.StopLimit, bt.Order.StopTrailLimit):
        return max(0.0, float(order.created.pricelimit))
    return math.inf if order.isbuy() else 0.0


def turn(order: bt.Order) -> int:
    """Sorts the orders of a bar, so that a sell pays for the buys that cannot be before it."""
    if order.isbuy():
        return 3 if order.exectype == bt.Order.Close else 1
    return 0 if order.exectype == bt.Order.Market else 2
