"""Orders as a strategy gives them: what kinds there are, and which make no sense.

Knows Backtrader's orders, and neither cash nor costs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import backtrader as bt

from sandbox.errors import StrategyError
from sandbox.trading.costs import CostModel
from sandbox.trading.feed import CandleFeed
from sandbox.trading.matching import KINDS, Ask

TRAILING = (bt.Order.StopTrail, bt.Order.StopTrailLimit)
AT_ANY_PRICE = ("market", "close")  # kinds of orders
NUMBERS = ("size", "trailamount", "trailpercent", "price", "pricelimit")


def check_begun(data: CandleFeed, what: str) -> None:
    """Nothing is ordered of a symbol that has not begun: it has no price yet."""
    if not len(data):
        raise StrategyError(
            f"{what} of {data.symbol} before its first bar: take symbols from self.tradable()"
        )


def check_member(data: CandleFeed) -> None:
    """Nothing is bought of a symbol that does not belong to its universe now."""
    if not data.is_member:
        raise StrategyError(
            f"buy of {data.symbol} after its bar of {data.asof:%Y-%m-%d %H:%M}: it is no member of "
            "its universe now and can only be sold; take symbols to buy from self.tradable()"
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


def put_on_steps(order: bt.Order, costs: CostModel) -> None:
    """Put its prices on the exchange's steps, each away from what the order would gain by: a buy's
    limit down, its stop up. What a trailing stop comes to on its way stays as it is."""
    buying, kind = order.isbuy(), kind_of(order)
    if kind in AT_ANY_PRICE or order.exectype in TRAILING:
        return
    at_stop = buying if kind != "limit" else not buying
    order.created.price = costs.price_on_step(order.created.price, up=at_stop)
    if order.created.pricelimit is not None:
        order.created.pricelimit = costs.price_on_step(order.created.pricelimit, up=not buying)


class Waiting(NamedTuple):
    """An order that has not come to an end."""

    given_ns: int  # at the close of which bar, ns since 1970
    symbol: str
    side: str
    size: float  # what is left of it, in units
    kind: str
    price: float | None  # of its limit or stop; None where the kind has none
    limit: float | None  # of a stop-limit
    triggered: bool


def waiting_of(order: bt.Order) -> Waiting:
    """An order as it stands now."""
    kind, created = kind_of(order), order.created
    return Waiting(
        given_ns=order.decided_ns,
        symbol=order.data.symbol,
        side="buy" if order.isbuy() else "sell",
        size=abs(float(order.executed.remsize)),
        kind=kind,
        price=None if kind in AT_ANY_PRICE else float(created.price),
        limit=None if created.pricelimit is None else float(created.pricelimit),
        triggered=bool(order.triggered),
    )


def kind_of(order: bt.Order) -> str:
    """One of `KINDS`."""
    return KINDS[order.exectype]


def ask_of(order: bt.Order) -> Ask:
    """The order as far as its price goes."""
    return Ask(
        kind=kind_of(order),
        buying=order.isbuy(),
        price=order.created.price,
        limit=order.created.pricelimit,
        triggered=order.triggered,
    )
