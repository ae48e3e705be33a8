"""`Candles`: validated frames, one a symbol, with what a run must say about where they came from.

It knows no files and no specs; everything that holds one may trust its frames.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import COLUMNS
from .checks import check_openings
from .errors import FeedError, SpecError, SymbolError
from .members import NO_MEMBERS, Members
from .spacing import opening_times
from .steps import Steps
from .words import nearest

When: TypeAlias = str | dt.date | dt.datetime | pd.Timestamp


@dataclass(frozen=True, eq=False)
class Candles:
    """Candles of a universe.

    frames: per symbol a frame of shape [bars, 6] with a `DatetimeIndex` named "time" (UTC, close
    time of the bar, strictly increasing, unique) and float64 columns `open high low close volume
    amount`; prices in quote currency, volume in units traded, amount in quote currency.

    opens: per symbol when each bar opened, [bars] int64 nanoseconds since 1970 UTC, row by row with
    its frame: before the bar's close, and not before the close of the bar above. A symbol that is
    not given any gets those that the spacing of its bars tells (`feeds.opening_times`).

    Treat frames and opens as read-only: they are shared, and `data_hash` is computed once.
    """

    frames: Mapping[str, pd.DataFrame] = field(repr=False)
    spec: str
    costs: str = "us"  # cost preset that suits the source: "us", "ph", "cn" or "crypto"
    calendar: str | None = None  # trading calendar of the source's exchange, such as "XNYS"
    note: str | None = None  # flaw of a shipped universe, one sentence
    repairs: tuple[str, ...] = ()  # what repair changed, one sentence each
    absent: tuple[str, ...] = ()  # symbols asked for without a bar between start and end
    opens: Mapping[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    timing: tuple[str, ...] = ()  # how stamps were read and which bars differ, one sentence each
    steps: Mapping[str, Steps] = field(default_factory=dict)  # by symbol, where they are known
    # the bar time, in ns since 1970, from which on it was known that a symbol had ended; None: of
    # each it is known with its last bar
    ended: Mapping[str, int] | None = None
    started_ns: int | None = None  # an account that recorded these traded the bars after this
    # by symbol when it belonged to the universe, in order, ns since 1970: it is traded and forecast
    # at those bar times only; a symbol that is not in it always did
    members: Members = field(default_factory=lambda: NO_MEMBERS, repr=False)
    # bars, by symbol, whose forecast failed or came too late when they were traded: ns since 1970
    unforecast: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.frames:
            raise FeedError(f"{self.spec}: no symbol has a candle", source=self.spec)
        object.__setattr__(self, "frames", dict(self.frames))
        opens: dict[str, NDArray[np.int64]] = {}
        for symbol, frame in self.frames.items():
            index = pd.DatetimeIndex(frame.index)
            given = self.opens.get(symbol)
            opens[symbol] = opening_times(index) if given is None else given
            check_openings(index, opens[symbol], symbol, source=self.spec)
        object.__setattr__(self, "opens", opens)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in the order of the source, or of the picks."""
        return tuple(self.frames)

    def __getitem__(self, symbol: str) -> pd.DataFrame:
        """The frame of one symbol; raises `SymbolError` with the nearest name."""
        try:
            return self.frames[symbol]
        except KeyError:
            raise unknown_symbol(symbol, self.frames, self.spec) from None

    def __len__(self) -> int:
        """How many symbols there are."""
        return len(self.frames)

    def __iter__(self) -> Iterator[str]:
        return iter(self.frames)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.frames

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) over symbols, times and values: the same for equal candles whatever file
        they came from and in whatever order their symbols stand. Opening times count where they
        are not those that the spacing of the bars tells, and membership where there is any."""
        digest = hashlib.sha256(b"candles-1")
        for symbol in sorted(self.frames):
            frame = self.frames[symbol]
            name = symbol.encode()
            digest.update(f"|{len(name)}:".encode() + name + f":{len(frame)}|".encode())
            times = pd.DatetimeIndex(frame.index).as_unit("ns").asi8
            digest.update(np.ascontiguousarray(times, "<i8").tobytes())
            # + 0.0 turns -0.0 into 0.0, which is equal to it
            values = frame[list(COLUMNS)].to_numpy(np.float64) + 0.0
            digest.update(np.ascontiguousarray(values, "<f8").tobytes())
            opens = self.opens[symbol]
            if not np.array_equal(opens, opening_times(pd.DatetimeIndex(frame.index))):
                digest.update(b"opens|" + np.ascontiguousarray(opens, "<i8").tobytes())
            if symbol in self.members:
                spans = np.array(self.members[symbol], "<i8")
                digest.update(b"members|" + spans.tobytes())
        return digest.hexdigest()

    def pick(self, symbols: Iterable[str]) -> Candles:
        """The same candles cut to `symbols`, in that order; raises `SymbolError`."""
        frames = {symbol: self[symbol] for symbol in symbols}
        opens = {symbol: self.opens[symbol] for symbol in frames}
        members = {symbol: self.members[symbol] for symbol in frames if symbol in self.members}
        return replace(self, frames=frames, opens=opens, members=members)

    def between(self, start: When | None = None, end: When | None = None) -> Candles:
        """The bars stamped from `start` to `end`, both inclusive.

        A date, or a string without a clock time, means the whole day (UTC); a datetime or a
        Timestamp means that instant, UTC where it names no zone. Symbols left without a bar move
        to `absent`. Raises `SpecError` for a date it cannot read, an empty window, or a window
        that holds no bar.
        """
        if start is None and end is None:
            return self
        first = None if start is None else instant(start, "start", last=False)
        last = None if end is None else instant(end, "end", last=True)
        if first is not None and last is not None and first > last:
            raise SpecError(f"start {start} is after end {end}; give start <= end", value=start)
        rows = {
            symbol: frame.index.slice_indexer(first, last) for symbol, frame in self.frames.items()
        }
        inside = {symbol: here for symbol, here in rows.items() if here.stop > here.start}
        if not inside:
            raise SpecError(
                f"{self.spec}: no bar from {start or 'the start'} to {end or 'the end'}; "
                f"the source has {self._range()}",
                source=self.spec,
            )
        return replace(
            self,
            frames={symbol: self.frames[symbol].iloc[here] for symbol, here in inside.items()},
            opens={symbol: self.opens[symbol][here] for symbol, here in inside.items()},
            absent=self.absent + tuple(symbol for symbol in rows if symbol not in inside),
        )

    def _range(self) -> str:
        first = min(frame.index[0] for frame in self.frames.values())
        last = max(frame.index[-1] for frame in self.frames.values())
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def unknown_symbol(symbol: str, known: Iterable[str], spec: str) -> SymbolError:
    """A `SymbolError` that offers the nearest of the `known` names, else lists some of them."""
    names = list(known)
    near = nearest(symbol, names)
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    remedy = f"did you mean {near}?" if near else f"it has {listed}"
    return SymbolError(
        f"{spec}: no symbol {symbol!r}; {remedy}",
        symbol=symbol,
        source=spec,
        value=symbol,
        remedy=remedy,
    )


def instant(when: When, name: str, *, last: bool) -> pd.Timestamp:
    """The UTC instant that `when` means: the first, or with `last` the last, of a whole day."""
    text = when.strip() if isinstance(when, str) else None
    try:
        if text is not None and len(text) < 10:  # "2018" or "2018-6": too loose to guess at
            raise ValueError(text)
        stamp = pd.Timestamp(when)
        if pd.isna(stamp):
            raise ValueError(when)
    except (ValueError, TypeError):
        raise SpecError(
            f"{name} {when!r} is not a date; write YYYY-MM-DD, or YYYY-MM-DDTHH:MM in UTC",
            value=when,
        ) from None
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    whole_day = ":" not in text if text is not None else not isinstance(when, dt.datetime)
    if whole_day and last:
        return stamp + pd.Timedelta(days=1) - pd.Timedelta(1, "ns")
    return stamp
