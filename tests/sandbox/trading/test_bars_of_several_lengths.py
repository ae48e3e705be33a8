"""An order fills only in a bar that opens at its decision or later, whatever bars there are."""

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.errors import StrategyError
from tests.conftest import make_run
from tests.sandbox.trading.acting import account

HOURS = 3 * 24
DAY = 24


def hourly(closes=None):
    """Hourly bars from 2024-01-01 00:00 on that open where the last one closed."""
    closes = np.arange(101.0, 101.0 + HOURS) if closes is None else np.asarray(closes, float)
    opens = np.concatenate([[100.0], closes[:-1]])
    index = pd.date_range("2024-01-01 01:00", periods=len(closes), freq="h", tz="UTC", name="time")
    return frame_of(opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, index)


def frame_of(opens, highs, lows, closes, index):
    columns = {"open": opens, "high": highs, "low": lows, "close": closes}
    return pd.DataFrame(columns | {"volume": 1e6, "amount": 1e8}, index=index, dtype=float)


def longer(frame, hours=DAY):
    """Bars of so many hours each, stamped at their close."""
    groups = np.arange(len(frame)) // hours
    firsts, lasts = frame.groupby(groups).first(), frame.groupby(groups).last()
    highs, lows = frame.groupby(groups)["high"].max(), frame.groupby(groups)["low"].min()
    index = frame.index[hours - 1 :: hours][: len(firsts)]
    return frame_of(firsts["open"].array, highs.array, lows.array, lasts["close"].array, index)


def deciding(plan, **members):
    """A strategy that does `plan[text]` at the bar time `text`, such as "01-02 23"."""

    def next_(self):
        for act in [plan[key] for key in [f"{self.now:%m-%d %H}"] if key in plan]:
            act(self, *self.datas)

    return type("Deciding", (Strategy,), {"next": next_, **members})


def fills(book):
    return [
        (f"{fill.time:%m-%d %H}", fill.symbol, fill.side, fill.size, fill.reference_price)
        for fill in book.trades.itertuples()
    ]


@pytest.fixture
def market():
    short = hourly()
    return {"H": short, "D": longer(short)}


def test_an_order_does_not_fill_in_a_bar_that_is_open_when_it_is_given(market):
    plan = {"01-01 23": lambda s, h, d: None, "01-02 23": lambda s, h, d: s.buy(d, size=1)}
    book = make_run(market, deciding(plan))
    # the day that opened at 148 an hour before midnight of the 2nd is not for it, the next one is
    assert fills(book) == [("01-04 00", "D", "buy", 1, 148.0)]


def test_an_order_given_at_a_bars_opening_fills_in_that_bar(market):
    plan = {"01-02 00": lambda s, h, d: (s.buy(h, size=1), s.buy(d, size=1))}
    book = make_run(market, deciding(plan))
    assert fills(book) == [
        ("01-02 01", "H", "buy", 1, 124.0), ("01-03 00", "D", "buy", 1, 124.0),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [bt.Order.Limit, bt.Order.Stop, bt.Order.Close])
def test_limits_stops_and_closes_wait_for_the_next_bar_too(market, kind):
    price = None if kind == bt.Order.Close else 140.0
    plan = {"01-02 12": lambda s, h, d: s.buy(d, size=1, exectype=kind, price=price)}
    book = make_run(market, deciding(plan))
    filled = {bt.Order.Limit: [], bt.Order.Stop: [148.0], bt.Order.Close: [172.0]}[kind]
    assert [price for *_, price in fills(book)] == filled
    assert all(time == "01-04 00" for time, *_ in fills(book))


def test_opening_times_that_are_given_decide(market):
    plan = {"01-02 14": lambda s, h, d: s.buy(d, size=1)}
    closes = market["D"].index.as_unit("ns").asi8
    session = {"H": market["H"].index.as_unit("ns").asi8 - 3600 * 10**9}
    for opened, day in ((9, "01-03 00"), (11, "01-04 00")):  # hours before the close at midnight
        opens = session | {"D": closes - opened * 3600 * 10**9}
        assert [time for time, *_ in fills(make_run(market, deciding(plan), opens=opens))] == [day]


# Cancelling in a bar that is open


