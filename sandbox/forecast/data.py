"""The candles that a command's options name, and the calendar that their bars follow."""

from __future__ import annotations

from typing import NamedTuple

from feeds import Candles, load
from sandbox.config import CandleOptions
from sandbox.forecast.calendars import NamedCalendar, OwnCalendar, named_calendar


class Data(NamedTuple):
    candles: Candles
    calendar: NamedCalendar | None  # None: bars go on as observed


def load_data(options: CandleOptions) -> Data:
    """A calendar that the options name also tells the hours of the bars of files; one that the
    candles name themselves only when the bars after them will close."""
    named = named_calendar(options.calendar)
    candles = load(options.data, repair=options.repair, stamps=options.stamps, sessions=named)
    if options.calendar is None and candles.calendar is not None:
        return Data(candles, OwnCalendar(candles.calendar))
    return Data(candles, named)
