"""When a strategy is due: by the calendar, and the same asked ahead and asked bar by bar."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import Strategy
from sandbox.errors import ConfigError, StrategyError
from sandbox.trading.schedule import PERIODS, due_times

FLAT = (100, 100, 100, 100)
HOURS = st.sets(st.integers(0, 24 * 70), min_size=1, max_size=40).map(sorted)  # gappy, ten weeks
CALENDAR = {  # the period of a time, by pandas
    "bar": lambda time: time,
    "day": lambda time: time.date(),
    "week": lambda time: time.isocalendar()[:2],
    "month": lambda time: (time.year, time.month),
}


def due(times, rebalance):
    index = pd.DatetimeIndex(times, tz="UTC").as_unit("ns")
    return [str(time)[:16] for time in pd.DatetimeIndex(due_times(index.asi8, rebalance))]


def test_the_first_of_each_period_is_due():
    days = ["2024-12-27", "2024-12-30", "2024-12-31", "2025-01-02", "2025-01-06", "2025-02-03"]
    times = [f"{day} 21:00" for day in days]
    assert due(times, "bar") == due(times, "day") == times
    # 2024-12-30 begins the first ISO week of 2025; no session on New Year's day
    assert due(times, "week") == [times[nth] for nth in (0, 1, 4, 5)]
    assert due(times, "month") == [times[nth] for nth in (0, 3, 5)]


def test_days_are_those_of_utc():
    hours = ["2024-01-07 22:00", "2024-01-07 23:59", "2024-01-08 00:00", "2024-01-08 01:00"]
    assert due(hours, "day") == due(hours, "week") == [hours[0], hours[2]]


def test_the_first_bar_is_due_in_the_middle_of_a_period():
    assert due(["2024-01-17", "2024-01-18"], "month") == ["2024-01-17 00:00"]


def test_no_bars_none_due():
    assert due_times(np.array([], dtype=np.int64), "week").size == 0


def test_an_unknown_period_is_refused():
    with pytest.raises(ConfigError, match="rebalance 'year': one of bar, day, week, month"):
        due_times(np.array([0]), "year")


@given(HOURS, st.sampled_from(PERIODS), st.integers(0, 400_000))
def test_due_is_what_the_calendar_says(hours, rebalance, offset):
    times = pd.DatetimeIndex([pd.Timestamp("1970-01-01", tz="UTC")] * len(hours)) + pd.to_timedelta(
        [hour + offset for hour in hours], unit="h"
    )
    periods = [CALENDAR[rebalance](time) for time in times]
    first_of_each = [
        time.value for nth, time in enumerate(times) if nth == 0 or periods[nth] != periods[nth - 1]
    ]
    assert due_times(times.as_unit("ns").asi8, rebalance).tolist() == first_of_each


class Asks(Strategy):
    """Writes down when it is due, before the start too."""

    seen: list[int]

    def prenext(self):
        assert not self.due

    def next(self):
        if self.due:
            assert self.due  # asked twice, the same
            self.seen.append(self.now.value)


SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW
@given(HOURS, HOURS, st.sampled_from(PERIODS), st.integers(0, 24 * 70))
def test_a_strategy_is_due_when_the_schedule_says_so(
    candles, trade, hours, others, rebalance, start
):
    begin = pd.Timestamp("2024-02-01", tz="UTC")

    def frame(some):
        return candles([FLAT] * len(some), [begin.tz_localize(None)] * len(some)).set_index(
            begin + pd.to_timedelta(some, unit="h")
        )

    seen = []
    asks = type("Mine", (Asks,), {"seen": seen})
    frames = {"A": frame(hours), "B": frame(others)}
    start = min(begin + pd.Timedelta(hours=start), frames["A"].index[-1])
    trade(frames, asks, start=start, params={"rebalance": rebalance})
    times = np.unique([time.value for f in frames.values() for time in f.index if time >= start])
    assert seen == due_times(times, rebalance).tolist()


def test_a_forecast_asked_between_two_rebalances_is_refused(candles, trade):
    class Eager(Strategy):
        params = (("rebalance", "week"),)

        def next(self):
            self.signal.forecast(self.data)

    class Nothing:
        def forecast(self, data):
            return None

    message = (
        "Eager asked for a forecast at 2024-01-02 21:00, which rebalance=week leaves out: "
        "ask when self.due, or set rebalance=bar"
    )
    frames = {"A": candles([FLAT] * 3, "2024-01-01")}
    with pytest.raises(StrategyError) as error:
        trade(frames, Eager, signal=Nothing())
    assert str(error.value) == message
    trade(frames, Eager, signal=Nothing(), params={"rebalance": "bar"})  # every bar is due
