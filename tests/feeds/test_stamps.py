"""Stamps that are moments: openings or closes, by their columns, a declaration or the sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds import TimeError
from tests.feeds.flat_bars import Weekdays, bars, closes, one, opens, span


def test_times_are_closes_until_something_else_is_known() -> None:
    hours = pd.date_range("2024-01-01", periods=30, freq="h")
    candles = one(hours)
    assert span(candles, 5) == ("2024-01-01 04:00:00", "2024-01-01 05:00:00")
    assert "say --stamps open" in candles.timing[0] and len(candles.timing) == 1
    assert one(hours, stamps="close").timing == ()


def test_openings_are_converted() -> None:
    hours = pd.date_range("2024-01-01", periods=60, freq="h").delete([20, 21])
    candles = one(hours, stamps="open")
    assert opens(candles) == [f"{time:%Y-%m-%d %H:%M:%S}" for time in hours]
    assert span(candles, 19) == ("2024-01-01 19:00:00", "2024-01-01 20:00:00")
    assert span(candles, -1) == ("2024-01-03 11:00:00", "2024-01-03 12:00:00")
    assert candles.timing == (
        "Stamps are taken as opening times, as declared: each bar closes its length later.",
    )


def test_a_converted_bar_never_ends_after_the_next_one_opens() -> None:
    clock = pd.date_range("2024-01-01", periods=40, freq="h")
    uneven = clock.union(clock[10:12] + pd.Timedelta(minutes=20))
    candles = one(uneven, stamps="open")
    ends = pd.DatetimeIndex(candles["A"].index).as_unit("ns").asi8
    assert (ends[:-1] <= candles.opens["A"][1:]).all()


@pytest.mark.parametrize("name", ["open_time", "Open Time", "opentime", "Start Time"])
def test_a_column_of_opening_times_alone(name: str) -> None:
    hours = pd.date_range("2024-01-01", periods=30, freq="h")
    candles = feeds.from_frames({"A": bars(hours).rename(columns={"date": name})})
    assert span(candles, 0) == ("2024-01-01 00:00:00", "2024-01-01 01:00:00")
    assert candles.timing[0].startswith("Stamps are opening times, as their column says")


def binance() -> pd.DataFrame:
    """As that exchange's archives have it: closes a millisecond before the next bar."""
    opened = pd.date_range("2024-01-01", periods=30, freq="h").as_unit("ms").asi8
    table = bars(opened).rename(columns={"date": "open_time"})
    return table.assign(close_time=opened + 3_600_000 - 1)


def test_columns_of_opening_and_closing_times() -> None:
    candles = feeds.from_frames({"A": binance()})
    assert span(candles, 3) == ("2024-01-01 03:00:00", "2024-01-01 03:59:59")
    assert candles["A"].index[3] == pd.Timestamp("2024-01-01 03:59:59.999", tz="UTC")
    assert candles.timing == ()
    alone = feeds.from_frames({"A": binance().drop(columns="open_time")})
    assert alone.timing == ()  # the column says that these are closes


def test_daily_closing_times_at_midnight_beside_opening_times_are_no_dates() -> None:
    days = pd.date_range("2024-01-01", periods=10, tz="UTC")
    table = bars(days + pd.Timedelta(days=1)).assign(open_time=days)
    candles = feeds.from_frames({"A": table})
    assert span(candles, 0) == ("2024-01-01 00:00:00", "2024-01-02 00:00:00")


def test_a_date_beside_the_hour_of_opening() -> None:
    days = pd.date_range("2024-01-01", periods=10, tz="UTC")
    table = bars(days).assign(open_time=days + pd.Timedelta(hours=9))
    assert span(feeds.from_frames({"A": table}), 0) == (
        "2024-01-01 09:00:00",
        "2024-01-01 23:59:59",
    )


def test_one_column_of_openings_under_two_names() -> None:
    hours = pd.date_range("2024-01-01", periods=30, freq="h")
    candles = feeds.from_frames({"A": bars(hours).assign(open_time=hours)})
    assert span(candles, 0) == ("2024-01-01 00:00:00", "2024-01-01 01:00:00")


