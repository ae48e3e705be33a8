"""Where a bar does not show what came first, the worse order counts; all fills priced by hand."""

import backtrader as bt
import pytest

from sandbox import Strategy
from tests.sandbox.trading.acting import account, acting, buy, days_of, sell

FLAT = (100, 100, 100, 100)
BOTH_WAYS = (100, 103, 97, 100)  # nobody knows whether the high came first
LIMIT, STOP, CLOSE, TRAIL = bt.Order.Limit, bt.Order.Stop, bt.Order.Close, bt.Order.StopTrail


def rows(book):
    """Day, side, size and price of every fill."""
    columns = book.trades[["side", "size", "reference_price"]]
    return [
        (day, *row) for day, row in zip(days_of(book), columns.to_numpy().tolist(), strict=True)
    ]


def both(*orders):
    return lambda strategy: [order(strategy) for order in orders]


@pytest.fixture
def table(candles, trade):
    """Trade a plan, by bar, on one symbol with these bars."""

    def run(bars, plan, **costs):
        return trade({"A": candles(bars, "2024-01-01")}, acting(plan), account(**costs))

    return run


def test_a_limit_sell_is_not_covered_by_a_limit_buy_of_its_bar(table):
    quotes = both(
        sell(5, exectype=LIMIT, price=102), buy(5, exectype=LIMIT, price=98),
    )  # fmt: skip
    book = table([FLAT, BOTH_WAYS, (100, 101, 99, 101), (101, 105, 101, 104)], {1: quotes})
    # the buy may have come after the high: the sell waits, and 102 is met two bars later
    assert rows(book) == [("01-02", "buy", 5, 98), ("01-04", "sell", 5, 102)]
    assert book.refused == 0


def test_a_limit_sell_is_covered_by_what_is_held_or_bought_at_the_open(table):
    quotes = both(buy(5), sell(5, exectype=LIMIT, price=102))
    assert rows(table([FLAT, BOTH_WAYS], {1: quotes})) == [
        ("01-02", "buy", 5, 100), ("01-02", "sell", 5, 102),
    ]  # fmt: skip
    held = {
        1: buy(3),
        2: both(buy(4, exectype=LIMIT, price=98), sell(7, exectype=LIMIT, price=102)),
    }
    assert rows(table([FLAT, FLAT, BOTH_WAYS], held)) == [
        ("01-02", "buy", 3, 100), ("01-03", "buy", 4, 98), ("01-03", "sell", 3, 102),
    ]  # fmt: skip


@pytest.mark.parametrize("stop_first", [True, False])
@pytest.mark.parametrize("bound", [True, False])
def test_of_a_target_and_a_stop_the_stop_counts(table, stop_first, bound):
    def leave(strategy):
        target = {"size": 5, "exectype": LIMIT, "price": 102}
        stop = {"size": 5, "exectype": STOP, "price": 98}
        first, second = (stop, target) if stop_first else (target, stop)
        given = strategy.sell(**first)
        strategy.sell(**second, **({"oco": given} if bound else {}))

    book = table([FLAT, FLAT, BOTH_WAYS, BOTH_WAYS], {1: buy(5), 2: leave})
    assert rows(book) == [("01-02", "buy", 5, 100), ("01-03", "sell", 5, 98)]


def test_a_trailing_stop_comes_before_a_target(table):
    leave = both(
        sell(5, exectype=LIMIT, price=102), sell(5, exectype=TRAIL, trailamount=2),
    )  # fmt: skip
    assert rows(table([FLAT, FLAT, BOTH_WAYS], {1: buy(5), 2: leave}))[1:] == [
        ("01-03", "sell", 5, 98)
    ]


def test_of_two_entries_for_one_purse_the_dearer_counts(table):
    entries = both(
        buy(90, exectype=LIMIT, price=98), buy(5, exectype=STOP, price=102),
    )  # fmt: skip
    book = table([FLAT, BOTH_WAYS], {1: entries}, cash=9_330.0)
    # 5 at 102 cost 510; of the 8820 that are left, 90 at 98 cost all
    assert rows(book) == [("01-02", "buy", 5, 102), ("01-02", "buy", 90, 98)]
    assert book.equity["cash"].iloc[-1] == 0.0


def test_a_sale_inside_a_bar_pays_for_no_buy_inside_it(table):
    swap = both(
        sell(50, exectype=LIMIT, price=102), buy(60, exectype=LIMIT, price=98),
    )  # fmt: skip
    book = table([FLAT, FLAT, BOTH_WAYS], {1: buy(50), 2: swap})
    # 5000 of cash pay for 51 at 98; with the sale it would have been all 60
    assert rows(book)[1:] == [("01-03", "buy", 51, 98), ("01-03", "sell", 50, 102)]


def test_of_orders_that_cancel_one_another_the_one_that_gains_least_counts(table):
    def either(strategy):
        target = strategy.sell(size=5, exectype=LIMIT, price=102)
        strategy.buy(size=5, exectype=LIMIT, price=97, oco=target)

    up, down = (100, 103, 97, 103), (100, 103, 97, 97)
    # at 103 the sale at 102 has lost 1 a share and the buy at 97 has gained 6, at 97 they have
    # gained 5 and 0
    assert rows(table([FLAT, FLAT, up], {1: buy(5), 2: either}))[1:] == [("01-03", "sell", 5, 102)]
    assert rows(table([FLAT, FLAT, down], {1: buy(5), 2: either}))[1:] == [("01-03", "buy", 5, 97)]


