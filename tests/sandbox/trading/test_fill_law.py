"""Nothing can be earned on driftless walks: not by any mix of orders, not by any choice of bars.

The walks' prices are fair by construction, so a mean return well above 0 is money that fills have
made up. Every trick below made some, with public names alone, in one way or another of filling
orders; the last tests draw strategies of random orders.
"""

from __future__ import annotations

import os

import backtrader as bt
import pytest

from benchmarks.driftless import RandomOrders, books_of, even_market, mixed_market, t_of_returns
from sandbox import Strategy

MOST_T = 3.5


class Trick(Strategy):
    """Names of the symbols by what they are."""

    def named(self, name):
        return self.getdatabyname(name)

    @property
    def hour(self):
        return self.now.hour


class DayThatIsUp(Trick):
    """Late in the day, buy the day's own bar if the day has gone up; sell it the day after."""

    def next(self):
        hourly, daily = self.named("first-1h"), self.named("first-1d")
        if self.hour == 23 and len(hourly) > 23:
            if hourly.close[0] > hourly.open[-22]:
                self.buy(daily, size=90)
            elif self.getposition(daily).size:
                self.sell(daily, size=self.getposition(daily).size)


class CoinAtTheStocksClose(Trick):
    """At a session's close, hold the coin whose day is still open if the session has gone up."""

    def next(self):
        stock, coin = self.named("second-session"), self.named("first-1d")
        if stock.has_bar and len(coin):
            held = self.getposition(coin).size
            if stock.close[0] > stock.open[0] and not held:
                self.buy(coin, size=90)
            elif stock.close[0] < stock.open[0] and held:
                self.sell(coin, size=held)


class StockAtTheCoinsClose(Trick):
    """At an hour's close inside a session, trade the session's own bar."""

    def next(self):
        hourly, stock = self.named("first-1h"), self.named("second-session")
        if self.hour == 20 and len(stock):
            held = self.getposition(stock).size
            rose = hourly.close[0] > hourly.open[-5]
            if rose and not held:
                self.buy(stock, size=90)
            elif held and not rose:
                self.sell(stock, size=held)


class QuotesOnBothSides(Trick):
    """A limit buy below and a limit sell above, when nothing is held at the bar's open."""

    def next(self):
        data = self.datas[0]
        for order in list(self.broker.pending):
            self.cancel(order)
        if held := self.getposition(data).size:
            self.sell(data, size=held)
        else:
            self.buy(data, size=90, exectype=bt.Order.Limit, price=data.close[0] * 0.995)
            self.sell(data, size=90, exectype=bt.Order.Limit, price=data.close[0] * 1.005)


class TargetBeforeStop(Trick):
    """A close target and a close stop on what is held, the target given first."""

    params = (("bound", False), ("trailing", False))

    def next(self):
        data = self.datas[0]
        held = self.getposition(data).size
        if not held:
            self.buy(data, size=90)
            return
        for order in list(self.broker.pending):
            self.cancel(order)
        price = data.close[0] * 1.003
        target = self.sell(data, size=held, exectype=bt.Order.Limit, price=price)
        more = {"oco": target} if self.p.bound else {}
        if self.p.trailing:
            self.sell(data, size=held, exectype=bt.Order.StopTrail, trailpercent=0.003, **more)
        else:
            stop = data.close[0] * 0.997
            self.sell(data, size=held, exectype=bt.Order.Stop, price=stop, **more)


class TightBrackets(Trick):
    """Brackets whose legs are all met in most bars."""

    params = (("kind", bt.Order.Market),)

    def next(self):
        data = self.datas[0]
        if not self.getposition(data).size and not self.broker.pending:
            close = data.close[0]
            self.buy_bracket(
                data=data, size=90, exectype=self.p.kind, price=close * 0.998,
                limitprice=close * 1.002, stopprice=close * 0.994,
            )  # fmt: skip


class StopBuyAndLimitSell(Trick):
    """Buy a rise and sell a little higher, in one bar."""

    def next(self):
        data = self.datas[0]
        for order in list(self.broker.pending):
            self.cancel(order)
        close = data.close[0]
        self.buy(data, size=40, exectype=bt.Order.Stop, price=close * 1.002)
        self.sell(data, size=40, exectype=bt.Order.Limit, price=close * 1.004)


