"""Candles become model input: stamps of bars, normalised windows, training series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import load
from kronos import COLUMNS, InputError
from kronos.prepare import bar_stamps, normalise, session_dates, time_stamps
from kronos.training.dataset import CandleSeries


def ns(*times: str) -> np.ndarray:
    return pd.DatetimeIndex(times, tz="UTC").as_unit("ns").asi8


@pytest.mark.parametrize(
    ("close", "date"),
    [
        ("2024-07-03 20:00", "2024-07-03"),  # New York's close in summer
        ("2024-07-03 07:30", "2024-07-03"),  # Manila's
        ("2024-07-03 00:00", "2024-07-03"),  # a date alone
        ("2024-07-03 23:59:59", "2024-07-03"),  # the end of a UTC day
        ("2024-07-03 15:59:59", "2024-07-03"),  # of a day in Manila
        ("2024-07-04 03:59:59", "2024-07-03"),  # of a day in New York
        ("2024-01-01 04:59:59", "2023-12-31"),
    ],
)
def test_a_daily_bar_stands_for_the_date_of_its_session(close: str, date: str) -> None:
    assert session_dates(ns(close)).tolist() == ns(date).tolist()
    day = pd.Timestamp(date)
    want = [0, 0, day.day_of_week, day.day, day.month]
    assert bar_stamps(ns(close), daily=True).tolist() == [want]


def test_other_bars_are_stamped_by_their_close() -> None:
    times = ns("2024-02-29 13:05", "2024-03-03 00:59")
    assert bar_stamps(times, daily=False).tolist() == [[5, 13, 3, 29, 2], [59, 0, 6, 3, 3]]
    together = bar_stamps(np.stack([times, times]), np.array([False, True]))
    assert together.shape == (2, 2, 5)
    assert together[0].tolist() == bar_stamps(times, daily=False).tolist()
    assert together[1].tolist() == [[0, 0, 3, 29, 2], [0, 0, 6, 3, 3]]


@given(st.lists(st.integers(0, 2**61), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_stamps_are_those_of_each_time_alone(times: list[int]) -> None:
    close_ns = np.array(times)
    want = time_stamps(pd.DatetimeIndex(close_ns, tz="UTC"))
    np.testing.assert_array_equal(bar_stamps(close_ns, daily=False), want)
    dates = pd.DatetimeIndex(session_dates(close_ns), tz="UTC")
    np.testing.assert_array_equal(bar_stamps(close_ns, daily=True), time_stamps(dates))
    assert (dates == dates.normalize()).all()


@pytest.mark.parametrize("spec", ["sample:AAPL", "sample:ph"])
def test_a_training_series_of_the_samples_by_hand(spec: str) -> None:
    frame = next(iter(load(spec).frames.values()))
    series = CandleSeries.of(frame, daily=True)
    dates = pd.DatetimeIndex(frame.index).normalize().tz_localize(None)
    np.testing.assert_array_equal(series.values, frame[list(COLUMNS)].to_numpy(np.float32))
    np.testing.assert_array_equal(series.times, dates.to_numpy())
    assert (series.stamps[:, :2] == 0).all()
    np.testing.assert_array_equal(
        series.stamps[:, 2:], np.stack([dates.day_of_week, dates.day, dates.month], -1)
    )


def test_a_training_series_of_hours_keeps_its_times() -> None:
    index = pd.date_range("2024-01-01 01:00", periods=30, freq="h", tz="UTC")
    frame = pd.DataFrame(np.full((30, 6), 5.0), index, list(COLUMNS))
    series = CandleSeries.of(frame, daily=False)
    assert series.stamps[:3].tolist() == [[0, 1, 0, 1, 1], [0, 2, 0, 1, 1], [0, 3, 0, 1, 1]]
    np.testing.assert_array_equal(series.times, index.tz_localize(None).to_numpy())
    with pytest.raises(InputError, match="the frame's index must be a Series or DatetimeIndex"):
        CandleSeries.of(frame.reset_index(drop=True), daily=False)


@given(
    windows=st.integers(1, 4),
    bars=st.integers(1, 12),
    lookback=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_restoring_undoes_normalisation(windows: int, bars: int, lookback: int, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(50, 150, (windows, bars, 6)).astype(np.float32)
    normal = normalise(x, min(lookback, bars), clip=1e9)
    np.testing.assert_allclose(normal.restore(normal.values), x, rtol=1e-4)
    paths = np.stack([normal.values, normal.values + 1], 1)  # [B, S, W, 6]
    restored = normal.restore(paths)
    assert not np.shares_memory(restored, paths)
    np.testing.assert_array_equal(restored[:, 0], normal.restore(normal.values))
    assert normal.restore(paths, out=paths) is paths
    np.testing.assert_array_equal(paths, restored)
    for i in range(windows):
        np.testing.assert_array_equal(normalise(x[i], lookback, 1e9).values, normal.values[i])