def bracket(**more):
    return lambda strategy: strategy.buy_bracket(size=5, **more)


def test_a_bracket_that_fills_at_the_open_is_at_work_in_that_bar(table):
    at_market = {1: bracket(exectype=bt.Order.Market, stopprice=95, limitprice=102)}
    assert rows(table([FLAT, BOTH_WAYS, FLAT], at_market)) == [
        ("01-02", "buy", 5, 100), ("01-02", "sell", 5, 102),
    ]  # fmt: skip
    tight = {1: bracket(exectype=bt.Order.Market, stopprice=98, limitprice=102)}
    assert rows(table([FLAT, BOTH_WAYS, FLAT], tight))[1:] == [("01-02", "sell", 5, 98)]


def test_a_bracket_that_fills_inside_a_bar_can_be_stopped_out_there_and_not_reach_its_target(table):
    legs = {"exectype": LIMIT, "price": 99, "stopprice": 98, "limitprice": 102}
    low_first = [FLAT, (100, 103, 98.5, 100), (100, 101, 99, 100), (100, 104, 100, 104)]
    assert rows(table(low_first, {1: bracket(**legs)})) == [
        ("01-02", "buy", 5, 99), ("01-04", "sell", 5, 102),
    ]  # fmt: skip
    through_both = [FLAT, (100, 101, 97, 100), FLAT]
    assert rows(table(through_both, {1: bracket(**legs)})) == [
        ("01-02", "buy", 5, 99), ("01-02", "sell", 5, 98),
    ]  # fmt: skip


def test_a_stop_below_a_limit_buy_is_met_after_it_for_certain(table):
    legs = {"exectype": LIMIT, "price": 99, "stopprice": 98, "limitprice": 102}
    fallen = [FLAT, (100, 101, 96, 96), (95, 96, 95, 95)]
    assert rows(table(fallen, {1: bracket(**legs)})) == [
        ("01-02", "buy", 5, 99), ("01-02", "sell", 5, 98),
    ]  # fmt: skip


def test_a_stop_below_a_stop_buy_may_have_been_met_before_it(table):
    legs = {"exectype": STOP, "price": 101, "stopprice": 98, "limitprice": 105}
    for close, sold in ((100, ("01-02", "sell", 5, 98)), (97, ("01-03", "sell", 5, 95))):
        bars = [FLAT, (100, 103, 97, close), (95, 96, 95, 95)]
        # sold at 98 where that is worse than to hold on, else at the next open
        assert rows(table(bars, {1: bracket(**legs)})) == [("01-02", "buy", 5, 101), sold]


def test_a_stop_order_of_its_own_stops_out_what_was_bought_inside(table):
    orders = both(
        buy(5, exectype=LIMIT, price=99), sell(5, exectype=STOP, price=98),
        sell(5, exectype=LIMIT, price=102),
    )  # fmt: skip
    assert rows(table([FLAT, BOTH_WAYS, FLAT], {1: orders})) == [
        ("01-02", "buy", 5, 99), ("01-02", "sell", 5, 98),
    ]  # fmt: skip


def test_a_stop_buy_in_the_bar_of_its_target_waits_for_the_target(table):
    orders = both(buy(5, exectype=STOP, price=101), sell(5, exectype=LIMIT, price=102))
    book = table([FLAT, BOTH_WAYS, (100, 102.5, 100, 101)], {1: orders})
    assert rows(book) == [("01-02", "buy", 5, 101), ("01-03", "sell", 5, 102)]


def test_an_order_at_the_close_sells_whatever_was_bought_in_the_bar(table):
    orders = both(buy(5, exectype=LIMIT, price=98), sell(5, exectype=CLOSE))
    assert rows(table([FLAT, BOTH_WAYS], {1: orders})) == [
        ("01-02", "buy", 5, 98), ("01-02", "sell", 5, 100),
    ]  # fmt: skip


def test_sales_at_the_open_come_before_buys_whatever_their_kind(table):
    swap = both(buy(60), sell(50, exectype=LIMIT, price=101))
    book = table([FLAT, FLAT, (102, 102, 102, 102)], {1: buy(50), 2: swap})
    # 5000 and 50 * 102 of the sale pay for 60 at 102
    assert rows(book)[1:] == [("01-03", "sell", 50, 102), ("01-03", "buy", 60, 102)]


def test_the_legs_of_a_short_sale_that_cannot_be_are_refused(table):
    short = {1: lambda s: s.sell_bracket(size=5, exectype=0, stopprice=103, limitprice=97)}
    book = table([FLAT, BOTH_WAYS, BOTH_WAYS], short)
    assert (rows(book), book.refused) == ([], 1)


def test_an_order_that_cancels_another_is_told_once(candles, trade):
    seen = []

    class Told(Strategy):
        def next(self):
            if len(self) == 2:
                stop = self.sell(size=5, exectype=STOP, price=98)
                self.sell(size=5, exectype=LIMIT, price=102, oco=stop)
            elif len(self) == 1:
                self.buy(size=5)

        def notify_order(self, order):
            if order.issell():
                seen.append((order.exectype, order.getstatusname()))

    trade({"A": candles([FLAT, FLAT, BOTH_WAYS, FLAT], "2024-01-01")}, Told)
    assert seen[-2:] == [(STOP, "Completed"), (LIMIT, "Canceled")]
