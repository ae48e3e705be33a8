"""Stamps that are dates: which days a bar covers, and the first and last moment of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND
from .spacing import Times, opening_times

LONGEST_DAY_NS = 26 * NS_PER_HOUR  # one with an hour of summer time to give back, and then some
FEWEST_DATES = 5  # dates that tell a bar of two to five days from days without a bar
MOSTLY = 0.6  # of the dates
NEARLY_ALL = 0.98
# Daily files of these zones are often converted to UTC as they stand. Zones without summer time
# leave no trace, and are not recognised.
SUMMER_ZONES = (
    "America/New_York", "America/Chicago", "Europe/London", "Europe/Berlin", "Australia/Sydney",
)  # fmt: skip
EVEN = 0.6  # of the typical distance: where some dates are closer, they are days with holes
UNIX_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6
FEWEST_WEEKS = 3
ONE_OF_TEN, HARDLY_ANY = 0.1, 0.02
FIRST_DAYS = 3  # of a month, since a weekend or New Year may come before its first session
LAST_DAYS = 3
MONTHS = {(26, 36): 1, (80, 102): 3, (350, 380): 12}  # days apart, lowest and highest, to months
NAMES = {1: "Monthly", 3: "Quarterly", 12: "Yearly"}


class Dates(NamedTuple):
    """The days that each bar of a symbol covers."""

    days_ns: Times  # [bars], midnight UTC of each date
    opens_ns: Times  # [bars]
    closes_ns: Times  # [bars], the last second of the last day
    daily: bool
    note: str  # how stamps were read, a sentence without its full stop

    @classmethod
    def of(cls, times_ns: Times, offsets_ns: Times, *, first_day: bool, zone: str = "") -> Dates:
        """From local midnights. first_day: a date is known to be the first of its bar. zone: its
        name, where it is known."""
        days = (times_ns + offsets_ns) // NS_PER_DAY
        days_ns = days * NS_PER_DAY
        length = _Length.of(days)
        if length.daily:
            where = zone or ("their own time zone" if offsets_ns.any() else "UTC")
            hours = f"each opens at 00:00 and closes at 23:59:59 in {where}"
            note = f"Bars are stamped with dates: {hours}"
            return cls(days_ns, times_ns.copy(), last_seconds(times_ns), True, note)
        reading = "first" if first_day else length.reading(days)
        if reading == "last":
            closes = last_seconds(times_ns)
            opens = opening_times(pd.DatetimeIndex(closes, tz="UTC"))
            note = f"{length.name} bars are stamped with their last day: each closes at its end"
            return cls(days_ns, opens, closes, False, note)
        after = length.first_day_after(days) * NS_PER_DAY - offsets_ns
        closes = np.minimum(after, times_ns + _gaps(times_ns)) - NS_PER_SECOND
        note = f"{length.name} bars are stamped with their first day: each closes with its last one"
        if reading == "unknown":
            note = (
                f"{length.name} bars are stamped with dates that may be their first days or their "
                "last: taken as the first, and so known the latest (--stamps close: as they stand)"
            )
        return cls(days_ns, times_ns.copy(), closes, False, note)


class _Length(NamedTuple):
    """How many days or months a bar covers."""

    days: int
    months: int = 0

    @classmethod
    def of(cls, days: NDArray[np.int64]) -> _Length:
        gaps = np.diff(days)
        if not len(gaps):
            return cls(1)
        typical, least = int(np.median(gaps)), float(np.quantile(gaps, 0.1))
        if (typical < 6 and len(gaps) < FEWEST_DATES) or least < EVEN * typical:
            return cls(1)
        for (lowest, highest), months in MONTHS.items():
            if lowest <= typical <= highest:
                return cls(typical, months)
        return cls(typical)

    @property
    def daily(self) -> bool:
        return self.days == 1

    @property
    def name(self) -> str:
        if self.months:
            return NAMES[self.months]
        return "Weekly" if self.days == 7 else f"{self.days}-day"

    def reading(self, days: NDArray[np.int64]) -> str:
        """Whether dates are mostly the first or the last days of their bars; else "unknown"."""
        if self.months:
            month_begins = _first_of_month(days)
            first = days - month_begins < FIRST_DAYS
            last = _first_of_month(days, 1) - days <= LAST_DAYS
        elif self.days == 7:
            weekdays = (days + UNIX_EPOCH_WEEKDAY) % 7
            first, last = weekdays == MONDAY, (weekdays == FRIDAY) | (weekdays == SUNDAY)
        else:
            return "unknown"
        if first.mean() >= MOSTLY:
            return "first"
        return "last" if last.mean() >= MOSTLY else "unknown"

    def first_day_after(self, days: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day after the last one of a bar that begins on each of `days`."""
        if self.months:
            into_month = days - _first_of_month(days)
            in_next = _first_of_month(days, self.months)
            return np.where(into_month < FIRST_DAYS, in_next, in_next + into_month)
        if self.days == 7:
            weekdays = (days + UNIX_EPOCH_WEEKDAY) % 7
            monday = (weekdays == MONDAY).mean() >= MOSTLY
            return days + 7 - (weekdays if monday else 0)
        return days + self.days


def _first_of_month(days: NDArray[np.int64], ahead: int = 0) -> NDArray[np.int64]:
    """The first day of the month of each day, or of one so many months ahead."""
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    begins: NDArray[np.int64] = (
        (months + np.timedelta64(ahead, "M")).astype("datetime64[D]").astype(np.int64)
    )
    return begins


def at_midnight(local_ns: Times) -> bool:
    """Whether all times are midnights, or 01:00 on the days that summer time lets begin then."""
    hours, rest = np.divmod(local_ns % NS_PER_DAY, NS_PER_HOUR)
    return not rest.any() and bool((hours <= 1).all()) and (hours == 0).mean() >= NEARLY_ALL


def days_are_over(local_ns: Times) -> bool:
    """Whether daily midnights end the days of a working week: on Saturdays, not on Mondays."""
    if len(local_ns) < FEWEST_WEEKS * 5 or not at_midnight(local_ns):
        return False
    weekdays = (local_ns // NS_PER_DAY + UNIX_EPOCH_WEEKDAY) % 7
    shares = np.bincount(weekdays, minlength=7) / len(weekdays)
    return bool(shares[SATURDAY] >= ONE_OF_TEN and shares[[MONDAY, SUNDAY]].max() <= HARDLY_ANY)


def last_seconds(times_ns: Times) -> Times:
    """The last second of the day that begins at each local midnight."""
    gaps = _gaps(times_ns)
    return times_ns + np.where(gaps <= LONGEST_DAY_NS, gaps, NS_PER_DAY) - NS_PER_SECOND


def zone_of_midnights(times_ns: Times) -> str:
    """The time zone whose midnights these UTC times are, as its summer time shows; else ""."""
    times_of_day = times_ns % NS_PER_DAY
    if (times_of_day % NS_PER_HOUR).any() or len(np.unique(times_of_day)) != 2:
        return ""
    index = pd.DatetimeIndex(times_ns, tz="UTC")
    for zone in SUMMER_ZONES:
        local = index.tz_convert(zone)
        if not (local.tz_localize(None).as_unit("ns").asi8 % NS_PER_DAY).any():
            return zone
    return ""


def _gaps(times_ns: Times) -> Times:
    """How long after each time the next one comes; ten thousand days after the last."""
    return np.append(np.diff(times_ns), 10_000 * NS_PER_DAY)
