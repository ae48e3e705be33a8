"""When the bars after asof will close, told from the bars up to asof alone.

Daily bars go on over the weekdays seen so far, intraday bars over the times of day seen so far;
holidays are not known ahead: `sandbox.forecast.calendars` knows those of a named exchange. All
times are nanoseconds since 1970, UTC.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feeds.bars import NS_PER_DAY, NS_PER_HOUR

Times = NDArray[np.int64]  # nanoseconds since 1970, UTC

DAILY_SPACING_NS = 20 * NS_PER_HOUR  # bars this far apart are daily or longer
UNIX_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
MONDAY_TO_FRIDAY = 0b0011111
SPAN_THAT_SHOWS_A_WEEK_NS = 21 * NS_PER_DAY  # less may lack a weekday for a holiday


def is_daily(times_ns: Times) -> NDArray[np.bool_]:
    """`[W, L]` bar times to `[W]`: whether bars are typically 20 hours or more apart."""
    return np.median(np.diff(times_ns, axis=1), axis=1) >= DAILY_SPACING_NS


def future_times(times_ns: Times, horizon: int) -> Times:
    """`[W, L]` bar times, L at least 2, to the `[W, horizon]` times that should follow."""
    spacing_ns = np.median(np.diff(times_ns, axis=1), axis=1).astype(np.int64)
    future = np.empty((len(times_ns), horizon), dtype=np.int64)
    daily = spacing_ns >= DAILY_SPACING_NS
    days_apart = np.rint(spacing_ns / NS_PER_DAY).astype(np.int64)
    weeks = _weekdays_seen(times_ns)

    longer = daily & (days_apart > 1)
    steps = np.arange(1, horizon + 1)
    future[longer] = times_ns[longer, -1:] + steps * days_apart[longer, None] * NS_PER_DAY
    for week in np.unique(weeks):
        one_day = daily & ~longer & (weeks == week)
        future[one_day] = _next_sessions(times_ns[one_day, -1], int(week), horizon)
    for row in np.flatnonzero(~daily):
        future[row] = _next_in_session(
            times_ns[row], int(spacing_ns[row]), int(weeks[row]), horizon
        )
    return future


def _weekdays_seen(times_ns: Times) -> Times:
    """`[W]` bit sets, Monday lowest; a short stretch counts as a whole working week at least."""
    weekdays = (times_ns // NS_PER_DAY + UNIX_EPOCH_WEEKDAY) % 7
    seen = np.bitwise_or.reduce(1 << weekdays, axis=1)
    short = times_ns[:, -1] - times_ns[:, 0] < SPAN_THAT_SHOWS_A_WEEK_NS
    weeks: Times = np.where(short, seen | MONDAY_TO_FRIDAY, seen)
    return weeks


def _next_sessions(asof_ns: Times, week: int, horizon: int) -> Times:
    """Daily bars: the next days of the week, at the time of day of the last bar."""
    days, time_of_day = np.divmod(asof_ns, NS_PER_DAY)
    open_days = [bool(week >> day & 1) for day in range(7)]
    following = np.busday_offset(
        days.astype("datetime64[D]")[:, None], np.arange(1, horizon + 1), weekmask=open_days
    )
    return following.astype(np.int64) * NS_PER_DAY + time_of_day[:, None]


def _next_in_session(times_ns: Times, spacing_ns: int, week: int, horizon: int) -> Times:
    """Intraday bars: the next times of day seen, or one after another where nothing shuts."""
    if _never_shuts(times_ns, spacing_ns):
        ahead: Times = times_ns[-1] + spacing_ns * np.arange(1, horizon + 1)
        return ahead
    slots = np.unique(times_ns % NS_PER_DAY)
    day, time_of_day = divmod(int(times_ns[-1]), NS_PER_DAY)
    future: list[int] = []
    while len(future) < horizon:
        if week >> (day + UNIX_EPOCH_WEEKDAY) % 7 & 1:
            future += [day * NS_PER_DAY + int(slot) for slot in slots if slot > time_of_day]
        day, time_of_day = day + 1, -1
    return np.array(future[:horizon], dtype=np.int64)


def _never_shuts(times_ns: Times, spacing_ns: int) -> bool:
    """Whether the bars show no closing hours: too few to tell counts as none."""
    slots = np.unique(times_ns % NS_PER_DAY)
    round_the_clock = len(slots) * spacing_ns >= DAILY_SPACING_NS
    longest_gap_ns = int(np.diff(times_ns).max())
    too_few = int(times_ns[-1] - times_ns[0]) < NS_PER_DAY and longest_gap_ns <= 2 * spacing_ns
    return too_few or (round_the_clock and longest_gap_ns < NS_PER_DAY)
