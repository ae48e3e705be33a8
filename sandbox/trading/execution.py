"""What fills in a bar: the opening, the inside and the close, for all waiting orders at once.

A bar does not show what came first inside it, so no order profits from a choice:

- At the opening sells come before buys, so that they can pay for them.
- Inside, a sell is covered by what was held once the opening's orders had filled, not by what was
  bought inside; a buy is paid for by the cash there was then. Of orders that compete (for the same
  units, for the cash, or because one cancels the other) those come first that have gained least by
  the bar's close: of a stop and a target the stop, of two entries the dearer one.
- What was bought inside is stopped out inside where that is certain, or is the worse outcome.
- At the close everything that filled before counts.
- Stops and targets of a bracket work from the moment its first order has filled: from the opening
  on if it filled there; if it filled inside, only the stop can, as above, until the next bar.

An order takes part in a bar that opened at its decision or later. Symbols may have bars of several
lengths, so that one symbol's bar is still open when others close and the strategy decides. What is
decided then cannot undo what that bar may have done before: a cancellation holds from the next bar
on, and of the open bar everything fills that certainly did, or whose filling is the worse outcome.
The cash for such an order is set aside, so that it cannot be spent or spared later on.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import backtrader as bt

from feeds import CLOSE, VOLUME
from sandbox.trading.clock import Clock
from sandbox.trading.costs import LIQUIDITY_BARS, ROUNDING, CostModel, Liquidity, Terms
from sandbox.trading.feed import CandleFeed
from sandbox.trading.ledger import Fill, Ledger, TooDear
from sandbox.trading.matching import STOP_LIMITS, STOPS, Match, Stage, gain_at_close, match
from sandbox.trading.orders import TRAILING, ask_of, kind_of
from sandbox.trading.seals import Seals


class _Chance(NamedTuple):
    """An order and where in the current bar it can fill."""

    order: bt.Order
    match: Match

    @property
    def gain(self) -> float:
        """By the bar's close, as a share of the price."""
        order = self.order
        return gain_at_close(order.data.bar, self.match.price, buying=order.isbuy())


