"""When orders of each kind fill, and at what price before costs."""

import math

import backtrader as bt
import pandas as pd
import pytest

from sandbox.errors import StrategyError
from tests.sandbox.trading.acting import BARS, account, acting, buy, days_of, sell


def test_a_limit_order_is_never_filled_beyond_its_limit(candles, trade):
    limit = buy(1, exectype=bt.Order.Limit, price=102.05)
    costly = account(slippage_bps=10)
    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: limit}), costly)
    assert book.trades["price"].tolist() == pytest.approx([102.05])  # not 102.102
    assert book.trades["slippage"].tolist() == pytest.approx([0.05])


def test_a_limit_inside_the_bar_fills_at_the_limit_itself(candles, trade):
    plan = acting(
        {
            1: buy(1, exectype=bt.Order.Limit, price=101.5),
            2: sell(1, exectype=bt.Order.Limit, price=105.5),
        }
    )
    costly = account(slippage_bps=10)
    book = trade({"A": candles(BARS, "2024-01-01")}, plan, costly)
    assert book.trades["price"].tolist() == [101.5, 105.5]  # opens are 102 and 104
    assert book.trades["slippage"].tolist() == [0.0, 0.0]


def test_a_limit_out_of_reach_waits(candles, trade):
    limit = buy(1, exectype=bt.Order.Limit, price=90)
    bars = [*BARS[:3], (95, 96, 89, 95)]
    book = trade({"A": candles(bars, "2024-01-01")}, acting({1: limit}))
    assert days_of(book) == ["01-04"]
    assert book.trades["price"].tolist() == [90.0]


def test_a_stop_slips_from_its_trigger_or_from_a_gap(candles, trade):
    bars = [(100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 94, 96), (90, 91, 89, 90)]
    stops = {
        1: buy(2),
        2: lambda s: (
            s.sell(size=1, exectype=bt.Order.Stop, price=95),
            s.sell(size=1, exectype=bt.Order.Stop, price=93),
        ),
    }
    book = trade({"A": candles(bars, "2024-01-01")}, acting(stops), account(slippage_bps=100))
    sold = book.trades[1:]
    assert sold["reference_price"].tolist() == [95.0, 90.0]  # touched inside; gapped past
    assert sold["price"].tolist() == pytest.approx([94.05, 89.1])


def test_a_close_order_fills_at_the_next_close(candles, trade):
    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: buy(1, exectype=bt.Order.Close)}))
    assert days_of(book) == ["01-02"]
    assert book.trades["price"].tolist() == [103.0]


def test_the_stop_of_a_bracket_takes_the_target_with_it(candles, trade):
    bars = [(100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 94, 96), (120, 120, 120, 120)]
    bracket = {1: lambda s: s.buy_bracket(size=3, stopprice=95, limitprice=115, exectype=0)}
    book = trade({"A": candles(bars, "2024-01-01")}, acting(bracket))
    assert book.trades["side"].tolist() == ["buy", "sell"]
    assert book.trades["price"].tolist() == [100.0, 95.0]
    assert book.refused == 0
    assert book.decisions["kind"].tolist() == ["market", "stop", "limit"]


def test_one_of_a_group_cancels_the_other(candles, trade):
    def either(strategy):
        one = strategy.buy(size=1)
        strategy.buy(size=2, oco=one)

    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: either}))
    assert book.trades["size"].tolist() == [1.0]
    assert book.decisions["kind"].tolist() == ["market", "market"]  # the broker cancelled


def test_a_trailing_stop_follows_the_close(candles, trade):
    flat = (100, 100, 100, 100)
    bars = [flat, flat, (105, 110, 104, 110), (110, 111, 104, 106), (50, 50, 50, 50)]
    plan = {1: buy(1), 2: sell(1, exectype=bt.Order.StopTrail, trailamount=5)}
    book = trade({"A": candles(bars, "2024-01-01")}, acting(plan))
    assert days_of(book) == ["01-02", "01-04"]
    assert book.trades["price"].tolist() == [100.0, 105.0]  # 5 below the close of 110


def test_a_limit_order_lapses_when_its_time_is_over(candles, trade):
    limit = buy(1, exectype=bt.Order.Limit, price=95, valid=pd.Timedelta(days=1).to_pytimedelta())
    bars = [*BARS[:3], (95, 96, 89, 95)]
    book = trade({"A": candles(bars, "2024-01-01")}, acting({1: limit}))
    assert book.trades.empty


FLAT = (100, 101, 99, 100)


def bracket(size, symbol=0):
    return lambda s: s.buy_bracket(
        s.datas[symbol], size=size, stopprice=95, limitprice=115, exectype=bt.Order.Market
    )


def test_a_bracket_that_is_refused_goes_with_all_its_legs(candles, trade):
    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: bracket(1000)}))
    assert (book.refused, len(book.trades)) == (1, 0)
    assert book.decisions["kind"].tolist() == ["market", "stop", "limit"]


def test_a_bracket_is_cancelled_in_the_bar_it_was_given(candles, trade):
    def change_of_mind(strategy):
        strategy.cancel(bracket(10)(strategy)[0])

    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: change_of_mind}))
    assert (book.refused, len(book.trades)) == (0, 0)
    assert book.decisions["kind"].tolist() == ["market", "stop", "limit", "cancel"]


