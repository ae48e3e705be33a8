"""The sessions of a named exchange: their hours, and when the bars after asof will close.

The times come from the `exchange_calendars` package, which knows every closure there has been. One
that was announced after an asof (a day of mourning, a storm) is known here all the same: a forecast
made then would have counted that day as a session. What is seen ahead is a date, never a price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import Hours
from feeds.bars import NS_PER_DAY
from sandbox.config import NO_CALENDAR
from sandbox.forecast.horizon import DAILY_SPACING_NS, Times, future_times
from sandbox.forecast.timetable import (
    Stretches,
    Timetable,
    UnknownSessionsError,
    check_name,
    timetable_of,
)
from sandbox.words import counted

LEAST_SHARE_INSIDE = 0.5  # of a window's bars; with fewer the wrong calendar was named


class ExchangeCalendar:
    """The sessions of one exchange, by its ISO 10383 code or another name the package knows."""

    note: str | None = None  # what a reader of forecasts should know of it

    def __init__(self, name: str) -> None:
        check_name(name)
        self.name = name
        self._timetable: Timetable | None = None

    def future_times(self, times_ns: Times, horizon: int) -> Times:
        """`[W, L]` bar times, L at least 2, to the `[W, horizon]` times that should follow.

        Daily bars: the next sessions, stamped at their closes if the last bar seen is, else at its
        time of day. Shorter bars: the next times inside sessions, at the distances from a session's
        opening at which bars were seen. Longer bars go on at their spacing, as without a calendar.

        Raises `UnknownSessionsError` for bars that are not in the sessions, or that come before the
        first or after the last that is known.
        """
        future = np.empty((len(times_ns), horizon), dtype=np.int64)
        if not len(times_ns):
            return future
        table = self._covering(int(times_ns.min()), int(times_ns.max()), horizon)
        spacing_ns = np.median(np.diff(times_ns, axis=1), axis=1).astype(np.int64)
        intraday = spacing_ns < DAILY_SPACING_NS
        longer = np.rint(spacing_ns / NS_PER_DAY) > 1
        daily = ~intraday & ~longer
        future[longer] = future_times(times_ns[longer], horizon)
        future[daily] = self._next_sessions(table, times_ns[daily], horizon)
        stretches = table.stretches()
        for row in np.flatnonzero(intraday):
            future[row] = self._next_bars(stretches, times_ns[row], int(spacing_ns[row]), horizon)
        return future

    def hours(self, first_ns: int, last_ns: int) -> Hours:
        """The sessions from the first to the last time and of whole years around them, as
        `feeds.load` wants them."""
        table = self._covering(first_ns, last_ns, horizon=0)
        first, last = pd.Timestamp(first_ns).year, pd.Timestamp(last_ns).year
        years = (pd.Timestamp(first, 1, 1).value, pd.Timestamp(last + 1, 1, 1).value)
        here = slice(*np.searchsorted(table.days_ns, years))
        return Hours(table.days_ns[here], table.opens_ns[here], table.closes_ns[here])

    def _next_sessions(self, table: Timetable, times_ns: Times, horizon: int) -> Times:
        day_ns = times_ns - times_ns % NS_PER_DAY
        inside = np.isin(day_ns, table.days_ns)
        for row in np.flatnonzero(inside.mean(axis=1) < LEAST_SHARE_INSIDE):
            raise self._not_its_sessions(times_ns[row], inside[row])
        asof_ns, asof_day_ns = times_ns[:, -1], day_ns[:, -1]
        first = np.searchsorted(table.days_ns, asof_day_ns, side="right")
        ahead = first[:, None] + np.arange(horizon)
        if ahead.size and ahead.max() >= len(table.days_ns):
            raise self._past_the_end(int(asof_ns[ahead[:, -1].argmax()]))
        at_close = ((first > 0) & (table.closes_ns[first - 1] == asof_ns))[:, None]
        time_of_day = (asof_ns - asof_day_ns)[:, None]
        stamped: Times = np.where(
            at_close, table.closes_ns[ahead], table.days_ns[ahead] + time_of_day
        )
        return stamped

    def _next_bars(
        self, stretches: Stretches, times_ns: Times, spacing_ns: int, horizon: int
    ) -> Times:
        grid = _Grid.seen(stretches, times_ns, spacing_ns)
        if grid.inside.mean() < LEAST_SHARE_INSIDE:
            raise self._not_its_sessions(times_ns, grid.inside)
        asof_ns = int(times_ns[-1])
        nth = int(np.searchsorted(stretches.ends_ns, asof_ns))
        future: list[int] = []
        while len(future) < horizon:
            if nth == len(stretches.ends_ns):
                raise self._past_the_end(asof_ns)
            future += [time for time in grid.times(stretches, nth) if time > asof_ns]
            nth += 1
        return np.array(future[:horizon], dtype=np.int64)

    def _covering(self, first_ns: int, last_ns: int, horizon: int) -> Timetable:
        """Sessions from the first bar to beyond the horizon."""
        last_ns += (2 * horizon + 30) * NS_PER_DAY
        if self._timetable is None or not self._timetable.covers(first_ns, last_ns):
            self._timetable = timetable_of(self.name, first_ns, last_ns)
        return self._timetable

    def _not_its_sessions(self, times_ns: Times, inside: NDArray[np.bool_]) -> UnknownSessionsError:
        return UnknownSessionsError(
            f"--calendar {self.name}: {int(inside.sum())} of the {len(inside)} bars from "
            f"{pd.Timestamp(times_ns[0]):%Y-%m-%d} to {pd.Timestamp(times_ns[-1]):%Y-%m-%d} are in "
            f"its sessions ({self._span}): name the calendar of these candles' exchange, or none"
        )

    def _past_the_end(self, asof_ns: int) -> UnknownSessionsError:
        return UnknownSessionsError(
            f"--calendar {self.name}: its sessions are known for {self._span} only, too short "
            f"for the horizon as of {pd.Timestamp(asof_ns):%Y-%m-%d}: name no calendar"
        )

    @property
    def _span(self) -> str:
        return "" if self._timetable is None else self._timetable.span


class OwnCalendar:
    """The calendar that candles name themselves: where it does not fit them, it is not used.

    Bars that are not in its sessions, or that come before the first or after the last one known,
    go on as observed, as without a calendar.
    """

    def __init__(self, name: str) -> None:
        self._calendar = ExchangeCalendar(name)
        self.name = name
        self.unfit: set[int] = set()  # the last times of the bars that it did not fit, in ns

    def future_times(self, times_ns: Times, horizon: int) -> Times:
        """As `ExchangeCalendar.future_times`, or as `horizon.future_times` where that raises."""
        try:
            return self._calendar.future_times(times_ns, horizon)
        except UnknownSessionsError:
            if len(times_ns) == 1:
                self.unfit.add(int(times_ns[0, -1]))
                return future_times(times_ns, horizon)
        halves = np.array_split(times_ns, 2)
        return np.concatenate([self.future_times(half, horizon) for half in halves])

    @property
    def note(self) -> str | None:
        """What a reader should know of it, if anything."""
        if not self.unfit:
            return None
        first, last = (pd.Timestamp(time_ns) for time_ns in (min(self.unfit), max(self.unfit)))
        return (
            f"Forecasts from {first:%Y-%m-%d} to {last:%Y-%m-%d} "
            f"({counted(len(self.unfit), 'bar time')}) go on as their bars did, which are not in "
            f"the sessions that are known of {self.name}."
        )


NamedCalendar = ExchangeCalendar | OwnCalendar


def named_calendar(option: str | None) -> ExchangeCalendar | None:
    """The calendar that `--calendar` names; None where it names none or is not given."""
    return None if option in (None, NO_CALENDAR) else ExchangeCalendar(str(option))


@dataclass(frozen=True)
class _Grid:
    """Where in a stretch of trading bars close, as far as the bars seen tell."""

    spacing_ns: int
    inside: NDArray[np.bool_]  # [L], whether a bar seen lies in a stretch
    offsets_ns: dict[bool, int]  # from a stretch's start, modulo the spacing; by `after_break`
    shorter_last: frozenset[bool]  # the `after_break` of stretches that end with a shorter bar

    @classmethod
    def seen(cls, stretches: Stretches, times_ns: Times, spacing_ns: int) -> _Grid:
        at = np.searchsorted(stretches.ends_ns, times_ns)
        at = np.minimum(at, len(stretches.ends_ns) - 1)
        inside = (stretches.starts_ns[at] < times_ns) & (times_ns <= stretches.ends_ns[at])
        offsets = (times_ns - stretches.starts_ns[at]) % spacing_ns
        by_kind: dict[bool, int] = {}
        for kind in (False, True):
            of_kind = offsets[inside & (stretches.after_break[at] == kind)]
            if len(of_kind):
                values, counts = np.unique(of_kind, return_counts=True)
                by_kind[kind] = int(values[counts.argmax()])
        kinds = stretches.after_break[at]
        usual = np.array([by_kind.get(bool(kind), 0) for kind in kinds])
        shorter = inside & (times_ns == stretches.ends_ns[at]) & (offsets != usual)
        return cls(spacing_ns, inside, by_kind, frozenset(kinds[shorter].tolist()))

    def times(self, stretches: Stretches, nth: int) -> list[int]:
        """The closes of the bars of one stretch."""
        start, end = int(stretches.starts_ns[nth]), int(stretches.ends_ns[nth])
        kind = bool(stretches.after_break[nth])
        offset = self.offsets_ns.get(kind, self.offsets_ns.get(not kind, 0))
        times = list(range(start + (offset or self.spacing_ns), end + 1, self.spacing_ns))
        if kind in self.shorter_last and (not times or times[-1] != end):
            times.append(end)
        return times
