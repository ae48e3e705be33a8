"""A portfolio that could not pay for a single lot takes down what it wanted and what it had."""

import backtrader as bt
import pytest

from sandbox import Strategy
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel


class Weighing(Strategy):
    def next(self):
        self.order_target_weights(dict.fromkeys(self.tradable(), 0.5))


class Ordering(Strategy):
    def next(self):
        if not self.position:
            self.buy(size=1)


class Percent(Strategy):
    def next(self):
        self.order_target_percent(target=0.9)


class Sizing(Strategy):
    def __init__(self):
        self.setsizer(bt.sizers.PercentSizer(percents=90))

    def next(self):
        self.buy()


class Limiting(Strategy):
    def next(self):
        if len(self) == 1:
            self.buy(exectype=bt.Order.Limit, price=self.data.close[0] * 2, size=1)


@pytest.mark.parametrize("strategy", [Weighing, Ordering, Percent, Sizing, Limiting])
def test_whichever_way_it_orders(strategy, market, trade):
    frames = market("AB", bars=5)
    book = trade(frames, strategy, Account(cash=50.0))
    assert book.trades.empty
    cheapest = {symbol: frame["close"] for symbol, frame in frames.items()}
    found = book.too_dear
    assert found.lot_cost in cheapest[found.symbol].to_numpy()
    assert found.lot_cost > found.money
    assert found.cash == 50.0


def test_it_is_the_cheapest_lot_that_was_wanted_and_the_money_that_was_there_for_it(market, trade):
    frames = market("AB", bars=5)
    book = trade(frames, Weighing, Account(cash=50.0))
    closes = {(s, t.value): c for s, f in frames.items() for t, c in f["close"].items()}
    (symbol, time_ns), close = min(closes.items(), key=lambda item: item[1])
    found = book.too_dear
    assert (found.symbol, found.time_ns, found.lot_cost) == (symbol, time_ns, close)
    assert found.money == pytest.approx(0.5 * 0.99 * 50)


def test_costs_and_lots_count(candles, trade):
    frames = {"A": candles([[100, 100, 100, 100]] * 4, "2024-01-01")}
    costs = CostModel(min_commission=1.0, slippage_bps=50.0)
    book = trade(frames, Ordering, Account(cash=101.2, costs=costs))
    assert book.trades.empty
    assert book.too_dear.lot_cost == pytest.approx(101.5)
    assert book.too_dear.money == 101.2
    lots = Account(cash=5_000.0, costs=CostModel(lot_size=100.0))
    book = trade(frames, Weighing, lots)
    assert book.too_dear.lot_cost == 10_000.0


def test_one_that_bought_what_it_wanted_or_wanted_too_many_has_none(candles, trade):
    frames = {"A": candles([[100, 100, 100, 100]] * 4, "2024-01-01")}
    assert trade(frames, Weighing, Account(cash=1_000.0)).too_dear is None

    class Greedy(Strategy):
        def next(self):
            self.buy(size=1_000)  # refused whole: it could have paid for ten

    book = trade(frames, Greedy, Account(cash=1_050.0))
    assert (len(book.trades), book.refused) == (0, 3)
    assert book.too_dear is None
