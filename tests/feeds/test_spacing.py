"""Laws of opening times told from spacing: never later than the truth, exact where it is one."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import feeds
from feeds.bars import NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND
from feeds.spacing import Times, closing_times, lengths_seen, usual_length  # fmt: skip

MINUTE = 60 * NS_PER_SECOND
LAWS = settings(max_examples=60, deadline=None)


def at(*texts: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(list(texts), tz="UTC")


def opened(closes: pd.DatetimeIndex | Times) -> Times:
    index = pd.DatetimeIndex(closes, tz="UTC") if isinstance(closes, np.ndarray) else closes
    return feeds.opening_times(index)


def shown(times: Times) -> list[str]:
    return [f"{moment:%m-%d %H:%M}" for moment in pd.DatetimeIndex(times)]


def session(day: pd.Timestamp, length: int, close: str) -> list[tuple[int, int]]:
    """The bars of one New York day as (open, close): the last is as short as it must be."""
    bounds = [
        (day + pd.Timedelta(clock)).tz_localize("America/New_York").value
        for clock in ("9h30min", close)
    ]
    starts = [bounds[0]] if length >= NS_PER_DAY else range(bounds[0], bounds[1], length)
    return [(start, min(start + length, bounds[1])) for start in starts]


def stock(first: str, length: int, days: int, early: int = 40) -> list[tuple[int, int]]:
    """Bars of `days` weekdays; every so many sessions one ends at 13:00."""
    return [
        bar
        for nth, day in enumerate(pd.bdate_range(first, periods=days))
        for bar in session(day, length, "13h" if nth % early == early - 1 else "16h")
    ]


def coin(first_ns: int, length: int, bars: int) -> list[tuple[int, int]]:
    return [(first_ns + length * nth, first_ns + length * (nth + 1)) for nth in range(bars)]


def columns(
    bars: list[tuple[int, int]], kept: NDArray[np.bool_] | None = None
) -> tuple[Times, Times]:
    table = np.array(bars, dtype=np.int64)
    table = table if kept is None else table[kept]
    return table[:, 0], table[:, 1]


@LAWS
@given(
    gaps=st.lists(st.integers(1, 10**15), max_size=60),
    repeated=st.lists(st.sampled_from([MINUTE, NS_PER_HOUR, NS_PER_DAY]), max_size=200),
)
def test_a_bar_opens_before_it_closes_and_not_before_the_last_one_closed(
    gaps: list[int], repeated: list[int]
) -> None:
    closes = np.cumsum(np.array([10**18, *gaps, *repeated], dtype=np.int64))
    opens = opened(closes)
    assert opens.dtype == np.int64 and opens.shape == closes.shape
    assert (opens < closes).all()
    assert (opens[1:] >= closes[:-1]).all()
    ends = closing_times(pd.DatetimeIndex(closes, tz="UTC"))  # as if they were openings
    assert (ends > closes).all() and (ends[:-1] <= closes[1:]).all()


@LAWS
@given(
    length=st.sampled_from([MINUTE, 5 * MINUTE, NS_PER_HOUR, 4 * NS_PER_HOUR, NS_PER_DAY]),
    bars=st.integers(200, 2000),
    density=st.sampled_from([0.5, 0.8, 0.97]),
    seed=st.integers(0, 2**32 - 1),
)
def test_missing_bars_leave_the_others_their_length(
    length: int, bars: int, density: float, seed: int
) -> None:
    kept = np.random.default_rng(seed).random(bars) < density
    opens, closes = columns(coin(0, length, bars), kept)
    assert np.array_equal(opened(closes), opens)
    assert np.array_equal(closing_times(pd.DatetimeIndex(opens, tz="UTC")), closes)


@pytest.mark.parametrize("seed", range(5))
def test_a_stock_that_trades_on_a_third_of_the_days_has_bars_of_a_day(seed: int) -> None:
    days = pd.bdate_range("2012-01-02", periods=2500, tz="UTC") + pd.Timedelta(hours=7)
    kept = days[np.random.default_rng(seed).random(len(days)) < 0.34]
    assert np.array_equal(opened(kept), kept.as_unit("ns").asi8 - NS_PER_DAY)
    assert usual_length(kept.as_unit("ns").asi8) == NS_PER_DAY


@LAWS
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from([MINUTE, 5 * MINUTE, 15 * MINUTE, NS_PER_HOUR, NS_PER_DAY]),
            st.integers(40, 300),
        ),
        min_size=1, max_size=3,
    ),
    density=st.sampled_from([0.7, 0.95, 1.0]),
    shut_days=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_no_bar_opens_late_where_the_length_changes(
    parts: list[tuple[int, int]], density: float, shut_days: int, seed: int
) -> None:
    bars: list[tuple[int, int]] = []
    for length, count in parts:
        start = bars[-1][1] + shut_days * NS_PER_DAY if bars else 0
        bars += coin(start, length, count)
    kept = np.random.default_rng(seed).random(len(bars)) < density
    opens, closes = columns(bars, kept)
    assert (opened(closes) <= opens).all()


@LAWS
@given(
    lengths=st.lists(
        st.sampled_from([5 * MINUTE, 15 * MINUTE, 30 * MINUTE, NS_PER_HOUR, NS_PER_DAY]),
        min_size=1, max_size=3,
    ),
    days=st.integers(30, 80),
    density=st.sampled_from([0.95, 1.0]),
    early=st.integers(15, 60),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_no_bar_opens_late_in_a_market_with_sessions(
    lengths: list[int], days: int, density: float, early: int, seed: int
) -> None:
    bars: list[tuple[int, int]] = []
    for nth, length in enumerate(lengths):
        first = pd.Timestamp("2023-01-09") + pd.Timedelta(days=150 * nth)
        bars += stock(str(first.date()), length, days, early)
    kept = np.random.default_rng(seed).random(len(bars)) < density
    opens, closes = columns(bars, kept)
    assert (opened(closes) <= opens).all()


@pytest.mark.parametrize("hours", [2, 3, 4])
def test_the_first_bar_of_a_session_may_be_as_long_as_the_night(hours: int) -> None:
    # with 4 hours from 09:30 to 16:00 no two bars that touch are as long as the first one
    opens, closes = columns(stock("2023-01-09", hours * NS_PER_HOUR, 120, early=80))
    assert (opened(closes) <= opens).all()


def test_the_half_hour_before_the_close_does_not_shorten_an_hourly_bar() -> None:
    opens, closes = columns(stock("2024-02-05", NS_PER_HOUR, 60))
    assert np.array_equal(opened(closes)[1:], opens[1:])
    last = closes == closes[-1]
    assert (closes - opens)[last] == NS_PER_HOUR // 2


def test_summer_time_moves_no_opening_behind_the_truth() -> None:
    local = pd.date_range("2023-01-01", "2024-12-31", tz="America/New_York")  # midnights
    closes = local.tz_convert("UTC").as_unit("ns").asi8
    opens = opened(closes)  # a day of 25 hours began 25 hours before
    assert np.array_equal(opens[1:], closes[:-1])


@pytest.mark.parametrize(
    ("stamps", "row", "expected"),
    [
        # a weekend after days, hours that follow days, days that follow hours
        (pd.bdate_range("2024-01-01", periods=20, tz="UTC") + pd.Timedelta(hours=21), 5,
         "01-07 21:00"),
        (pd.bdate_range("2024-01-01", periods=60, tz="UTC").union(
            pd.date_range("2024-04-01 09:00", periods=80, freq="h", tz="UTC")), 60, "03-31 09:00"),
        (pd.date_range("2024-01-01", periods=100, freq="h", tz="UTC").union(
            pd.date_range("2024-01-08", periods=60, tz="UTC")), 100, "01-07 00:00"),
        (pd.date_range("2024-01-01", periods=100, freq="5min", tz="UTC").union(
            pd.date_range("2024-01-02", periods=60, freq="h", tz="UTC")), 100, "01-01 23:00"),
    ],
)  # fmt: skip
def test_after_a_gap_a_bar_is_as_long_as_those_around_it(
    stamps: pd.DatetimeIndex, row: int, expected: str
) -> None:
    assert shown(opened(stamps)[row : row + 1]) == [expected]


def test_days_in_a_series_of_hours_are_not_taken_for_hours() -> None:
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC")
    hours = pd.date_range("2024-04-01", periods=2000, freq="h", tz="UTC")
    opens = opened(days.union(hours))
    assert (opens[: len(days)] <= days.as_unit("ns").asi8 - NS_PER_DAY).all()
    monday = hours[-1] + pd.Timedelta(hours=20)  # after a gap deep in the hours
    late = opened(days.union(hours).append(pd.DatetimeIndex([monday, monday + pd.Timedelta("1h")])))
    assert late[-2] == (monday - pd.Timedelta(hours=1)).value


def test_one_bar_and_two() -> None:
    assert shown(opened(at("2024-01-05 21:00"))) == ["01-04 21:00"]
    assert shown(opened(at("2024-01-05 10:00", "2024-01-05 10:05"))) == [
        "01-05 09:55",
        "01-05 10:00",
    ]
    assert not len(opened(pd.DatetimeIndex([], tz="UTC")))


def test_months_are_of_many_lengths() -> None:
    ends = pd.date_range("2022-01-31", periods=24, freq="ME", tz="UTC")
    whole = ends.drop(ends[10])
    firsts = whole - pd.offsets.MonthBegin(1)
    assert (opened(whole) <= firsts.as_unit("ns").asi8).all()


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (pd.bdate_range("2024-01-01", periods=60), [NS_PER_DAY]),
        (pd.date_range("2024-01-01", periods=900, freq="5min"), [5 * MINUTE]),
        (pd.bdate_range("2024-01-01", periods=200).union(
            pd.date_range("2025-01-01", periods=800, freq="h")), [NS_PER_HOUR, NS_PER_DAY]),
        (pd.date_range("2024-01-01", periods=1), [NS_PER_DAY]),
    ],
)  # fmt: skip
def test_which_lengths_a_series_has(stamps: pd.DatetimeIndex, expected: list[int]) -> None:
    assert lengths_seen(stamps.tz_localize("UTC")) == tuple(expected)


def test_the_philippine_sample_is_exact_with_its_holes() -> None:
    for symbol, frame in feeds.load("sample:ph").frames.items():
        closes = pd.DatetimeIndex(frame.index)
        exact = closes.as_unit("ns").asi8 - NS_PER_DAY
        assert np.array_equal(opened(closes), exact), symbol


def test_a_gap_of_hours_in_five_minute_bars_moves_no_opening() -> None:
    bars = pd.date_range("2018-01-10", periods=2000, freq="5min", tz="UTC")
    bars = bars.delete(range(700, 734))  # 2 h 50 min
    assert np.array_equal(opened(bars), bars.as_unit("ns").asi8 - 5 * MINUTE)


@pytest.mark.parametrize("lost_hours", [22, 24])
def test_a_gap_as_long_as_a_day_of_summer_time_in_hourly_bars(lost_hours: int) -> None:
    bars = pd.date_range("2018-01-10", periods=500, freq="h", tz="UTC")
    bars = bars.delete(range(200, 200 + lost_hours))
    assert np.array_equal(opened(bars), bars.as_unit("ns").asi8 - NS_PER_HOUR)


def test_half_a_million_bars_take_a_moment() -> None:
    bars = pd.date_range("2015-01-01", periods=500_000, freq="5min", tz="UTC")
    began = time.perf_counter()
    opened(bars[(bars.hour >= 14) & (bars.day_of_week < 5)])
    opened(bars)
    assert time.perf_counter() - began < 10  # a loop over the bars takes minutes
