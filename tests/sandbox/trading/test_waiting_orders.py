"""What does not fill in the next bar: for volume, for a price limit, for a bar that is missing."""

import backtrader as bt
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.errors import StrategyError
from tests.sandbox.trading.acting import BARS, account, acting, buy, days_of, sell

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


@pytest.mark.parametrize(
    "setting",
    [
        lambda broker: broker.set_cash(1e6),
        lambda broker: broker.setcash(1e6),
        lambda broker: broker.set_coc(True),  # fills at the close that was decided on
        lambda broker: broker.set_coo(True),
        lambda broker: broker.set_checksubmit(False),  # any size, any cash
    ],
)
def test_a_strategy_does_not_set_its_broker(candles, trade, setting):
    text = "^a strategy cannot set its broker: cash and costs are options of a run$"
    with pytest.raises(StrategyError, match=text):
        trade({"A": candles(BARS, "2024-01-01")}, acting({1: lambda s: setting(s.broker)}))


def test_two_symbols_that_end_together_are_both_sold(candles, trade):
    frames = {"A": candles(BARS, "2024-01-01")} | {
        name: candles(ENDING, "2024-01-01") for name in "BC"
    }

    def both(strategy):
        for data in strategy.datas[1:]:
            strategy.buy(data, size=10)

    book = trade(frames, acting({1: both}), account(min_commission=3, slippage_bps=10))
    assert book.trades["symbol"].tolist() == ["B", "C", "B", "C"]
    assert days_of(book)[2:] == ["01-04", "01-04"]
    assert book.trades["price"].tolist()[2:] == pytest.approx([53.946] * 2)  # 54 * 0.999
    assert len(book.weights) == 4


def test_a_symbol_that_ends_with_the_run_is_still_held(candles, trade):
    book = trade({"B": candles(ENDING, "2024-01-01")}, acting({1: buy(10)}))
    assert book.trades["side"].tolist() == ["buy"]
    assert book.equity["value"].iloc[-1] == 10_040.0  # at the last close of 54
