"""Fills on tables small enough to price by hand: at what price, at what cost, for what cash."""

import math

import pandas as pd
import pytest

from sandbox import Strategy
from tests.sandbox.trading.acting import BARS, account, acting, buy, days_of, sell

MOVED = [(100, 110, 100, 100), (110, 110, 110, 110), (99, 99, 99, 99), (100, 101, 99, 100)]


# One cost at a time, then all of them


def test_market_orders_fill_at_the_next_open_with_slippage_and_commission(candles, trade):
    costly = account(commission_bps=20, slippage_bps=10)
    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: buy(10), 3: sell(10)}), costly)
    bought, sold = book.trades.to_dict("records")

    assert (bought["side"], bought["size"]) == ("buy", 10)
    assert bought["time"] == pd.Timestamp("2024-01-02 21:00", tz="UTC")  # the second bar
    assert bought["reference_price"] == 102.0
    assert bought["price"] == pytest.approx(102.102)  # 102 * 1.001
    assert bought["slippage"] == pytest.approx(1.02)  # 10 * 0.102
    assert bought["commission"] == pytest.approx(2.04204)  # 1021.02 * 0.002

    assert (sold["side"], sold["size"]) == ("sell", 10)
    assert sold["price"] == pytest.approx(105.894)  # 106 * 0.999
    assert sold["slippage"] == pytest.approx(1.06)
    assert sold["commission"] == pytest.approx(2.11788)  # 1058.94 * 0.002

    # 10000 - 1021.02 - 2.04204 + 1058.94 - 2.11788
    assert book.equity["cash"].iloc[-1] == pytest.approx(10_033.76008)
    # and 2.04204 + 2.11788 + 1.02 + 1.06 of costs come on top of it before costs
    assert book.equity["gross_value"].iloc[-1] == pytest.approx(10_040.0)


def test_without_costs_a_fill_is_at_the_open_itself(candles, trade):
    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: buy(10), 3: sell(10)}))
    assert book.trades["price"].tolist() == [102.0, 106.0]
    assert book.trades[["commission", "slippage", "impact"]].to_numpy().sum() == 0
    assert book.equity["value"].tolist() == [10_000, 10_010, 10_030, 10_040, 10_040]
    assert book.equity["gross_value"].tolist() == book.equity["value"].tolist()


def test_a_buy_at_an_open_that_is_the_high_slips_all_the_same(candles, trade):
    frame = candles([(100, 100, 100, 100), (100, 100, 95, 96)], "2024-01-01")
    book = trade({"A": frame}, acting({1: buy(10)}), account(slippage_bps=10))
    assert book.trades["price"].tolist() == pytest.approx([100.1])


def test_sell_tax_is_for_sells(candles, trade):
    book = trade(
        {"A": candles(BARS, "2024-01-01")},
        acting({1: buy(10), 3: sell(10)}),
        account(sell_tax_bps=60),
    )
    assert book.trades["commission"].tolist() == pytest.approx([0.0, 6.36])  # 1060 * 0.006


def test_the_minimum_fee_is_per_order_and_bar(candles, trade):
    def two_orders(strategy):
        strategy.buy(size=10)
        strategy.buy(size=60)

    frame = candles(BARS, "2024-01-01")
    fee = account(commission_bps=10, min_commission=5)
    book = trade({"A": frame}, acting({1: two_orders}), fee)
    # 10 cost 1020, of which 10 bps are 1.02; 60 cost 6120
    assert book.trades["commission"].tolist() == pytest.approx([5.0, 6.12])


def test_impact_looks_at_the_bars_before_the_fill(candles, trade):
    frame = candles(MOVED, "2024-01-01", volume=[500, 1000, 1500, 77])
    book = trade({"A": frame}, acting({3: buy(10)}), account(impact=0.5))
    # Returns of +10 % and -10 %: volatility sqrt(0.02); mean volume 1000, not that of the fill bar
    impact = 0.5 * math.sqrt(0.02) * math.sqrt(10 / 1000)
    (fill,) = book.trades.to_dict("records")
    assert fill["price"] == pytest.approx(100 * (1 + impact))
    assert fill["impact"] == pytest.approx(10 * 100 * impact)


def test_impact_looks_at_twenty_bars_and_no_more(candles, trade):
    wild = [(50, 200, 50, 50 if nth % 2 else 200) for nth in range(20)]
    calm = [(100, 100, 100, 100)] * 21
    frame = candles([*wild, *calm], "2024-01-01")
    costs = account(impact=1.0)
    nearly = trade({"A": frame}, acting({39: buy(10)}), costs).trades  # the 40th is the fill bar
    beyond = trade({"A": frame}, acting({40: buy(10)}), costs).trades
    assert nearly["impact"].iloc[0] > 0  # the twentieth bar back is the last wild one
    assert beyond["impact"].tolist() == [0.0]


