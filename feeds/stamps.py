"""From the stamps of a source to when its bars opened and closed.

A stamp may be a date, the moment a bar closed, or the moment it opened. A date is a whole day: of a
daily bar that day, of a longer one its first or its last. Where a source leaves open which of two
readings is right, the one in which a bar is known later is taken, and a sentence says so.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from .dates import Dates
from .sessions import Held, Sessions
from .spacing import NS_PER_DAY, Times, closing_times, opening_times

Stamps: TypeAlias = Literal["open", "close"]
Column: TypeAlias = Literal["open", "close", "time"]  # what the column of stamps is called after


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
    said: str = ""  # what was recognised, converted or assumed: a sentence, or nothing


def timed(stamped: Stamped, declared: Stamps | None, sessions: Sessions | None) -> Timed:
    """`declared`: what the stamps are, where the user says so."""
    held = Held.of(sessions, stamped.times_ns) if sessions is not None else None
    if declared == "close":
        return _closed(stamped, held, "")
    local_ns = stamped.times_ns + stamped.offsets_ns
    if not (local_ns % NS_PER_DAY).any():
        return _dated(stamped, declared, sessions)
    evidence = held.stamps_are if held is not None else None
    if declared == "open":
        return _opened(stamped, held, "Stamps are taken as opening times, as declared")
    if stamped.column == "open":
        return _opened(stamped, held, "Stamps are opening times, as their column says")
    if stamped.column == "time" and stamped.opened_ns is None and evidence == "open":
        assert sessions is not None
        return _opened(
            stamped, held, f"Stamps are opening times, as the sessions of {sessions.name} show"
        )
    known = stamped.column == "close" or stamped.opened_ns is not None or evidence == "close"
    return _closed(stamped, held, "" if known else ASSUMED)


ASSUMED = (
    "Stamps are taken as the closing times of bars: if they are opening times, as in most files of "
    "crypto exchanges, say --stamps open, else --stamps close"
)


def _closed(stamped: Stamped, held: Held | None, said: str) -> Timed:
    """Stamps that are closing times."""
    closes = stamped.times_ns
    if stamped.opened_ns is not None:
        return Timed(closes, stamped.opened_ns, said)
    opens = opening_times(_index(closes))
    bound = held.opens_of_closes() if held is not None else None
    if bound is not None:
        opens = np.maximum(opens, bound)
    return Timed(closes, opens, said)


def _opened(stamped: Stamped, held: Held | None, said: str) -> Timed:
    """Stamps that are opening times."""
    opens = stamped.times_ns
    closes = closing_times(_index(opens))
    bound = held.closes_of_opens() if held is not None else None
    if bound is not None:
        closes = np.minimum(closes, bound)
    return Timed(closes, opens, f"{said}: each bar closes its length later")


def _dated(stamped: Stamped, declared: Stamps | None, sessions: Sessions | None) -> Timed:
    """Stamps that are dates."""
    first_day = declared == "open" or stamped.column == "open"
    dates = Dates.of(stamped.times_ns, stamped.offsets_ns, first_day=first_day)
    opens, closes, said = dates.opens_ns, dates.closes_ns, dates.said
    held = Held.of(sessions, dates.days_ns) if sessions is not None and dates.daily else None
    places = held.of_dates(dates.days_ns) if held is not None else None
    if held is not None and places is not None and sessions is not None:
        opens = np.where(places >= 0, held.hours.opens_ns[places], opens)
        closes = np.where(places >= 0, held.hours.closes_ns[places], closes)
        said = (
            "Bars are stamped with dates: each opens and closes with its session of "
            f"{sessions.name}"
        )
    if stamped.opened_ns is not None:
        return Timed(closes, stamped.opened_ns, said)
    opens[1:] = np.maximum(opens[1:], closes[:-1])
    return Timed(closes, opens, said)


def _index(times_ns: Times) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times_ns, tz="UTC")
