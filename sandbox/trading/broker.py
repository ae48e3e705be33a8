"""A broker that charges what it says and never refuses a buy for a gap overnight.

It is Backtrader's, with fills of its own. Backtrader's leaves most market orders unslipped, slips
limit orders past their limit, fills on bars that a symbol lacks, and refuses a whole buy where the
next open costs a little more than the cash at hand.

The account is a cash account: nobody buys beyond the cash, and nobody sells what is not held.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import backtrader as bt

from sandbox.errors import StrategyError
from sandbox.trading.clock import Clock
from sandbox.trading.costs import BPS, ROUNDING, CostModel, Liquidity, Terms
from sandbox.trading.execution import ExecutingBroker, same
from sandbox.trading.feed import CandleFeed
from sandbox.trading.ledger import Decision, Holding, Ledger
from sandbox.trading.orders import check_begun, check_member, check_order, kind_of, put_on_steps
from sandbox.trading.seals import Seals

MOST_CUSHION = 0.5  # set aside beyond what a buy asks for, since its price may move until it fills
FUNDING = (bt.Order.Market, bt.Order.Close, bt.Order.Limit)  # sells that buys may count on


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a portfolio starts with and what trading costs it."""

    cash: float = 100_000.0  # in quote currency
    costs: CostModel = field(default_factory=CostModel)


