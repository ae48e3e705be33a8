"""Turns a user's table into the shape of candles: names, times, numbers; no judgement on values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import COLUMNS, PRICES
from .checks import empty, validate
from .errors import REPAIR, ColumnError, PriceError, TimeError
from .repairs import repair as repair_frame
from .stamps import Column
from .times import Parsed, parse_times
from .words import plain, shown

# What a column may be called, besides its own name; case, blanks and <> do not matter.
ALIASES = {
    "time": (
        "date",
        "datetime",
        "timestamp",
        "timestamps",
        "trade_date",
        "close_time",
        "closetime",
        "closing_time",
        "close_timestamp",
        "end_time",
    ),
    "open_time": (
        "opentime",
        "opening_time",
        "open_timestamp",
        "open_datetime",
        "open_date",
        "start_time",
    ),
    "open": ("o", "open_price"),
    "high": ("h", "high_price"),
    "low": ("l", "low_price"),
    "close": ("c", "close_price"),
    "volume": ("v", "vol"),
    "amount": ("amt", "value", "quote_volume"),
    "symbol": ("ticker", "sym", "instrument", "code", "pair"),
}
_MEANING = {alias: name for name, aliases in ALIASES.items() for alias in (name, *aliases)}


class Meant(NamedTuple):
    """What the columns of times say that they are."""

    column: Column = "time"  # of the index
    opened: bool = False  # whether opening times stand in a column of their own


# Columns that go along with the candles until it is settled when each bar opened and closed.
OFFSET, OPENED = "offset_ns", "opened_ns"
NO_TIME = np.iinfo(np.int64).min  # as NaT is stored


class Arranged(NamedTuple):
    """A table with known names: UTC index, float64 prices and what there was of volume, amount;
    and int64 columns `OFFSET` (local time minus UTC) and `OPENED` (`NO_TIME` where unknown)."""

    frame: pd.DataFrame
    zoned: bool  # its times named a zone
    meant: Meant


def meaning(column: object) -> str | None:
    """Which of `ALIASES` a column's name stands for, or None."""
    return _MEANING.get(str(column).strip().strip("<>").strip().lower().replace(" ", "_"))


def find_columns(raw: pd.DataFrame, source: str) -> dict[str, object]:
    """Meaning to column of `raw`; raises `ColumnError` where two columns mean one thing."""
    by_meaning: dict[str, object] = {}
    for column in raw.columns:
        name = meaning(column)
        if name is None:
            continue
        if name in by_meaning:
            raise ColumnError.at(
                f"columns {str(by_meaning[name])!r} and {str(column)!r} both mean {name}",
                symbol=source,
                value=str(column),
                remedy="keep one of them",
            )
        by_meaning[name] = column
    return by_meaning


def with_index_as_column(raw: pd.DataFrame) -> pd.DataFrame:
    """`raw` with an index that means something turned into columns."""
    if isinstance(raw.index, pd.DatetimeIndex) and raw.index.name is None:
        raw = raw.rename_axis("time")
    if any(meaning(name) for name in raw.index.names):
        return raw.reset_index()
    return raw


def arrange(
    raw: pd.DataFrame, symbol: str, *, source: str | None = None, lenient: bool = False
) -> Arranged:
    """`raw`, one symbol's rows in any known naming, in the order it came.

    Raises `ColumnError` for a missing, doubled or non-numeric column, `SourceError` for no rows
    and `TimeError` for times that cannot be read; `lenient` turns unreadable cells into NaN.
    """
    raw = with_index_as_column(raw)
    by_meaning = find_columns(raw, symbol if source is None else f"{symbol} ({source})")
    stamps = "time" if "time" in by_meaning or "open_time" not in by_meaning else "open_time"
    _require((stamps, *PRICES), by_meaning, raw, symbol, source)
    if raw.empty:
        raise empty(symbol, source)
    parsed = parse_times(raw[by_meaning[stamps]], symbol, source=source, lenient=lenient)
    columns = {
        name: _numbers(raw[by_meaning[name]], name, parsed.times, symbol, source, lenient)
        for name in COLUMNS
        if name in by_meaning
    }
    frame = pd.DataFrame(
        columns | {OFFSET: parsed.offsets_ns, OPENED: np.full(len(raw), NO_TIME)},
        index=parsed.times,
    )
    opened = {"time", "open_time"} <= set(by_meaning)
    if opened:
        frame = _with_openings(frame, raw[by_meaning["open_time"]], parsed, symbol, source, lenient)
    column: Column = "open" if stamps == "open_time" else _called_after(by_meaning["time"])
    if opened and (frame[OPENED] == parsed.times.asi8).all():
        column, opened = "open", False  # one column said twice
    return Arranged(frame, parsed.zoned, Meant(column, opened))


