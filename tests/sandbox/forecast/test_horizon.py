"""When the next bars close, for the calendars that candles come with."""

import numpy as np
import pandas as pd
import pytest

import feeds
from sandbox.config import Sampling
from sandbox.errors import ConfigError
from sandbox.forecast.calendars import ExchangeCalendar, OwnCalendar
from sandbox.forecast.horizon import future_times, is_daily
from sandbox.forecast.timetable import open_calendar
from sandbox.forecast.windows import Windows
from tests.conftest import make_frame


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


def on(exchange, index, horizon):
    stamps = pd.DatetimeIndex(index).as_unit("ns").asi8[None]
    future = ExchangeCalendar(exchange).future_times(stamps, horizon)[0]
    return [f"{time:%a %m-%d %H:%M}" for time in pd.DatetimeIndex(future)]


def schedule(exchange, first, last):
    years = pd.Timestamp(f"{first[:4]}-01-01"), pd.Timestamp(f"{last[:4]}-12-31")
    return open_calendar(exchange, *years).schedule.loc[first:last]


def sessions(exchange, first, last):
    return pd.DatetimeIndex(schedule(exchange, first, last)["close"])


def bars_of(exchange, first, last, spacing, from_opening=True):
    """Closes of intraday bars, counted from each opening, or on the clock."""
    times = []
    for row in schedule(exchange, first, last).itertuples():
        begin = row.open if from_opening else row.open.floor(spacing)
        ends = pd.date_range(begin, row.close, freq=spacing)[1:]
        times += [end for end in ends if not row.break_start < end <= row.break_end]
        if ends[-1] != row.close:
            times.append(row.close)
    return pd.DatetimeIndex(times)


def test_an_exchange_is_shut_on_its_holidays():
    fixed = pd.bdate_range("2023-11-20", "2023-12-21", tz="UTC") + pd.Timedelta(hours=21)
    days = fixed[fixed.normalize().isin(sessions("XNYS", "2023-11-20", "2023-12-21").normalize())]
    # Christmas on Monday 25 December, New Year on Monday 1 January
    assert on("XNYS", days, 7) == [
        "Fri 12-22 21:00", "Tue 12-26 21:00", "Wed 12-27 21:00", "Thu 12-28 21:00",
        "Fri 12-29 21:00", "Tue 01-02 21:00", "Wed 01-03 21:00",
    ]  # fmt: skip
    assert after(days, 2) == ["Fri 22 21:00", "Mon 25 21:00"]


def test_daily_bars_stamped_at_the_close_follow_summer_time_and_short_days():
    closes = sessions("XNYS", "2024-02-01", "2024-03-08")
    assert on("XNYS", closes, 2) == ["Mon 03-11 20:00", "Tue 03-12 20:00"]
    closes = sessions("XNYS", "2024-10-15", "2024-11-27")
    assert on("XNYS", closes, 2) == ["Fri 11-29 18:00", "Mon 12-02 21:00"]


def test_daily_bars_stamped_at_midnight_stay_there():
    days = sessions("XPHS", "2023-11-20", "2023-12-22").normalize()
    assert on("XPHS", days, 3) == ["Wed 12-27 00:00", "Thu 12-28 00:00", "Fri 12-29 00:00"]


def test_history_older_than_twenty_years_and_horizons_over_a_year_are_known():
    closes = sessions("XNYS", "1993-01-01", "1993-06-30")
    assert on("XNYS", closes, 2) == ["Thu 07-01 20:00", "Fri 07-02 20:00"]
    last_year = sessions("XNYS", "2026-01-02", "2026-10-30")
    far = pd.DatetimeIndex(
        ExchangeCalendar("XNYS").future_times(last_year.as_unit("ns").asi8[None], 512)[0]
    )
    assert far[-1].year == 2028
    assert far.is_monotonic_increasing


def test_a_market_that_never_shuts_by_name():
    days = pd.date_range("2024-01-01", "2024-02-02")
    assert on("24/7", days, 3) == ["Sat 02-03 00:00", "Sun 02-04 00:00", "Mon 02-05 00:00"]
    hours = pd.date_range("2024-01-01", periods=90, freq="4h")
    assert on("24/7", hours, 3) == ["Tue 01-16 00:00", "Tue 01-16 04:00", "Tue 01-16 08:00"]


