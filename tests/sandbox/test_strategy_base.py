"""What a strategy can see and do: now, no later; symbols with a bar; weights."""

import backtrader as bt
import pandas as pd
import pytest

from sandbox import SandboxError, Strategy
from sandbox.errors import StrategyError, WindowError

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


def test_new_week_is_the_first_bar_and_the_first_of_each_week(candles, trade):
    weeks = []

    class Weeks(Strategy):
        def next(self):
            if self.new_week():
                weeks.append(f"{self.now:%m-%d}")

    days = [*DAYS[1:5], "2024-01-09", "2024-01-10"]  # no session on Monday the 8th
    start = pd.Timestamp("2024-01-03", tz="UTC")
    trade({"A": candles([FLAT] * 6, days)}, Weeks, start=start)
    assert weeks == ["01-03", "01-09"]


def test_target_weights_sell_what_is_not_named(candles, trade):
    class Switch(Strategy):
        def next(self):
            first, second = self.datas
            self.order_target_weights({first: 1.0} if len(self) < 3 else {second: 0.5})

    frames = {name: candles([FLAT] * 5, DAYS[:5]) for name in "AB"}
    book = trade(frames, Switch)
    fills = [tuple(fill) for fill in book.trades[["symbol", "side", "size"]].to_numpy()]
    assert fills == [("A", "buy", 99), ("A", "sell", 99), ("B", "buy", 49)]  # 1 % stays cash


def test_money_stuck_in_a_symbol_without_a_bar_is_not_spent_twice(candles, trade):
    class Switch(Strategy):
        def next(self):
            first, second = self.datas
            if len(self) == 1:
                self.order_target_weights({first: 0.6})
            if len(self) == 3:  # the first has no bar any more
                self.order_target_weights({second: 1.0})

    frames = {"A": candles([FLAT] * 2, DAYS[:2]), "B": candles([FLAT] * 5, DAYS[:5])}
    book = trade(frames, Switch)
    fills = [tuple(fill) for fill in book.trades[["symbol", "side", "size"]].to_numpy()]
    assert fills == [("A", "buy", 59), ("B", "buy", 40)]
    assert book.refused == 0


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