@pytest.mark.parametrize(
    ("row", "shift_hours", "text"),
    [
        (4, 2, "the opening time is 2024-01-01 06:00:00; it must be before the bar closes"),
        (4, -1, "the opening time is 2024-01-01 03:00:00; it must not be before the bar above "
         "closes (2024-01-01 03:59:59)"),
    ],
)  # fmt: skip
def test_an_opening_that_cannot_be_is_refused(row: int, shift_hours: int, text: str) -> None:
    table = binance()
    table.loc[row, "open_time"] += shift_hours * 3_600_000
    with pytest.raises(
        TimeError, match=r"^A \(frames\), row 4 \(2024-01-01 04:59:59 UTC\): "
    ) as bad:
        feeds.from_frames({"A": table})
    assert text in str(bad.value) and str(bad.value).endswith("(--repair)")
    assert (bad.value.symbol, bad.value.row) == ("A", row)
    mended = feeds.from_frames({"A": table}, repair=True)
    assert opens(mended)[row] == "2024-01-01 03:59:59"
    assert mended.repairs == (
        "A: took opening times that cannot be from the spacing of the bars (1 row, first "
        "2024-01-01 04:59)",
    )


def test_openings_follow_their_rows_through_repair() -> None:
    table = binance().iloc[[3, 0, 1, 2, *range(4, 30), 29]]
    table.loc[7, "close"] = np.nan
    candles = feeds.from_frames({"A": table}, repair=True)
    whole = feeds.from_frames({"A": binance().drop(index=7)})
    assert np.array_equal(candles.opens["A"], whole.opens["A"]) and len(candles["A"]) == 29


def test_an_opening_that_cannot_be_read() -> None:
    table = binance().astype({"open_time": object})
    table.loc[2, "open_time"] = "soon"
    table["open_time"] = table["open_time"].astype("str")
    with pytest.raises(TimeError, match="A, row 0: the time '1704067200000' cannot be read"):
        feeds.from_frames({"A": table})


def test_zones_must_be_named_in_both_columns_or_in_none() -> None:
    hours = pd.date_range("2024-01-01 01:00", periods=5, freq="h", tz="UTC")
    table = bars(hours).assign(open_time=[f"2024-01-01 0{hour}:00" for hour in range(5)])
    with pytest.raises(TimeError, match="opening times without a zone and the others with"):
        feeds.from_frames({"A": table})


@pytest.mark.parametrize(
    ("table", "stamps", "text"),
    [
        (binance(), "open", "opening times have a column of their own, against stamps='open'"),
        (binance().drop(columns="close_time"), "close", "its times are opening times by name"),
        (binance().drop(columns="open_time"), "open", "its times are closing times by name"),
    ],
)
def test_a_declaration_against_the_columns_is_refused(
    table: pd.DataFrame, stamps: feeds.Stamps, text: str
) -> None:
    with pytest.raises(TimeError, match=text):
        feeds.from_frames({"A": table}, stamps=stamps)


def test_files_of_a_symbol_that_name_their_times_differently(tmp_path: Path) -> None:
    hours = pd.date_range("2024-01-01", periods=4, freq="h")
    bars(hours[:2]).assign(symbol="A").to_csv(tmp_path / "1.csv", index=False)
    later = bars(hours[2:]).assign(symbol="A").rename(columns={"date": "open_time"})
    later.to_csv(tmp_path / "2.csv", index=False)
    with pytest.raises(
        TimeError, match=r"A \(.*2.csv\): its time columns are not those of .*1.csv"
    ):
        feeds.load(f"csv:{tmp_path}/*.csv")


# --- sessions ------------------------------------------------------------------------------------


def test_dates_open_and_close_with_their_sessions() -> None:
    calendar = Weekdays(early=["2024-01-03"])
    candles = one(pd.bdate_range("2024-01-01", periods=30), sessions=calendar)
    assert span(candles, 0) == ("2024-01-01 14:30:00", "2024-01-01 21:00:00")
    assert span(candles, 2) == ("2024-01-03 14:30:00", "2024-01-03 18:00:00")
    assert candles.timing == (
        "Bars are stamped with dates: each opens and closes with its session of WEEK.",
    )


