"""Fills on tables small enough to price by hand: what fills, when, at what price, at what cost."""

import math

import backtrader as bt
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.broker import Account
from sandbox.costs import CostModel
from sandbox.errors import StrategyError

BARS = [  # open, high, low, close
    (100, 102, 99, 101),
    (102, 104, 101, 103),
    (104, 106, 103, 105),
    (106, 108, 105, 107),
    (108, 110, 107, 109),
]
MOVED = [(100, 110, 100, 100), (110, 110, 110, 110), (99, 99, 99, 99), (100, 101, 99, 100)]


def account(cash=10_000.0, **costs):
    return Account(cash=cash, costs=CostModel(**costs))


def acting(plan):
    """A strategy that does `plan[n]` at its nth bar, the first being 1."""

    class Acting(Strategy):
        def next(self):
            if act := plan.get(len(self)):
                act(self)

    return Acting


def buy(size, **more):
    return lambda strategy: strategy.buy(size=size, **more)


def sell(size, **more):
    return lambda strategy: strategy.sell(size=size, **more)


def days_of(book):
    return [f"{time:%m-%d}" for time in book.trades["time"]]


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


# Kinds of orders


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


# Volume


def test_what_the_volume_cap_leaves_over_is_carried_to_later_bars(candles, trade):
    frame = candles(BARS, "2024-01-01", volume=[1000, 200, 100, 1000, 1000])
    seen = []

    class Buying(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(size=45)

        def notify_order(self, order):
            seen.append(order.getstatusname())
            super().notify_order(order)

    costs = account(volume_cap_pct=10, commission_bps=10, min_commission=3)
    book = trade({"A": frame}, Buying, costs)
    assert book.trades["size"].tolist() == [20.0, 10.0, 15.0]
    assert book.trades["price"].tolist() == [102.0, 104.0, 106.0]
    assert book.trades["commission"].tolist() == [3.0, 3.0, 3.0]  # the minimum in each bar
    assert days_of(book) == ["01-02", "01-03", "01-04"]
    assert seen == ["Submitted", "Accepted", "Partial", "Partial", "Completed"]


def test_orders_of_one_bar_share_its_volume(candles, trade):
    def two(strategy):
        strategy.buy(size=15)
        strategy.buy(size=15)

    frame = candles(BARS, "2024-01-01", volume=200)
    book = trade({"A": frame}, acting({1: two}), account(volume_cap_pct=10))
    assert book.trades.groupby("time")["size"].sum().tolist() == [20.0, 10.0]


def test_an_order_is_complete_when_only_a_rounding_error_is_left(candles, trade):
    done = []

    class Two(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(size=0.1)
                self.buy(size=0.2)  # 0.3 - 0.1 is a little less

        def notify_order(self, order):
            if order.executed.size:
                done.append(order.getstatusname())

    frame = candles([(100, 100, 100, 100)] * 3, "2024-01-01", volume=3)
    trade({"A": frame}, Two, account(volume_cap_pct=10, lot_size=0.1))
    assert done == ["Completed", "Completed"]


def test_a_bar_without_volume_fills_nothing(candles, trade):
    frame = candles(BARS, "2024-01-01", volume=[1000, 0, 1000, 1000, 1000])
    book = trade({"A": frame}, acting({1: buy(5)}), account(volume_cap_pct=10))
    assert days_of(book) == ["01-03"]


def test_a_carried_order_can_be_cancelled(candles, trade):
    class Patient(Strategy):
        def next(self):
            if len(self) == 1:
                self.order = self.buy(size=45)
            if len(self) == 2:
                self.cancel(self.order)

    frame = candles(BARS, "2024-01-01", volume=200)
    book = trade({"A": frame}, Patient, account(volume_cap_pct=10))
    assert book.trades["size"].tolist() == [20.0]
    assert book.decisions["kind"].tolist() == ["market", "cancel"]
    assert book.decisions["size"].tolist() == [45.0, 25.0]


# Price limit


@pytest.mark.parametrize(("open_", "days"), [(110, ["01-03"]), (109, ["01-02"])])
def test_nothing_is_bought_at_an_open_that_is_limit_up(candles, trade, open_, days):
    bars = [(100, 100, 100, 100), (open_, 110, 100, 105), (106, 106, 106, 106)]
    frame = candles(bars, "2024-01-01")
    book = trade({"A": frame}, acting({1: buy(5)}), account(price_limit_pct=9.5))
    assert days_of(book) == days


def test_nothing_is_sold_at_an_open_that_is_limit_down(candles, trade):
    flat = (100, 100, 100, 100)
    bars = [flat, flat, (90, 91, 90, 90), (81, 81, 81, 81), (80, 80, 80, 80)]
    frame = candles(bars, "2024-01-01")
    book = trade({"A": frame}, acting({1: buy(5), 2: sell(5)}), account(price_limit_pct=9.5))
    assert days_of(book) == ["01-02", "01-05"]
    falling = acting({2: buy(5)})  # what falls to the limit can be bought
    assert days_of(trade({"A": frame}, falling, account(price_limit_pct=9.5))) == ["01-03"]


# Symbols that come, go and pause


def test_an_order_waits_for_a_symbol_that_has_no_bar(candles, trade):
    def buy_both(strategy):
        for data in strategy.datas:
            strategy.buy(data, size=1)

    days = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
    halted = candles([BARS[0], BARS[3], BARS[4]], [days[0], days[3], days[4]])
    book = trade({"A": candles(BARS, days), "B": halted}, acting({1: buy_both}))
    fills = book.trades.set_index("symbol")
    assert f"{fills.loc['A', 'time']:%m-%d}" == "01-02"
    assert f"{fills.loc['B', 'time']:%m-%d}" == "01-04"
    assert fills.loc["B", "price"] == 106.0


def test_neither_a_limit_nor_a_carried_order_fills_on_an_old_bar(candles, trade):
    def give(strategy):
        strategy.buy(strategy.datas[1], size=1, exectype=bt.Order.Limit, price=150)
        strategy.buy(strategy.datas[1], size=40)

    days = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
    halted = candles([BARS[0], BARS[1], BARS[4]], [days[0], days[1], days[4]], volume=200)
    frames = {"A": candles(BARS, days), "B": halted}
    book = trade(frames, acting({1: give}), account(volume_cap_pct=10))
    assert days_of(book) == ["01-02", "01-02", "01-05"]
    assert book.trades["size"].tolist() == [1.0, 19.0, 20.0]


ENDING = [(50, 51, 49, 50), (50, 52, 50, 52), (52, 55, 52, 54)]


def test_a_symbol_that_ends_while_held_is_sold_at_its_last_close(candles, trade):
    moved = [(60, 61, 49, 50), (48, 51, 48, 49), *ENDING]
    frames = {
        "A": candles([*BARS, BARS[0]], "2024-01-01"),
        "B": candles(moved, "2024-01-01", volume=10),
    }
    costs = account(
        commission_bps=10, min_commission=1, sell_tax_bps=50, slippage_bps=100, impact=0.1,
    )  # fmt: skip
    book = trade(frames, acting({3: lambda s: s.buy(s.datas[1], size=100)}), costs)
    bought, sold = book.trades.to_dict("records")
    assert sold["time"] == pd.Timestamp("2024-01-08 21:00", tz="UTC")  # the bar after its last
    assert bought["impact"] > 0
    assert (sold["symbol"], sold["side"], sold["size"]) == ("B", "sell", 100.0)
    assert sold["reference_price"] == 54.0
    assert sold["price"] == pytest.approx(53.46)  # 54 * 0.99
    assert sold["impact"] == 0.0
    assert sold["commission"] == pytest.approx(5.346 + 26.73)  # 10 and 50 bps of 5346
    cash = 10_000 - 100 * bought["price"] - bought["commission"]
    assert book.equity["value"].iloc[4] == pytest.approx(cash + 100 * 54)  # the last close
    assert book.equity["cash"].iloc[5] == pytest.approx(cash + 5346 - 32.076)
    assert book.equity["value"].iloc[5] == book.equity["cash"].iloc[5]
    assert book.decisions["symbol"].tolist() == ["B"]  # the settlement is nobody's decision


def test_a_settlement_knows_no_volume_cap_and_pays_for_buys(candles, trade):
    frames = {
        "A": candles(BARS, "2024-01-01"),
        "B": candles(ENDING, "2024-01-01", volume=1000),
    }
    plan = {1: lambda s: s.buy(s.datas[1], size=190), 3: lambda s: s.buy(s.datas[0], size=50)}
    book = trade(frames, acting(plan), account(volume_cap_pct=20))
    assert book.trades["symbol"].tolist() == ["B", "B", "A"]
    assert book.trades["size"].tolist() == [190.0, 190.0, 50.0]  # 500 of cash were left before
    assert book.refused == 0


def test_the_orders_of_a_symbol_that_ended_are_cancelled(candles, trade):
    seen = []

    class Hoping(Strategy):
        def next(self):
            ending = self.datas[1]
            if len(self) == 1:
                self.buy(ending, size=10)
            if len(self) == 2:
                self.sell(ending, size=10, exectype=bt.Order.Limit, price=99)
            if len(self) in (3, 4):  # on its last bar, and when it has ended
                self.buy(ending, size=10)

        def notify_order(self, order):
            if not order.alive():
                seen.append(order.getstatusname())
            super().notify_order(order)

    frames = {"A": candles(BARS, "2024-01-01"), "B": candles(ENDING, "2024-01-01")}
    book = trade(frames, Hoping)
    assert sorted(seen) == ["Canceled", "Canceled", "Canceled", "Completed", "Completed"]
    assert book.trades["side"].tolist() == ["buy", "sell"]
    assert book.refused == 0


def test_a_symbol_that_comes_back_after_the_run_is_kept(candles, trade):
    days = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
    paused = candles([BARS[0], BARS[1], BARS[4]], [days[0], days[1], days[4]])
    end = pd.Timestamp("2024-01-04 21:00", tz="UTC")
    frames = {"A": candles(BARS, days), "B": paused}
    book = trade(frames, acting({1: lambda s: s.buy(s.datas[1], size=1)}), end=end)
    assert book.trades["side"].tolist() == ["buy"]
    assert book.equity["value"].tolist() == [10_000.0, 10_001.0, 10_001.0, 10_001.0]


def test_a_symbol_cannot_be_traded_before_its_first_bar(candles, trade):
    frames = {"A": candles(BARS, "2024-01-01"), "B": candles(BARS[2:], "2024-01-03")}
    text = r"^buy of B before its first bar: take symbols from self.tradable\(\)$"
    with pytest.raises(StrategyError, match=text):
        trade(frames, acting({1: lambda s: s.buy(s.datas[1], size=1)}))


def test_cash_cannot_be_added_in_a_run(candles, trade):
    with pytest.raises(StrategyError, match=r"^add_cash\(5\): a run keeps the cash"):
        trade({"A": candles(BARS, "2024-01-01")}, acting({1: lambda s: s.broker.add_cash(5)}))
