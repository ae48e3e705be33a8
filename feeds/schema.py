"""Turns a user's table into the shape of candles: names, times, numbers; no judgement on values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .candles import COLUMNS
from .checks import PRICES, empty, validate
from .errors import REPAIR, ColumnError, PriceError
from .repairs import repair as repair_frame
from .times import parse_times

# What a column may be called, besides its own name; case, blanks and <> do not matter.
ALIASES = {
    "time": ("date", "datetime", "timestamp", "timestamps", "close_time", "trade_date"),
    "open": ("o", "open_price"),
    "high": ("h", "high_price"),
    "low": ("l", "low_price"),
    "close": ("c", "close_price"),
    "volume": ("v", "vol"),
    "amount": ("amt", "value", "quote_volume"),
    "symbol": ("ticker", "sym", "instrument", "code", "pair"),
}
_MEANING = {alias: name for name, aliases in ALIASES.items() for alias in (name, *aliases)}


class Arranged(NamedTuple):
    """A table with known names: UTC index, float64 prices and what there was of volume, amount."""

    frame: pd.DataFrame
    zoned: bool  # its times named a zone


def meaning(column: object) -> str | None:
    """Which of `ALIASES` a column's name stands for, or None."""
    return _MEANING.get(str(column).strip().strip("<>").strip().lower().replace(" ", "_"))


def find_columns(raw: pd.DataFrame, source: str) -> dict[str, object]:
    """Meaning to column of `raw`; raises `ColumnError` where two columns mean one thing."""
    found: dict[str, object] = {}
    for column in raw.columns:
        name = meaning(column)
        if name is None:
            continue
        if name in found:
            raise ColumnError.at(
                f"columns {str(found[name])!r} and {str(column)!r} both mean {name}",
                symbol=source,
                value=str(column),
                remedy="keep one of them",
            )
        found[name] = column
    return found


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
    found = find_columns(raw, symbol if source is None else f"{symbol} ({source})")
    for name in ("time", *PRICES):
        if name not in found:
            raise ColumnError.at(
                f"no column {name}; there are {', '.join(map(str, raw.columns)) or 'none'}",
                symbol=symbol,
                source=source,
                value=name,
                remedy=f"name one {name} (or {', '.join(ALIASES[name])})",
            )
    if raw.empty:
        raise empty(symbol, source)
    times, zoned = parse_times(raw[found["time"]], symbol, source=source, lenient=lenient)
    columns = {
        name: _numbers(raw[found[name]], name, times, symbol, source, lenient)
        for name in COLUMNS
        if name in found
    }
    return Arranged(pd.DataFrame(columns, index=times), zoned)


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
    UTC as they stand. Raises as `arrange` does.
    """
    return fill(arrange(raw, symbol, source=source).frame)


def finish(
    frame: pd.DataFrame, symbol: str, *, source: str | None = None, repair: bool = False
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """An arranged frame as validated candles, and what `repair` changed."""
    notes: tuple[str, ...] = ()
    if repair:
        frame, notes = repair_frame(frame, symbol, source=source)
    frame = fill(frame)
    validate(frame, symbol, source=source)
    return frame, notes


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
            f"{name} is {raw.iloc[row]!r}; it must be a number",
            symbol=symbol,
            source=source,
            row=row,
            time=times[row],
            value=raw.iloc[row],
            remedy=REPAIR,
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)