def test_a_cancellation_is_too_late_for_the_opening_of_a_bar_that_is_open(market):
    states = []
    plan = {
        "01-02 00": lambda s, h, d: setattr(s, "order", s.buy(d, size=1)),
        "01-02 23": lambda s, h, d: (s.cancel(s.order), s.cancel(s.order)),
        "01-03 00": lambda s, h, d: states.append(s.order.getstatusname()),
    }
    book = make_run(market, deciding(plan))
    assert fills(book) == [("01-03 00", "D", "buy", 1, 124.0)]
    assert states == ["Completed"]
    assert book.decisions["kind"].tolist() == ["market", "cancel"]  # said twice, one cancellation


def test_a_cancellation_before_the_bar_opens_holds(market):
    plan = {
        "01-01 12": lambda s, h, d: None,
        "01-02 00": lambda s, h, d: setattr(s, "order", s.buy(d, size=1)),
    }

    class AtOnce(deciding(plan)):
        def next(self):
            super().next()
            if f"{self.now:%m-%d %H}" == "01-02 00":
                self.cancel(self.order)

    assert fills(make_run(market, AtOnce)) == []


@pytest.mark.parametrize(("last", "filled"), [(105.0, []), (90.0, [96.0])])
def test_a_limit_that_may_have_been_met_before_it_was_cancelled_counts_if_that_is_worse(
    last, filled
):
    closes = np.full(HOURS, 100.0)
    closes[30:33] = 95.0  # in the morning of the second day
    closes[47:] = last  # from its last hour on
    short = hourly(closes)
    limit = {"size": 1, "exectype": bt.Order.Limit, "price": 96.0}
    plan = {
        "01-02 00": lambda s, h, d: setattr(s, "order", s.buy(d, **limit)),
        "01-02 23": lambda s, h, d: s.cancel(s.order),
    }
    book = make_run({"H": short, "D": longer(short)}, deciding(plan))
    assert [price for *_, price in fills(book)] == filled
    statuses = []
    plan["01-03 00"] = lambda s, h, d: statuses.append(s.order.alive())
    make_run({"H": short, "D": longer(short)}, deciding(plan))
    assert statuses == [False]


@pytest.mark.parametrize(("last", "sold"), [(100.0, [98.0]), (97.0, [])])
def test_a_stop_that_was_cancelled_while_its_bar_was_open_counts_if_that_is_worse(last, sold):
    closes = np.full(HOURS, 100.0)
    closes[30:33] = 97.0
    closes[47:] = last
    short = hourly(closes)

    def bid(strategy, h, d):
        strategy.buy(d, size=1, exectype=bt.Order.Limit, price=99.0)
        strategy.order = strategy.sell(d, size=1, exectype=bt.Order.Stop, price=98.0)

    plan = {"01-02 00": bid, "01-02 23": lambda s, h, d: s.cancel(s.order)}
    book = make_run({"H": short, "D": longer(short)}, deciding(plan))
    assert [price for *_, side, _, price in fills(book) if side == "sell"] == sold


# Cash for a bar that is open


def test_cash_for_a_bar_that_is_open_cannot_be_spent_elsewhere(market):
    plan = {
        "01-02 00": lambda s, h, d: s.buy(d, size=70),  # asks for 8680 of the 10 000
        "01-02 12": lambda s, h, d: s.buy(h, size=60),
    }
    book = make_run(market, deciding(plan))
    # all 10 000 are set aside, 1320 of them in case the day opens higher: 60 at 136 are refused
    assert fills(book) == [("01-03 00", "D", "buy", 70, 124.0)]
    assert book.refused == 1


def test_cash_that_is_freed_while_a_bar_is_open_does_not_pay_for_its_limit(market):
    closes = np.full(HOURS, 100.0)
    closes[30:33] = 95.0
    short = hourly(closes)
    far = {"exectype": bt.Order.Limit, "price": 500.0}
    plan = {
        "01-01 01": lambda s, h, d: s.buy(h, size=100),
        "01-02 00": lambda s, h, d: (
            s.sell(h, size=100, **far), s.buy(d, size=50, exectype=bt.Order.Limit, price=96.0),
        ),
        "01-02 20": lambda s, h, d: s.sell(h, size=100),
    }  # fmt: skip
    book = make_run({"H": short, "D": longer(short)}, deciding(plan))
    assert [(symbol, side) for _, symbol, side, *_ in fills(book)] == [("H", "buy"), ("H", "sell")]
    assert book.refused == 1  # the buy: its price was met in the morning, the cash came later


