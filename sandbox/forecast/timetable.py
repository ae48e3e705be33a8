"""The sessions of exchanges, worked out by the `exchange_calendars` package once and then kept.

The package takes 0.3 s to import and 0.3 to 8 s to work out the sessions of an exchange: a third of
a run whose forecasts are stored. So what it says is kept in a file for each exchange and version of
the package, in `~/.cache/kronos-sandbox`, or where `$SANDBOX_CACHE` says. A file that is missing,
damaged or too short is made again, and where none can be written, none is.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds.bars import NS_PER_DAY
from sandbox.errors import ConfigError
from sandbox.files import write_whole
from sandbox.forecast.horizon import Times
from sandbox.words import nearest_of_any_case, safe_name

PACKAGE = "exchange_calendars"
CACHE = "SANDBOX_CACHE"  # variable of the environment: the folder that keeps sessions
NO_BREAK = np.iinfo(np.int64).min
YEARS = 10  # sessions are asked for by decades, so that most runs find what another one kept
REASON_SHOWN = 80  # characters of the package's own error


class UnknownSessionsError(ConfigError):
    """An exchange's sessions are not known for the bars, or the bars are not in them."""


class Stretches(NamedTuple):
    """Stretches of trading in order: a session is one, or two with a break at noon."""

    starts_ns: Times  # [M]
    ends_ns: Times  # [M]
    after_break: NDArray[np.bool_]  # [M], whether it is a session's second stretch


class Timetable(NamedTuple):
    """An exchange's sessions in order, `[K]` each; nanoseconds since 1970, UTC."""

    asked_ns: Times  # [2], from when to when they were asked for: the exchange may be younger
    days_ns: Times  # midnight of each session's date
    opens_ns: Times
    closes_ns: Times
    breaks_ns: Times  # when trading pauses; `NO_BREAK` where it does not
    resumes_ns: Times

    def covers(self, first_ns: int, last_ns: int) -> bool:
        return bool(self.asked_ns[0] <= first_ns and last_ns <= self.asked_ns[1])

    def stretches(self) -> Stretches:
        has_break = self.breaks_ns != NO_BREAK
        starts = np.concatenate([self.opens_ns, self.resumes_ns[has_break]])
        first_ends = np.where(has_break, self.breaks_ns, self.closes_ns)
        ends = np.concatenate([first_ends, self.closes_ns[has_break]])
        order = np.argsort(starts)
        after_break = np.arange(len(starts)) >= len(self.opens_ns)
        return Stretches(starts[order], ends[order], after_break[order])

    @property
    def span(self) -> str:
        first, last = pd.Timestamp(self.days_ns[0]), pd.Timestamp(self.days_ns[-1])
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def check_name(name: str) -> None:
    """Refuses a calendar that the package does not know."""
    if _read(name) is not None:
        return
    from exchange_calendars import get_calendar_names

    known = get_calendar_names(include_aliases=True)
    if name not in known:
        near = nearest_of_any_case(name, known)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise ConfigError(
            f"--calendar {name!r} is not known: {hint}It must be a code such as XNYS, XPHS or "
            f"24/7 ({PACKAGE}.get_calendar_names() lists them)"
        )


def timetable_of(name: str, first_ns: int, last_ns: int) -> Timetable:
    """The sessions from the first to the last time and of some years around them.

    Raises `UnknownSessionsError` where the exchange has none in that time.
    """
    table = _read(name)
    if table is None or not table.covers(first_ns, last_ns):
        wider = [first_ns, last_ns] if table is None else [first_ns, last_ns, *table.asked_ns]
        table = _worked_out(name, *_decades(min(wider), max(wider)))
        _keep(name, table)
    if table.days_ns[-1] < first_ns or last_ns < table.days_ns[0]:
        raise _unknown_for(name, pd.Timestamp(first_ns), pd.Timestamp(last_ns))
    return table


@lru_cache(maxsize=16)
def open_calendar(
    name: str, start: pd.Timestamp | None = None, end: pd.Timestamp | None = None
) -> Any:
    """The package's calendar; by itself it knows twenty years back and one ahead."""
    from exchange_calendars import get_calendar

    with warnings.catch_warnings():  # it uses what newer versions of pandas want to give up
        warnings.simplefilter("ignore")
        try:
            return get_calendar(name, start=start, end=end)
        except Exception as error:  # several calendars fail on newer versions of pandas
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:REASON_SHOWN]
            raise ConfigError(
                f"--calendar {name}: {PACKAGE} {version(PACKAGE)} cannot work out its sessions "
                f"({reason}): name no calendar"
            ) from error


def _decades(first_ns: int, last_ns: int) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The first and the last day of the decades that two times are in."""
    first, last = (pd.Timestamp(time_ns).year // YEARS * YEARS for time_ns in (first_ns, last_ns))
    return pd.Timestamp(first, 1, 1), pd.Timestamp(last + YEARS - 1, 12, 31)


def _worked_out(name: str, first: pd.Timestamp, last: pd.Timestamp) -> Timetable:
    bounds = type(open_calendar(name))  # some calendars begin or end where records do
    start = max(first, bounds.bound_min() or first)
    end = min(last, bounds.bound_max() or last)
    if start >= end:
        raise _unknown_for(name, first, last)
    table = open_calendar(name, start, end).schedule
    return Timetable(
        asked_ns=np.array([first.value, last.value + NS_PER_DAY - 1]),
        days_ns=pd.DatetimeIndex(table.index).as_unit("ns").asi8,
        opens_ns=_ns(table["open"]),
        closes_ns=_ns(table["close"]),
        breaks_ns=_ns(table["break_start"]),
        resumes_ns=_ns(table["break_end"]),
    )


def _unknown_for(name: str, first: pd.Timestamp, last: pd.Timestamp) -> UnknownSessionsError:
    return UnknownSessionsError(
        f"--calendar {name}: its sessions are not known for {first:%Y-%m-%d} to {last:%Y-%m-%d}: "
        "name no calendar"
    )


def _ns(times: pd.Series) -> Times:
    """A time that is missing becomes `NO_BREAK`."""
    stamps: Times = pd.DatetimeIndex(times).as_unit("ns").asi8
    return stamps


# --- kept in files ---


def _file(name: str) -> Path:
    """Raises RuntimeError where there is no home."""
    folder = os.environ.get(CACHE) or Path.home() / ".cache" / "kronos-sandbox"
    return Path(folder) / f"sessions-{safe_name(name)}-{version(PACKAGE)}.npz"


def _read(name: str) -> Timetable | None:
    """What is kept of a calendar, None where nothing is or it cannot be read."""
    with contextlib.suppress(Exception):  # numpy has a dozen for a damaged file
        content = io.BytesIO(_file(name).read_bytes())
        with np.load(content, allow_pickle=False) as file:
            table = Timetable(*(file[column] for column in Timetable._fields))
            is_its_own = str(file["name"]) == name  # 24/7 and 24-7 have the same file name
        if is_its_own and len({len(column) for column in table[1:]}) == 1:
            return table
    return None


def _keep(name: str, table: Timetable) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, name=np.array(name), **table._asdict())
    with contextlib.suppress(OSError, RuntimeError):  # a disk that is full or read-only
        path = _file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
