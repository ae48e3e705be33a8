"""When the next bars close, for the calendars that candles come with."""

import numpy as np
import pandas as pd
import pytest

from sandbox.horizon import future_times, is_daily


def after(index, horizon):
    stamps = pd.DatetimeIndex(index).as_unit("ns").asi8[None]
    return [f"{time:%a %d %H:%M}" for time in pd.DatetimeIndex(future_times(stamps, horizon)[0])]


def test_stocks_go_on_over_weekdays_at_the_time_of_the_last_bar():
    days = pd.bdate_range("2024-01-01", "2024-02-01") + pd.Timedelta(hours=21)
    assert after(days, 3) == ["Fri 02 21:00", "Mon 05 21:00", "Tue 06 21:00"]


def test_a_few_bars_without_a_monday_still_make_a_working_week():
    days = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"])
    assert after(days, 2) == ["Mon 08 00:00", "Tue 09 00:00"]


def test_markets_that_trade_on_weekends_do_so_ahead():
    days = pd.date_range("2024-01-01", "2024-02-02")
    assert after(days, 3) == ["Sat 03 00:00", "Sun 04 00:00", "Mon 05 00:00"]


def test_weekly_bars_stay_a_week_apart():
    fridays = pd.date_range("2024-01-05", periods=8, freq="7D")
    assert after(fridays, 2) == ["Fri 01 00:00", "Fri 08 00:00"]


def test_hours_of_a_market_that_never_shuts_follow_each_other():
    hours = pd.date_range("2024-01-01", periods=90, freq="h")  # ends on a Thursday
    assert after(hours, 8)[-1] == "Fri 05 01:00"


def test_intraday_bars_go_on_in_the_next_session():
    sessions = [
        day + pd.Timedelta(hours=hour)
        for day in pd.bdate_range("2024-01-01", "2024-01-05")
        for hour in (10, 11, 12, 14, 15)
    ]
    assert after(sessions, 3) == ["Mon 08 10:00", "Mon 08 11:00", "Mon 08 12:00"]
    assert after(sessions[:-2], 3) == ["Fri 05 14:00", "Fri 05 15:00", "Mon 08 10:00"]


@pytest.mark.parametrize(("spacing", "daily"), [("1D", True), ("4h", False), ("7D", True)])
def test_daily_is_told_by_spacing(spacing, daily):
    times = pd.date_range("2024-01-01", periods=30, freq=spacing).as_unit("ns").asi8
    assert is_daily(times[None]).tolist() == [daily]


def test_a_window_does_not_depend_on_its_neighbours():
    days = (pd.bdate_range("2023-01-02", periods=80) + pd.Timedelta(hours=21)).as_unit("ns").asi8
    hours = pd.date_range("2023-01-01", periods=40, freq="h").as_unit("ns").asi8
    together = future_times(np.stack([days[:40], hours, days[40:]]), 5)
    alone = [future_times(window[None], 5)[0] for window in (days[:40], hours, days[40:])]
    assert np.array_equal(together, np.stack(alone))