def test_hours_of_a_session_are_counted_as_they_were_seen():
    assert on("XNYS", bars_of("XNYS", "2024-03-01", "2024-03-07", "h"), 8) == [
        "Fri 03-08 15:30", "Fri 03-08 16:30", "Fri 03-08 17:30", "Fri 03-08 18:30",
        "Fri 03-08 19:30", "Fri 03-08 20:30", "Fri 03-08 21:00", "Mon 03-11 14:30",
    ]  # fmt: skip
    clock = bars_of("XNYS", "2024-03-01", "2024-03-07", "h", from_opening=False)
    assert on("XNYS", clock, 8) == [
        "Fri 03-08 15:00", "Fri 03-08 16:00", "Fri 03-08 17:00", "Fri 03-08 18:00",
        "Fri 03-08 19:00", "Fri 03-08 20:00", "Fri 03-08 21:00", "Mon 03-11 14:00",
    ]  # fmt: skip


def test_a_noon_break_has_no_bars():
    bars = bars_of("XHKG", "2024-01-08", "2024-01-12", "30min")
    got = on("XHKG", bars[:-11], 12)  # up to 01:30 + 30 min in Hong Kong's morning of the 12th
    assert got[:5] == [
        "Fri 01-12 02:00", "Fri 01-12 02:30", "Fri 01-12 03:00", "Fri 01-12 03:30",
        "Fri 01-12 04:00",
    ]  # fmt: skip
    assert got[5:] == [
        "Fri 01-12 05:30", "Fri 01-12 06:00", "Fri 01-12 06:30", "Fri 01-12 07:00",
        "Fri 01-12 07:30", "Fri 01-12 08:00", "Mon 01-15 02:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("exchange", "spacing"), [("XNYS", "h"), ("XNYS", "30min"), ("XHKG", "h"), ("24/7", "15min")]
)
def test_sessions_that_were_are_forecast_as_they_were(exchange, spacing):
    bars = bars_of(exchange, "2024-01-08", "2024-02-07", spacing)
    for at in (80, 91, 96):
        expected = [f"{time:%a %m-%d %H:%M}" for time in bars[at : at + 20]]
        assert on(exchange, bars[at - 60 : at], 20) == expected


def test_weekly_bars_go_on_at_their_spacing_whatever_the_exchange():
    fridays = pd.date_range("2024-01-05", periods=8, freq="7D")
    assert on("XNYS", fridays, 2) == ["Fri 03-01 00:00", "Fri 03-08 00:00"]


def test_windows_ask_the_calendar_they_are_given():
    frame = make_frame([[1.0] * 4] * 24, "2023-11-20")
    frame = frame.drop(frame.index[3])  # Thanksgiving
    asofs = frame.index[-1:]
    sampling = Sampling(lookback=10, horizon=2)
    named = Windows.of({"A": frame}, sampling, asofs, ExchangeCalendar("XNYS"))
    plain = Windows.of({"A": frame}, sampling, asofs)
    assert frame.index[-1] == pd.Timestamp("2023-12-21 21:00", tz="UTC")
    ahead = [[f"{time:%d}" for time in pd.DatetimeIndex(w.future_ns[0])] for w in (named, plain)]
    assert ahead == [["22", "26"], ["22", "25"]]


def test_a_calendar_gives_each_window_what_it_gives_it_alone():
    calendar = ExchangeCalendar("XNYS")
    days = sessions("XNYS", "2023-01-03", "2023-06-30").as_unit("ns").asi8
    hours = bars_of("XNYS", "2023-03-01", "2023-03-31", "h").as_unit("ns").asi8
    windows = np.stack([days[:40], hours[:40], days[40:80], hours[50:90]])
    together = calendar.future_times(windows, 6)
    alone = [ExchangeCalendar("XNYS").future_times(window[None], 6)[0] for window in windows]
    assert np.array_equal(together, np.stack(alone))


def test_an_exchange_nobody_knows_gets_near_names():
    with pytest.raises(ConfigError, match=r"--calendar 'XNYZ' is not known: did you mean .*XNYS"):
        ExchangeCalendar("XNYZ")
    with pytest.raises(ConfigError, match=r"'nyse' is not known: did you mean NYSE"):
        ExchangeCalendar("nyse")


