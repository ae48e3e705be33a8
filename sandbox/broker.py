"""A broker that charges what it says and never refuses a buy for a gap overnight.

Backtrader's own leaves most market orders unslipped, caps slippage at the bar's range, slips limit
orders past their limit, and refuses a whole buy where the next open costs a little more than the
cash at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import backtrader as bt

BPS = 1e-4


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a portfolio starts with and what trading costs it, a side."""

    cash: float = 100_000.0  # in quote currency
    commission_bps: float = 5.0  # of the value traded
    slippage_bps: float = 5.0  # of the price, against the trader


class CostedBroker(bt.brokers.BackBroker):  # type: ignore[misc]
    """Fills market orders at the next bar's open, worse by the slippage, commission on top.

    A buy that has become dearer than the cash is cut to what the cash pays for. Every fill carries
    the price before slippage in `order.info.reference_price`.
    """

    _slippage = 0.0
    _commission = 0.0
    _reference_price: float | None = None

    @classmethod
    def of(cls, account: Account) -> CostedBroker:
        broker = cls(cash=account.cash)
        broker._slippage = account.slippage_bps * BPS
        broker._commission = account.commission_bps * BPS
        broker.setcommission(
            commission=broker._commission, commtype=bt.CommInfoBase.COMM_PERC, stocklike=True
        )
        broker.set_filler(broker._size_in_reach)
        return broker

    def _try_exec(self, order: bt.Order) -> None:
        self._reference_price = None
        super()._try_exec(order)

    def _slip_up(self, pmax: float, price: float, *, lim: bool = False, **_: bool) -> float:
        self._reference_price = price
        slipped = price * (1 + self._slippage)
        return min(slipped, pmax) if lim else slipped

    def _slip_down(self, pmin: float, price: float, *, lim: bool = False, **_: bool) -> float:
        self._reference_price = price
        slipped = price * (1 - self._slippage)
        return max(slipped, pmin) if lim else slipped

    def _execute(
        self, order: bt.Order, ago: int | None = None, price: float | None = None, **rest: Any
    ) -> Any:
        if ago is not None and price is not None:
            order.addinfo(reference_price=self._reference_price or price)
        return super()._execute(order, ago=ago, price=price, **rest)

    def _size_in_reach(self, order: bt.Order, price: float, _ago: int) -> float:
        """Units of an order that can be filled: all of a sell, as much of a buy as cash pays."""
        wanted = abs(order.executed.remsize)
        if not order.isbuy() or self.positions[order.data].size < 0:
            return float(wanted)
        in_reach = max(self.cash, 0.0) / (price * (1 + self._commission))
        if in_reach >= wanted:
            return float(wanted)
        return float(math.floor(in_reach)) if float(wanted).is_integer() else in_reach