def test_what_was_bought_of_a_bracket_keeps_its_stop(candles, trade):
    bars = [(100, 100, 100, 100), (125, 125, 125, 125), (125, 125, 125, 125), (90, 90, 90, 90)]
    orders = {1: lambda s: s.buy_bracket(size=90, stopprice=95, limitprice=200, exectype=0)}
    book = trade({"A": candles(bars, "2024-01-01")}, acting(orders))
    # 10000 pays for 80 at 125; the other 10 are let go, the 80 are sold at the stop
    assert book.trades["size"].tolist() == [80.0, 80.0]
    assert book.trades["price"].tolist() == [125.0, 90.0]


@pytest.mark.parametrize("given_at", [1, 4])
def test_a_bracket_goes_when_its_symbol_ends(candles, trade, given_at):
    frames = {"A": candles([FLAT] * 7, "2024-01-01"), "B": candles([FLAT] * 4, "2024-01-01")}
    book = trade(frames, acting({given_at: bracket(10, symbol=1)}))
    assert days_of(book) == (["01-02", "01-05"] if given_at == 1 else [])
    assert book.refused == 0


def test_both_of_a_group_go_when_their_symbol_ends(candles, trade):
    def either(strategy):
        ending = strategy.datas[1]
        one = strategy.sell(ending, size=5, exectype=bt.Order.Limit, price=150)
        strategy.sell(ending, size=5, exectype=bt.Order.Stop, price=50, oco=one)

    frames = {"A": candles([FLAT] * 6, "2024-01-01"), "B": candles([FLAT] * 4, "2024-01-01")}
    book = trade(frames, acting({1: lambda s: s.buy(s.datas[1], size=5), 2: either}))
    assert days_of(book) == ["01-02", "01-05"]


def test_a_stop_that_was_triggered_sells_on_when_the_price_is_back(candles, trade):
    flat = (100, 100, 100, 100)
    bars = [flat, flat, (96, 96, 94, 95), (110, 110, 110, 110)]
    frame = candles(bars, "2024-01-01", volume=[1000, 1000, 50, 1000])
    stop = {1: buy(20), 2: sell(20, exectype=bt.Order.Stop, price=95)}
    book = trade({"A": frame}, acting(stop), account(volume_cap_pct=10))
    assert book.trades["size"].tolist() == [20.0, 5.0, 15.0]  # 5 are a tenth of 50
    assert book.trades["price"].tolist() == [100.0, 95.0, 110.0]


def test_what_sells_later_in_a_bar_does_not_pay_for_a_buy_at_its_open(candles, trade):
    def switch(exectype):
        def give(strategy):
            strategy.sell(size=99, exectype=bt.Order.Close)
            strategy.buy(strategy.datas[1], size=90, exectype=exectype)

        return give

    doubled = [(100, 100, 100, 100)] * 2 + [(100, 200, 100, 200)] * 2
    frames = {"A": candles(doubled, "2024-01-01"), "B": candles([FLAT] * 4, "2024-01-01")}
    at_open = trade(frames, acting({1: buy(99), 2: switch(bt.Order.Market)}))
    assert at_open.trades["size"].tolist() == [99.0, 1.0, 99.0]
    assert at_open.equity["cash"].min() >= 0
    at_close = trade(frames, acting({1: buy(99), 2: switch(bt.Order.Close)}))
    assert at_close.trades["size"].tolist() == [99.0, 99.0, 90.0]


def test_nobody_pays_to_sell(candles, trade):
    frame = candles(
        [(100, 110, 90, close) for close in (100, 110, 95, 100, 100)], "2024-01-01", 0.01
    )
    plan = {3: buy(1), 4: sell(1, exectype=bt.Order.Limit, price=-50)}
    book = trade({"A": frame}, acting(plan), account(cash=1e6, impact=50))
    assert book.trades["price"].iloc[1] == 0.0


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (buy(math.nan), "buy of A: size is nan, a finite number is needed"),
        (sell(math.inf), "sell of A: size is inf, a finite number is needed"),
        (buy(1, exectype=bt.Order.Limit, price=math.nan),
         "buy of A: price is nan, a finite number is needed"),
        (sell(1, exectype=bt.Order.StopTrail, trailamount=math.nan),
         "sell of A: trailamount is nan, a finite number is needed"),
        (buy(1, exectype="limit"),
         "buy of A: exectype 'limit' is not known, use one such as bt.Order.Limit"),
        (lambda s: s.broker.buy(s, s.data, -5), "buy of A: size is -5, it must be above 0"),
        (lambda s: s.broker.sell(s, s.data, -5), "sell of A: size is -5, it must be above 0"),
        (lambda s: s.broker.buy(s, s.data, 0), "buy of A: size is 0, it must be above 0"),
    ],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_an_error_at_once(candles, trade, order, message):
    reached = []

    def give(strategy):
        order(strategy)
        reached.append("the line after the order")

    with pytest.raises(StrategyError, match=f"^{message}$"):
        trade({"A": candles(BARS, "2024-01-01")}, acting({1: give}))
    assert reached == []


def test_an_order_that_a_copy_cancels_is_over_itself(candles, trade):
    alive = []

    def all_in(strategy):
        strategy.order = strategy.buy(size=90)

    frame = candles([(100, 100, 100, 100), (125, 125, 125, 125), (1, 1, 1, 1)], "2024-01-01")
    plan = {1: all_in, 2: lambda s: alive.append(s.order.alive())}
    trade({"A": frame}, acting(plan))  # cut to 80; the base strategy cancels the rest
    assert alive == [False]
