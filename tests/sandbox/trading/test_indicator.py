"""KronosSignal: a forecast's figures as Backtrader lines, of the current bar and no other."""

import math

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.config import Sampling
from sandbox.errors import StrategyError
from sandbox.forecast.naive import NaiveSource
from sandbox.forecast.sources import KronosSource
from sandbox.run.portfolios import CurrentForecasts, shown_from
from sandbox.trading.indicator import KronosSignal
from tests.conftest import make_checkpoint

SAMPLING = Sampling(lookback=10, horizon=3, samples=5)


class Lines(Strategy):
    """Writes down, at each bar time and for each symbol, what the indicator shows."""

    def __init__(self):
        self.kronos = {data: KronosSignal(data) for data in self.datas}
        self.seen = {}
        type(self).last = self

    def next(self):
        for data, signal in self.kronos.items():
            if len(signal):
                figures = [line[0] for line in signal.lines]
                self.seen[self.now, data._name] = figures, signal.forecast()


def seen_in(trade, frames, book, strategy=Lines, **more):
    signal = CurrentForecasts()
    trade(frames, strategy, signal=signal, before_bar=shown_from(book, signal), **more)
    return strategy.last.seen


def kronos_book(frames, asofs=None):
    times = frames["A"].index if asofs is None else asofs
    return KronosSource(make_checkpoint(), store=None).book(frames, SAMPLING, times)


def test_lines_are_the_forecast_of_the_bar(market, trade):
    frames = market("AB", bars=20)
    seen = seen_in(trade, frames, kronos_book(frames))
    assert len(seen) == 40
    for (now, symbol), (figures, forecast) in seen.items():
        if frames[symbol].index.get_loc(now) < SAMPLING.lookback - 1:
            assert all(math.isnan(figure) for figure in figures)
            assert forecast is None
            continue
        assert (forecast.symbol, forecast.asof) == (symbol, now)
        assert figures == [
            forecast.expected_return(), forecast.uncertainty(), forecast.prob_up()
        ]  # fmt: skip


def test_any_signal_of_a_run_will_do(market, trade):
    frames = market("AB", bars=20)
    book = NaiveSource("momentum").book(frames, SAMPLING, frames["A"].index)
    seen = seen_in(trade, frames, book)
    (expected, _, _), _ = seen[frames["A"].index[15], "A"]
    closes = frames["A"]["close"].to_numpy()[6:16]
    assert expected == pytest.approx(3 * np.mean(closes[1:] / closes[:-1] - 1), abs=1e-6)


def test_off_the_schedule_there_is_nothing(market, trade):
    frames = market("A", bars=30)
    asofs = frames["A"].index[11::5]
    seen = seen_in(trade, frames, kronos_book(frames, asofs))
    shown = {now for (now, _), (figures, _) in seen.items() if not math.isnan(figures[0])}
    assert shown == set(asofs)


class WeeklyLines(Lines):
    params = (("rebalance", "week"),)


def test_the_schedule_is_the_strategy_s_own(market, trade):
    frames = market("A", bars=30)
    times = frames["A"].index
    every_bar = kronos_book(frames)  # as another strategy of the run may want it
    seen = seen_in(trade, frames, every_bar, WeeklyLines)
    shown = {now for (now, _), (_, forecast) in seen.items() if forecast is not None}
    assert shown == set(times[10::5])  # Mondays
    assert shown == {now for (now, _), (figures, _) in seen.items() if not math.isnan(figures[0])}


def test_a_symbol_without_a_bar_now_shows_nothing_and_keeps_its_past(market, trade):
    frames = market("AB", bars=20)
    gap = frames["B"].index[[14, 15]]
    frames["B"] = frames["B"].drop(gap)

    class Past(Lines):
        def next(self):
            super().next()
            signal = self.kronos[self.datas[1]]
            if self.now == gap[-1] + pd.Timedelta(days=1):
                self.before = signal.expected_return[-1]

    seen = seen_in(trade, frames, kronos_book(frames), Past)
    for missing in gap:
        figures, forecast = seen[missing, "B"]
        assert all(math.isnan(figure) for figure in figures)
        assert forecast is None
        assert not math.isnan(seen[missing, "A"][0][0])
    [expected, _, _], _ = seen[gap[0] - pd.Timedelta(days=1), "B"]
    assert Past.last.before == expected


def test_no_later_bar_is_ever_shown(market, trade):
    frames = market("AB", bars=30)
    cut = frames["A"].index[20]
    altered = {symbol: frame.copy() for symbol, frame in frames.items()}
    for frame in altered.values():
        frame.loc[frame.index > cut, ["open", "high", "low", "close"]] *= 1.5
    one = seen_in(trade, frames, kronos_book(frames))
    other = seen_in(trade, altered, kronos_book(altered))
    for (now, symbol), (figures, _) in one.items():
        if now <= cut:
            assert np.array_equal(figures, other[now, symbol][0], equal_nan=True)
    ahead = [figures for (now, _), (figures, _) in one.items() if now > cut]
    assert ahead != [figures for (now, _), (figures, _) in other.items() if now > cut]


def test_next_is_not_held_back(market, trade):
    frames = market("AB", bars=20)
    frames["B"] = frames["B"].iloc[8:]
    calls = []

    class Count(Lines):
        def next(self):
            super().next()
            calls.append([data._name for data in self.tradable()])

    seen = seen_in(trade, frames, kronos_book(frames), Count)
    assert len(calls) == 20
    assert calls[0] == ["A"]
    assert calls[8] == ["A", "B"]
    assert (frames["A"].index[0], "B") not in seen


def test_it_works_inside_another_indicator(market, trade):
    class Edge(bt.Indicator):
        lines = ("edge",)

        def __init__(self):
            self.signal = KronosSignal(self.data)

        def next(self):
            self.lines.edge[0] = self.signal.expected_return[0] / self.signal.uncertainty[0]

    class Nested(Strategy):
        def __init__(self):
            self.edge = Edge(self.data)
            type(self).edges = []

        def next(self):
            self.edges.append(self.edge[0])

    frames = market("A", bars=20)
    signal = CurrentForecasts()
    trade(frames, Nested, signal=signal, before_bar=shown_from(kronos_book(frames), signal))
    assert np.isnan(Nested.edges).tolist() == [True] * 9 + [False] * 11


def test_without_a_signal_it_says_so(market, trade):
    with pytest.raises(StrategyError, match="KronosSignal asked for a forecast in a run without"):
        trade(market("A", bars=20), Lines)
    cerebro = bt.Cerebro(runonce=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=market("A", bars=20)["A"].tz_localize(None)))

    class Plain(bt.Strategy):
        def __init__(self):
            KronosSignal(self.data)

    cerebro.addstrategy(Plain)
    with pytest.raises(StrategyError, match="KronosSignal needs candles of the sandbox's own"):
        cerebro.run()
