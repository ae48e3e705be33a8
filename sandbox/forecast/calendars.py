"""The sessions of a named exchange: their hours, and when the bars after asof will close.

The times come from the `exchange_calendars` package, which knows every closure there has been. One
that was announced after an asof (a day of mourning, a storm) is known here all the same: a forecast
made then would have counted that day as a session. What is seen ahead is a date, never a price.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import Hours
from feeds.bars import NS_PER_DAY
from sandbox.config import NO_CALENDAR
from sandbox.errors import ConfigError
from sandbox.forecast.horizon import DAILY_SPACING_NS, Times, future_times
from sandbox.words import nearest_of_any_case

LEAST_SHARE_INSIDE = 0.5  # of a window's bars; with fewer the wrong exchange was named


class ExchangeCalendar:
    """The sessions of one exchange, by its ISO 10383 code or another name the package knows."""

    def __init__(self, name: str) -> None:
        import exchange_calendars  # slow to import, and few runs name an exchange

        known = exchange_calendars.get_calendar_names(include_aliases=True)
        if name not in known:
            near = nearest_of_any_case(name, known)
            hint = f"did you mean {', '.join(near)}? " if near else ""
            raise ConfigError(
                f"--calendar {name!r} is not known: {hint}It must be a code such as XNYS, XPHS or "
                "24/7 (exchange_calendars.get_calendar_names() lists them)"
            )
        self.name = name
        self._schedule: _Schedule | None = None

    def future_times(self, times_ns: Times, horizon: int) -> Times:
        """`[W, L]` bar times, L at least 2, to the `[W, horizon]` times that should follow.

        Daily bars: the next sessions, stamped at their closes if the last bar seen is, else at its
        time of day. Shorter bars: the next times inside sessions, at the distances from a session's
        opening at which bars were seen. Longer bars go on at their spacing, as without an exchange.
        """
        future = np.empty((len(times_ns), horizon), dtype=np.int64)
        if not len(times_ns):
            return future
        schedule = self._covering(int(times_ns.min()), int(times_ns.max()), horizon)
        spacing_ns = np.median(np.diff(times_ns, axis=1), axis=1).astype(np.int64)
        intraday = spacing_ns < DAILY_SPACING_NS
        longer = np.rint(spacing_ns / NS_PER_DAY) > 1
        daily = ~intraday & ~longer
        future[longer] = future_times(times_ns[longer], horizon)
        future[daily] = self._next_sessions(schedule, times_ns[daily], horizon)
        for row in np.flatnonzero(intraday):
            future[row] = self._next_bars(schedule, times_ns[row], int(spacing_ns[row]), horizon)
        return future

    def hours(self, first_ns: int, last_ns: int) -> Hours:
        """The sessions from the first to the last time and of whole years around them, as
        `feeds.load` wants them."""
        schedule = self._covering(first_ns, last_ns, horizon=0)
        return Hours(schedule.days_ns, schedule.opens_ns, schedule.closes_ns)

    def _next_sessions(self, schedule: _Schedule, times_ns: Times, horizon: int) -> Times:
        day_ns = times_ns - times_ns % NS_PER_DAY
        inside = np.isin(day_ns, schedule.days_ns)
        for row in np.flatnonzero(inside.mean(axis=1) < LEAST_SHARE_INSIDE):
            raise self._not_its_sessions(schedule, times_ns[row], inside[row])
        asof_ns, asof_day_ns = times_ns[:, -1], day_ns[:, -1]
        first = np.searchsorted(schedule.days_ns, asof_day_ns, side="right")
        ahead = first[:, None] + np.arange(horizon)
        if ahead.size and ahead.max() >= len(schedule.days_ns):
            raise self._past_the_end(schedule, int(asof_ns[ahead[:, -1].argmax()]))
        at_close = ((first > 0) & (schedule.closes_ns[first - 1] == asof_ns))[:, None]
        time_of_day = (asof_ns - asof_day_ns)[:, None]
        stamped: Times = np.where(
            at_close, schedule.closes_ns[ahead], schedule.days_ns[ahead] + time_of_day
        )
        return stamped

    def _next_bars(
        self, schedule: _Schedule, times_ns: Times, spacing_ns: int, horizon: int
    ) -> Times:
        grid = _Grid.seen(schedule, times_ns, spacing_ns)
        if grid.inside.mean() < LEAST_SHARE_INSIDE:
            raise self._not_its_sessions(schedule, times_ns, grid.inside)
        asof_ns = int(times_ns[-1])
        stretch = int(np.searchsorted(schedule.ends_ns, asof_ns))
        future: list[int] = []
        while len(future) < horizon:
            if stretch == len(schedule.ends_ns):
                raise self._past_the_end(schedule, asof_ns)
            future += [time for time in grid.times(schedule, stretch) if time > asof_ns]
            stretch += 1
        return np.array(future[:horizon], dtype=np.int64)

    def _covering(self, first_ns: int, last_ns: int, horizon: int) -> _Schedule:
        """Sessions from the first bar to beyond the horizon: more than the package's default."""
        ahead = pd.Timedelta(days=2 * horizon + 30)
        first = pd.Timestamp(pd.Timestamp(first_ns).year, 1, 1)
        last = pd.Timestamp((pd.Timestamp(last_ns) + ahead).year, 12, 31)
        if (had := self._schedule) is not None:
            if had.asked_from <= first and last <= had.asked_to:
                return had
            first, last = min(first, had.asked_from), max(last, had.asked_to)
        self._schedule = _Schedule.of(self.name, first, last)
        return self._schedule

    def _not_its_sessions(
        self, schedule: _Schedule, times_ns: Times, inside: NDArray[np.bool_]
    ) -> ConfigError:
        return ConfigError(
            f"--calendar {self.name}: {int(inside.sum())} of the {len(inside)} bars from "
            f"{pd.Timestamp(times_ns[0]):%Y-%m-%d} to {pd.Timestamp(times_ns[-1]):%Y-%m-%d} are in "
            f"its sessions ({schedule.span}): name the calendar of these candles' "
            "exchange, or none"
        )

    def _past_the_end(self, schedule: _Schedule, asof_ns: int) -> ConfigError:
        return ConfigError(
            f"--calendar {self.name}: its sessions are known for {schedule.span} only, too short "
            f"for the horizon as of {pd.Timestamp(asof_ns):%Y-%m-%d}: name no calendar"
        )


