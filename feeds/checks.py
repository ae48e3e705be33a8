"""The one check of candles: a frame passes it, or is refused at its first bad row.

It looks and never changes anything, and knows frames only, never files.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from .bars import COLUMNS, PRICES
from .errors import REPAIR, ColumnError, FeedError, PriceError, SourceError, TimeError


class _Check(NamedTuple):
    bad: npt.NDArray[np.bool_]  # [bars]
    column: str
    rule: str  # what is allowed


def validate(frame: pd.DataFrame, symbol: str, *, source: str | None = None) -> None:
    """Refuse a frame that breaks the candle contract.

    frame: [bars, 6] as described at `Candles.frames`. Raises `ColumnError`, `TimeError`,
    `SourceError` (no rows) or `PriceError`, each with the symbol, the first bad row and its value.
    """
    _check_shape(frame, symbol, source)
    _check_times(pd.DatetimeIndex(frame.index), symbol, source)
    _check_values(frame, symbol, source)


def _check_shape(frame: pd.DataFrame, symbol: str, source: str | None) -> None:
    columns = tuple(str(name) for name in frame.columns)
    if columns != COLUMNS:
        raise ColumnError.at(
            f"the columns are {', '.join(columns) or 'none'}",
            symbol=symbol,
            source=source,
            value=columns,
            remedy=f"they must be {', '.join(COLUMNS)} (feeds.normalise makes them so)",
        )
    for column in COLUMNS:
        if frame[column].dtype != np.float64:
            raise ColumnError.at(
                f"{column} is {frame[column].dtype}",
                symbol=symbol,
                source=source,
                value=str(frame[column].dtype),
                remedy="it must be float64 (feeds.normalise makes it so)",
            )
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC" or index.name != "time":
        actual = f"{index.dtype} named {index.name!r}"
        raise TimeError.at(
            f"the index is {actual}",
            symbol=symbol,
            source=source,
            value=actual,
            remedy="it must be a UTC DatetimeIndex named 'time' (feeds.normalise makes it so)",
        )
    if frame.empty:
        raise empty(symbol, source)


def empty(symbol: str, source: str | None) -> SourceError:
    """The error for a series without a row."""
    remedy = "give at least one row of candles, or leave the symbol out"
    return SourceError.at("no rows", symbol=symbol, source=source, remedy=remedy)


def _check_times(times: pd.DatetimeIndex, symbol: str, source: str | None) -> None:
    def refuse(row: int, problem: str) -> FeedError:
        stamp = times[row]
        value = None if pd.isna(stamp) else stamp
        return TimeError.at(
            problem, symbol=symbol, source=source, row=row, time=value, value=value, remedy=REPAIR
        )

    if times.hasnans:
        raise refuse(int(np.argmax(times.isna())), "the time is missing; every row needs one")
    back = np.flatnonzero(times[1:] <= times[:-1])
    if len(back):
        row = int(back[0]) + 1
        if times[row] == times[row - 1]:
            raise refuse(row, "the time is that of the row before; times must be unique")
        before = f"{times[row - 1]:%Y-%m-%d %H:%M:%S}"
        raise refuse(row, f"the time is before that of the row above ({before}); times must rise")


def _check_values(frame: pd.DataFrame, symbol: str, source: str | None) -> None:
    checks = _checks(frame)
    rows = [int(np.argmax(check.bad)) if check.bad.any() else len(frame) for check in checks]
    row = min(rows)
    if row == len(frame):
        return
    check = checks[rows.index(row)]
    value = float(frame[check.column].iloc[row])
    rule = check.rule.format(**dict(zip(COLUMNS, frame.iloc[row], strict=True)))
    raise PriceError.at(
        f"{check.column} is {value:.10g}; {rule}",
        symbol=symbol,
        source=source,
        row=row,
        time=frame.index[row],
        value=value,
        remedy=REPAIR,
    )


def _checks(frame: pd.DataFrame) -> list[_Check]:
    """Every rule of a row's values, in the order in which a row is told it broke them."""
    arrays = {column: frame[column].to_numpy() for column in COLUMNS}
    checks = [_Check(~np.isfinite(arrays[c]), c, "it must be a finite number") for c in COLUMNS]
    checks += [_Check(arrays[c] <= 0, c, "a price must be above 0") for c in PRICES]
    opens, highs, lows, closes = (arrays[column] for column in PRICES)
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    checks += [
        _Check(
            highs < top,
            "high",
            "it must be at least max(open, close) of open {open:.10g}, close {close:.10g}",
        ),
        _Check(
            lows > bottom,
            "low",
            "it must be at most min(open, close) of open {open:.10g}, close {close:.10g}",
        ),
    ]
    checks += [_Check(arrays[c] < 0, c, "it must be 0 or more") for c in ("volume", "amount")]
    return checks


def misplaced(
    closes_ns: npt.NDArray[np.int64], opens_ns: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Which openings are not before their close, or are before the close of the bar above."""
    wrong: npt.NDArray[np.bool_] = opens_ns >= closes_ns
    wrong[1:] |= opens_ns[1:] < closes_ns[:-1]
    return wrong


def check_openings(
    index: pd.DatetimeIndex,
    opens_ns: npt.NDArray[np.int64],
    symbol: str,
    *,
    source: str | None = None,
) -> None:
    """Refuse openings `[bars]` of bars by close time `[bars]` that overlap, or that last no time.

    Raises `TimeError` with the symbol, the first bad row and its opening time.
    """
    closes_ns = pd.DatetimeIndex(index).as_unit("ns").asi8
    if opens_ns.shape != closes_ns.shape or opens_ns.dtype != np.int64:
        raise TimeError.at(
            f"its opening times are {opens_ns.dtype} of shape {opens_ns.shape}",
            symbol=symbol,
            source=source,
            value=opens_ns.shape,
            remedy=f"they must be int64 of shape ({len(index)},), one for each bar",
        )
    wrong = misplaced(closes_ns, opens_ns)
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    opened = pd.Timestamp(int(opens_ns[row]), tz="UTC")
    if opens_ns[row] >= closes_ns[row]:
        rule = "it must be before the bar closes"
    else:
        rule = f"it must not be before the bar above closes ({index[row - 1]:%Y-%m-%d %H:%M:%S})"
    raise TimeError.at(
        f"the opening time is {opened:%Y-%m-%d %H:%M:%S}; {rule}",
        symbol=symbol,
        source=source,
        row=row,
        time=index[row],
        value=opened,
        remedy=REPAIR,
    )
