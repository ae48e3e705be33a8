"""Forecasts for a backtest: computed ahead, seen one bar at a time, blind to the future."""

import numpy as np
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.config import Sampling
from sandbox.errors import WindowError
from sandbox.forecast import backend as backend_module
from sandbox.forecast.backend import LocalBackend
from sandbox.forecast.sources import KronosSource, forecast_one
from sandbox.forecast.windows import Windows
from sandbox.run.portfolios import CurrentForecasts, shown_from
from tests.conftest import FakePredictor, make_checkpoint

SAMPLING = Sampling(lookback=10, horizon=3, samples=4)


def book_of(frames, asofs=None, sampling=SAMPLING, **options):
    source = KronosSource(make_checkpoint(), **{"store": None} | options)
    return source.book(
        frames, sampling, next(iter(frames.values())).index if asofs is None else asofs
    )


def record(trade, frames, signal):
    """What a strategy gets, per time and symbol."""
    got = {}

    class Ask(Strategy):
        def next(self):
            for data in self.datas:
                got[self.now, data._name] = self.signal.forecast(data)

    shown = CurrentForecasts()
    trade(frames, Ask, signal=shown, before_bar=shown_from(signal, shown))
    return got


def test_a_forecast_is_of_the_current_bar(market, trade):
    frames = market("AB", bars=20)
    for (now, symbol), forecast in record(trade, frames, book_of(frames)).items():
        nth = frames[symbol].index.get_loc(now)
        if nth < SAMPLING.lookback - 1:
            assert forecast is None
            continue
        assert (forecast.symbol, forecast.asof) == (symbol, now)
        assert forecast.close == frames[symbol]["close"].iloc[nth]
        assert forecast.paths.shape == (4, 3, 6)
        assert forecast.index[0] > forecast.asof
        assert forecast.index.tz == now.tz


def test_a_symbol_without_a_bar_now_has_no_forecast(market, trade):
    frames = market("AB", bars=20)
    missing = frames["B"].index[15]
    frames["B"] = frames["B"].drop(missing)
    got = record(trade, frames, book_of(frames))
    assert got[missing, "B"] is None
    assert got[missing, "A"] is not None


def test_only_the_bars_asked_for_are_forecast(market, trade):
    frames = market("AB", bars=30)
    asofs = frames["A"].index[4::5]  # the first has too little history
    book = book_of(frames, asofs)
    assert len(book) == book.computed == 2 * 5
    got = record(trade, frames, book)
    assert {now for (now, _), forecast in got.items() if forecast} == set(asofs[1:])
    every = record(trade, frames, book_of(frames))
    for at, forecast in got.items():
        assert forecast is None or np.array_equal(forecast.paths, every[at].paths)


def test_an_asof_of_another_symbol_is_none_of_ours(market):
    frames = market("AB", bars=30)
    frames["B"].index += pd.Timedelta(hours=1)
    windows = Windows.of(frames, SAMPLING, frames["B"].index[-2:])
    assert windows.symbols == ["B", "B"]


def test_the_future_does_not_change_a_forecast(market, trade):
    frames = market("AB", bars=30)
    altered = {symbol: frame.copy() for symbol, frame in frames.items()}
    cut = frames["A"].index[20]
    for frame in altered.values():
        frame.loc[frame.index > cut, ["open", "high", "low", "close"]] *= 1.7
    one = record(trade, frames, book_of(frames))
    other = record(trade, altered, book_of(altered))
    compared = 0
    for (now, symbol), forecast in one.items():
        twin = other[now, symbol]
        if now > cut or forecast is None:
            assert forecast or twin is None
            continue
        assert np.array_equal(forecast.paths, twin.paths)
        compared += 1
    assert compared == 2 * 12


def test_a_forecast_does_not_depend_on_what_else_is_computed(market, trade, monkeypatch):
    frames = market("ABC", bars=40)
    asof = frames["B"].index[25]
    alone = forecast_one(FakePredictor(), SAMPLING, "B", frames["B"].loc[:asof], asof)
    for size in (1, 7, 1024):
        monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", size)
        together = record(trade, frames, book_of(frames))[asof, "B"]
        assert np.array_equal(alone.paths, together.paths)
        assert alone.index.equals(together.index)


def test_pieces_are_small_enough_for_memory(market, monkeypatch):
    monkeypatch.setattr(backend_module, "PIECE_BYTES", 3 * 4 * 4 * 3 * 6)  # of three forecasts
    predictor = FakePredictor()
    windows = Windows.of(market("A", bars=20), SAMPLING, market("A", bars=20)["A"].index)
    pieces = list(LocalBackend(predictor).sample(windows, SAMPLING, None))
    assert predictor.asked == [len(rows) for rows, _ in pieces] == [3, 3, 3, 2]


def test_any_backend_will_do_in_any_order(market, trade):
    class Backwards:
        def sample(self, windows, sampling, tell):
            pieces = list(LocalBackend(FakePredictor()).sample(windows, sampling, tell))
            [(rows, paths)] = pieces
            for row in rows[::-1]:
                yield np.array([row]), paths[[row]]

    frames = market("AB", bars=20)
    one = record(trade, frames, book_of(frames))
    other = record(trade, frames, book_of(frames, backend=Backwards()))
    assert any(one.values())
    assert all(np.array_equal(f.paths, other[at].paths) for at, f in one.items() if f)


def test_symbols_may_have_gaps_and_begin_late(market):
    frames = market("AB", bars=40)
    frames["B"] = frames["B"].iloc[20:].drop(frames["B"].index[[25, 31]])
    windows = Windows.of(frames, SAMPLING, frames["A"].index)
    for nth, (symbol, asof_ns) in enumerate(zip(windows.symbols, windows.asof_ns, strict=True)):
        asof = pd.Timestamp(asof_ns, tz="UTC")
        own = Windows.of({symbol: frames[symbol].loc[:asof]}, SAMPLING, pd.DatetimeIndex([asof]))
        assert np.array_equal(own.future_ns[0], windows.future_ns[nth])
        assert np.array_equal(own.candles()[0], windows.candles()[nth])


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


def test_progress_counts_every_forecast(market):
    frames = market("AB", bars=20)
    told = []
    source = KronosSource(make_checkpoint(), store=None)
    index = frames["A"].index
    book = source.book(frames, SAMPLING, index, lambda *counts: told.append(counts))
    assert len(book) == 22  # 20 - 10 + 1 a symbol
    assert told[0] == (0, 22)
    assert told[-1] == (22, 22)


def test_too_little_history_is_told(market):
    frame = market("A", bars=20)["A"]
    with pytest.raises(WindowError, match="A has 5 bars up to 2023-01-06, and 10 are needed"):
        forecast_one(FakePredictor(), SAMPLING, "A", frame, frame.index[4])
    assert len(book_of({"A": frame}, frame.index[:5])) == 0


def test_a_forecast_is_as_of_a_bar(market):
    frame = market("A", bars=20)["A"]
    with pytest.raises(WindowError, match="A has no bar at 2023-01-27 22:00:00"):
        forecast_one(FakePredictor(), SAMPLING, "A", frame, frame.index[19] + pd.Timedelta(hours=1))