class ExecutingBroker(bt.brokers.BackBroker):  # type: ignore[misc]
    """Fills what can be filled in the bars that close now."""

    pending: deque[bt.Order]
    refused = 0  # orders that were not taken, or never filled for lack of cash or units
    _costs: CostModel
    _clock: Clock
    _ledger: Ledger
    _overlapping = False  # whether some symbol's bars are open while others close
    _held: dict[CandleFeed, bt.Position]  # without those of size 0
    _filled_now: defaultdict[CandleFeed, float]  # units in this bar
    _bought_inside: defaultdict[CandleFeed, list[tuple[float, float]]]  # size, price
    _set_aside: dict[int, tuple[bt.Order, float]]  # cash for buys in bars that others overlap
    _sold_at_open: float  # what sales at the opening brought in this bar, as far as it is unspent
    _seals: Seals
    _cancelled_ns: dict[int, int]  # when orders were cancelled whose symbol's bar was open

    @property
    def _now_ns(self) -> int:
        assert self._clock.now_ns is not None  # nobody orders before the first bar
        return self._clock.now_ns

    # The stages of a bar

    def _work_off_pending(self) -> None:
        self._sold_at_open = 0.0
        self._bought_inside.clear()
        self._expire_orders()
        self._cancel_before_the_bar()
        seen: set[int] = set()
        later: list[_Chance] = []
        while chances := self._chances(seen):  # anew: orders that hang on one that has just filled
            later += [chance for chance in chances if chance.match.stage is not Stage.OPEN]
            self._fill_at_open([c for c in chances if c.match.stage is Stage.OPEN])
        self._fill_inside([chance for chance in later if chance.match.stage is Stage.INSIDE])
        woken = self._chances(seen)  # their first order filled inside the bar
        self._stop_out(later, woken)
        at_close = [c for c in later + woken if c.match.stage is Stage.CLOSE]
        for chance in sorted(at_close, key=lambda chance: chance.order.isbuy()):
            if chance.order.ref not in self._cancelled_ns:
                self._fill(chance, self._held_now(chance.order))
        self._end_the_bar()

    def _expire_orders(self) -> None:
        for order in list(self.pending):
            if order.alive() and order.expire():
                self._drop(order)

    def _chances(self, seen: set[int]) -> list[_Chance]:
        """Of active orders whose symbol has a bar now that opened at their decision or later."""
        chances = []
        for order in list(self.pending):
            data = order.data
            if order.ref in seen or not (order.active() and order.alive() and data.has_bar):
                continue
            seen.add(order.ref)
            if data.opened_ns < order.decided_ns:
                continue
            order.triggered, matched = match(ask_of(order), data.bar)
            if matched is not None:
                chances.append(_Chance(order, matched))
        return chances

    def _fill_at_open(self, chances: Sequence[_Chance]) -> None:
        def turn(chance: _Chance) -> tuple[int, bool]:
            opened_ns = chance.order.data.opened_ns if self._overlapping else 0
            return opened_ns, chance.order.isbuy()

        for chance in sorted(chances, key=turn):
            self._fill(chance, self._held_now(chance.order))

    def _fill_inside(self, chances: Sequence[_Chance]) -> None:
        possible = [c for c in chances if c.order.ref not in self._cancelled_ns or c.gain < 0]
        worst_first = sorted(self._least_of_each_group(possible), key=lambda chance: chance.gain)
        for chance in worst_first:
            if chance.order.isbuy():
                self._fill(chance, math.inf)
        for chance in worst_first:
            if chance.order.issell():
                bought = sum(size for size, _ in self._bought_inside[chance.order.data])
                self._fill(chance, self._held_now(chance.order) - bought)

    def _least_of_each_group(self, chances: Iterable[_Chance]) -> list[_Chance]:
        """Of orders that cancel one another, the one that gains least in all."""
        groups: defaultdict[int, list[_Chance]] = defaultdict(list)
        for chance in chances:
            if chance.order.alive():
                groups[self._ocos.get(chance.order.ref, chance.order.ref)].append(chance)
        return [min(group, key=self._gain_in_all) for group in groups.values()]

    def _gain_in_all(self, chance: _Chance) -> float:
        order = chance.order
        size = abs(order.executed.remsize)
        if order.issell():
            size = min(size, max(0.0, self._held_now(order)))
        return chance.gain * chance.match.price * size

    def _stop_out(self, chances: Sequence[_Chance], woken: Sequence[_Chance]) -> None:
        """Sell what was bought inside the bar at its stops, where that is certain or worse.

        It is certain where prices fell from the open to the buy and on to the stop. `woken` are
        orders whose first order filled inside: what the bar did before is not theirs.
        """
        inside = [c for c in chances if c.match.stage is Stage.INSIDE]
        inside += [_Chance(order, Match(Stage.INSIDE, order.created.price)) for order, _ in woken]
        stops = [
            chance for chance in inside
            if chance.order.issell() and kind_of(chance.order) in (*STOPS, *STOP_LIMITS)
        ]  # fmt: skip
        for order, at_stop in sorted(stops, key=lambda chance: chance.gain):
            bought = self._bought_inside[order.data]
            if not bought:
                continue
            paid = [price for _, price in bought]
            fell_through = at_stop.price <= min(paid) and max(paid) <= order.data.bar.open
            certain = fell_through and order.ref not in self._cancelled_ns
            price = min(at_stop.price, *paid)
            stopped = _Chance(order, Match(Stage.INSIDE, price))
            if (certain or stopped.gain < 0) and price >= ask_of(order).worst_price:
                self._fill(stopped, sum(size for size, _ in bought))
        for order, _ in woken:
            if not order.executed.size:
                order.triggered = False

    def _end_the_bar(self) -> None:
        """Let stops trail the close, and forget the orders that are over."""
        for order in list(self.pending):
            if not order.alive():
                continue
            if order.ref in self._cancelled_ns and order.data.has_bar:
                del self._cancelled_ns[order.ref]
                super().cancel(order)
            elif (
                order.exectype in TRAILING and not order.triggered
                and order.active() and order.data.has_bar
            ):  # fmt: skip
                order.trailadjust(order.data.last_close)
        self.pending = deque(order for order in self.pending if order.alive())
        for ref in [ref for ref, (order, _) in self._set_aside.items() if not order.alive()]:
            del self._set_aside[ref]

    def _cancel_before_the_bar(self) -> None:
        """Cancellations that were there when the bar opened."""
        if not self._cancelled_ns:
            return
        for order in list(self.pending):
            cancelled_ns, data = self._cancelled_ns.get(order.ref), order.data
            if cancelled_ns is not None and data.has_bar and cancelled_ns <= data.opened_ns:
                del self._cancelled_ns[order.ref]
                super().cancel(order)

    # Ends of orders

    def _drop(self, order: bt.Order, end: Callable[[], object] | None = None) -> None:
        """End an order's life, and that of the orders that hang on it."""
        if end is not None:
            end()
        self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)

    def _ococheck(self, order: bt.Order) -> None:
        """Cancel the others of its group; Backtrader would cancel the order itself as well."""
        group = self._ocol.get(self._ocos[order.ref])
        if group and order.ref in group:
            group.remove(order.ref)
        self._seals.forget(*(group or ()))
        super()._ococheck(order)

    def _bracketize(self, order: bt.Order, cancel: bool = False) -> None:
        """What was bought of a bracket's first order keeps its stop and target."""
        bought = order.parent is None and order.executed.size > 0
        super()._bracketize(order, cancel=cancel and not bought)
        while self._toactivate:
            child = self._toactivate.popleft()
            child.activate()
            self._seals.forget(child.ref)
            if child.data is not order.data:
                child.decided_ns = self._now_ns

    def take_down_too_dear(self, data: CandleFeed, money: float) -> None:
        """That `money` was set aside for a symbol, if it does not pay for one lot of it."""
        cost = self._costs.of(data.symbol).lot_cost(data.last_close)
        money = min(money, self.cash)
        if money < cost:
            self._ledger.add_too_dear(TooDear(self._now_ns, data.symbol, cost, money, self.cash))

    def _refuse(self, order: bt.Order, end: Callable[[], object]) -> None:
        self.refused += 1
        if order.isbuy():  # of less than a lot it was the order that was too small
            size, lot = order.created.size, self._costs.of(order.data.symbol).lot_size
            money = self.cash if size >= lot else size * order.data.last_close
            self.take_down_too_dear(order.data, money)
        self._drop(order, end)

    # A fill

    def _held_now(self, order: bt.Order) -> float:
        return float(self.positions[order.data].size)

    def _fill(self, chance: _Chance, coverage: float) -> None:
        """Fill what can be filled; a sale sells `coverage` units at most."""
        order, price = chance.order, chance.match.price
        if not order.alive():
            return
        order.triggered = order.triggered or kind_of(order) in STOPS
        if self._locked(order, price):
            return
        if order.isbuy():
            self._buy(order, chance.match)
        else:
            self._sell(order, chance.match, coverage)
        if order.status == bt.Order.Completed:
            self._bracketize(order)  # its children wake, or its siblings go

    def _buy(self, order: bt.Order, match: Match) -> None:
        wanted = self._within_volume(order, order.executed.remsize)
        if wanted <= 0:
            return
        terms = self._terms(order, match.price)
        costs = self._costs.of(order.data.symbol)
        size = costs.affordable(self._cash_for(order, match.stage), wanted, terms)
        if size < wanted and not costs.takes(size + order.executed.size, match.price):
            size = 0.0
        if size < wanted:
            order.addinfo(cash_cut=True)
        if size > 0:
            self._book(order, size, terms)
            if match.stage is Stage.INSIDE:
                self._bought_inside[order.data].append((size, match.price))
        elif order.executed.size:
            self._drop(order, order.cancel)
        else:
            self._refuse(order, order.margin)

    def _sell(self, order: bt.Order, match: Match, coverage: float) -> None:
        held, wanted = self._held_now(order), -order.executed.remsize
        if held <= 0:
            if order.executed.size:
                self._drop(order, order.cancel)
            else:
                self._refuse(order, order.reject)
            return
        if wanted >= held or same(wanted, held):  # no more than that is ever sold
            wanted, order.executed.remsize = held, -held
        size = self._within_volume(order, min(wanted, coverage))
        if size > 0:
            cash = self.cash
            self._book(order, -size, self._terms(order, match.price))
            if match.stage is Stage.OPEN:
                self._sold_at_open += self.cash - cash

    def _locked(self, order: bt.Order, price: float) -> bool:
        """Whether the price is at the exchange's limit for the day, against the order."""
        before = order.data.bars_before(1)
        if not len(before):
            return False
        close_before, costs = float(before[-1, CLOSE]), self._costs.of(order.data.symbol)
        return costs.is_locked(price, close_before, buying=order.isbuy())

    def _within_volume(self, order: bt.Order, wanted: float) -> float:
        """What this bar's volume has left for the portfolio of a size, in whole lots."""
        data = order.data
        if not data.has_volume:
            return wanted
        return self._costs.of(data.symbol).within_volume(
            wanted, data.volume[0], self._filled_now[data]
        )

    # Cash that is set aside

    def _free_cash(self, order: bt.Order | None = None) -> float:
        """The cash without what is set aside for other orders than this."""
        if not self._set_aside:
            return float(self.cash)
        others = (kept for other, kept in self._set_aside.values() if other is not order)
        return float(self.cash - sum(others))

    def _cash_for(self, order: bt.Order, stage: Stage) -> float:
        """What a buy can spend. Where its bar was open while others closed, that is what was set
        aside for it before; at the opening also what sales at openings up to then brought."""
        if not order.data.overlaps:
            return self._free_cash(order)
        _, own = self._set_aside.get(order.ref, (order, 0.0))
        sold = max(0.0, self._sold_at_open) if stage is Stage.OPEN else 0.0
        return float(min(self.cash, own + sold))

    def _spend(self, order: bt.Order, spent: float) -> None:
        """Take a fill's cash from what is set aside for its order, then from sales."""
        _, own = self._set_aside.get(order.ref, (order, 0.0))
        self._set_aside[order.ref] = (order, max(0.0, own - spent))
        self._sold_at_open -= max(0.0, spent - own)

    # Pricing and books

    def _terms(self, order: bt.Order, price: float) -> Terms:
        limit, liquidity = ask_of(order).worst_price, self._liquidity(order.data)
        return Terms(buying=order.isbuy(), reference_price=price, limit=limit, liquidity=liquidity)

    def _liquidity(self, data: CandleFeed) -> Liquidity:
        if not self._costs.of(data.symbol).impact:
            return Liquidity()
        bars = data.bars_before(LIQUIDITY_BARS)
        return Liquidity.of(bars[:, CLOSE], bars[:, VOLUME])

    def _book(self, order: bt.Order, size: float, terms: Terms) -> None:
        """Enter a fill of `size` (below 0: sold) into the account, the order and the ledger."""
        quote = self._costs.of(order.data.symbol).quote(abs(size), terms)
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
        self._record(order, size, quote.price, fees)
        if size > 0 and order.data.overlaps:
            self._spend(order, size * quote.price + fees)

    def _record(self, order: bt.Order, size: float, price: float, fees: float) -> None:
        """Backtrader's own record of a fill: the position, the order, who gave it."""
        data, position = order.data, self.positions[order.data]
        paid = position.price
        position.update(size, price, data.datetime.datetime())
        self._held[data] = position
        if not position.size:
            del self._held[data]
        if abs(order.executed.remsize - size) <= 1e-6 * self._costs.of(data.symbol).lot_size:
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


def same(one: float, other: float) -> bool:
    """Whether two sizes differ by rounding only."""
    return math.isclose(one, other, rel_tol=ROUNDING)
