"""The times of a page: all bars, or stretches of them by their last one."""

import numpy as np
import pandas as pd
import pytest

from reports.grid import MOST_POINTS, MOST_VALUES, Grid, all_times, points_for


def weekdays(count, first="2020-01-01"):
    return pd.bdate_range(first, periods=count, tz="UTC") + pd.Timedelta(hours=21)


def test_few_bars_are_all_points():
    times = weekdays(10)
    grid = Grid(times, 10)
    assert (grid.bars_per_point, list(grid.times)) == (1, list(times))
    assert grid.seconds == [int(time.timestamp()) for time in times]
    gap = pd.Series([1.0, np.nan, 3.0], times[:3])
    assert grid.values(gap, "last") == [1.0, None, 3.0, *[None] * 7]


@pytest.mark.parametrize("most", [1, 3, 4, 7, 99])
def test_many_bars_are_stretches_that_end_at_the_last_bar(most):
    times = weekdays(100)
    grid = Grid(times, most)
    assert len(grid.times) <= most
    assert grid.times[-1] == times[-1]
    series = pd.Series(np.random.default_rng(0).normal(size=100), times)
    assert grid.values(series, "last") == series[grid.times].tolist()
    assert min(grid.values(series, "min")) == series.min()
    size = grid.bars_per_point
    assert grid.values(series, "mean")[-1] == pytest.approx(series.iloc[-size:].mean())
    assert len(grid.values(series, "mean")) == len(grid.times)


def test_a_value_a_day_stands_at_every_bar_of_its_day():
    hours = pd.date_range("2020-01-01", periods=50, freq="h", tz="UTC")
    grid = Grid(hours)
    by_day = pd.Series([1.0, np.nan, 3.0], pd.date_range("2020-01-01", periods=3))
    assert grid.intraday
    assert grid.by_day(by_day, "last") == [1.0] * 24 + [None] * 24 + [3.0] * 2


def test_how_many_points_are_of_days_seen():
    grid = Grid(weekdays(10))  # Wed 1st to Tue 14th
    assert grid.first_after(pd.Timestamp("2019-12-31")) == 0
    assert grid.first_after(pd.Timestamp("2020-01-05")) == 3
    assert grid.first_after(pd.Timestamp("2021-01-01")) == 10


def test_a_page_of_many_lines_has_fewer_points():
    assert points_for(1) == MOST_POINTS
    assert points_for(1000) == MOST_VALUES // 1000
    assert points_for(10**9) == 2


def test_windows_are_united():
    early, late = weekdays(5), weekdays(5, "2020-01-06")
    united = all_times([early, late, early])
    assert list(united) == sorted(set(early) | set(late))
