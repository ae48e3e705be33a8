"""The one place where users' frames and times are checked; everything behind it trusts the result.

Knows pandas frames and times; nothing of models. What it means where a series is odd: `volume`
missing, both volume and amount are 0; `amount` missing, it is volume × mean of the four prices; a
column that never changes is normalised to 0 and forecast to stay where it is, but for some 1e-5
and fp32 rounding; a history of one bar is such a series in every column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.errors import InputError
from kronos.forecast import COLUMNS

EPSILON = 1e-5  # added to the standard deviation, as published
LARGEST = 1e17  # squares, summed over a history, still fit fp32
PARTS_OF_TIME = ("minute", "hour", "weekday", "day", "month")
Times = pd.Series | pd.DatetimeIndex


@dataclass(frozen=True)
class Prepared:
    """One series: values `[L, 6]` fp32, x_stamp `[L, 5]` and y_stamp `[P, 5]` int64, its times."""

    values: np.ndarray
    x_stamp: np.ndarray
    y_stamp: np.ndarray
    asof: pd.Timestamp
    index: pd.DatetimeIndex


def time_stamps(times: pd.DatetimeIndex) -> np.ndarray:
    """Times → `[n, 5]` int64: minute, hour, weekday (Monday 0), day, month."""
    # in the order of PARTS_OF_TIME
    parts = (times.minute, times.hour, times.day_of_week, times.day, times.month)
    return np.stack([np.asarray(p, dtype=np.int64) for p in parts], axis=1)


def whole_number(value: object, name: str, least: int, most: int | None = None) -> int:
    """`value` as an int in [least, most], or one clear error."""
    limit = f", {least} or more" if most is None else f" from {least} to {most}"
    allowed = f"a whole number{limit}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name} must be {allowed}, got {value!r}")
    if value < least or (most is not None and value > most):
        raise InputError(f"{name} must be {allowed}, got {value}")
    return int(value)


def _times(times: object, name: str) -> pd.DatetimeIndex:
    if isinstance(times, pd.Series) and pd.api.types.is_datetime64_any_dtype(times.dtype):
        times = pd.DatetimeIndex(times)
    if not isinstance(times, pd.DatetimeIndex):
        dtype = getattr(times, "dtype", None)
        kind = type(times).__name__ + (f" of {dtype!s}" if dtype is not None else "")
        raise InputError(
            f"{name} must be a Series or DatetimeIndex of datetimes, got {kind}; pd.to_datetime "
            "makes one"
        )
    if times.hasnans:
        raise InputError(f"{name} has a missing time at row {int(np.argmax(times.isna()))}")
    return times


def candle_values(
    df: pd.DataFrame, where: str = "", columns: Sequence[str] = COLUMNS
) -> np.ndarray:
    """A frame's six columns as `[L, 6]` fp32, missing volume and amount filled as documented.

    columns: what the frame calls them, in the order of `COLUMNS`.
    """
    if len(columns) != len(COLUMNS) or len(set(columns)) != len(COLUMNS):
        raise InputError(
            f"there must be {len(COLUMNS)} column names, for {', '.join(COLUMNS)}, got "
            f"{list(columns)} (price_cols, vol_col and amt_vol of the predictor)"
        )
    prices, volume, amount = list(columns[:4]), columns[4], columns[5]
    if not isinstance(df, pd.DataFrame):
        raise InputError(f"{where}input must be a pandas DataFrame, got {type(df).__name__}")
    missing = [c for c in prices if c not in df.columns]
    if missing:
        raise InputError(
            f"{where}price columns {missing} not found in DataFrame; it has {list(df.columns)}"
        )
    if df.empty:
        raise InputError(f"{where}the frame has no rows; at least 1 bar is needed")
    wanted = list(columns) if volume in df.columns else prices
    given = df[[c for c in wanted if c in df.columns]]
    if not given.columns.is_unique:
        raise InputError(f"{where}a column is there twice; it has {list(df.columns)}")
    try:
        frame = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}columns must be numbers: {error}") from None
    _refuse_not_finite(frame, where)
    if volume not in frame:
        frame = frame.assign(**{volume: 0.0, amount: 0.0})
    elif amount not in frame:
        frame = frame.assign(**{amount: frame[volume] * frame[prices].mean(axis=1)})
    if (largest := frame.abs().to_numpy().max()) > LARGEST:
        raise InputError(f"{where}{largest:g} is too large; values may be up to {LARGEST:g}")
    return np.ascontiguousarray(frame[list(columns)].to_numpy(), dtype=np.float32)


def standardise(
    x: np.ndarray, lookback: int, clip: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows `[..., W, 6]` by the mean and deviation of their first `lookback` bars: normalised
    and clipped fp32, and the mean and scale `[..., 6]` that undo it.

    Every caller sums in this one order, whatever the layout of its array and however many windows
    it brings: a different order gives other last bits, and those give other tokens.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    windows = x.reshape(-1, *x.shape[-2:])[:, :lookback]
    lead = (*x.shape[:-2], x.shape[-1])
    mean = np.array([w.mean(axis=0) for w in windows], dtype=np.float32).reshape(lead)
    scale = np.array([w.std(axis=0) for w in windows], dtype=np.float32).reshape(lead)
    scale = scale + np.float32(EPSILON)
    normal = (x - mean[..., None, :]) / scale[..., None, :]
    return np.clip(normal, -clip, clip), mean, scale


def _refuse_not_finite(frame: pd.DataFrame, where: str) -> None:
    values = frame.to_numpy()
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{where}input DataFrame contains NaN or infinite values: {list(frame)[column]} is "
            f"{values[row, column]} at row {row} ({frame.index[row]}); drop or fill it"
        )


def prepare(
    df: pd.DataFrame,
    x_timestamp: Times,
    y_timestamp: Times,
    pred_len: int,
    where: str = "",
    columns: Sequence[str] = COLUMNS,
) -> Prepared:
    """Check one series and turn it into arrays; `where` starts every error text."""
    values = candle_values(df, where, columns)
    x_times = _times(x_timestamp, f"{where}x_timestamp")
    y_times = _times(y_timestamp, f"{where}y_timestamp")
    if len(x_times) != len(values):
        raise InputError(
            f"{where}inconsistent lengths: {len(values)} rows but {len(x_times)} times in "
            "x_timestamp"
        )
    if len(y_times) != pred_len:
        raise InputError(
            f"{where}y_timestamp length should equal pred_len={pred_len}, got {len(y_times)}"
        )
    return Prepared(
        values, time_stamps(x_times), time_stamps(y_times), pd.Timestamp(x_times[-1]), y_times
    )


def prepare_all(
    df_list: Sequence[pd.DataFrame],
    x_timestamp_list: Sequence[Times],
    y_timestamp_list: Sequence[Times],
    pred_len: int,
    columns: Sequence[str] = COLUMNS,
) -> list[Prepared]:
    """`prepare` for every series; errors name the index of the series."""
    lists = (df_list, x_timestamp_list, y_timestamp_list)
    if not all(isinstance(part, list | tuple) for part in lists):
        raise InputError("df_list, x_timestamp_list, y_timestamp_list must be list or tuple types")
    if not len(df_list) == len(x_timestamp_list) == len(y_timestamp_list):
        raise InputError(
            "df_list, x_timestamp_list, y_timestamp_list must have consistent lengths, got "
            f"{len(df_list)}, {len(x_timestamp_list)}, {len(y_timestamp_list)}"
        )
    return [
        prepare(df, x, y, pred_len, f"series {i}: ", columns)
        for i, (df, x, y) in enumerate(zip(*lists, strict=True))
    ]