class CostedBroker(ExecutingBroker):
    """Fills orders at the next bar of their symbol, at prices that the cost model has worsened.

    `sandbox.trading.execution` says what fills when inside a bar. A buy dearer than the cash is cut
    to what the cash pays for, with all its costs, and `order.info.cash_cut` says so. What the
    volume cap leaves over waits for later bars. A symbol whose data have ended is sold at
    the next bar time, at its last close, and its orders are cancelled. A buy that still waits
    after the first bar at which its symbol is no member of its universe is cancelled.
    """

    _running: list[CandleFeed]  # symbols whose data have not ended
    _withheld: Callable[[CandleFeed], bool]  # symbols of which nothing is ordered now

    @classmethod
    def of(
        cls,
        account: Account,
        clock: Clock,
        ledger: Ledger,
        feeds: Collection[CandleFeed],
        withheld: Callable[[CandleFeed], bool],
    ) -> CostedBroker:
        broker = cls(cash=account.cash)
        broker.p.__class__ = _fixed(type(broker.p))
        costs = account.costs
        broker.setcommission(  # for strategies that ask; fills do not
            commission=costs.commission_bps * BPS,
            commtype=bt.CommInfoBase.COMM_PERC,
            stocklike=True,
        )
        broker._costs, broker._clock, broker._ledger = costs, clock, ledger
        broker._running, broker._withheld = list(feeds), withheld
        broker._overlapping = any(feed.overlaps for feed in broker._running)
        broker._held, broker._set_aside, broker._cancelled_ns = {}, {}, {}
        broker._seals = Seals()
        broker._filled_now, broker._bought_inside = defaultdict(float), defaultdict(list)
        return broker

    def holdings(self) -> list[Holding]:
        """The positions, at their symbols' latest close."""
        return [Holding(data.symbol, pos.size, data.last_close) for data, pos in self._held.items()]

    def add_cash(self, cash: float) -> None:
        raise StrategyError(f"add_cash({cash}): a run keeps the cash it starts with, set --cash")

    def _refuse_setting(self, *_: Any, **__: Any) -> None:
        """Some of these would be money from nowhere, some a look ahead, some do nothing here."""
        raise StrategyError("a strategy cannot set its broker: cash and costs are options of a run")

    set_cash = setcash = set_fund_history = add_order_history = _refuse_setting
    set_coc = set_coo = set_checksubmit = set_filler = _refuse_setting
    set_slippage_perc = set_slippage_fixed = _refuse_setting

    # Orders as the strategy gives them

    def buy(self, owner: Any, data: CandleFeed, size: float, *rest: Any, **more: Any) -> bt.Order:
        check_begun(data, "buy")
        check_member(data)
        return super().buy(owner, data, size, *rest, **more)

    def sell(self, owner: Any, data: CandleFeed, size: float, *rest: Any, **more: Any) -> bt.Order:
        check_begun(data, "sell")
        return super().sell(owner, data, size, *rest, **more)

    def submit(self, order: bt.Order, check: bool = True) -> bt.Order:
        check_order(order)
        if order.parent is not None:
            _check_one_after_the_other(order, order.parent)
        if self._withheld(order.data):
            return self._turn_away(order)
        order.decided_ns = self._now_ns
        put_on_steps(order, self._costs.of(order.data.symbol))
        kind = kind_of(order)
        price = math.nan if kind in ("market", "close") else order.created.price
        self._take_down(order, abs(order.created.size), kind, price)
        return super().submit(order, check=check)

    def _turn_away(self, order: bt.Order) -> bt.Order:
        """An order of a symbol without the forecast that it should have had: there is none."""
        order.decided_ns = self._now_ns
        order.submit(self)
        order.reject(self)
        self.notify(order)
        return order

    def cancel(self, order: bt.Order, bracket: bool = False) -> bool:
        given = (*self.pending, *self.submitted)
        order = next((one for one in given if one == order), order)  # it may be a notified copy
        if order in self.pending and order.data.overlaps and not (bracket or order.data.has_bar):
            return self._cancel_after_the_bar(order)
        self._seals.forget(order.ref)
        cancelled = self._withdraw(order, bracket) or super().cancel(order, bracket)
        if cancelled and not bracket:  # the other legs of a bracket go by themselves
            self._take_down(order, abs(order.executed.remsize), "cancel", math.nan)
        return bool(cancelled)

    def _cancel_after_the_bar(self, order: bt.Order) -> bool:
        """Cancel an order whose symbol may have a bar that is open and may have filled it."""
        if order.ref not in self._cancelled_ns:
            self._cancelled_ns[order.ref] = self._now_ns
            self._take_down(order, abs(order.executed.remsize), "cancel", math.nan)
        return True

    def _ocoize(self, order: bt.Order, oco: bt.Order | None) -> None:
        if oco is not None:
            _check_one_after_the_other(order, oco)
        super()._ocoize(order, oco)

    def _withdraw(self, order: bt.Order, bracket: bool) -> bool:
        """Cancel an order of this very bar, which Backtrader would not find."""
        if order not in self.submitted:
            return False
        self.submitted.remove(order)
        order.cancel()
        self.notify(order)
        self._ococheck(order)
        if not bracket:  # else it is its bracket that goes, with all its legs
            self._bracketize(order, cancel=True)
        return True

    def _take_down(self, order: bt.Order, size: float, kind: str, price: float) -> None:
        side = "buy" if order.isbuy() else "sell"
        decision = Decision(self._now_ns, order.data.symbol, side, size, kind, price)
        self._ledger.decisions.append(decision)

    # A bar: accept, settle, fill, value

    def next(self) -> None:
        self._seals.check(self.pending)
        self._filled_now.clear()
        self._settle_ended()
        if self.submitted:
            self.check_submitted()
        if self.pending:
            self._work_off_pending()
            self._let_leavers_go()
        self._seals.keep_only(self.pending)
        self._get_value()

    def check_submitted(self) -> None:
        """Accept what the cash and the sells can pay for, at the prices of the decision."""
        funds = self._free_cash() + self._proceeds([*self.pending, *self.submitted])
        buys: list[bt.Order] = []
        while self.submitted:
            order = self.submitted.popleft()
            if self._take_children(order) is None:
                continue
            if order.data.ended:
                self._drop(order, order.cancel)
            elif not (self._cut_to_lots(order) and self._is_large_enough(order)):
                self._refuse(order, order.reject)
            elif order.isbuy() and self._price_asked(order) > funds * (1 + ROUNDING):
                self._refuse(order, order.margin)
            else:
                if order.isbuy():
                    funds -= self._price_asked(order)
                    buys.append(order)
                self.submit_accept(order)
        if self._overlapping:
            self._set_cash_aside(buys)

    def _set_cash_aside(self, buys: Sequence[bt.Order]) -> None:
        """For buys in bars that overlap others, so that nothing else can spend or spare it."""
        asked = {order.ref: self._price_asked(order) for order in buys}
        in_long_bars = [order for order in buys if order.data.overlaps]
        for order in in_long_bars:
            cash = min(asked[order.ref], max(0.0, self._free_cash()))
            self._set_aside[order.ref] = (order, cash)
        total = sum(asked[order.ref] for order in in_long_bars)
        others = sum(asked.values()) - total
        spare = max(0.0, self._free_cash() - others)
        cushion = min(MOST_CUSHION, spare / total) if total else 0.0
        for order in in_long_bars:
            _, cash = self._set_aside[order.ref]
            self._set_aside[order.ref] = (order, cash + cushion * asked[order.ref])

    def _proceeds(self, orders: list[bt.Order]) -> float:
        """What the sells among the orders bring at the close they were decided at."""
        left = {data: position.size for data, position in self._held.items()}
        proceeds = 0.0
        for order in orders:
            if order.isbuy() or not order.active() or order.exectype not in FUNDING:
                continue
            size = min(abs(order.executed.remsize), left.get(order.data, 0.0))
            left[order.data] = left.get(order.data, 0.0) - size
            proceeds += size * order.created.pclose
        return proceeds

    @staticmethod
    def _price_asked(order: bt.Order) -> float:
        return float(order.executed.remsize * order.created.price)

    def _cut_to_lots(self, order: bt.Order) -> bool:
        """Whether the order has a lot at least; what is less than one goes."""
        wanted = abs(order.executed.remsize)
        if not order.isbuy() and same(wanted, self.positions[order.data].size):
            return True
        whole = self._costs.of(order.data.symbol).whole_lots(wanted)
        order.executed.remsize = whole if order.isbuy() else -whole
        return whole > 0

    def _is_large_enough(self, order: bt.Order) -> bool:
        """Whether an exchange that wants orders to be worth something would take it."""
        costs = self._costs.of(order.data.symbol)
        return costs.takes(abs(order.executed.remsize), order.created.price)

    def _settle_ended(self) -> None:
        ended = [data for data in self._running if data.ended]
        for data in ended:
            self._running.remove(data)
            for order in [o for o in (*self.pending, *self.submitted) if o.data is data]:
                if order.alive():  # else it went with an order that it hung on
                    self._discard(order)
            if self.positions[data].size:
                self._settle(data)

    def _let_leavers_go(self) -> None:
        """Buys that still wait are cancelled once their symbol has left its universe."""
        for order in [o for o in self.pending if o.isbuy() and not o.data.is_member]:
            if order.alive():  # else it went with an order that it hung on
                self._discard(order)

    def _settle(self, data: CandleFeed) -> None:
        """Sell a position at its last close: no volume is left to have an impact on."""
        size = self.positions[data].size
        order = bt.order.SellOrder(owner=None, data=data, size=size, exectype=bt.Order.Market)
        order.submit()
        order.accept()
        self._ocoize(order, None)
        terms = Terms(
            buying=False, reference_price=data.last_close, limit=0.0, liquidity=Liquidity()
        )
        self._book(order, -size, terms)

    def _discard(self, order: bt.Order) -> None:
        queue = self.pending if order in self.pending else self.submitted
        queue.remove(order)
        self._drop(order, order.cancel)

    def _get_value(self, datas: Iterable[CandleFeed] | None = None, lever: bool = False) -> float:
        """The account's value, or that of some positions, at the latest closes."""
        if datas:
            return float(sum(self.positions[data].size * data.last_close for data in datas))
        stocks = sum(position.size * data.last_close for data, position in self._held.items())
        self._value = self._valuelever = self.cash + stocks
        self._valuemkt = self._valuemktlever = stocks
        self._fundval = self._value / self._fundshares
        return float(self._value)


def _check_one_after_the_other(order: bt.Order, other: bt.Order) -> None:
    """Orders that act on one another need bars of which one ends before the next begins."""
    symbols = order.data, other.data
    if symbols[0] is not symbols[1] and any(data.overlaps for data in symbols):
        raise StrategyError(
            f"orders of {symbols[0].symbol} and {symbols[1].symbol} hang on one another, but the "
            "bars of these symbols overlap, so that nobody knows which order came first: bind "
            "orders of one symbol only"
        )


def _fixed(params: type) -> type:
    """The class of Backtrader's settings, such as cheat-on-close, with none that can be set."""

    def refuse(*_: Any) -> None:
        raise StrategyError("a strategy cannot set its broker: cash and costs are options of a run")

    return type(params.__name__, (params,), {"__setattr__": refuse, "__delattr__": refuse})
