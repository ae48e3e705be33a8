"""Bars to come, told from the bars so far: the edges between open, shut and too little to tell."""

import numpy as np
import pandas as pd
import pytest

from sandbox.forecast.horizon import future_times, is_daily

HOUR_NS = 3_600 * 10**9
FIVE_AM_TO_FIVE_PM = (6, 12, 18)  # six-hour bars by their close: shut for twelve hours


def stamps(days, hours):
    """Every hour of every day named, in 2024; January 1 was a Monday."""
    return [f"2024-01-{day:02d} {hour:02d}:00" for day in days for hour in hours]


def goes_on(times, horizon):
    past = pd.DatetimeIndex(times, tz="UTC").as_unit("ns").asi8[None]
    index = pd.DatetimeIndex(future_times(past, horizon)[0], tz="UTC")
    return [f"{time:%d %H:%M}" for time in index]


def test_bars_twenty_hours_apart_are_daily_and_any_closer_are_not():
    times = pd.Timestamp("2024-01-01 01:00").value + 20 * HOUR_NS * np.arange(4)
    assert is_daily(times[None]).tolist() == [True]
    assert is_daily(times[None] - np.arange(4)).tolist() == [False]
    assert goes_on(times, 2) == ["04 13:00", "05 13:00"]  # a bar a day


@pytest.mark.parametrize(("first", "after_thursday"), [(1, "29"), (2, "26")])
def test_three_whole_weeks_show_which_days_are_shut(first, after_thursday):
    """Mondays to Thursdays up to Monday 22: from Monday 1 on that is 21 days, from Tuesday less,
    and then Friday may have been shut for holidays."""
    open_days = [day for day in range(first, 23) if day % 7 in (1, 2, 3, 4)]
    assert goes_on(stamps(open_days, [21]), 4) == [
        "23 21:00", "24 21:00", "25 21:00", f"{after_thursday} 21:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        # less than a day, and no gap above two bars: nothing is known of closing hours
        (stamps([3], [9, 10, 12, 13]), ["03 14:00", "03 15:00"]),
        # less than a day with a longer gap: it has hours
        (stamps([3], [9, 10, 11, 18, 19]), ["04 09:00", "04 10:00"]),
        # a whole day and more: a gap of two bars is a night
        (stamps([3, 4], FIVE_AM_TO_FIVE_PM), ["05 06:00", "05 12:00"]),
        # exactly a day is no longer too little to tell
        ([*stamps([3], FIVE_AM_TO_FIVE_PM), *stamps([4], [6])],
         ["04 12:00", "04 18:00", "05 06:00"]),
        # hours that begin at midnight
        (stamps([3, 4], range(9)), ["05 00:00", "05 01:00"]),
        # twenty hours a day count as round the clock, nineteen do not
        (stamps([3, 4], range(20)), ["04 20:00", "04 21:00"]),
        (stamps([3, 4], range(19)), ["05 00:00", "05 01:00"]),
        # round the clock from Wednesday to Friday: Saturday follows, as nothing was ever shut
        (stamps([3, 4, 5], range(24)), ["06 00:00", "06 01:00"]),
        # round the clock but for a weekend: shut on the next one
        (stamps([4, 5, 8, 9, 10, 11, 12], range(24)), ["15 00:00", "15 01:00"]),
        # a gap of exactly a day, up to Saturday, shows that it can be shut: Monday follows
        ([*stamps([4, 5], range(20)), *stamps([6], [19])], ["08 00:00", "08 01:00"]),
    ],
)  # fmt: skip
def test_hours_go_on_as_they_were(past, expected):
    assert goes_on(past, len(expected)) == expected
