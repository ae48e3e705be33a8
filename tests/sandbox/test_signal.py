"""Forecasts for a backtest: computed ahead, seen one bar at a time, blind to the future."""

import numpy as np
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.errors import WindowError
from sandbox.signal import KronosSignal, forecast_one
from sandbox.windows import Sampling

SAMPLING = Sampling(lookback=10, horizon=3, samples=4)


def computed(predictor, frames, sampling=SAMPLING, **window):
    signal = KronosSignal(predictor, sampling)
    times = next(iter(frames.values())).index
    signal.compute(frames, window.get("start", times[0]), window.get("end", times[-1]))
    return signal


def record(trade, frames, signal):
    """What a strategy gets, per time and symbol."""
    got = {}

    class Ask(Strategy):
        def next(self):
            for data in self.datas:
                got[f"{self.now:%m-%d}", data._name] = self.signal.forecast(data)

    trade(frames, Ask, signal=signal)
    return got


def test_a_forecast_is_of_the_current_bar(market, predictor, trade):
    frames = market("AB", bars=20)
    for (day, symbol), forecast in record(trade, frames, computed(predictor, frames)).items():
        nth = [f"{time:%m-%d}" for time in frames[symbol].index].index(day)
        if nth < SAMPLING.lookback - 1:
            assert forecast is None
            continue
        assert (forecast.symbol, forecast.asof) == (symbol, frames[symbol].index[nth])
        assert forecast.close == frames[symbol]["close"].iloc[nth]
        assert forecast.paths.shape == (4, 3, 6)
        assert forecast.index[0] > forecast.asof


def test_a_symbol_without_a_bar_now_has_no_forecast(market, predictor, trade):
    frames = market("AB", bars=20)
    missing = frames["B"].index[15]
    frames["B"] = frames["B"].drop(missing)
    got = record(trade, frames, computed(predictor, frames))
    assert got[f"{missing:%m-%d}", "B"] is None
    assert got[f"{missing:%m-%d}", "A"] is not None


def test_the_future_does_not_change_a_forecast(market, predictor, trade):
    frames = market("AB", bars=30)
    altered = {symbol: frame.copy() for symbol, frame in frames.items()}
    cut = frames["A"].index[20]
    for frame in altered.values():
        frame.loc[frame.index > cut, ["open", "high", "low", "close"]] *= 1.7
    one = record(trade, frames, computed(predictor, frames))
    other = record(trade, altered, computed(predictor, altered))
    for (day, symbol), forecast in one.items():
        twin = other[day, symbol]
        if day > f"{cut:%m-%d}":
            continue
        assert (forecast is None) == (twin is None)
        assert forecast is None or np.array_equal(forecast.paths, twin.paths)


def test_a_forecast_does_not_depend_on_what_else_is_computed(market, predictor):
    frames = market("ABC", bars=40)
    asof = frames["B"].index[25]
    alone = forecast_one(predictor, SAMPLING, "B", frames["B"].loc[:asof], asof)
    signal = computed(predictor, frames)
    windows, paths, nth = signal._rows["B", asof.value]
    together = windows.forecast(nth, paths[nth])
    assert np.array_equal(alone.paths, together.paths)
    assert alone.index.equals(together.index)


def test_the_model_sees_exactly_the_lookback_at_midnights(market):
    calls = []

    class Spy:
        def sample_paths(self, x, x_stamp, y_stamp, _, *, sample_count, **__):
            calls.append((x, x_stamp, y_stamp))
            return np.ones((len(x), sample_count, y_stamp.shape[1], 6), dtype=np.float32)

    frame = market("A", bars=30)["A"]
    forecast_one(Spy(), SAMPLING, "A", frame, frame.index[19])
    [(x, x_stamp, y_stamp)] = calls
    assert np.array_equal(x[0], frame.iloc[10:20].to_numpy())
    assert not x_stamp[..., :2].any()
    assert not y_stamp[..., :2].any()
    assert x_stamp[0, -1].tolist() == [0, 0, 4, 27, 1]  # Friday 27 January
    assert y_stamp[0, 0].tolist() == [0, 0, 0, 30, 1]


def test_progress_counts_every_forecast(market, predictor):
    frames = market("AB", bars=20)
    told = []
    signal = KronosSignal(predictor, SAMPLING)
    index = frames["A"].index
    done = signal.compute(frames, index[0], index[-1], lambda *counts: told.append(counts))
    assert done == 22  # 20 - 10 + 1 a symbol
    assert told[-1] == (22, 22)


def test_too_little_history_is_told(market, predictor):
    frame = market("A", bars=20)["A"]
    with pytest.raises(WindowError, match="A has 5 bars up to 2023-01-06, and 10 are needed"):
        forecast_one(predictor, SAMPLING, "A", frame, frame.index[4])
    assert KronosSignal(predictor, SAMPLING).compute(
        {"A": frame}, pd.Timestamp("2023-01-02", tz="UTC"), frame.index[4]
    ) == 0  # fmt: skip
