"""Where bars come from: one bar time after the other, and no candle before its time.

The engine knows nothing else of candles. A backtest's source reads frames, another may wait for an
exchange; what is done with a bar is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import opening_times, times_ns, values_of
from feeds.bars import NS_PER_DAY
from feeds.members import NO_MEMBERS, Members, were_members
from sandbox.errors import WindowError

WARMUP_BARS = 260  # bars of each symbol before the start, for a strategy's own indicators
FEW_BARS = 8
EVER = 2**63 - 1  # ns since 1970, after any bar
ROWS_AT_A_TIME = 256  # of a symbol that are turned into Python's numbers ahead of their time

Times = NDArray[np.int64]  # nanoseconds since 1970, UTC
Opens = Mapping[str, Times]  # the opening times of each symbol's bars


class Candle(NamedTuple):
    """One bar of one symbol."""

    opened_ns: int  # nanoseconds since 1970, UTC
    open: float
    high: float
    low: float
    close: float
    volume: float  # 0 where it is not known
    amount: float  # traded value in quote currency


CANDLE = partial(tuple.__new__, Candle)  # of a row, as `Candle._make` at a third of the time


class BarTime(NamedTuple):
    """What happens at one bar time."""

    time_ns: int  # when these bars close, nanoseconds since 1970, UTC
    bars: Mapping[str, Candle]  # by symbol; those without a bar now are left out
    ended: Collection[str] = ()  # symbols of which it is known since now that no bar will come


class BarSource(Protocol):
    """Anything that hands out bar times, oldest first."""

    @property
    def symbols(self) -> Sequence[str]:
        """All that may ever have a bar."""
        ...

    @property
    def overlapping(self) -> Collection[str]:
        """Symbols whose bars are open while another symbol's close: daily ones beside hourly ones.

        It is known from the length of bars, before the first.
        """
        ...

    def __iter__(self) -> Iterator[BarTime]: ...


class FrameSource:
    """The candles of frames from `warmup_bars` bars before the start to the end.

    Symbols without a bar by then are left out. A symbol has ended at the bar time after the last
    bar of its frame, also where that is later than `end`: then it has not ended here. Where it is
    known when each ended, that counts instead: others have had no bar for a while, and may again.

    With `as_on_paper` it is as it was for who traded these bars as they came: a symbol takes part
    with its warm-up alone, and whether bars overlap is told by those before the start.
    """

    def __init__(
        self,
        frames: Mapping[str, pd.DataFrame],
        start: pd.Timestamp,
        end: pd.Timestamp,
        *,
        opens: Opens | None = None,
        ended: Mapping[str, int] | None = None,
        members: Members = NO_MEMBERS,
        warmup_bars: int = WARMUP_BARS,
        as_on_paper: bool = False,
    ) -> None:
        """`start` and `end` are inclusive bar times, UTC. `opens` are by default those that the
        spacing of a symbol's bars tells. `ended`: the bar time, in ns since 1970, from which on it
        is known that a symbol has ended. `members`: as `feeds.Candles.members`. Raises WindowError
        where there is no candle."""
        rows = _rows(frames, start, end, warmup_bars, quiet_ones=as_on_paper)
        whole_opens = opens_by_spacing(frames) if opens is None else opens
        self.start = start
        self.frames = {symbol: frames[symbol] for symbol in rows}
        self.handed_out = {symbol: frames[symbol].iloc[own] for symbol, own in rows.items()}
        self.opens = {symbol: whole_opens[symbol][own] for symbol, own in rows.items()}
        self._times = {symbol: times_ns(frame) for symbol, frame in self.handed_out.items()}
        self._bar_times = np.unique(np.concatenate(list(self._times.values())))
        self._members = members
        self._changes_ns, self._outside = self._memberships()
        self._overlap_until_ns = start.value if as_on_paper else EVER
        self.last_bar_ns = {
            symbol: int(times_ns(frame)[-1])
            for symbol, frame in self.frames.items()
            if ended is None or symbol in ended
        }  # of the symbols that end, maybe after this run
        self._ended_ns = (
            {symbol: last_ns + 1 for symbol, last_ns in self.last_bar_ns.items()}
            if ended is None
            else {symbol: ended[symbol] for symbol in self.last_bar_ns}
        )

    @property
    def symbols(self) -> list[str]:
        return list(self.handed_out)

    @property
    def overlapping(self) -> frozenset[str]:
        until_ns = self._overlap_until_ns
        all_ns = self._bar_times[self._bar_times < until_ns]
        overlapping = set()
        for symbol, closes_ns in self._times.items():
            known = closes_ns < until_ns
            if _overlap(self.opens[symbol][known], closes_ns[known], all_ns):
                overlapping.add(symbol)
        return frozenset(overlapping)

    @property
    def bars_traded(self) -> int:
        """Bar times from the start on."""
        return int((self._bar_times >= self.start.value).sum())

    def __iter__(self) -> Iterator[BarTime]:
        symbols = self.symbols
        candles = [self._candles(symbol) for symbol in symbols]
        ended = self._ended()
        closes_ns = np.concatenate([self._times[symbol] for symbol in symbols])
        owners = np.repeat(np.arange(len(symbols)), [len(self._times[s]) for s in symbols])
        in_time = np.argsort(closes_ns, kind="stable")
        owners = owners[in_time]
        ends = np.searchsorted(closes_ns[in_time], self._bar_times, side="right").tolist()
        first = 0
        for time_ns, end in zip(self._bar_times.tolist(), ends, strict=True):
            bars = {symbols[owner]: next(candles[owner]) for owner in owners[first:end].tolist()}
            yield BarTime(time_ns, bars, ended.get(time_ns, []))
            first = end

    def _ended(self) -> dict[int, list[str]]:
        """By bar time, the symbols of which it is known since then that they have ended."""
        ended: dict[int, list[str]] = {}
        for symbol, known_ns in self._ended_ns.items():
            first = self._bar_times.searchsorted(known_ns, side="left")
            if first < len(self._bar_times):
                ended.setdefault(int(self._bar_times[first]), []).append(symbol)
        return ended

    def outside(self, time_ns: int) -> frozenset[str]:
        """The symbols that are no members of their universe at a bar time of the run.

        The same set as at the bar time before, where none has joined or left.
        """
        return self._outside[self._changes_ns.searchsorted(time_ns, side="right") - 1]

    def _memberships(self) -> tuple[Times, list[frozenset[str]]]:
        """The bar times at which symbols join or leave, and which are outside since then."""
        known = [symbol for symbol in self.symbols if symbol in self._members]
        if not known:
            return self._bar_times[:1], [frozenset()]
        inside = np.stack([were_members(self._members, s, self._bar_times) for s in known])
        changes = (inside[:, 1:] != inside[:, :-1]).any(axis=0)
        places = np.concatenate([[0], np.flatnonzero(changes) + 1])
        outside = [
            frozenset(symbol for symbol, own in zip(known, column, strict=True) if not own)
            for column in inside[:, places].T
        ]
        return self._bar_times[places], outside

    def _candles(self, symbol: str) -> Iterator[Candle]:
        values, opens_ns = values_of(self.handed_out[symbol]), self.opens[symbol]

        def rows(first: int) -> Iterable[Candle]:
            here = slice(first, first + ROWS_AT_A_TIME)
            columns = opens_ns[here].tolist(), *values[here].T.tolist()
            return map(CANDLE, zip(*columns, strict=True))

        return chain.from_iterable(map(rows, range(0, len(values), ROWS_AT_A_TIME)))


def opens_by_spacing(frames: Mapping[str, pd.DataFrame]) -> dict[str, Times]:
    """Of a few bars, days apart beside daily ones, it is taken that days are missing."""
    times = {symbol: times_ns(frame) for symbol, frame in frames.items()}
    opens = {
        symbol: opening_times(pd.DatetimeIndex(own, tz="UTC")) for symbol, own in times.items()
    }
    lengths = {symbol: int(np.median(own - opens[symbol])) for symbol, own in times.items()}
    shortest = min(lengths.values())
    for symbol, own in times.items():
        if NS_PER_DAY <= shortest < lengths[symbol] < 7 * NS_PER_DAY and len(own) < FEW_BARS:
            opens[symbol] = np.maximum(opens[symbol], own - shortest)
    return opens


def _rows(
    frames: Mapping[str, pd.DataFrame],
    start: pd.Timestamp,
    end: pd.Timestamp,
    warmup_bars: int,
    *,
    quiet_ones: bool,
) -> dict[str, slice]:
    """Each symbol's from `warmup_bars` before the start to the end; symbols without a bar from the
    start on go, but for `quiet_ones`."""
    rows = {}
    for symbol, frame in frames.items():
        first, last = frame.index.searchsorted(start), frame.index.searchsorted(end, side="right")
        if last > (0 if quiet_ones else first):
            rows[symbol] = slice(max(0, first - warmup_bars), last)
    if not rows:
        raise WindowError(f"no candles between {start:%Y-%m-%d} and {end:%Y-%m-%d}")
    return rows


def _overlap(opens_ns: Times, closes_ns: Times, all_times_ns: Times) -> bool:
    """Whether some bar of a symbol is open at one of the run's bar times."""
    after_open = all_times_ns.searchsorted(opens_ns, side="right")
    before_close = all_times_ns.searchsorted(closes_ns, side="left")
    return bool((after_open < before_close).any())
