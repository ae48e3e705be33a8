"""What a strategy can see and do: now, no later; symbols with a bar; weights."""

import math
from types import SimpleNamespace

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from sandbox import SandboxError, Strategy
from sandbox.errors import StrategyError, WindowError
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel

FLAT = (100, 100, 100, 100)
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"]


def test_late_listers_and_missing_bars_are_not_tradable(candles, trade):
    seen = []

    class Look(Strategy):
        def next(self):
            seen.append((f"{self.now:%m-%d}", "".join(data.symbol for data in self.tradable())))

    late = candles([FLAT] * 2, [DAYS[2], DAYS[4]])
    trade({"A": candles([FLAT] * 5, DAYS[:5]), "B": late}, Look)
    assert seen == [
        ("01-01", "A"), ("01-02", "A"), ("01-03", "AB"), ("01-04", "A"), ("01-05", "AB"),
    ]  # fmt: skip


def test_a_symbol_is_tradable_once_its_indicators_have_warmed_up(candles, trade):
    seen = []

    class Slow(Strategy):
        def __init__(self):
            self.mean = bt.indicators.SMA(self.data, period=3)

        def next(self):
            seen.append(len(self.tradable()))

    trade({"A": candles([FLAT] * 5, DAYS[:5])}, Slow)
    assert seen == [0, 0, 1, 1, 1]


def test_bars_before_the_start_warm_up_but_are_not_traded(candles, trade):
    seen = []

    class Look(Strategy):
        def next(self):
            seen.append((f"{self.now:%m-%d}", len(self.data)))

    frame = candles([FLAT] * 6, DAYS)
    book = trade({"A": frame}, Look, start=pd.Timestamp("2024-01-04", tz="UTC"), warmup_bars=2)
    assert seen == [("01-04", 3), ("01-05", 4), ("01-08", 5)]
    assert len(book.equity) == 3


def test_no_later_bar_can_be_read(candles, trade):
    class Peek(Strategy):
        def next(self):
            for data in self.datas:
                with pytest.raises(IndexError):
                    data.close[1]

    other = candles([FLAT] * 3, [DAYS[0], DAYS[2], DAYS[5]])
    trade({"A": candles([FLAT] * 6, DAYS), "B": other}, Peek)


def test_two_symbols_at_one_price_are_two_symbols(candles, trade):
    class Compare(Strategy):
        def next(self):
            assert self.datas[1] not in self.datas[:1]

    trade({"A": candles([FLAT] * 2, DAYS[:2]), "B": candles([FLAT] * 2, DAYS[:2])}, Compare)


def test_target_weights_sell_what_is_not_named(candles, trade):
    class Switch(Strategy):
        def next(self):
            first, second = self.datas
            self.order_target_weights({first: 1.0} if len(self) < 3 else {second: 0.5})

    frames = {name: candles([FLAT] * 5, DAYS[:5]) for name in "AB"}
    book = trade(frames, Switch)
    assert fills(book) == [  # 1 % stays cash
        ("02", "A", "buy", 99), ("04", "A", "sell", 99), ("04", "B", "buy", 49)
    ]  # fmt: skip


def test_money_stuck_in_a_symbol_without_a_bar_is_not_spent_twice(candles, trade):
    class Switch(Strategy):
        def next(self):
            first, second = self.datas
            if len(self) == 1:
                self.order_target_weights({first: 0.6})
            if len(self) == 3:  # the first has no bar for now
                self.order_target_weights({second: 1.0})

    halted = candles([FLAT] * 3, [DAYS[0], DAYS[1], DAYS[5]])
    book = trade({"A": halted, "B": candles([FLAT] * 6, DAYS)}, Switch)
    assert fills(book) == [("02", "A", "buy", 59), ("04", "B", "buy", 40)]
    assert book.refused == 0


def fills(book):
    columns = ["symbol", "side", "size"]
    return [(f"{row.time:%d}", *row[columns]) for _, row in book.trades.iterrows()]