def _require(
    names: tuple[str, ...],
    by_meaning: dict[str, object],
    raw: pd.DataFrame,
    symbol: str,
    source: str | None,
) -> None:
    for name in names:
        if name not in by_meaning:
            raise ColumnError.at(
                f"no column {name}; there are {', '.join(map(str, raw.columns)) or 'none'}",
                symbol=symbol,
                source=source,
                value=name,
                remedy=f"name one {name} (or {', '.join(ALIASES[name])})",
            )


def _called_after(column: object) -> Column:
    """Whether a column of times says that they are closes."""
    name = str(column).lower()
    return "close" if "close" in name or "closing" in name or "end" in name else "time"


def _with_openings(
    frame: pd.DataFrame, raw: pd.Series, stamps: Parsed, symbol: str, source: str | None,
    lenient: bool,
) -> pd.DataFrame:  # fmt: skip
    parsed = parse_times(raw, symbol, source=source, lenient=lenient)
    if parsed.zoned != stamps.zoned:
        raise TimeError.at(
            f"mixed time zones: opening times {'with' if parsed.zoned else 'without'} a zone and "
            f"the others {'with' if stamps.zoned else 'without'}",
            symbol=symbol,
            source=source,
            row=0,
            remedy="write every time in UTC, all with an offset or all without",
        )
    return frame.assign(**{OPENED: parsed.times.asi8})


def fill(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with all six columns: no volume makes volume and amount 0; no amount makes it
    volume × mean of the four prices."""
    if "volume" not in frame:
        frame = frame.assign(volume=0.0, amount=0.0)
    elif "amount" not in frame:
        frame = frame.assign(amount=frame["volume"] * frame[list(PRICES)].mean(axis=1))
    ordered = frame[list(COLUMNS)]
    # one block of memory, so that everything that reads the candles can share it
    return pd.DataFrame(ordered.to_numpy(np.float64), ordered.index, ordered.columns)


def normalise(raw: pd.DataFrame, symbol: str, *, source: str | None = None) -> pd.DataFrame:
    """A user's table of one symbol in the shape of candles [bars, 6], not yet validated.

    Known column names are in `ALIASES`; others are left out. Times without a zone are taken as
    UTC. They stay as they stand: what they mean, `load` and `from_frames` find out. Raises as
    `arrange` does.
    """
    return fill(arrange(raw, symbol, source=source).frame)


class Checked(NamedTuple):
    """One symbol's candles, in order and valid, as their source stamps them."""

    frame: pd.DataFrame  # [bars, 6]
    offsets_ns: NDArray[np.int64]  # [bars], local time minus UTC
    opened_ns: NDArray[np.int64]  # [bars], `NO_TIME` where it is not known
    repairs: tuple[str, ...]


def finish(
    frame: pd.DataFrame, symbol: str, *, source: str | None = None, repair: bool = False
) -> Checked:
    """An arranged frame as validated candles, and what `repair` changed."""
    repairs: tuple[str, ...] = ()
    if repair:
        frame, repairs = repair_frame(frame, symbol, source=source)
    filled = fill(frame)
    validate(filled, symbol, source=source)
    offsets, opened = (frame[name].to_numpy(np.int64) for name in (OFFSET, OPENED))
    return Checked(filled, offsets, opened, repairs)


def _numbers(
    raw: pd.Series,
    name: str,
    times: pd.DatetimeIndex,
    symbol: str,
    source: str | None,
    lenient: bool,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    numbers = pd.to_numeric(raw, errors="coerce")
    lost = (numbers.isna() & raw.notna()).to_numpy()
    if lost.any() and not lenient:
        row = int(lost.argmax())
        raise PriceError.at(
            f"{name} is {shown(raw.iloc[row])}; it must be a number",
            symbol=symbol,
            source=source,
            row=row,
            time=times[row],
            value=plain(raw.iloc[row]),
            remedy=REPAIR,
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)