class RegretADay(Trick):
    """Buy the day at its start; late in the day, undo that if the day has gone down."""

    params = (("way", "cancel"),)

    def next(self):
        hourly, daily = self.named("first-1h"), self.named("first-1d")
        if not len(daily):
            return
        if self.hour == 0:
            for data in (daily, hourly):
                if held := self.getposition(data).size:
                    self.order = self.sell(data, size=held)
            if not self.held():
                self.order = self.buy(daily, size=90)
        elif self.hour == 22 and self.order.isbuy() and hourly.close[0] < hourly.open[-21]:
            if self.p.way == "cancel":
                self.cancel(self.order)
            else:  # on something that hardly matters for an hour
                self.buy(hourly, size=self.broker.getcash() * 0.98 // hourly.close[0])


class LimitInADay(Trick):
    """A limit buy of the day, cancelled late where it was met and prices went on falling."""

    def next(self):
        hourly, daily = self.named("first-1h"), self.named("first-1d")
        if not len(daily):
            return
        if self.hour == 0:
            if held := self.getposition(daily).size:
                self.sell(daily, size=held)
            price = daily.close[0] * 0.99
            self.order = self.buy(daily, size=60, exectype=bt.Order.Limit, price=price)
        elif self.hour == 23 and hourly.close[0] < self.order.created.price:
            self.cancel(self.order)


class PayLater(Trick):
    """Let a far sale pay for a limit buy of the day, and free the cash once the buy was a gain."""

    def next(self):
        hourly, daily, other = (self.named(n) for n in ("first-1h", "first-1d", "second-4h"))
        if not (len(daily) and len(other)):
            return
        if self.hour == 0:
            for order in list(self.broker.pending):
                self.cancel(order)
            if held := self.getposition(daily).size:
                self.sell(daily, size=held)
            if held := self.getposition(other).size:
                far = other.close[0] * 3
                self.sell(other, size=held, exectype=bt.Order.Limit, price=far)
            price = daily.close[0] * 0.99
            self.bid = self.buy(daily, size=90, exectype=bt.Order.Limit, price=price)
        elif self.hour == 8 and not self.getposition(other).size:
            self.buy(other, size=self.broker.getcash() * 0.98 // other.close[0])
        elif self.hour == 20 and hourly.close[0] > self.bid.created.price:
            self.close(other)


EVEN = [
    (QuotesOnBothSides, {}),
    (TargetBeforeStop, {}),
    (TargetBeforeStop, {"bound": True}),
    (TargetBeforeStop, {"trailing": True}),
    (TightBrackets, {}),
    (TightBrackets, {"kind": bt.Order.Limit}),
    (StopBuyAndLimitSell, {}),
]
MIXED = [
    (DayThatIsUp, {}),
    (CoinAtTheStocksClose, {}),
    (StockAtTheCoinsClose, {}),
    (RegretADay, {}),
    (RegretADay, {"way": "spend"}),
    (LimitInADay, {}),
    (PayLater, {}),
]


@pytest.mark.parametrize(("trick", "params"), EVEN)
def test_a_trick_inside_a_bar_earns_nothing(trick, params):
    assert t_of_returns(books_of(trick, even_market, 40, **params)) < MOST_T


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("trick", "params"), MIXED)
def test_a_trick_with_bars_of_several_lengths_earns_nothing(trick, params, exact):
    assert t_of_returns(books_of(trick, mixed_market, 40, exact=exact, **params)) < MOST_T


@pytest.mark.parametrize("mix", range(8))
def test_random_orders_earn_nothing(mix):
    market = mixed_market if mix % 2 else even_market
    assert t_of_returns(books_of(RandomOrders, market, 40, mix=mix)) < MOST_T


@pytest.mark.slow
@pytest.mark.parametrize("mix", range(8, 8 + int(os.environ.get("RANDOM_ORDER_MIXES", "24"))))
def test_many_mixes_of_random_orders_earn_nothing(mix):
    market = mixed_market if mix % 2 else even_market
    t = t_of_returns(books_of(RandomOrders, market, 100, mix=mix, exact=mix % 4 < 2))
    assert t < MOST_T, f"mix {mix}: t = {t:.2f}"
