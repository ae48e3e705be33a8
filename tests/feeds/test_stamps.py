"""What the times of a file mean: dates, openings or closes, and what is said about it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds import Candles, SpecError, TimeError

MakeTable: TypeAlias = Callable[..., pd.DataFrame]
LETTERS = "ABCDEFGHIJ"


class Weekdays:
    """Sessions from Monday to Friday, 14:30 to 21:00 UTC, but for some holidays; on some days they
    end at 18:00."""

    name = "WEEK"

    def __init__(self, holidays: Sequence[str] = (), early: Sequence[str] = ()) -> None:
        self._holidays, self._early = pd.DatetimeIndex(holidays), pd.DatetimeIndex(early)

    def hours(self, first_ns: int, last_ns: int) -> feeds.Hours:
        days = pd.bdate_range("2023-01-02", "2025-12-31").difference(self._holidays)
        ends = np.where(days.isin(self._early), 18.0, 21.0)
        return feeds.Hours(
            days.as_unit("ns").asi8,
            (days + pd.Timedelta(hours=14.5)).as_unit("ns").asi8,
            (days + pd.to_timedelta(ends, unit="h")).as_unit("ns").asi8,
        )


def bars(index: Any) -> pd.DataFrame:
    """A flat table with those times."""
    return pd.DataFrame({"date": index, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})


def one(index: Any, **options: Any) -> Candles:
    return feeds.from_frames({"A": bars(index)}, **options)


def closes(candles: Candles, symbol: str = "A") -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M:%S}" for time in pd.DatetimeIndex(candles[symbol].index)]


def opens(candles: Candles, symbol: str = "A") -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M:%S}" for time in pd.DatetimeIndex(candles.opens[symbol])]


def span(candles: Candles, row: int) -> tuple[str, str]:
    return opens(candles)[row], closes(candles)[row]


# --- dates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [None, "open"])
def test_a_date_is_its_whole_day(declared: feeds.Stamps | None) -> None:
    candles = one(["2024-01-05", "2024-01-08", "2024-01-09"], stamps=declared)
    assert span(candles, 0) == ("2024-01-05 00:00:00", "2024-01-05 23:59:59")
    assert span(candles, 1) == ("2024-01-08 00:00:00", "2024-01-08 23:59:59")
    assert candles.timing == (
        "Bars are stamped with dates: each opens at 00:00 and closes at 23:59:59 in UTC, as long "
        "as no --exchange gives its hours.",
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


# --- openings and closes -------------------------------------------------------------------------


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


# --- candles -------------------------------------------------------------------------------------


def test_openings_stay_beside_their_bars() -> None:
    candles = feeds.load("sample")
    cut = candles.between("2018-01-03", "2018-02-01").pick(["NVDA", "AAPL"])
    assert list(cut.opens) == ["NVDA", "AAPL"]
    for symbol, frame in cut.frames.items():
        local = pd.DatetimeIndex(cut.opens[symbol], tz="UTC").tz_convert("America/New_York")
        assert set(local.strftime("%H:%M")) == {"09:30"}
        assert list(local.date) == list(pd.DatetimeIndex(frame.index).date)


def test_the_philippine_sample_opens_at_half_past_nine() -> None:
    candles = feeds.load("sample:ph:BDO")
    local = pd.DatetimeIndex(candles.opens["BDO"], tz="UTC").tz_convert("Asia/Manila")
    assert set(local.strftime("%H:%M")) == {"09:30"}


@pytest.mark.parametrize("spec", ["sample", "sample:ph", "sample:AAPL"])
def test_the_times_of_the_samples_are_not_to_be_declared(spec: str) -> None:
    with pytest.raises(SpecError, match=r"^stamps='open' \(--stamps open\): .* is known; leave it"):
        feeds.load(spec, stamps="open")
    assert feeds.load(spec).timing == ()


def test_candles_made_by_hand_get_openings_by_spacing() -> None:
    frame = feeds.load("sample:AAPL")["AAPL"]
    candles = Candles({"X": frame}, spec="mine")
    assert np.array_equal(candles.opens["X"], feeds.opening_times(pd.DatetimeIndex(frame.index)))
    with pytest.raises(TimeError, match=r"X \(mine\): its opening times are int64 of shape \(3,\)"):
        Candles({"X": frame}, spec="mine", opens={"X": candles.opens["X"][:3]})
    with pytest.raises(TimeError, match=r"row 1 .* must not be before the bar above closes"):
        Candles({"X": frame}, spec="mine", opens={"X": candles.opens["X"] - 10**15})


def test_the_hash_sees_openings_that_spacing_does_not_tell() -> None:
    frame = feeds.load("sample:AAPL")["AAPL"]
    told = feeds.opening_times(pd.DatetimeIndex(frame.index))
    plain = Candles({"X": frame}, spec="mine")
    assert Candles({"X": frame}, spec="mine", opens={"X": told}).data_hash == plain.data_hash
    later = Candles({"X": frame}, spec="mine", opens={"X": told + 1})
    assert later.data_hash != plain.data_hash
    assert later.pick(["X"]).data_hash == later.data_hash


def test_bars_of_several_lengths_are_named() -> None:
    hours = pd.date_range("2024-01-01", periods=200, freq="h")
    days = pd.bdate_range("2024-01-01", periods=60) + pd.Timedelta(hours=21)
    tables = {letter: bars(hours) for letter in LETTERS[:7]} | {"Z": bars(days)}
    candles = feeds.from_frames(tables, stamps="close")
    assert candles.timing == (
        "Bars are of several lengths: 1 h (7 symbols: A, B, C, D, E and 2 more), 1 day (Z): an "
        "order fills only in a bar that opens at or after its decision.",
    )


def test_stocks_that_close_at_different_hours_are_named() -> None:
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC")
    york = days.tz_localize(None).tz_localize("America/New_York") + pd.Timedelta(hours=16)
    tables = {"A": bars(york), "B": bars(york), "P": bars(days + pd.Timedelta(hours=7.5))}
    candles = feeds.from_frames(tables, stamps="close")
    assert candles.timing == (
        "Bars are of several sessions: closing at 21:00 UTC (2 symbols: A, B), closing at 07:30 "
        "UTC (P): an order fills only in a bar that opens at or after its decision.",
    )


# --- numbers in messages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dates", "text"),
    [
        ([20240101, 0, 20240103], "A, row 1: the time 0 cannot be read; write YYYY-MM-DD"),
        ([20240101, 20241301, 20240103], "A, row 1: the time 20241301 cannot be read"),
        ([20240101.0, 5.5, 20240103.0], "A, row 1: the time 5.5 cannot be read"),
        ([1704067200_000, 3, 4], "A, row 1: the time 3 cannot be read"),
        ([True, False, True], "A, row 0: the time True cannot be read"),
        (pd.to_datetime(["1500-01-01", "2024-01-01", "2024-01-02"]).as_unit("s"),
         "A, row 0: the time 1500-01-01 00:00:00 cannot be read"),
        ([20240101, "soon", 20240103], "A, row 1: the time 'soon' cannot be read"),
    ],
)  # fmt: skip
def test_a_number_is_shown_as_a_reader_knows_it(dates: object, text: str) -> None:
    with pytest.raises(TimeError, match=re.escape(text)) as bad:
        one(dates)
    assert "np." not in str(bad.value) and not isinstance(bad.value.value, np.generic)


def test_a_bad_price_beside_whole_dates_is_shown_plainly() -> None:
    text = "date,open,high,low,close\n20240101,1,1,1,1\n20240102,1,1,0,1\n"
    table = pd.read_csv(io.StringIO(text))
    with pytest.raises(feeds.PriceError, match="low is 0; a price must be above 0") as bad:
        feeds.from_frames({"A": table})
    assert "np." not in str(bad.value)
    flags = bars([20240101, 20240102])
    flags["low"] = pd.Series([np.datetime64("2024-01-01"), 1.0], dtype=object)
    with pytest.raises(feeds.PriceError, match=r"low is .*; it must be a number") as bad:
        feeds.from_frames({"A": flags})
    assert "np." not in str(bad.value)
