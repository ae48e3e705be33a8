"""What a model is asked: stretches of bars, each up to its asof, with their calendars and keys."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import COLUMNS, times_ns
from feeds.members import NO_MEMBERS, Members, were_members
from kronos import Forecast, series_key
from kronos.prepare import bar_stamps
from sandbox.config import Sampling
from sandbox.forecast.horizon import future_times, is_daily
from sandbox.memory import expect_room
from sandbox.store.keys import DIGEST_BYTES, keys_from_bytes

Array = NDArray[Any]

# Of a window: its row, asof, symbol, place in time, times to come, and what finding them takes.
WINDOW_BYTES = 80
STRETCHES_PER_CALL = 8192  # of times; bounds memory, answers do not depend on it


class Calendar(Protocol):
    """Anything that knows when bars follow: `[W, L]` bar times to `[W, horizon]`."""

    def future_times(self, times_ns: Array, horizon: int) -> Array: ...


@dataclass(frozen=True)
class Windows:
    """`W` stretches of `L` bars, each ending at its asof, out of all symbols' bars in one table.

    A symbol's stand together. The times to come are those of `K` kinds of stretches, since most
    symbols of a market share their bar times.
    """

    values: Array  # [N, 6] float64, the symbols one under the other
    times_ns: Array  # [N]
    symbols: Sequence[str]  # [W]
    ends: Array  # [W], the table's row of each asof
    futures: Array  # [K, P], when the forecast bars of a kind close
    future_of: Array  # [W], the kind of each
    lookback: int

    @classmethod
    def of(
        cls,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        calendar: Calendar | None = None,
        members: Members = NO_MEMBERS,
    ) -> Windows:
        """Those that end at one of `asofs`, of every symbol that has a bar then and L bars by then,
        and that is a member of its universe then (`feeds.Candles.members`), whatever it was before.

        Without a calendar the bars themselves tell when the next ones close. Refused where memory
        does not hold them all; what a caller means to keep of each is its own to count.
        """
        tables = [frame[list(COLUMNS)].to_numpy(float) for frame in frames.values()]
        times = [times_ns(frame) for frame in frames.values()]
        wanted_ns = asofs.as_unit("ns").asi8
        symbols: list[str] = []
        ends: list[Array] = []
        offset = 0
        for symbol, own in zip(frames, times, strict=True):
            wanted = np.isin(own, wanted_ns) & were_members(members, symbol, own)
            rows = np.flatnonzero(wanted)
            ends.append(offset + rows[rows >= sampling.lookback - 1])
            symbols += [symbol] * len(ends[-1])
            offset += len(own)
        table_ns, rows = np.concatenate(times), np.concatenate(ends)
        futures, future_of = _futures(table_ns, rows, sampling, calendar)
        values = np.ascontiguousarray(np.concatenate(tables))  # a stretch is one piece of memory
        return cls(values, table_ns, symbols, rows, futures, future_of, sampling.lookback)

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def asof_ns(self) -> Array:
        """`[W]`."""
        asof_ns: Array = self.times_ns[self.ends]
        return asof_ns

    @property
    def future_ns(self) -> Array:
        """When the forecast bars close, `[W, P]`: a copy, which for all of them is large."""
        future_ns: Array = self.futures[self.future_of]
        return future_ns

    @cached_property
    def rows_at(self) -> Mapping[int, Array]:
        """The places of the windows as of each time, in ns since 1970."""
        in_time = np.argsort(self.asof_ns, kind="stable")
        times, firsts = np.unique(self.asof_ns[in_time], return_index=True)
        if not len(times):
            return {}
        return dict(zip(times.tolist(), np.split(in_time, firsts[1:]), strict=True))

    @cached_property
    def places(self) -> Mapping[str, slice]:
        """Where each symbol's windows are."""
        places: dict[str, slice] = {}
        at = 0
        for symbol, run in groupby(self.symbols):
            end = at + sum(1 for _ in run)
            places[symbol] = slice(at, end)
            at = end
        return places

    def pick(self, rows: Array) -> Windows:
        symbols = [self.symbols[row] for row in rows]
        return replace(self, symbols=symbols, ends=self.ends[rows], future_of=self.future_of[rows])

    def alone(self, rows: Array, bars: int) -> Windows:
        """The last `bars` bars of a few of them, on a table that holds no bar besides."""
        stretches = _stretches(self.ends[rows], bars).ravel()
        return Windows(
            values=self.values[stretches],
            times_ns=self.times_ns[stretches],
            symbols=[self.symbols[row] for row in rows],
            ends=np.arange(1, len(rows) + 1) * bars - 1,
            futures=self.futures[self.future_of[rows]],
            future_of=np.arange(len(rows)),
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

    def digests(self, salt: str) -> Array:
        """A hash of all that each forecast is computed from, besides what `salt` stands for:
        `[W, 2]` uint64, a key of the forecast store."""
        futures = np.ascontiguousarray(self.futures)
        digests = bytearray()
        for symbol, end, kind in zip(self.symbols, self.ends, self.future_of, strict=True):
            here = slice(end + 1 - self.lookback, end + 1)
            digest = hashlib.blake2b(f"{salt}\x1f{symbol}\x1f".encode(), digest_size=DIGEST_BYTES)
            for part in (self.values[here], self.times_ns[here], futures[kind]):
                digest.update(part.data)
            digests += digest.digest()
        return keys_from_bytes(digests)

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
            index=_times(self.futures[self.future_of[nth]].tobytes()),
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


def last_rows(frames: Mapping[str, pd.DataFrame], windows: Windows) -> Array:
    """The row of the windows' table at which each one's symbol ends, `[W]`; `frames` are those that
    they were cut from."""
    ends = np.cumsum([len(frame) for frame in frames.values()])
    last_of = dict(zip(frames, (ends - 1).tolist(), strict=True))
    return np.array([last_of[symbol] for symbol in windows.symbols], dtype=np.int64)


def rows_ahead(ends: Array, last: Array, horizon: int) -> tuple[Array, Array]:
    """The rows of the bars after, `[n, P]`, and which of them there are: the last row of a symbol,
    `last` `[n]`, stands for what has not come."""
    ahead = ends[:, None] + np.arange(1, horizon + 1)
    return np.minimum(ahead, last[:, None]), ahead <= last[:, None]


def _stretches(ends: Array, lookback: int) -> Array:
    """`[W]` rows to the `[W, L]` rows that end there."""
    rows: Array = ends[:, None] + np.arange(1 - lookback, 1)
    return rows


def _futures(
    times: Array, ends: Array, sampling: Sampling, calendar: Calendar | None
) -> tuple[Array, Array]:
    """`[K, P]` and which of them each stretch has, `[W]`: asked once for stretches with the same
    times. Raises MemoryShortError where there is no room for them."""
    all_ns, places = np.unique(times, return_inverse=True)
    last, first = places[ends], places[ends + 1 - sampling.lookback]
    unbroken = last - first == sampling.lookback - 1  # no bar time of the market is left out
    kinds = np.where(unbroken, last, len(all_ns) + np.arange(len(ends)))
    _, examples, kind_of = np.unique(kinds, return_index=True, return_inverse=True)
    bytes_each = WINDOW_BYTES + -(-8 * sampling.horizon * len(examples) // max(len(ends), 1))
    expect_room(len(ends), bytes_each, sampling.shape_in_words)
    futures = np.empty((len(examples), sampling.horizon), dtype=np.int64)
    follow = calendar.future_times if calendar else future_times
    for at in range(0, len(examples), STRETCHES_PER_CALL):
        here = slice(at, at + STRETCHES_PER_CALL)
        past = times[_stretches(ends[examples[here]], sampling.lookback)]
        futures[here] = follow(past, sampling.horizon)
    return futures, kind_of