def test_a_symbol_without_volume_has_neither_cap_nor_impact(candles, trade):
    frame = candles(MOVED, "2024-01-01", volume=0)
    book = trade({"A": frame}, acting({3: buy(10)}), account(impact=1.0, volume_cap_pct=10))
    assert book.trades[["size", "price", "impact"]].to_numpy().tolist() == [[10.0, 100.0, 0.0]]


def test_all_costs_together(candles, trade):
    frame = candles([*MOVED, (100, 100, 100, 100), (90, 90, 90, 90)], "2024-01-01")
    costs = account(
        commission_bps=10, min_commission=2, sell_tax_bps=50, slippage_bps=20, impact=0.5,
        volume_cap_pct=1.5,
    )  # fmt: skip
    book = trade({"A": frame}, acting({3: buy(15), 4: sell(5)}), costs)
    bought, sold = book.trades.to_dict("records")

    impact = 0.5 * math.sqrt(0.02) * math.sqrt(15 / 1000)
    price = 100 * (1 + 0.002 + impact)
    assert bought["price"] == pytest.approx(price)
    assert bought["slippage"] == pytest.approx(15 * 0.2)
    assert bought["impact"] == pytest.approx(15 * 100 * impact)
    assert bought["commission"] == 2.0  # 10 bps of about 1510 are less

    returns = [0.1, -0.1, 100 / 99 - 1]
    mean = sum(returns) / 3
    volatility = math.sqrt(sum((one - mean) ** 2 for one in returns) / 2)
    impact = 0.5 * volatility * math.sqrt(5 / 1000)
    assert sold["price"] == pytest.approx(100 * (1 - 0.002 - impact))
    assert sold["commission"] == pytest.approx(2.0 + 5 * sold["price"] * 0.005)

    cash = 10_000 - 15 * bought["price"] - 2 + 5 * sold["price"] - sold["commission"]
    assert book.equity["cash"].iloc[-1] == pytest.approx(cash)
    assert book.equity["value"].iloc[-1] == pytest.approx(cash + 10 * 90)
    assert book.equity["gross_value"].iloc[-1] == pytest.approx(10_000 - 1500 + 500 + 900)


def test_a_minimum_fee_takes_no_more_than_a_sale_brings(candles, trade):
    frame = candles([(100, 100, 100, 100), (100, 100, 100, 100), (1, 1, 1, 1)], "2024-01-01")
    book = trade(
        {"A": frame}, acting({1: buy(1), 2: sell(1)}), account(cash=107.0, min_commission=7)
    )
    assert book.trades["commission"].tolist() == [7.0, 1.0]
    assert book.equity["cash"].tolist() == [107.0, 0.0, 0.0]


# Cash


def test_a_buy_that_gaps_beyond_the_cash_is_cut_not_refused(candles, trade):
    def all_in(strategy):
        strategy.order_target_weights({strategy.data: 1.0})

    frame = candles([(100, 100, 100, 100), (125, 125, 125, 125), (1, 1, 1, 1)], "2024-01-01")
    book = trade({"A": frame}, acting({1: all_in}))
    # 99 shares were wanted at 100; 10000 pays for 80 at 125, and the other 19 are let go
    assert book.trades["size"].tolist() == [80]
    assert book.refused == 0


def test_a_cut_buy_leaves_cash_for_all_its_costs(candles, trade):
    frame = candles([(100, 100, 100, 100), (125, 125, 125, 125)], "2024-01-01")
    costs = account(slippage_bps=100, commission_bps=100, min_commission=20)
    book = trade({"A": frame}, acting({1: buy(90)}), costs)
    # One costs 126.25; 78 of them cost 9847.50 and 98.475, and 79 would cost 10 073.49
    assert book.trades["size"].tolist() == [78]
    assert book.equity["cash"].iloc[-1] == pytest.approx(10_000 - 9847.5 - 98.475)


def test_the_broker_says_which_orders_cash_has_cut(candles, trade):
    seen = []

    class Asking(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(size=90)

        def notify_order(self, order):
            if order.executed.size:
                seen.append((order.getstatusname(), order.info.cash_cut))
            super().notify_order(order)

    frame = candles([(100, 100, 100, 100), (125, 125, 125, 125), (1, 1, 1, 1)], "2024-01-01")
    book = trade({"A": frame}, Asking)
    assert seen == [("Partial", True), ("Canceled", True)]
    assert book.trades["size"].tolist() == [80]  # the other 10 do not come at 1


def test_an_order_beyond_the_cash_is_refused_and_counted(candles, trade):
    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: buy(1000)}))
    assert (book.refused, len(book.trades)) == (1, 0)