def test_what_is_kept_is_not_traded_whatever_it_is_worth(candles, trade):
    class Keep(Strategy):
        def next(self):
            first, second = self.datas
            if len(self) == 1:
                self.order_target_weights({first: 0.5})
            if len(self) == 3:  # worth 9800 of 14800 now
                self.order_target_weights({second: 0.2}, keep=[first])

    doubled = [FLAT, FLAT, *[(200, 200, 200, 200)] * 3]
    frames = {"A": candles(doubled, DAYS[:5]), "B": candles([FLAT] * 5, DAYS[:5])}
    # 0.2 of 14900 less 1 % at 100 are 29
    assert fills(trade(frames, Keep)) == [("02", "A", "buy", 49), ("04", "B", "buy", 29)]


def test_weights_are_shares_of_the_value_at_the_latest_closes(candles, trade):
    seen = []

    class Look(Strategy):
        def next(self):
            first, second = self.datas
            if len(self) == 1:
                self.order_target_weights({first: 0.5, second: 0.5})
            held = {data.symbol: weight for data, weight in self.weights().items()}
            seen.append((held, [data.symbol for data in self.held()]))

    doubled = [FLAT, FLAT, (200, 200, 200, 200)]
    trade({"A": candles(doubled, DAYS[:3]), "B": candles([FLAT] * 2, DAYS[:2])}, Look)
    assert seen[0] == ({}, [])
    assert seen[1] == ({"A": 0.49, "B": 0.49}, ["A", "B"])
    assert seen[2] == ({"A": 9800 / 14900}, ["A"])  # the data of B have ended, so it was sold


def test_bars_held_count_from_the_fill_that_opened_the_position(candles, trade):
    seen = []

    class Count(Strategy):
        def next(self):
            if len(self) in (1, 3, 7):
                self.buy(size=1)
            if len(self) in (4, 5):
                self.sell(size=1)
            seen.append(self.bars_held(self.data))

    trade({"A": candles([FLAT] * 9, "2024-01-01")}, Count)
    # bought in bar 2, more in bar 4, less in 5, all sold in bar 6, bought again in bar 8
    assert seen == [0, 1, 2, 3, 4, 0, 0, 1, 2]


