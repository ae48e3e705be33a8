"""From the stamps of a source to when its bars opened and closed.

A stamp may be a date, the moment a bar closed, or the moment it opened. A date is a whole day: of a
daily bar that day, of a longer one its first or its last. Where a source leaves open which of two
readings is right, the one in which a bar is known later is taken, and a sentence says so.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import NS_PER_DAY
from .dates import Dates, at_midnight, days_are_over, last_seconds, zone_of_midnights
from .evidence import Doubt
from .sessions import Held, Sessions
from .spacing import DAILY_NS, Times, closing_times, opening_times

Stamps: TypeAlias = Literal["open", "close"]
Column: TypeAlias = Literal["open", "close", "time"]  # what the column of stamps is called after

FEWEST_DAYS = 5  # at midnight, before bars within the day, for them to be dates
ASSUMED = (
    "Stamps are taken as the closing times of bars: if they are opening times, as in most files of "
    "crypto exchanges, say --stamps open, else --stamps close"
)
DECLARED = "declared"
WITH_SESSION = "Bars are stamped with dates: each opens and closes with its session"
DAYS_OVER = "Stamps at midnight are closing times: Saturdays have them and Mondays do not"
DAYS_AND_SHORTER = (
    "Daily bars before or after shorter ones are stamped with dates: each closes at 23:59:59; the "
    "stamps of the shorter ones are taken as closing times (--stamps open, if they are not)"
)


class Stamped(NamedTuple):
    """The times of one symbol as its source has them, in order."""

    times_ns: Times  # [bars]
    offsets_ns: Times  # [bars], local time minus UTC
    opened_ns: Times | None = None  # [bars], from a column of its own
    column: Column = "time"


class Timed(NamedTuple):
    """When the bars of one symbol opened and closed."""

    closes_ns: Times  # [bars]
    opens_ns: Times  # [bars], each before its close and none before the close of the last bar
    notes: tuple[str, ...] = ()  # what was recognised, converted or assumed
    doubt: Doubt | None = None


def timed(
    stamped: Stamped, declared: Stamps | None, sessions: Sessions | None, *, why: str = DECLARED
) -> Timed:
    """`declared`: what the stamps are, where the user, or `why`, says so."""
    if declared != "close":
        stamped, zone = _in_zone(stamped)
        if declared is None and days_are_over(stamped.times_ns + stamped.offsets_ns):
            return _closed(stamped, None, DAYS_OVER)
        if _are_dates(stamped):
            return _dated(stamped, declared, sessions, zone)
    held = Held.of(sessions, stamped.times_ns) if sessions is not None else None
    evidence = held.stamps_are if held is not None else None
    if declared == "open":
        return _opened(stamped, held, f"Stamps are taken as opening times, as {why}")
    if stamped.column == "open":
        return _opened(stamped, held, "Stamps are opening times, as their column says")
    if declared == "close" and why != DECLARED:
        return _closed(stamped, held, f"Stamps at midnight are closing times, as {why}")
    if declared == "close" or stamped.column == "close" or stamped.opened_ns is not None:
        return _closed(stamped, held)
    if held is not None and evidence == "open":
        return _opened(stamped, held, f"Stamps are opening times, as the hours of {held.name} show")
    days = _days_beside_shorter_bars(stamped.times_ns + stamped.offsets_ns)
    if days.any():
        return _closed(_at_their_end(stamped, days), held, DAYS_AND_SHORTER)
    if evidence == "close":
        return _closed(stamped, held)
    return _closed(stamped, held, ASSUMED)._replace(doubt="closes")


def _in_zone(stamped: Stamped) -> tuple[Stamped, str]:
    """Stamps in UTC that are midnights elsewhere get the offsets of that zone; and its name."""
    zone = "" if stamped.offsets_ns.any() else zone_of_midnights(stamped.times_ns)
    if not zone:
        return stamped, ""
    local = _index(stamped.times_ns).tz_convert(zone).tz_localize(None).as_unit("ns").asi8
    return stamped._replace(offsets_ns=local - stamped.times_ns), zone


def _are_dates(stamped: Stamped) -> bool:
    """Whether all stamps are local midnights, and not those at which bars closed: such bars say
    themselves that they opened before."""
    if not at_midnight(stamped.times_ns + stamped.offsets_ns):
        return False
    opened = stamped.opened_ns
    return opened is None or bool((opened >= stamped.times_ns).any())


def _closed(stamped: Stamped, held: Held | None, *notes: str) -> Timed:
    """Stamps that are closing times."""
    closes = stamped.times_ns
    if stamped.opened_ns is not None:
        return Timed(closes, stamped.opened_ns, notes)
    opens = opening_times(_index(closes))
    if held is not None:
        bound = held.opens_of_closes()
        if bound is None:
            return Timed(closes, opens, (*notes, _not_used(held.name)))
        opens = np.maximum(opens, bound)
    return Timed(closes, opens, notes)


def _opened(stamped: Stamped, held: Held | None, note: str) -> Timed:
    """Stamps that are opening times."""
    opens = stamped.times_ns
    closes = closing_times(_index(opens))
    note = f"{note}: each bar closes its length later"
    if held is not None:
        bound = held.closes_of_opens()
        if bound is None:
            return Timed(closes, opens, (note, _not_used(held.name)))
        closes = np.minimum(closes, bound)
    return Timed(closes, opens, (note,))


def _dated(
    stamped: Stamped, declared: Stamps | None, sessions: Sessions | None, zone: str
) -> Timed:
    """Stamps that are dates."""
    first_day = declared == "open" or stamped.column == "open"
    dates = Dates.of(stamped.times_ns, stamped.offsets_ns, first_day=first_day, zone=zone)
    opens, closes, notes = dates.opens_ns, dates.closes_ns, [dates.note]
    if sessions is None and dates.daily:
        notes = [f"{dates.note}, as long as no --calendar gives its hours"]
    elif sessions is not None and dates.daily:
        sessions_of_dates = Held.of(sessions, dates.days_ns).of_dates(dates.days_ns)
        if sessions_of_dates is None:
            notes.append(_not_used(sessions.name))
        else:
            hours, has_one = sessions_of_dates
            opens = np.where(has_one, hours.opens_ns, opens)
            closes = np.where(has_one, hours.closes_ns, closes)
            notes = [f"{WITH_SESSION} of {sessions.name}"]
    if stamped.opened_ns is not None:
        return Timed(closes, stamped.opened_ns, tuple(notes))
    opens[1:] = np.maximum(opens[1:], closes[:-1])
    doubtful = stamped.column == "time" and dates.note in notes[0] and dates.daily and not first_day
    return Timed(closes, opens, tuple(notes), "dates" if doubtful else None)


def _days_beside_shorter_bars(local_ns: Times) -> NDArray[np.bool_]:
    """Which stamps are dates in a series that goes on, or began, with bars within the day: those a
    day from their neighbours, if all of them are midnights."""
    far = np.diff(local_ns) >= DAILY_NS
    apart = np.append(far, True) & np.insert(far, 0, True)
    days = apart & (local_ns % NS_PER_DAY == 0)
    return days if days.sum() >= FEWEST_DAYS and days.sum() == apart.sum() else np.zeros_like(days)


def _at_their_end(stamped: Stamped, days: NDArray[np.bool_]) -> Stamped:
    closes = last_seconds(stamped.times_ns)
    return stamped._replace(times_ns=np.where(days, closes, stamped.times_ns))


def _not_used(name: str) -> str:
    return f"Bars are not those of the sessions of {name}, whose hours are not used for them"


def _index(times_ns: Times) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times_ns, tz="UTC")