def calendar_of(name: str | None) -> ExchangeCalendar | None:
    """The calendar that `--calendar` names, if it names one."""
    return None if name in (None, NO_CALENDAR) else ExchangeCalendar(str(name))


@lru_cache(maxsize=16)
def open_calendar(
    name: str, start: pd.Timestamp | None = None, end: pd.Timestamp | None = None
) -> Any:
    """The package's calendar; by itself it knows twenty years back and one ahead."""
    from exchange_calendars import get_calendar

    with warnings.catch_warnings():  # it uses what newer versions of pandas want to give up
        warnings.simplefilter("ignore")
        return get_calendar(name, start=start, end=end)


@dataclass(frozen=True)
class _Schedule:
    """Sessions, and the stretches of trading in them: one, or two with a break at noon."""

    asked_from: pd.Timestamp
    asked_to: pd.Timestamp
    days_ns: Times  # [K], midnight of each session's day
    opens_ns: Times  # [K]
    closes_ns: Times  # [K]
    starts_ns: Times  # [M], of the stretches, in order
    ends_ns: Times  # [M]
    after_break: NDArray[np.bool_]  # [M], whether it is a session's second stretch

    @classmethod
    def of(cls, name: str, first: pd.Timestamp, last: pd.Timestamp) -> _Schedule:
        bounds = type(open_calendar(name))  # some calendars begin or end where records do
        start = max(first, bounds.bound_min() or first)
        end = min(last, bounds.bound_max() or last)
        if start >= end:
            raise ConfigError(
                f"--calendar {name}: its sessions are not known for {first:%Y-%m-%d} to "
                f"{last:%Y-%m-%d}: name no calendar"
            )
        table = open_calendar(name, start, end).schedule
        opens, closes = _ns(table["open"]), _ns(table["close"])
        has_break = table["break_start"].notna().to_numpy()
        pauses, resumes = (_ns(table[key][has_break]) for key in ("break_start", "break_end"))
        first_ends = closes.copy()
        first_ends[has_break] = pauses
        starts = np.concatenate([opens, resumes])
        order = np.argsort(starts)
        return cls(
            asked_from=first,
            asked_to=last,
            days_ns=pd.DatetimeIndex(table.index).as_unit("ns").asi8,
            opens_ns=opens,
            closes_ns=closes,
            starts_ns=starts[order],
            ends_ns=np.concatenate([first_ends, closes[has_break]])[order],
            after_break=(np.arange(len(starts)) >= len(opens))[order],
        )

    @property
    def span(self) -> str:
        first, last = pd.Timestamp(self.days_ns[0]), pd.Timestamp(self.days_ns[-1])
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


@dataclass(frozen=True)
class _Grid:
    """Where in a stretch of trading bars close, as far as the bars seen tell."""

    spacing_ns: int
    inside: NDArray[np.bool_]  # [L], whether a bar seen lies in a stretch
    offsets_ns: dict[bool, int]  # from a stretch's start, modulo the spacing; by `after_break`
    shorter_last: frozenset[bool]  # the `after_break` of stretches that end with a shorter bar

    @classmethod
    def seen(cls, schedule: _Schedule, times_ns: Times, spacing_ns: int) -> _Grid:
        at = np.searchsorted(schedule.ends_ns, times_ns)
        at = np.minimum(at, len(schedule.ends_ns) - 1)
        inside = (schedule.starts_ns[at] < times_ns) & (times_ns <= schedule.ends_ns[at])
        offsets = (times_ns - schedule.starts_ns[at]) % spacing_ns
        by_kind: dict[bool, int] = {}
        for kind in (False, True):
            of_kind = offsets[inside & (schedule.after_break[at] == kind)]
            if len(of_kind):
                values, counts = np.unique(of_kind, return_counts=True)
                by_kind[kind] = int(values[counts.argmax()])
        kinds = schedule.after_break[at]
        usual = np.array([by_kind.get(bool(kind), 0) for kind in kinds])
        shorter = inside & (times_ns == schedule.ends_ns[at]) & (offsets != usual)
        return cls(spacing_ns, inside, by_kind, frozenset(kinds[shorter].tolist()))

    def times(self, schedule: _Schedule, stretch: int) -> list[int]:
        """The closes of a stretch's bars."""
        start, end = int(schedule.starts_ns[stretch]), int(schedule.ends_ns[stretch])
        kind = bool(schedule.after_break[stretch])
        offset = self.offsets_ns.get(kind, self.offsets_ns.get(not kind, 0))
        times = list(range(start + (offset or self.spacing_ns), end + 1, self.spacing_ns))
        if kind in self.shorter_last and (not times or times[-1] != end):
            times.append(end)
        return times


def _ns(times: pd.Series) -> Times:
    stamps: Times = pd.DatetimeIndex(times).as_unit("ns").asi8
    return stamps
