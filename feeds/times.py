"""Reads whatever a file calls time into UTC stamps.

Times without a zone are taken as UTC as they stand; times with one are converted. A series whose
times name several zones, or a zone only here and there, is refused: guessing shifts bars. Two
offsets an hour apart are one zone with summer time.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import NS_PER_MINUTE
from .errors import REPAIR, TimeError
from .words import plain, shown

# Text that ends in a clock time and a zone: "16:00Z", "16:00:00+08:00", "16:00 -0500".
_ZONE = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?\s*(Z|z|[+-]\d\d(?::?\d\d)?)$"
# Numbers: [low, high) and the unit they count since 1970; smaller ones are YYYYMMDD.
_EPOCHS: tuple[tuple[float, float, Literal["s", "ms", "us", "ns"]], ...] = (
    (1e8, 1e11, "s"),
    (1e11, 1e14, "ms"),
    (1e14, 1e17, "us"),
    (1e17, 1e20, "ns"),
)
Offsets: TypeAlias = NDArray[np.int64]
_EARLIEST, _LATEST = pd.Timestamp("1700-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")


class Parsed(NamedTuple):
    """A column of times."""

    times: pd.DatetimeIndex  # UTC, nanoseconds, named "time"
    zoned: bool  # it named a zone
    offsets_ns: Offsets  # [bars], local time minus UTC; 0 where no zone was named


def parse_times(
    raw: pd.Series, symbol: str, *, source: str | None = None, lenient: bool = False
) -> Parsed:
    """`raw` [bars] as UTC stamps.

    Accepts datetimes, dates, ISO 8601 text, whole numbers YYYYMMDD, and counts of s, ms, us or ns
    since 1970. Raises `TimeError` for a missing or unreadable time, unless `lenient`, which gives
    NaT there, and always for mixed zones.
    """
    offsets: Offsets = np.zeros(len(raw), dtype=np.int64)
    if isinstance(raw.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_dtype(raw.dtype):
        times, zoned = pd.DatetimeIndex(pd.to_datetime(raw, utc=True)), False
        if isinstance(raw.dtype, pd.DatetimeTZDtype):
            zoned, offsets = True, _offsets_of(pd.DatetimeIndex(raw))
    elif pd.api.types.is_numeric_dtype(raw.dtype) and raw.dtype != bool:
        times, zoned = _from_numbers(raw)
    elif pd.api.types.infer_dtype(raw) == "date":  # far quicker than by way of text
        times, zoned = pd.DatetimeIndex(pd.to_datetime(raw, utc=True, errors="coerce")), False
    else:
        times, zoned, offsets = _from_text(raw, symbol, source)
    known = (times >= _EARLIEST) & (times < _LATEST)
    times = pd.DatetimeIndex(times.where(known)).as_unit("ns")
    if times.hasnans and not lenient:
        raise _unreadable(raw, times, symbol, source)
    return Parsed(times.rename("time"), zoned, offsets)


def _offsets_of(local: pd.DatetimeIndex) -> Offsets:
    """Local time minus UTC; 0 where a time is missing."""
    apart = local.tz_localize(None) - local.tz_convert("UTC").tz_localize(None)
    return pd.TimedeltaIndex(apart.fillna(pd.Timedelta(0))).as_unit("ns").asi8


def _from_numbers(raw: pd.Series) -> tuple[pd.DatetimeIndex, bool]:
    """Numbers in the unit of the first of them; those of another magnitude become NaT. Counts
    since 1970 are UTC by definition; YYYYMMDD names no zone."""
    known = raw.dropna()
    first = float(known.iloc[0]) if len(known) else 0.0
    for low, high, unit in _EPOCHS:
        if low <= first < high:
            fits = raw.where((raw >= low) & (raw < high))
            return pd.DatetimeIndex(pd.to_datetime(fits, unit=unit, utc=True)), True
    dates = raw.where((raw >= 17000101) & (raw < 22000101)).astype("Int64").astype("str")
    times = pd.to_datetime(dates, format="%Y%m%d", utc=True, errors="coerce")
    return pd.DatetimeIndex(times), False


def _from_text(raw: pd.Series, symbol: str, source: str | None) -> Parsed:
    text = raw.astype("str").str.strip()
    zones = text.str.extract(_ZONE, expand=False).fillna("none").replace({"Z": "+00:00"})
    offsets = zones.map({zone: _offset(zone) for zone in zones.unique()}).to_numpy(np.int64)
    zones = zones[raw.notna().to_numpy()]
    if zones.nunique() > 1 and not _summer_time(zones.unique()):
        row = int((zones != zones.iloc[0]).to_numpy().argmax())
        row = int(raw.notna().to_numpy().nonzero()[0][row])
        raise TimeError.at(
            f"mixed time zones: {raw.iloc[row]} after {text[raw.notna()].iloc[0]}",
            symbol=symbol,
            source=source,
            row=row,
            value=plain(raw.iloc[row]),
            remedy="write every time in UTC, all with one offset or all without",
        )
    times = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    zoned = bool(len(zones) and zones.iloc[0] != "none")
    return Parsed(pd.DatetimeIndex(times), zoned, offsets)


def _offset(zone: str) -> int:
    """Nanoseconds of an offset such as "+08:00", "-0500" or "z"; 0 for "none"."""
    digits = zone.lstrip("+-").replace(":", "")
    if not digits.isdigit():
        return 0
    minutes = 60 * int(digits[:2]) + int(digits[2:] or 0)
    return (-1 if zone.startswith("-") else 1) * minutes * NS_PER_MINUTE


def _summer_time(zones: np.ndarray) -> bool:
    """Whether these are two offsets, an hour apart."""
    if "none" in zones or len(zones) != 2:
        return False
    first, second = (_offset(zone) for zone in zones)
    return abs(first - second) == 60 * NS_PER_MINUTE


def _unreadable(
    raw: pd.Series, times: pd.DatetimeIndex, symbol: str, source: str | None
) -> TimeError:
    row = int(times.isna().argmax())
    value = raw.iloc[row]
    missing = bool(pd.isna(value))
    problem = "the time is missing" if missing else f"the time {shown(value)} cannot be read"
    return TimeError.at(
        f"{problem}; write YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS",
        symbol=symbol,
        source=source,
        row=row,
        value=None if missing else plain(value),
        remedy=REPAIR,
    )
