"""A broker that charges what it says and never refuses a buy for a gap overnight.

It is Backtrader's, with fills of its own. Backtrader's leaves most market orders unslipped, slips
limit orders past their limit, fills on bars that a symbol lacks, and refuses a whole buy where the
next open costs a little more than the cash at hand.

The account is a cash account: nobody buys beyond the cash, and nobody sells what is not held.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import backtrader as bt

from kronos.forecast import CLOSE, VOLUME
from sandbox.costs import BPS, LIQUIDITY_BARS, CostModel, Liquidity, Terms
from sandbox.errors import StrategyError
from sandbox.feed import CandleFeed, Clock
from sandbox.ledger import Decision, Fill, Holding, Ledger, TooDear
from sandbox.orders import TRIGGERED, check_begun, check_order, kind_of, turn, worst_price

ROUNDING = 1e-9  # shares of a size or of the cash that are nothing but rounding
FUNDING = (bt.Order.Market, bt.Order.Close, bt.Order.Limit)  # sells that buys may count on


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a portfolio starts with and what trading costs it."""

    cash: float = 100_000.0  # in quote currency
    costs: CostModel = field(default_factory=CostModel)


class CostedBroker(bt.brokers.BackBroker):  # type: ignore[misc]
    """Fills orders at the next bar of their symbol, at prices that the cost model has worsened.

    In one bar market sells go before buys, so that they can pay for them; sells that fill later in
    the bar, at a limit, a stop or the close, pay for buys at its close only. A buy dearer than the
    cash is cut to what the cash pays for, with all its costs, and `order.info.cash_cut` says so.
    What the volume cap leaves over waits for later bars. A symbol whose data have ended is sold at
    the next bar time, at its last close, and its orders are cancelled.
    """

    pending: deque[bt.Order]
    refused = 0  # orders that were not taken, or never filled for lack of cash or units
    _costs: CostModel
    _clock: Clock
    _ledger: Ledger
    _running: list[CandleFeed]  # symbols whose data have not ended
    _held: dict[CandleFeed, bt.Position]  # without those of size 0
    _filled_now: defaultdict[CandleFeed, float]  # units in this bar

    @classmethod
    def of(
        cls, account: Account, clock: Clock, ledger: Ledger, feeds: Iterable[CandleFeed]
    ) -> CostedBroker:
        broker = cls(cash=account.cash)
        costs = account.costs
        broker.setcommission(  # for strategies that ask; fills do not
            commission=costs.commission_bps * BPS,
            commtype=bt.CommInfoBase.COMM_PERC,
            stocklike=True,
        )
        broker._costs, broker._clock, broker._ledger = costs, clock, ledger
        broker._running = list(feeds)
        broker._held, broker._filled_now = {}, defaultdict(float)
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
        return super().buy(owner, data, size, *rest, **more)

    def sell(self, owner: Any, data: CandleFeed, size: float, *rest: Any, **more: Any) -> bt.Order:
        check_begun(data, "sell")
        return super().sell(owner, data, size, *rest, **more)

    def submit(self, order: bt.Order, check: bool = True) -> bt.Order:
        check_order(order)
        kind = kind_of(order)
        price = math.nan if kind in ("market", "close") else order.created.price
        self._take_down(order, abs(order.created.size), kind, price)
        return super().submit(order, check=check)

    def cancel(self, order: bt.Order, bracket: bool = False) -> bool:
        given = (*self.pending, *self.submitted)
        order = next((one for one in given if one == order), order)  # it may be a notified copy
        cancelled = self._withdraw(order, bracket) or super().cancel(order, bracket)
        if cancelled and not bracket:  # the other legs of a bracket go by themselves
            self._take_down(order, abs(order.executed.remsize), "cancel", math.nan)
        return bool(cancelled)

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

    @property
    def _now_ns(self) -> int:
        assert self._clock.now_ns is not None  # nobody orders before the first bar
        return self._clock.now_ns

    # A bar: accept, settle, fill, value

    def next(self) -> None:
        while self._toactivate:
            self._toactivate.popleft().activate()
        self._filled_now.clear()
        self._settle_ended()
        if self.submitted:
            self.check_submitted()
        if self.pending:
            self._work_off_pending()
        self._get_value()

    def check_submitted(self) -> None:
        """Accept what the cash and the sells can pay for, at the prices of the decision."""
        funds = self.cash + self._proceeds([*self.pending, *self.submitted])
        while self.submitted:
            order = self.submitted.popleft()
            if self._take_children(order) is None:
                continue
            if order.data.ended:
                self._drop(order, order.cancel)
            elif not self._cut_to_lots(order):
                self._refuse(order, order.reject)
            elif order.isbuy() and self._price_asked(order) > funds * (1 + ROUNDING):
                self._refuse(order, order.margin)
            else:
                funds -= self._price_asked(order) if order.isbuy() else 0.0
                self.submit_accept(order)

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
        if not order.isbuy() and _same(wanted, self.positions[order.data].size):
            return True
        whole = self._costs.whole_lots(wanted)
        order.executed.remsize = whole if order.isbuy() else -whole
        return whole > 0

    def _work_off_pending(self) -> None:
        self.pending = deque([*sorted(self.pending, key=turn), None])
        while (order := self.pending.popleft()) is not None:
            if order.expire():
                self._drop(order)
                continue
            if order.active() and order.data.has_bar:
                self._try_exec(order)
            if order.alive():
                self.pending.append(order)
            elif order.status == bt.Order.Completed:
                self._bracketize(order)  # its children wake, or its siblings go

    def _settle_ended(self) -> None:
        ended = [data for data in self._running if data.ended]
        for data in ended:
            self._running.remove(data)
            for order in [o for o in (*self.pending, *self.submitted) if o.data is data]:
                if order.alive():  # else it went with an order that it hung on
                    self._discard(order)
            if self.positions[data].size:
                self._settle(data)

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

    def _drop(self, order: bt.Order, how: Any = None) -> None:
        """End an order's life, and that of the orders that hang on it."""
        if how is not None:
            how()
        self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)

    def _bracketize(self, order: bt.Order, cancel: bool = False) -> None:
        """What was bought of a bracket's first order keeps its stop and target."""
        bought = order.parent is None and order.executed.size > 0
        super()._bracketize(order, cancel=cancel and not bought)

    def take_down_too_dear(self, data: CandleFeed, money: float) -> None:
        """That `money` was set aside for a symbol, if it does not pay for one lot of it."""
        cost, money = self._costs.lot_cost(data.last_close), min(money, self.cash)
        if money < cost:
            self._ledger.add_too_dear(TooDear(self._now_ns, data.symbol, cost, money, self.cash))

    def _refuse(self, order: bt.Order, how: Any) -> None:
        self.refused += 1
        if order.isbuy():  # of less than a lot it was the order that was too small
            size, lot = order.created.size, self._costs.lot_size
            money = self.cash if size >= lot else size * order.data.last_close
            self.take_down_too_dear(order.data, money)
        self._drop(order, how)

    # A fill

    def _slip_up(self, pmax: float, price: float, **_: bool) -> float:
        return price  # the fill adds slippage and impact

    def _slip_down(self, pmin: float, price: float, **_: bool) -> float:
        return price

    def _try_exec_close(self, order: bt.Order, pclose: float) -> None:
        """At this close, decided at an earlier one; Backtrader would leave a bar to change it."""
        self._execute(order, ago=0, price=pclose)

    def _try_exec_stop(self, order: bt.Order, popen: float, *bar: float) -> None:
        """Once triggered it is a market order, for what volume or price limit left over."""
        if order.triggered:
            self._execute(order, ago=0, price=popen)
        else:
            super()._try_exec_stop(order, popen, *bar)

    def _execute(
        self, order: bt.Order, ago: int | None = None, price: float = math.nan, **_: Any
    ) -> None:
        """Fill what can be filled at a price that is still without slippage and impact."""
        order.triggered = order.triggered or order.exectype in TRIGGERED
        if self._locked(order, price):
            return
        if order.isbuy():
            self._buy(order, price)
        else:
            self._sell(order, price)

    def _buy(self, order: bt.Order, price: float) -> None:
        wanted = self._within_volume(order, order.executed.remsize)
        if wanted <= 0:
            return
        terms = self._terms(order, price)
        size = self._costs.affordable(self.cash, wanted, terms)
        if size < wanted:
            order.addinfo(cash_cut=True)
        if size > 0:
            self._book(order, size, terms)
        elif order.executed.size:
            self._drop(order, order.cancel)
        else:
            self._refuse(order, order.margin)

    def _sell(self, order: bt.Order, price: float) -> None:
        held, wanted = self.positions[order.data].size, -order.executed.remsize
        if held <= 0:
            if order.executed.size:
                self._drop(order, order.cancel)
            else:
                self._refuse(order, order.reject)
            return
        if wanted >= held or _same(wanted, held):  # no more than that is ever sold
            wanted, order.executed.remsize = held, -held
        size = self._within_volume(order, wanted)
        if size > 0:
            self._book(order, -size, self._terms(order, price))

    def _locked(self, order: bt.Order, price: float) -> bool:
        """Whether the price is at the exchange's limit for the day, against the order."""
        limit_pct, before = self._costs.price_limit_pct, order.data.bars_before(1)
        if limit_pct is None or not len(before):
            return False
        change_pct = 100 * (price / before[-1, CLOSE] - 1)
        against = change_pct if order.isbuy() else -change_pct
        return bool(against >= limit_pct * (1 - ROUNDING))

    def _within_volume(self, order: bt.Order, wanted: float) -> float:
        """What this bar's volume has left for the portfolio of a size, in whole lots."""
        data, cap_pct = order.data, self._costs.volume_cap_pct
        if cap_pct is None or not data.has_volume:
            return wanted
        room = data.volume[0] * cap_pct / 100 - self._filled_now[data]
        return wanted if wanted <= room else min(wanted, self._costs.whole_lots(max(room, 0.0)))

    def _terms(self, order: bt.Order, price: float) -> Terms:
        limit, liquidity = worst_price(order), self._liquidity(order.data)
        return Terms(buying=order.isbuy(), reference_price=price, limit=limit, liquidity=liquidity)

    def _liquidity(self, data: CandleFeed) -> Liquidity:
        if not self._costs.impact:
            return Liquidity()
        bars = data.bars_before(LIQUIDITY_BARS)
        return Liquidity.of(bars[:, CLOSE], bars[:, VOLUME])

    def _book(self, order: bt.Order, size: float, terms: Terms) -> None:
        """Enter a fill of `size` (below 0: sold) into the account, the order and the ledger."""
        quote = self._costs.quote(abs(size), terms)
        fees = quote.fees
        if size < 0:  # a minimum fee above what the sale brings is not chased up
            fees = min(fees, abs(size) * quote.price + self.cash)
        self.cash -= size * quote.price + fees
        self._ledger.add_fill(
            Fill(
                time_ns=self._now_ns,
                symbol=order.data.symbol,
                size=size,
                price=quote.price,
                reference_price=terms.reference_price,
                commission=fees,
                slippage=quote.slippage,
                impact=quote.impact,
            )
        )
        self._filled_now[order.data] += abs(size)
        self._tell(order, size, quote.price, fees)

    def _tell(self, order: bt.Order, size: float, price: float, fees: float) -> None:
        """Backtrader's own record of a fill: the position, the order, who gave it."""
        data, position = order.data, self.positions[order.data]
        paid = position.price
        position.update(size, price, data.datetime.datetime())
        self._held[data] = position
        if not position.size:
            del self._held[data]
        if abs(order.executed.remsize - size) <= 1e-6 * self._costs.lot_size:
            order.executed.remsize = size  # else a rounding error would be left waiting
        opened, closed = (size, 0.0) if size > 0 else (0.0, size)
        order.addcomminfo(self.getcommissioninfo(data))
        order.execute(
            data.datetime[0], size, price,
            closed, -closed * paid, fees if closed else 0.0,
            opened, opened * price, fees if opened else 0.0,
            None, -closed * (price - paid), position.size, position.price,
        )  # fmt: skip
        self.notify(order)
        self._ococheck(order)

    def _get_value(self, datas: Iterable[CandleFeed] | None = None, lever: bool = False) -> float:
        """The account's value, or that of some positions, at the latest closes."""
        if datas:
            return float(sum(self.positions[data].size * data.last_close for data in datas))
        stocks = sum(position.size * data.last_close for data, position in self._held.items())
        self._value = self._valuelever = self.cash + stocks
        self._valuemkt = self._valuemktlever = stocks
        self._fundval = self._value / self._fundshares
        return float(self._value)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDING)