def test_dates_of_a_coin_are_not_cut_to_the_sessions_of_stocks() -> None:
    stocks, coins = (
        pd.bdate_range("2024-01-01", periods=60),
        pd.date_range("2024-01-01", periods=60),
    )
    candles = feeds.from_frames({"A": bars(stocks), "B": bars(coins)}, sessions=Weekdays())
    assert closes(candles, "A")[0] == "2024-01-01 21:00:00"
    assert closes(candles, "B")[0] == "2024-01-01 23:59:59"
    assert "Bars are not those of the sessions of WEEK, whose hours are not used for them (B)." in (
        candles.timing
    )
    assert any("several sessions: closing at 21:00 UTC (A), closing at 23:59" in said
               for said in candles.timing)  # fmt: skip


def test_a_date_without_a_session_is_its_whole_day() -> None:
    calendar = Weekdays(holidays=["2024-01-15"])
    candles = one(pd.bdate_range("2024-01-01", periods=80), sessions=calendar)
    assert span(candles, 10) == ("2024-01-15 00:00:00", "2024-01-15 23:59:59")


def test_daily_closes_open_with_their_session() -> None:
    calendar = Weekdays(early=["2024-01-03"])
    days = pd.bdate_range("2024-01-01", periods=30) + pd.Timedelta(hours=21)
    candles = one(days, sessions=calendar)
    assert span(candles, 2) == ("2024-01-03 14:30:00", "2024-01-03 21:00:00")
    assert candles.timing == ()  # the sessions show that these are closes


@pytest.mark.parametrize("hour", [22, 0, 17])
def test_daily_bars_of_another_market_do_not_open_with_these_sessions(hour: int) -> None:
    days = pd.date_range("2024-01-01", periods=60) + pd.Timedelta(hours=hour)
    candles = one(days, sessions=Weekdays(), stamps="close")
    assert np.array_equal(candles.opens["A"], feeds.opening_times(candles["A"].index))  # type: ignore[arg-type]


def intraday(first: str, days: int, minutes: int, at_close: bool) -> pd.DatetimeIndex:
    """Stamps of bars from 14:30 on, the last one shorter if it must be."""
    stamps: list[pd.Timestamp] = []
    for day in pd.bdate_range(first, periods=days):
        edges = [*pd.date_range(day + pd.Timedelta(hours=14.5), day + pd.Timedelta(hours=20.99),
                                freq=f"{minutes}min"), day + pd.Timedelta(hours=21)]  # fmt: skip
        stamps += edges[1:] if at_close else edges[:-1]
    return pd.DatetimeIndex(stamps)


def test_a_session_s_first_bar_opens_with_it() -> None:
    clock = intraday("2024-01-01", 30, 30, at_close=True)
    clock = clock[clock.minute == 0]  # bars on the hour: the first is half an hour long
    candles = one(clock, sessions=Weekdays())
    assert span(candles, 0) == ("2024-01-01 14:30:00", "2024-01-01 15:00:00")
    assert span(candles, 1) == ("2024-01-01 15:00:00", "2024-01-01 16:00:00")
    assert candles.timing == ()
    four = one(intraday("2024-01-01", 30, 240, at_close=True), sessions=Weekdays())
    assert span(four, 2) == ("2024-01-02 14:30:00", "2024-01-02 18:30:00")


def test_stamps_on_the_openings_of_sessions_are_openings() -> None:
    hours = intraday("2024-01-01", 30, 60, at_close=False)
    candles = one(hours, sessions=Weekdays())
    assert span(candles, 0) == ("2024-01-01 14:30:00", "2024-01-01 15:30:00")
    assert span(candles, 6) == ("2024-01-01 20:30:00", "2024-01-01 21:00:00")
    assert candles.timing == (
        "Stamps are opening times, as the hours of WEEK show: each bar closes its length later.",
    )
    assert np.array_equal(
        candles["A"].index, one(hours, sessions=Weekdays(), stamps="open")["A"].index
    )
    daily = one(pd.bdate_range("2024-01-01", periods=30) + pd.Timedelta(hours=14.5),
                sessions=Weekdays())  # fmt: skip
    assert span(daily, 4) == ("2024-01-05 14:30:00", "2024-01-05 21:00:00")


def test_a_coin_s_hours_are_no_evidence_about_stamps() -> None:
    hours = pd.date_range("2024-01-01", periods=900, freq="30min")
    candles = one(hours, sessions=Weekdays())
    assert "taken as the closing times" in candles.timing[0]
    assert np.array_equal(candles.opens["A"], feeds.opening_times(candles["A"].index))  # type: ignore[arg-type]