def test_bars_held_are_those_of_the_symbol(candles, trade):
    seen = []

    class Count(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(self.datas[1], size=1)
            seen.append(self.bars_held(self.datas[1]))

    gappy = candles([FLAT] * 3, [DAYS[0], DAYS[1], DAYS[4]])
    trade({"A": candles([FLAT] * 5, DAYS[:5]), "B": gappy}, Count)
    assert seen == [0, 1, 1, 1, 2]


def test_lots_are_bought_whole_and_an_odd_one_is_sold_with_the_rest(candles, trade):
    class Lots(Strategy):
        def next(self):
            weight = {1: 0.5, 2: 0.8, 3: 0.25, 4: 0.0}.get(len(self))
            if weight is not None:
                self.order_target_weights({self.data: weight})

    frame = candles([(1, 1, 1, 1)] * 6, "2024-01-01")
    by_hundreds = Account(cash=10_050.0, costs=CostModel(lot_size=100))
    # 0.5, 0.8 and 0.25 of 9949.5: 4900, 7900 and 2400
    assert fills(trade({"A": frame}, Lots, by_hundreds)) == [
        ("02", "A", "buy", 4900), ("03", "A", "buy", 3000),
        ("04", "A", "sell", 5500), ("05", "A", "sell", 2400),
    ]  # fmt: skip


def test_fractions_are_lots_too(candles, trade):
    class Third(Strategy):
        def next(self):
            if len(self) in (1, 3):
                self.order_target_weights({self.data: 1 / 3})
            if len(self) == 4:
                self.order_target_weights({})
            if len(self) == 6:
                assert self.held() == []

    frame = candles([(30_000,) * 4] * 6, "2024-01-01")
    book = trade({"A": frame}, Third, Account(cash=10_000.0, costs=CostModel(lot_size=0.0001)))
    # 3300 at 30000 are 0.11; nothing is traded for a rounding error
    assert [(side, size) for _, _, side, size in fills(book)] == [
        ("buy", pytest.approx(0.11)), ("sell", pytest.approx(0.11))
    ]  # fmt: skip


class Halted(Strategy):
    """Wants the second symbol on the first bar, and something else two bars later."""

    then: dict

    def next(self):
        if len(self) == 1:
            self.order_target_weights(dict.fromkeys(self.datas, 0.3))
        if len(self) == 3:
            self.change(*self.datas)


@pytest.mark.parametrize(
    ("change", "bought"),
    [
        (lambda self, a, b: self.order_target_weights({a: 0.3, b: 0.3}), ["A", "B"]),
        (lambda self, a, b: self.order_target_weights({a: 0.3}, keep=[b]), ["A", "B"]),
        (lambda self, a, b: self.order_target_weights({a: 0.3}), ["A"]),
        (lambda self, a, b: self.order_target_weights({a: 0.3, b: 0.0}), ["A"]),
    ],
)
def test_an_order_waits_for_its_bar_while_it_is_wanted(candles, trade, change, bought):
    halted = candles([FLAT] * 2, [DAYS[0], DAYS[4]])
    strategy = type("Mine", (Halted,), {"change": change})
    book = trade({"A": candles([FLAT] * 6, DAYS), "B": halted}, strategy)
    assert book.trades["symbol"].tolist() == bought + ["B"] * ("B" in bought)  # sold at its end


@pytest.mark.parametrize(
    ("change", "sold"),
    [
        (lambda self, a, b: self.order_target_weights({a: 0.3}), True),
        (lambda self, a, b: self.order_target_weights({a: 0.3}, keep=[b]), False),
        (lambda self, a, b: self.order_target_weights({a: 0.3, b: 0.3}), False),
    ],
)
def test_a_sale_waits_for_its_bar_while_it_is_wanted(candles, trade, change, sold):
    class Leave(Strategy):
        def next(self):
            if len(self) == 1:
                self.order_target_weights(dict.fromkeys(self.datas, 0.3))
            if len(self) == 2:
                self.order_target_weights({self.data: 0.3})
            if len(self) == 4:
                change(self, *self.datas)

    halted = candles([FLAT] * 4, [DAYS[0], DAYS[1], DAYS[4], DAYS[5]])
    book = trade({"A": candles([FLAT] * 6, DAYS), "B": halted}, Leave)
    sales = [(day, symbol) for day, symbol, side, _ in fills(book) if side == "sell"]
    assert sales == [("05", "B")] * sold


def test_money_that_an_order_waits_with_is_not_spent_twice(candles, trade):
    class Spend(Halted):
        def next(self):
            first, second = self.datas
            if len(self) == 1:
                self.order_target_weights({second: 0.6})
            if len(self) == 3:  # the second has no bar, its order still waits
                self.order_target_weights({first: 0.9}, keep=[second])

    halted = candles([FLAT] * 3, [DAYS[0], DAYS[4], DAYS[5]])
    book = trade({"A": candles([FLAT] * 6, DAYS), "B": halted}, Spend)
    # 59 of B need 5900 of the 9900 that may be spent
    assert fills(book) == [("04", "A", "buy", 40), ("05", "B", "buy", 59)]


def test_what_the_volume_cap_left_of_a_kept_symbol_goes_on_being_bought(candles, trade):
    class Slow(Strategy):
        params = (("keeps", True),)

        def next(self):
            if len(self) == 1:
                self.order_target_weights({self.data: 1.0})
            if len(self) == 2:
                self.order_target_weights({}, keep=[self.data] if self.p.keeps else [])

    frame = candles([FLAT] * 5, DAYS[:5])
    frame["volume"] = 400.0  # 40 a bar
    capped = Account(cash=10_000.0, costs=CostModel(volume_cap_pct=10))
    book = trade({"A": frame}, Slow, capped)
    assert [size for *_, size in fills(book)] == [40, 40, 19]
    book = trade({"A": frame}, Slow, capped, params={"keeps": False})
    assert [(side, size) for *_, side, size in fills(book)] == [("buy", 40), ("sell", 40)]


def test_a_second_call_in_one_bar_replaces_the_first(candles, trade):
    class Twice(Strategy):
        def next(self):
            first, second = self.datas
            if len(self) == 1:
                self.order_target_weights({first: 0.9})
                self.order_target_weights({second: 0.5})

    book = trade({name: candles([FLAT] * 3, DAYS[:3]) for name in "AB"}, Twice)
    assert fills(book) == [("02", "B", "buy", 49)]


def test_forecasts_are_those_of_tradable_symbols_that_have_one(candles, trade):
    seen = []

    class ByName:
        def forecast(self, data):
            assert data.has_bar
            return None if data.symbol == "B" else foreseen(data.symbol, 1.0)

    class Look(Strategy):
        def next(self):
            seen.append([(data.symbol, f.symbol) for data, f in self.forecasts().items()])

    frames = {name: candles([FLAT] * 2, DAYS[:2]) for name in "AB"}
    trade(frames | {"C": candles([FLAT], DAYS[1:2])}, Look, signal=ByName())
    assert seen == [[("A", "A")], [("A", "A"), ("C", "C")]]


def foreseen(symbol, price):
    return SimpleNamespace(symbol=symbol, paths=np.full((2, 3, 6), price))


def test_a_forecast_with_a_price_that_is_no_number_is_none(candles, trade):
    seen = []

    class Broken:
        def forecast(self, data):
            forecast = foreseen(data.symbol, 1.0)
            if data.symbol != "C":
                forecast.paths[1, 1, 3 if data.symbol == "B" else 4] = math.nan
            return forecast

    class Look(Strategy):
        def next(self):
            seen.append([data.symbol for data in self.forecasts()])

    trade({name: candles([FLAT], DAYS[:1]) for name in "ABC"}, Look, signal=Broken())
    assert seen == [["A", "C"]]  # of A only a volume is broken


def test_a_symbol_is_found_by_its_name(candles, trade):
    class Find(Strategy):
        def next(self):
            assert self.getdatabyname("KO") is self.datas[1]
            self.getdatabyname("AAPL ")

    frames = {name: candles([FLAT] * 2, DAYS[:2]) for name in ("AAPL", "KO")}
    with pytest.raises(StrategyError, match=r"no symbol 'AAPL ' in this run; did you mean 'AAPL'"):
        trade(frames, Find)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (lambda self: self.order_target_weights({"A": 0.5}),
         "weights go by data feed, 'A' is none: use self.getdatabyname"),
        (lambda self: self.order_target_weights({self.data: 0.5}, keep=[self.data]),
         "A has a weight and is in keep: it can be one only"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_explained(candles, trade, order, message):
    wrong = type("Wrong", (Strategy,), {"next": order})
    with pytest.raises(StrategyError, match=message):
        trade({"A": candles([FLAT] * 2, DAYS[:2])}, wrong)


@pytest.mark.parametrize(
    ("weight", "message"),
    [(-0.1, "weight of A is -0.1: weights are 0 or more"), (1.2, "weights add up to 1.2000")],
)
def test_impossible_weights_are_refused(candles, trade, weight, message):
    class Bad(Strategy):
        def next(self):
            self.order_target_weights({self.data: weight})

    with pytest.raises(StrategyError, match=message):
        trade({"A": candles([FLAT] * 2, DAYS[:2])}, Bad)


def test_a_forecast_in_a_run_without_a_signal_says_so(candles, trade):
    class Asks(Strategy):
        def next(self):
            self.signal.forecast(self.data)

    with pytest.raises(SandboxError, match="Asks asked for a forecast in a run without one"):
        trade({"A": candles([FLAT] * 2, DAYS[:2])}, Asks)


def test_a_window_without_candles_is_refused(candles, trade):
    frame = candles([FLAT] * 2, DAYS[:2])
    late = pd.Timestamp("2025-01-01", tz="UTC")
    with pytest.raises(WindowError, match="no candles between 2025-01-01 and 2025-01-01"):
        trade({"A": frame}, Strategy, start=late, end=late)
