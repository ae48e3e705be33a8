"""A symbol is tradable and forecast only while it is a member of its universe."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feeds import bar_times, times_ns
from feeds.members import joined, were_members
from sandbox import Strategy
from sandbox.config import Sampling
from sandbox.errors import StrategyError
from sandbox.forecast.naive import NaiveSource
from sandbox.trading.broker import Account
from sandbox.trading.engine import Setup, run_backtest
from sandbox.trading.source import FrameSource

FREE_DAY = 86_400 * 10**9
SAMPLING = Sampling(lookback=3, horizon=2, samples=2)


@pytest.fixture
def run(market):
    """Trade two symbols over 12 days, of which A is a member from the 4th to the 6th and on the
    9th."""

    def go(strategy, frames=None, spans=((3, 5), (8, 8))):
        frames = frames or market(["A", "B"], bars=12)
        times = bar_times(frames)
        own = tuple((times[first].value, times[last].value) for first, last in spans)
        source = FrameSource(frames, times[0], times[-1], members={"A": own})
        setup = Setup(
            name="test", strategy=strategy, account=Account(cash=10_000.0), start=times[0]
        )
        return run_backtest(source, setup), times

    return go


def test_spans_are_joined_and_include_their_ends():
    assert joined([(5, 9), (1, 2), (3, 3), (7, 12)]) == ((1, 3), (5, 12))
    times = np.array([0, 1, 3, 4, 5])
    assert were_members({"A": ((1, 3), (5, 5))}, "A", times).tolist() == [0, 1, 1, 0, 1]
    assert were_members({}, "A", times).all()


def test_tradable_while_it_is_a_member(run):
    seen = []

    class Look(Strategy):
        def next(self):
            seen.append([data.symbol for data in self.tradable()])

    run(Look)
    assert [nth for nth, symbols in enumerate(seen) if "A" in symbols] == [3, 4, 5, 8]
    assert all("B" in symbols for symbols in seen)


def test_buying_what_is_no_member_is_an_error_that_says_so(run):
    class Buys(Strategy):
        def next(self):
            self.buy(self.getdatabyname("A"), size=1)

    with pytest.raises(StrategyError, match=r"buy of A after its bar of .*: it is no member"):
        run(Buys)


def test_what_is_held_can_be_sold_after_it_left(run):
    class Holds(Strategy):
        def next(self):
            a = self.getdatabyname("A")
            if len(a) == 4:
                self.buy(a, size=5)
            if len(a) == 8:
                assert not a.is_member
                assert self.held() == [a]
                self.sell(a, size=5)

    backtest, times = run(Holds)
    assert backtest.trades["time"].tolist() == [times[4], times[8]]
    assert backtest.trades["side"].tolist() == ["buy", "sell"]


def test_weights_do_not_buy_what_is_no_member_and_sell_it_where_they_have_none(run):
    class Both(Strategy):
        def next(self):
            a, b = (self.getdatabyname(name) for name in "AB")
            wanted = {a: 0.5, b: 0.5} if len(a) < 8 else {b: 0.5}
            self.order_target_weights(wanted)

    backtest, times = run(Both)
    own = backtest.trades[backtest.trades["symbol"] == "A"]
    buys, sells = (own[own["side"] == side]["time"].tolist() for side in ("buy", "sell"))
    assert buys[0] == times[4]  # decided at the close of its first bar as a member
    assert set(buys) <= set(times[4:7])
    assert times[8] in sells  # decided while it was none
    assert backtest.weights.query("symbol == 'A'")["time"].max() < times[8]


def test_a_buy_of_its_last_bar_fills_and_one_that_still_waits_is_cancelled(run):
    class Last(Strategy):
        def next(self):
            a = self.getdatabyname("A")
            if len(a) == 6:
                self.buy(a, size=1)
                self.waiting = self.buy(a, size=1, exectype=2, price=a.close[0] / 2)
            if len(a) > 6:
                assert not self.waiting.alive()

    backtest, times = run(Last)
    assert backtest.trades["time"].tolist() == [times[6]]


def test_forecasts_are_made_of_members_alone(market):
    frames = market(["A", "B"], bars=12)
    times = bar_times(frames)
    members = {"A": ((times[3].value, times[5].value), (times[8].value, times[8].value))}
    asked = []
    source = NaiveSource("momentum")
    book = source.book(frames, SAMPLING, times, lambda done, total: asked.append(total), members)
    assert asked == [4 + 10]
    made = [nth for nth, asof in enumerate(times) if book.at("A", asof) is not None]
    assert made == [3, 4, 5, 8]
    whole = source.book(frames, SAMPLING, times)
    for nth in made:  # the bars of before it was a member are looked back on
        alone, other = (each.at("A", times[nth]).paths for each in (book, whole))
        np.testing.assert_array_equal(alone, other)


def test_a_source_says_who_is_outside_since_when(market):
    frames = market(["A", "B"], bars=6)
    times = bar_times(frames)
    spans = {"A": ((times[2].value, times[3].value),), "C": ()}
    source = FrameSource(frames, times[0], times[-1], members=spans)
    outside = [source.outside(time.value) for time in times]
    assert [sorted(symbols) for symbols in outside] == [["A"], ["A"], [], [], ["A"], ["A"]]
    assert outside[0] is outside[1] and outside[2] is outside[3]
    assert source.bars_traded == 6 and times_ns(frames["A"])[-1] - times[0].value > 5 * FREE_DAY


def test_each_membership_is_a_series_to_train_on(market):
    from sandbox.checkpoints.series import series_before, series_hash, symbols_in

    frames = market(["A", "B"], bars=12)
    times = bar_times(frames)
    members = {"A": ((times[1].value, times[4].value), (times[7].value, times[11].value))}
    series = series_before(frames, np.datetime64("2023-01-17"), members)
    assert {name: len(own.times) for name, own in series.items()} == {
        "A span 1": 4, "A span 2": 4, "B": 11,
    }  # fmt: skip
    assert symbols_in(series) == 2
    assert series_hash(series) != series_hash(series_before(frames, np.datetime64("2023-01-17")))
    first = pd.DatetimeIndex(series["A span 2"].times)[0]
    assert first.date() == times[7].date()