def test_orders_are_refused_from_the_one_on_that_the_cash_does_not_reach(candles, trade):
    def three(strategy):
        for _ in range(3):
            strategy.buy(size=45)  # 4545 each at the close of 101

    book = trade({"A": candles(BARS, "2024-01-01")}, acting({1: three}))
    assert (book.refused, book.trades["size"].tolist()) == (1, [45.0, 45.0])


def test_a_buy_for_which_no_cash_is_left_is_refused(candles, trade):
    def two(strategy):
        strategy.buy(size=50)
        strategy.buy(size=49)

    frame = candles([(100, 100, 100, 100), (200, 200, 200, 200)], "2024-01-01")
    book = trade({"A": frame}, acting({1: two}))
    assert book.trades["size"].tolist() == [50]  # 10000 at the doubled price: all the cash
    assert book.refused == 1


def test_sells_pay_for_buys_of_the_same_bar(candles, trade):
    def switch(strategy):
        strategy.buy(strategy.datas[1], size=95)  # given before the sell that pays for it
        strategy.sell(strategy.datas[0], size=98)

    frames = {name: candles([(100, 100, 100, 100)] * 4, "2024-01-01") for name in "AB"}
    book = trade(frames, acting({1: buy(98), 2: switch}), account(commission_bps=10))
    assert book.trades["side"].tolist() == ["buy", "sell", "buy"]
    assert book.trades["size"].tolist() == [98.0, 98.0, 95.0]
    assert set(days_of(book)[1:]) == {"01-03"}
    assert book.refused == 0


def test_nothing_is_sold_that_is_not_held(candles, trade):
    frame = candles(BARS, "2024-01-01")
    short = trade({"A": frame}, acting({1: sell(5)}))
    assert (short.refused, len(short.trades)) == (1, 0)
    more = trade({"A": frame}, acting({1: buy(3), 2: sell(5)}))
    assert (more.refused, more.trades["size"].tolist()) == (0, [3.0, 3.0])


# Lots


def test_fractional_lots(candles, trade):
    frame = candles([(30_000, 30_000, 30_000, 30_000)] * 3, "2024-01-01")
    all_in = {1: lambda s: s.order_target_weights({s.data: 1.0}), 2: lambda s: s.close()}
    book = trade({"A": frame}, acting(all_in), account(cash=100, lot_size=1e-6))
    # 99 of 100 are invested: 0.0033
    assert book.trades["size"].tolist() == pytest.approx([0.0033, 0.0033])
    assert book.weights["weight"].tolist() == pytest.approx([0.99])  # and none once it is sold


def test_an_order_is_cut_to_whole_lots(candles, trade):
    frame = candles(BARS, "2024-01-01")
    book = trade({"A": frame}, acting({1: buy(250)}), account(cash=50_000, lot_size=100))
    assert book.trades["size"].tolist() == [200.0]
    assert book.decisions["size"].tolist() == [250.0]  # as it was given
    less = trade({"A": frame}, acting({1: buy(99)}), account(cash=50_000, lot_size=100))
    assert (less.refused, len(less.trades)) == (1, 0)


def test_cash_and_volume_cut_to_whole_lots_too(candles, trade):
    frame = candles([(100, 100, 100, 100), (125, 125, 125, 125)], "2024-01-01")
    cash = trade({"A": frame}, acting({1: buy(400)}), account(cash=45_000, lot_size=100))
    assert cash.trades["size"].tolist() == [300.0]  # 360 would be paid for
    frame = candles([(100, 100, 100, 100)] * 3, "2024-01-01", volume=2500)
    volume = account(cash=50_000, lot_size=100, volume_cap_pct=10)
    book = trade({"A": frame}, acting({1: buy(400)}), volume)
    assert book.trades["size"].tolist() == [200.0, 200.0]  # 250 would be within the cap


@pytest.mark.parametrize(("all_", "one", "other"), [(0.3, 0.1, 0.2), (0.8, 0.1, 0.7)])
def test_a_position_sold_in_parts_leaves_nothing_behind(candles, trade, all_, one, other):
    assert all_ - one != other  # in floats: a little less, or a little more
    frame = candles([(100, 100, 100, 100)] * 6, "2024-01-01")
    plan = {1: buy(all_), 2: sell(one), 3: sell(other)}
    book = trade({"A": frame}, acting(plan), account(lot_size=0.1))
    assert len(book.trades) == 3
    assert len(book.weights) == 2  # the third bar's close is the last one it is held at
    assert book.equity["value"].iloc[-1] == pytest.approx(10_000)
