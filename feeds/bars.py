"""What the columns and times of candles are: their names and numbers, and bar times in nanoseconds.

Knows the schema, and neither files nor markets.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

COLUMNS = ("open", "high", "low", "close", "volume", "amount")
OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT = range(len(COLUMNS))
PRICES = COLUMNS[: CLOSE + 1]

NS_PER_SECOND = 10**9
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 60 * NS_PER_MINUTE
NS_PER_DAY = 24 * NS_PER_HOUR


def times_ns(frame: pd.DataFrame) -> NDArray[np.int64]:
    """A frame's bar times as nanoseconds since 1970, `[n]`."""
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    times: NDArray[np.int64] = index.as_unit("ns").asi8
    return times


def bar_times(frames: Mapping[str, pd.DataFrame]) -> pd.DatetimeIndex:
    """The bar times of all symbols, oldest first."""
    times = np.unique(np.concatenate([times_ns(frame) for frame in frames.values()]))
    return pd.DatetimeIndex(times, tz="UTC")


def values_of(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The candles, `[n, 6]`: the frame's own memory where it is one block in schema order."""
    columns = list(COLUMNS)
    ordered = frame if list(frame.columns) == columns else frame[columns]
    values: NDArray[np.float64] = ordered.to_numpy(dtype=np.float64)
    return values


def frame_of(closes_ns: ArrayLike, values: ArrayLike) -> pd.DataFrame:
    """The frame of candles `[n, 6]` in schema order that close at `[n]` times, ns since 1970."""
    index = pd.DatetimeIndex(np.asarray(closes_ns, np.int64), tz="UTC", name="time")
    candles = np.asarray(values, np.float64).reshape(-1, len(COLUMNS))
    return pd.DataFrame(candles, index=index, columns=list(COLUMNS))
