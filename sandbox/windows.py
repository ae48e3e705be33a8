"""What a model is asked: stretches of bars, each up to its asof, with their calendars and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import COLUMNS
from kronos import Forecast, series_key, time_stamps
from sandbox.config import RunConfig
from sandbox.feed import times_ns
from sandbox.horizon import NS_PER_DAY, future_times, is_daily

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How forecasts are drawn."""

    lookback: int = 90  # bars the model sees, asof included
    horizon: int = 5  # bars it forecasts
    samples: int = 16  # paths a forecast
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> Sampling:
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Windows:
    """`W` stretches of `L` bars, each ending at its asof, out of all symbols' bars in one table."""

    values: Array  # [N, 6], the symbols one under the other
    times_ns: Array  # [N]
    symbols: Sequence[str]  # [W]
    ends: Array  # [W], the table's row of each asof
    future_ns: Array  # [W, P], when the forecast bars close
    lookback: int

    @classmethod
    def of(
        cls,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        start: pd.Timestamp,
        end: pd.Timestamp,
    ) -> Windows:
        values = np.concatenate([frame[list(COLUMNS)].to_numpy() for frame in frames.values()])
        times = np.concatenate([times_ns(frame) for frame in frames.values()])
        symbols: list[str] = []
        ends: list[Array] = []
        offset = 0
        for symbol, frame in frames.items():
            first = max(int(frame.index.searchsorted(start)), sampling.lookback - 1)
            last = int(frame.index.searchsorted(end, side="right"))
            ends.append(offset + np.arange(first, max(first, last)))
            symbols += [symbol] * len(ends[-1])
            offset += len(frame)
        rows = np.concatenate(ends)
        past = times[rows[:, None] + np.arange(1 - sampling.lookback, 1)]
        future = future_times(past, sampling.horizon)
        return cls(values, times, symbols, rows, future, sampling.lookback)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def asof_ns(self) -> Array:
        asof_ns: Array = self.times_ns[self.ends]
        return asof_ns

    def parts(self, size: int) -> Iterator[Windows]:
        for at in range(0, len(self), size):
            here = slice(at, at + size)
            yield Windows(
                self.values,
                self.times_ns,
                self.symbols[here],
                self.ends[here],
                self.future_ns[here],
                self.lookback,
            )

    def candles(self) -> Array:
        """`[W, L, 6]`."""
        candles: Array = self.values[self._rows()]
        return candles

    def stamps(self) -> tuple[Array, Array]:
        """Calendar fields of the past `[W, L, 5]` and the future `[W, P, 5]`.

        Daily bars stand at midnight of their session, as in the model's training.
        """
        past_ns = self.times_ns[self._rows()]
        daily = is_daily(past_ns)
        return _calendar(past_ns, daily), _calendar(self.future_ns, daily)

    def keys(self) -> list[int]:
        asofs = pd.DatetimeIndex(self.asof_ns, tz="UTC")
        return [series_key(symbol, asof) for symbol, asof in zip(self.symbols, asofs, strict=True)]

    def forecast(self, nth: int, paths: Array) -> Forecast:
        end = self.ends[nth]
        return Forecast(
            symbol=self.symbols[nth],
            asof=pd.Timestamp(self.times_ns[end], tz="UTC"),
            close=float(self.values[end, COLUMNS.index("close")]),
            index=pd.DatetimeIndex(self.future_ns[nth], tz="UTC"),
            paths=paths,
        )

    def _rows(self) -> Array:
        return self.ends[:, None] + np.arange(1 - self.lookback, 1)


def _calendar(stamps_ns: Array, daily: Array) -> Array:
    """`[W, n]` times to `[W, n, 5]` fields; each time is looked up in the calendar only once."""
    shown_ns = np.where(daily[:, None], stamps_ns - stamps_ns % NS_PER_DAY, stamps_ns)
    unique_ns, places = np.unique(shown_ns, return_inverse=True)
    fields = time_stamps(pd.DatetimeIndex(unique_ns, tz="UTC"))
    shaped: Array = fields[places.reshape(shown_ns.shape)]
    return shaped