def test_candles_of_another_market_are_noticed():
    nights = pd.date_range("2024-01-01 23:00", periods=30, freq="D")
    weekends = nights[nights.day_of_week >= 5]
    wrong = "the .* bars from .* are in its sessions .* name the calendar of these candles' exch"
    with pytest.raises(ConfigError, match=r"--calendar XNYS: \d of " + wrong):
        on("XNYS", pd.DatetimeIndex(sorted({*weekends, weekends[-1] + pd.Timedelta(days=1)})), 2)
    tokyo = bars_of("XTKS", "2024-01-08", "2024-01-19", "h")
    with pytest.raises(ConfigError, match=f"--calendar XNYS: 0 of {wrong}"):
        on("XNYS", tokyo, 2)


def test_where_the_records_end_it_is_told():
    calendar = open_calendar("XSHG")
    last = calendar.last_session
    closes = sessions("XSHG", f"{last - pd.Timedelta(days=60):%Y-%m-%d}", f"{last:%Y-%m-%d}")
    with pytest.raises(ConfigError, match=r"--calendar XSHG: its sessions are known for .* only"):
        on("XSHG", closes, 5)
    with pytest.raises(ConfigError, match="--calendar XSHG: its sessions are not known for 1980"):
        on("XSHG", pd.bdate_range("1980-01-01", periods=30), 5)


# --- the calendar that candles name themselves ---------------------------------------------------


def windows(*series):
    return np.stack([pd.DatetimeIndex(times).as_unit("ns").asi8 for times in series])


def test_a_calendar_that_fits_is_followed_whoever_names_it():
    closes = sessions("XNYS", "2023-05-01", "2023-07-03")
    past = windows(closes[-20:], closes[-30:-10])
    own = OwnCalendar("XNYS")
    assert np.array_equal(own.future_times(past, 6), ExchangeCalendar("XNYS").future_times(past, 6))
    assert own.note is None
    assert len(own.future_times(past[:0], 6)) == 0


def test_candles_that_are_not_of_their_own_calendar_go_on_as_observed():
    weekends = pd.date_range("2024-01-06 21:00", periods=90, freq="D")
    weekends = weekends[weekends.day_of_week >= 5][:20]
    closes = sessions("XNYS", "2023-11-20", "2023-12-22")[:20]
    past = windows(weekends, closes, weekends - pd.Timedelta(days=364))
    own = OwnCalendar("XNYS")
    ahead = own.future_times(past, 3)
    observed = future_times(past, 3)
    assert np.array_equal(ahead[[0, 2]], observed[[0, 2]])
    assert np.array_equal(ahead[[1]], ExchangeCalendar("XNYS").future_times(past[[1]], 3))
    assert own.note == (
        "Forecasts from 2023-03-12 to 2024-03-10 (2 bar times) go on as their bars did, which are "
        "not in the sessions that are known of XNYS."
    )
    for row in range(3):
        assert np.array_equal(OwnCalendar("XNYS").future_times(past[[row]], 3)[0], ahead[row])


@pytest.mark.parametrize("spacing", ["D", "h"])
def test_a_horizon_past_the_last_known_session_goes_on_as_observed(spacing):
    last = open_calendar("XSHG").last_session
    first = f"{last - pd.Timedelta(days=60):%Y-%m-%d}"
    bars = (
        sessions("XSHG", first, f"{last:%Y-%m-%d}")
        if spacing == "D"
        else bars_of("XSHG", first, f"{last:%Y-%m-%d}", "h")
    )
    past = windows(bars[-30:], bars[-60:-30] if spacing == "h" else bars[-31:-1])
    with pytest.raises(ConfigError, match=r"--calendar XSHG: its sessions are known for .* only"):
        ExchangeCalendar("XSHG").future_times(past, 10)
    assert np.array_equal(OwnCalendar("XSHG").future_times(past, 10)[0], future_times(past, 10)[0])


@pytest.mark.parametrize(
    ("spec", "holidays_traded", "sessions_without_a_bar"),
    [
        ("sample", set(), set()),
        # an eruption, the lockdown of 2020 and a typhoon shut the exchange
        ("sample:ph", {"2017-12-08"}, {"2020-01-13", "2020-03-17", "2020-03-18", "2020-11-12"}),
    ],
)
def test_the_samples_keep_to_the_calendars_they_name(spec, holidays_traded, sessions_without_a_bar):
    candles = feeds.load(spec)
    days = feeds.bar_times(candles.frames).normalize().tz_localize(None)
    first, last = days[0], days[-1]
    known = open_calendar(candles.calendar, first, last).sessions
    assert {f"{day:%Y-%m-%d}" for day in days.difference(known)} <= holidays_traded
    assert {f"{day:%Y-%m-%d}" for day in known.difference(days)} <= sessions_without_a_bar
