"""What a model is asked: stretches of bars, each up to its asof, with their calendars and keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import COLUMNS, times_ns
from kronos import Forecast, series_key
from kronos.prepare import bar_stamps
from sandbox.config import Sampling
from sandbox.forecast.horizon import future_times, is_daily
from sandbox.memory import expect_room

Array = NDArray[Any]

STRETCHES_PER_CALL = 8192  # of times; bounds memory, answers do not depend on it


class Calendar(Protocol):
    """Anything that knows when bars follow: `[W, L]` bar times to `[W, horizon]`."""

    def future_times(self, times_ns: Array, horizon: int) -> Array: ...


@dataclass(frozen=True)
class Windows:
    """`W` stretches of `L` bars, each ending at its asof, out of all symbols' bars in one table."""

    values: Array  # [N, 6] float64, the symbols one under the other
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
        asofs: pd.DatetimeIndex,
        calendar: Calendar | None = None,
        bytes_kept: int = 0,
    ) -> Windows:
        """Those that end at one of `asofs`, of every symbol that has a bar then and L bars by then.

        Without a calendar the bars themselves tell when the next ones close. Refused where memory
        does not hold them all, with the `bytes_kept` that the caller means to keep of each.
        """
        tables = [frame[list(COLUMNS)].to_numpy(float) for frame in frames.values()]
        times = [times_ns(frame) for frame in frames.values()]
        wanted_ns = asofs.as_unit("ns").asi8
        symbols: list[str] = []
        ends: list[Array] = []
        offset = 0
        for symbol, own in zip(frames, times, strict=True):
            rows = np.flatnonzero(np.isin(own, wanted_ns))
            ends.append(offset + rows[rows >= sampling.lookback - 1])
            symbols += [symbol] * len(ends[-1])
            offset += len(own)
        table_ns, rows = np.concatenate(times), np.concatenate(ends)
        expect_room(len(rows), sampling.window_bytes + bytes_kept, sampling.shape_in_words)
        future_ns = _future(table_ns, rows, sampling, calendar)
        values = np.ascontiguousarray(np.concatenate(tables))  # a stretch is one piece of memory
        return cls(values, table_ns, symbols, rows, future_ns, sampling.lookback)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def asof_ns(self) -> Array:
        asof_ns: Array = self.times_ns[self.ends]
        return asof_ns

    def pick(self, rows: Array) -> Windows:
        symbols = [self.symbols[row] for row in rows]
        return replace(self, symbols=symbols, ends=self.ends[rows], future_ns=self.future_ns[rows])

    def alone(self, rows: Array, bars: int) -> Windows:
        """The last `bars` bars of a few of them, on a table that holds no bar besides."""
        stretches = _stretches(self.ends[rows], bars).ravel()
        return Windows(
            values=self.values[stretches],
            times_ns=self.times_ns[stretches],
            symbols=[self.symbols[row] for row in rows],
            ends=np.arange(1, len(rows) + 1) * bars - 1,
            future_ns=self.future_ns[rows],
            lookback=bars,
        )

    def candles(self) -> Array:
        """`[W, L, 6]`."""
        candles: Array = self.values[_stretches(self.ends, self.lookback)]
        return candles

    def columns(self, name: str) -> Array:
        """One column of the candles, `[W, L]`."""
        column: Array = self.values[:, COLUMNS.index(name)]
        return column[_stretches(self.ends, self.lookback)]

    def stamps(self) -> tuple[Array, Array]:
        """Calendar fields of the past `[W, L, 5]` and the future `[W, P, 5]`.

        Daily bars stand at midnight of their session, as in the model's training.
        """
        past_ns = self.times_ns[_stretches(self.ends, self.lookback)]
        daily = is_daily(past_ns)
        return bar_stamps(past_ns, daily), bar_stamps(self.future_ns, daily)

    def keys(self) -> list[int]:
        """What the random numbers of each forecast are keyed by, with the seed."""
        return [
            series_key(symbol, _time(asof_ns)[1])
            for symbol, asof_ns in zip(self.symbols, self.asof_ns.tolist(), strict=True)
        ]

    def digests(self, salt: str) -> Iterator[str]:
        """A hash of all that each forecast is computed from, besides what `salt` stands for."""
        future_ns = np.ascontiguousarray(self.future_ns)
        for symbol, end, future in zip(self.symbols, self.ends, future_ns, strict=True):
            here = slice(end + 1 - self.lookback, end + 1)
            digest = hashlib.blake2b(f"{salt}\x1f{symbol}\x1f".encode(), digest_size=16)
            for part in (self.values[here], self.times_ns[here], future):
                digest.update(part.data)
            yield digest.hexdigest()

    def closes(self) -> Array:
        """The close at each asof, `[W]`."""
        closes: Array = self.values[self.ends, COLUMNS.index("close")]
        return closes

    def forecast(self, nth: int, paths: Array) -> Forecast:
        end = self.ends[nth]
        return Forecast(
            symbol=self.symbols[nth],
            asof=_time(int(self.times_ns[end]))[0],
            close=float(self.values[end, COLUMNS.index("close")]),
            index=_times(self.future_ns[nth].tobytes()),
            paths=paths,
        )


@lru_cache(maxsize=1 << 16)
def _time(time_ns: int) -> tuple[pd.Timestamp, str]:
    """A time and its text; the symbols of a market share them."""
    time = pd.Timestamp(time_ns, tz="UTC")
    return time, str(time)


@lru_cache(maxsize=1 << 12)
def _times(times_ns: bytes) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.frombuffer(times_ns, dtype=np.int64).copy(), tz="UTC")


def _stretches(ends: Array, lookback: int) -> Array:
    """`[W]` rows to the `[W, L]` rows that end there."""
    rows: Array = ends[:, None] + np.arange(1 - lookback, 1)
    return rows


def _future(times: Array, ends: Array, sampling: Sampling, calendar: Calendar | None) -> Array:
    """`[W, P]`; asked once for stretches with the same times, as most symbols of a market have."""
    follow = calendar.future_times if calendar else future_times
    all_ns, places = np.unique(times, return_inverse=True)
    last, first = places[ends], places[ends + 1 - sampling.lookback]
    unbroken = last - first == sampling.lookback - 1  # no bar time of the market is left out
    kinds = np.where(unbroken, last, len(all_ns) + np.arange(len(ends)))
    _, examples, kind_of = np.unique(kinds, return_index=True, return_inverse=True)
    future = np.empty((len(examples), sampling.horizon), dtype=np.int64)
    for at in range(0, len(examples), STRETCHES_PER_CALL):
        here = slice(at, at + STRETCHES_PER_CALL)
        past = times[_stretches(ends[examples[here]], sampling.lookback)]
        future[here] = follow(past, sampling.horizon)
    shared: Array = future[kind_of]
    return shared
