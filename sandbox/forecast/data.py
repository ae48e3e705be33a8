"""The candles that a command's options name, and the calendar that their bars follow."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from feeds import Candles, bar_times, load
from sandbox.config import CandleOptions, Window
from sandbox.errors import WindowError
from sandbox.forecast.calendars import NamedCalendar, OwnCalendar, named_calendar


class Data(NamedTuple):
    candles: Candles
    calendar: NamedCalendar | None  # None: bars go on as observed


def load_data(options: CandleOptions) -> Data:
    """A calendar that the options name also tells the hours of the bars of files; one that the
    candles name themselves only when the bars after them will close."""
    named = named_calendar(options.calendar)
    candles = load(options.data, repair=options.repair, stamps=options.stamps, sessions=named)
    return Data(candles, calendar_of(options.calendar, candles))


def calendar_of(name: str | None, candles: Candles) -> NamedCalendar | None:
    """The calendar of a name, where there is none that of the candles' exchange."""
    if name is None and candles.calendar is not None:
        return OwnCalendar(candles.calendar)
    return named_calendar(name)


def bar_times_inside(candles: Candles, window: Window, wanted: str = "candles") -> pd.DatetimeIndex:
    """The bar times of a window's days; raises WindowError where there are none."""
    times = bar_times(candles.frames)
    first, last = pd.Timestamp(window.start, tz="UTC"), pd.Timestamp(window.end, tz="UTC")
    inside = times[(times >= first) & (times < last + pd.Timedelta(days=1))]
    if inside.empty:
        raise WindowError(
            f"no {wanted} from {window.start} to {window.end}: {candles.spec} has "
            f"{times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}, set --start and --end"
        )
    return inside
