"""Stamps that are dates: the days of daily, weekly and longer bars, in UTC and elsewhere."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import feeds
from tests.feeds.flat_bars import bars, closes, one, span


@pytest.mark.parametrize("declared", [None, "open"])
def test_a_date_is_its_whole_day(declared: feeds.Stamps | None) -> None:
    candles = one(["2024-01-05", "2024-01-08", "2024-01-09"], stamps=declared)
    assert span(candles, 0) == ("2024-01-05 00:00:00", "2024-01-05 23:59:59")
    assert span(candles, 1) == ("2024-01-08 00:00:00", "2024-01-08 23:59:59")
    assert candles.timing == (
        "Bars are stamped with dates: each opens at 00:00 and closes at 23:59:59 in UTC, as long "
        "as no --calendar gives its hours.",
    )


def test_the_date_and_the_week_of_a_bar_stay_those_of_its_stamp() -> None:
    days = pd.bdate_range("2024-01-01", periods=40)
    index = pd.DatetimeIndex(one(days)["A"].index)
    assert list(index.normalize().tz_localize(None)) == list(days)
    cut = feeds.from_frames({"A": bars(days)}).between("2024-01-08", "2024-01-12")
    assert closes(cut)[0][:10] == "2024-01-08" and closes(cut)[-1][:10] == "2024-01-12"


def test_dates_as_they_stand() -> None:
    candles = one(["2024-01-05", "2024-01-08", "2024-01-09"], stamps="close")
    assert closes(candles) == ["2024-01-05 00:00:00", "2024-01-08 00:00:00", "2024-01-09 00:00:00"]
    assert candles.timing == ()


def test_a_single_date() -> None:
    assert span(one(["2024-01-05"]), 0) == ("2024-01-05 00:00:00", "2024-01-05 23:59:59")


@pytest.mark.parametrize(
    ("stamps", "first", "last"),
    [
        (pd.date_range("2024-03-08", periods=6, tz="America/New_York"),
         ("2024-03-08 05:00:00", "2024-03-09 04:59:59"),
         ("2024-03-13 04:00:00", "2024-03-14 03:59:59")),
        (pd.date_range("2024-01-01", periods=6, tz="Asia/Tokyo"),
         ("2023-12-31 15:00:00", "2024-01-01 14:59:59"),
         ("2024-01-05 15:00:00", "2024-01-06 14:59:59")),
        (["2024-01-01T00:00:00-05:00", "2024-01-02T00:00:00-05:00"],
         ("2024-01-01 05:00:00", "2024-01-02 04:59:59"),
         ("2024-01-02 05:00:00", "2024-01-03 04:59:59")),
        # the zone's midnights, written in UTC: its summer time gives it away
        (pd.bdate_range("2024-01-01", "2024-06-28", tz="America/New_York").tz_convert("UTC"),
         ("2024-01-01 05:00:00", "2024-01-02 04:59:59"),
         ("2024-06-28 04:00:00", "2024-06-29 03:59:59")),
    ],
)  # fmt: skip
def test_a_date_of_another_zone_is_the_day_there(
    stamps: object, first: tuple[str, str], last: tuple[str, str]
) -> None:
    candles = one(stamps)
    assert (span(candles, 0), span(candles, -1)) == (first, last)


def test_days_of_23_and_25_hours_leave_no_hole_and_do_not_overlap() -> None:
    candles = one(pd.date_range("2024-01-01", "2024-12-31", tz="Europe/London"))
    ends = pd.DatetimeIndex(candles["A"].index).as_unit("ns").asi8
    assert ((candles.opens["A"][1:] - ends[:-1]) == 10**9).all()


def test_closing_times_that_move_with_summer_time_are_no_dates() -> None:
    days = pd.bdate_range("2024-01-01", "2024-12-31", tz="America/Chicago") + pd.Timedelta("17h")
    candles = one(days.tz_convert("UTC"))
    assert closes(candles)[0] == "2024-01-01 23:00:00"
    assert "taken as the closing times" in candles.timing[0]


@pytest.mark.parametrize(
    ("stamps", "expected", "words"),
    [
        # Mondays, months and quarters by their first days, as pandas' "MS" and others write them
        (pd.date_range("2024-01-01", periods=8, freq="7D"), "2024-01-07", "Weekly .* first day"),
        (pd.date_range("2024-01-01", periods=8, freq="MS"), "2024-01-31", "Monthly .* first day"),
        (pd.date_range("2024-01-01", periods=8, freq="BMS"), "2024-01-31", "Monthly .* first day"),
        (pd.date_range("2024-01-01", periods=8, freq="QS"), "2024-03-31", "Quarterly .* first day"),
        (pd.date_range("2020-01-01", periods=5, freq="YS"), "2020-12-31", "Yearly .* first day"),
        # last days
        (pd.date_range("2024-01-05", periods=8, freq="7D"), "2024-01-05", "Weekly .* last day"),
        (pd.date_range("2024-01-07", periods=8, freq="7D"), "2024-01-07", "Weekly .* last day"),
        (pd.date_range("2024-01-31", periods=8, freq="ME"), "2024-01-31", "Monthly .* last day"),
        (pd.date_range("2024-01-31", periods=8, freq="BME"), "2024-01-31", "Monthly .* last day"),
        (pd.date_range("2020-12-31", periods=5, freq="YE"), "2020-12-31", "Yearly .* last day"),
        # neither: known the latest
        (pd.date_range("2024-01-03", periods=8, freq="7D"), "2024-01-09", "Weekly .* may be"),
        (pd.date_range("2024-01-01", periods=8, freq="3D"), "2024-01-03", "3-day .* may be"),
        (pd.date_range("2024-01-15", periods=8, freq="MS") + pd.Timedelta("14D"), "2024-03-14",
         "Monthly .* may be"),
    ],
)  # fmt: skip
def test_longer_bars_end_with_their_last_day(
    stamps: pd.DatetimeIndex, expected: str, words: str
) -> None:
    candles = one(stamps)
    assert closes(candles)[0] == f"{expected} 23:59:59"
    assert re.match(words, candles.timing[0])
    last = one(stamps[:-1])  # the last bar has no successor to tell its end
    assert closes(last)[-1] == closes(candles)[-2]


def test_a_week_that_is_missing_does_not_lengthen_the_one_before() -> None:
    mondays = pd.date_range("2024-01-01", periods=20, freq="7D").delete(5)
    assert closes(one(mondays))[4] == "2024-02-04 23:59:59"


def test_fridays_declared_as_openings() -> None:
    fridays = pd.date_range("2024-01-05", periods=8, freq="7D")
    assert span(one(fridays, stamps="open"), 0) == ("2024-01-05 00:00:00", "2024-01-11 23:59:59")


def test_a_stock_that_hardly_trades_has_daily_bars_all_the_same() -> None:
    days = pd.bdate_range("2020-01-01", periods=900)
    kept = days[np.random.default_rng(1).random(len(days)) < 0.3]
    assert closes(one(kept)) == [f"{day:%Y-%m-%d} 23:59:59" for day in kept]


def test_dates_that_go_on_as_hours() -> None:
    days = pd.bdate_range("2024-01-01", periods=30)
    hours = pd.date_range("2024-02-12 01:00", periods=200, freq="h")
    candles = one(days.union(hours))
    assert closes(candles)[0] == "2024-01-01 23:59:59"
    assert closes(candles)[29:31] == ["2024-02-09 23:59:59", "2024-02-12 01:00:00"]
    assert "Daily bars before or after shorter ones" in candles.timing[0]
    assert "several lengths: 1 h and 1 day (A)" in candles.timing[1]
