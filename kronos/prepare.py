"""Candles and times become what the model reads: checked values, stamps, normalised windows.

The one place for it: prediction, training windows and whoever hands arrays to a predictor use these
functions. Knows pandas frames, times and arrays; nothing of models. Frames and times are checked
here, everything behind it trusts the result.

Where a series is odd: without a column `volume`, volume and amount are 0; without `amount`, it is
volume × mean of the four prices. A column that never changes is normalised to 0 and forecast to
stay where it is, but for some 1e-5 and fp32 rounding; so is every column of a single bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos.errors import InputError
from kronos.forecast import COLUMNS

EPSILON = 1e-5  # added to the standard deviation, as published
CLIP = 5.0  # standard deviations that normalised values are cut to, as published
LARGEST = 1e17  # squares, summed over a history, still fit fp32
PARTS_OF_TIME = ("minute", "hour", "weekday", "day", "month")
NS_PER_SECOND = 10**9
NS_PER_MINUTE, NS_PER_DAY = 60 * NS_PER_SECOND, 86_400 * NS_PER_SECOND
Times = pd.Series | pd.DatetimeIndex


@dataclass(frozen=True)
class PreparedSeries:
    """One series: values `[L, 6]` fp32, x_stamp `[L, 5]` and y_stamp `[P, 5]` int64, its times."""

    values: np.ndarray
    x_stamp: np.ndarray
    y_stamp: np.ndarray
    asof: pd.Timestamp
    index: pd.DatetimeIndex

    @property
    def stamps(self) -> np.ndarray:
        """Of history and horizon, `[L + P, 5]`."""
        return np.concatenate((self.x_stamp, self.y_stamp))


@dataclass(frozen=True)
class Normalised:
    """Windows as the model reads them, and what they were normalised by.

    values: `[..., W, 6]` fp32, clipped. mean, scale: `[..., 6]` fp32, of the windows' lookbacks.
    """

    values: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def restore(self, paths: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Normalised paths `[B, ..., P, 6]` of windows `[B, W, 6]` → price and volume units, into
        `out` where it is given (which may be `paths`)."""
        shape = (len(self.mean), *(1,) * (paths.ndim - 2), self.mean.shape[-1])
        restored = np.multiply(paths, self.scale.reshape(shape), out=out)
        return np.add(restored, self.mean.reshape(shape), out=restored)


def time_stamps(times: pd.DatetimeIndex) -> np.ndarray:
    """Times → `[n, 5]` int64: minute, hour, weekday (Monday 0), day, month."""
    # in the order of PARTS_OF_TIME
    parts = (times.minute, times.hour, times.day_of_week, times.day, times.month)
    return np.stack([np.asarray(p, dtype=np.int64) for p in parts], axis=1)


def session_dates(close_ns: np.ndarray) -> np.ndarray:
    """Midnight of the session of daily bars that close at `close_ns` (UTC), nanoseconds both.

    The session's date is the close's. Where a bar closes in the last second of a minute, it stands
    for the end of a day in some time zone: its date is that of half a day before, in every zone.
    """
    ends_a_day = close_ns % NS_PER_MINUTE == NS_PER_MINUTE - NS_PER_SECOND
    in_its_day = np.where(ends_a_day, close_ns - NS_PER_DAY // 2, close_ns)
    return in_its_day - in_its_day % NS_PER_DAY


def bar_stamps(close_ns: np.ndarray, daily: bool | np.ndarray) -> np.ndarray:
    """Stamps `[..., n, 5]` int64 of bars that close at `close_ns [..., n]` (UTC, nanoseconds).

    daily: whether they are daily bars, `[...]` where windows differ. Those are stamped as midnight
    of their session, so that neither the hour of the close nor the season shows.
    """
    shown = np.where(np.expand_dims(daily, -1), session_dates(close_ns), close_ns)
    unique, places = np.unique(shown, return_inverse=True)
    stamps = time_stamps(pd.DatetimeIndex(unique, tz="UTC"))
    return stamps[places.reshape(shown.shape)]


def whole_number(value: object, name: str, least: int, most: int | None = None) -> int:
    """`value` as an int in [least, most], or one clear error."""
    limit = f", {least} or more" if most is None else f" from {least} to {most}"
    allowed = f"a whole number{limit}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name} must be {allowed}, got {value!r}")
    if value < least or (most is not None and value > most):
        raise InputError(f"{name} must be {allowed}, got {value}")
    return int(value)


def checked_times(times: object, name: str) -> pd.DatetimeIndex:
    """Times as an index without gaps, or one clear error that calls them `name`."""
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


def normalise(x: np.ndarray, lookback: int, clip: float = CLIP) -> Normalised:
    """Windows `[..., W, 6]` by the mean and deviation of their first `lookback` bars, clipped.

    Every caller sums in this one order, whatever the layout of its array and however many windows
    it brings: a different order gives other last bits, and those give other tokens.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    lookbacks = x.reshape(-1, *x.shape[-2:])[:, :lookback]
    shape = (*x.shape[:-2], x.shape[-1])
    mean = np.array([w.mean(axis=0) for w in lookbacks], dtype=np.float32).reshape(shape)
    scale = np.array([w.std(axis=0) for w in lookbacks], dtype=np.float32).reshape(shape)
    scale = scale + np.float32(EPSILON)
    values = (x - mean[..., None, :]) / scale[..., None, :]
    return Normalised(np.clip(values, -clip, clip), mean, scale)


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
) -> PreparedSeries:
    """Check one series and turn it into arrays; `where` starts every error text."""
    values = candle_values(df, where, columns)
    x_times = checked_times(x_timestamp, f"{where}x_timestamp")
    y_times = checked_times(y_timestamp, f"{where}y_timestamp")
    if len(x_times) != len(values):
        raise InputError(
            f"{where}inconsistent lengths: {len(values)} rows but {len(x_times)} times in "
            "x_timestamp"
        )
    if len(y_times) != pred_len:
        raise InputError(
            f"{where}y_timestamp length should equal pred_len={pred_len}, got {len(y_times)}"
        )
    return PreparedSeries(
        values, time_stamps(x_times), time_stamps(y_times), pd.Timestamp(x_times[-1]), y_times
    )


def prepare_all(
    df_list: Sequence[pd.DataFrame],
    x_timestamp_list: Sequence[Times],
    y_timestamp_list: Sequence[Times],
    pred_len: int,
    columns: Sequence[str] = COLUMNS,
) -> list[PreparedSeries]:
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