def test_what_is_beyond_the_cushion_of_an_open_bar_can_be_spent(market):
    plan = {
        "01-02 00": lambda s, h, d: s.buy(d, size=10),  # asks for 1240, so 1860 are set aside
        "01-02 12": lambda s, h, d: (s.buy(h, size=60), s.buy(h, size=59)),
    }
    book = make_run(market, deciding(plan))
    # 8140 pay for 59 at 136 and not for 60
    assert fills(book) == [
        ("01-02 13", "H", "buy", 59, 136.0), ("01-03 00", "D", "buy", 10, 124.0),
    ]  # fmt: skip
    assert book.refused == 1


def test_orders_of_several_lengths_share_the_cash_as_they_asked_for_it(market):
    plan = {"01-02 00": lambda s, h, d: (s.buy(d, size=40), s.buy(h, size=40))}
    assert len(fills(make_run(market, deciding(plan)))) == 2


def test_sales_at_the_opening_of_a_bar_pay_for_buys_at_it(market):
    market = market | {"E": market["D"]}
    plan = {
        "01-02 00": lambda s, h, d, e: s.buy(d, size=80),
        "01-03 00": lambda s, h, d, e: (s.sell(d, size=80), s.buy(e, size=75)),
    }
    book = make_run(market, deciding(plan))
    # 80 at 124 leave 80; they are sold at 148, and 75 of the other cost 11 100
    assert fills(book)[1:] == [
        ("01-04 00", "D", "sell", 80, 148.0), ("01-04 00", "E", "buy", 75, 148.0),
    ]  # fmt: skip


def test_orders_of_two_symbols_whose_bars_overlap_are_not_bound_together(market):
    def bound(strategy, h, d):
        one = strategy.buy(d, size=1)
        strategy.buy(h, size=1, exectype=bt.Order.Limit, price=50.0, oco=one)

    with pytest.raises(StrategyError, match="H and D hang on one another, but the bars"):
        make_run(market, deciding({"01-02 00": bound}))

    def child(strategy, h, d):
        parent = strategy.buy(h, size=1, transmit=False)
        strategy.sell(d, size=1, parent=parent)

    with pytest.raises(StrategyError, match="D and H hang on one another, but the bars"):
        make_run(market, deciding({"01-02 00": child}))


def test_bars_of_one_length_with_gaps_are_cancelled_and_paid_for_as_ever(candles):
    flat = (100, 100, 100, 100)
    days = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]
    frames = {"A": candles([flat] * 4, days), "B": candles([flat] * 2, [days[0], days[3]])}
    states = []

    class Mine(Strategy):
        def next(self):
            if len(self) == 1:
                self.order = self.buy(self.datas[1], size=90)
            if len(self) == 2:
                self.buy(self.datas[0], size=95)  # nothing is set aside for the other
            if len(self) == 3:
                self.cancel(self.order)
                states.append(self.order.getstatusname())

    book = make_run(frames, Mine, account=account())
    assert states == ["Canceled"]
    assert [(symbol, size) for _, symbol, _, size, _ in fills(book)] == [("A", 95)]


# Several timeframes


def test_an_hourly_strategy_has_a_daily_indicator():
    short = hourly(np.linspace(100, 140, HOURS))
    seen = {}

    class Trend(Strategy):
        """Hold the hourly series while it is above the mean of the last two days' closes."""

        def __init__(self):
            self.hourly, self.daily = self.getdatabyname("H"), self.getdatabyname("D")
            self.mean = bt.ind.SMA(self.daily, period=2)

        def next(self):
            if len(self.daily) < 2 or not self.hourly.has_bar:
                return
            seen[self.now] = self.mean[0]
            above = self.hourly.close[0] > self.mean[0]
            self.order_target_weights({self.hourly: 0.9} if above else {})

    book = make_run({"H": short, "D": longer(short)}, Trend)
    days = longer(short)["close"]
    assert seen[pd.Timestamp("2024-01-03 23:00", tz="UTC")] == days.iloc[:2].mean()
    assert min(seen) == days.index[1]  # from the second day's close on, not before
    assert fills(book)[0][:3] == ("01-03 01", "H", "buy")


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.cerebro.resampledata(s.data, timeframe=bt.TimeFrame.Days),
        lambda s: s.cerebro.replaydata(s.data, timeframe=bt.TimeFrame.Days),
        lambda s: s.data.resample(timeframe=bt.TimeFrame.Days),
        lambda s: s.data.addfilter(bt.filters.HeikinAshi),
    ],
)
def test_bars_made_of_bars_are_refused_with_what_to_do(market, ask):
    class Asking(Strategy):
        def __init__(self):
            ask(self)

    with pytest.raises(StrategyError, match="give them as a series of their own"):
        make_run(market, Asking)
