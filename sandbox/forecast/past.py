"""Past forecasts of a universe that calibrate later ones, and where their outcomes lay.

Each symbol has one past forecast in every block of time, as of its first bar there. A block is as
long as `block_bars` bars: of daily bars without weekends one of five bars is a week, from Monday
on. So which past forecasts there are depends on the candles alone, not on which are asked for, nor
on when a run starts.

Forecasts that reach over several blocks share outcomes: at bars of the horizon where they do, the
past is looked at over so many times as many blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import multimode

import numpy as np
import pandas as pd

from feeds import times_ns
from feeds.bars import NS_PER_DAY
from feeds.spacing import DAILY_NS, usual_length
from sandbox.config import Sampling
from sandbox.forecast.recalibrate import FACTOR_BLOCKS, MAP_BLOCKS, TIMES_OF_DAY, Ints
from sandbox.forecast.windows import Array, Windows

FEWEST_BARS, MOST_BARS = 5, 20  # of a block
BLOCKS_IN_HORIZON = 3  # within these bounds: what came is learnt from before the horizon is over
SPARE = 8  # blocks, for the one of asof and for sessions that are out of turn
FIRST_MONDAY_NS = 4 * NS_PER_DAY  # 1970-01-05
WEEKDAYS, DAYS = 5, 7
RARE = 0.1  # share of bars at weekends, below which there are none but for special sessions


def block_bars(horizon: int) -> int:
    """Bars of a block, where none is missing."""
    return min(max(-(-horizon // BLOCKS_IN_HORIZON), FEWEST_BARS), MOST_BARS)


def overlap(bar: int, horizon: int) -> float:
    """How many blocks a forecast reaches over at a bar of its horizon (from 1 on); 1 or more."""
    return max(1.0, bar / block_bars(horizon))


def reach(horizon: int, *, intraday: bool) -> int:
    """Blocks before that of an asof that its calibration depends on at most."""
    maps = MAP_BLOCKS * (TIMES_OF_DAY if intraday else 1)
    return math.ceil((maps + FACTOR_BLOCKS) * overlap(horizon, horizon))


def calibration_bars(sampling: Sampling, *, intraday: bool = True) -> int:
    """Bars of each symbol, asof included, that a calibrated forecast depends on at most."""
    blocks = reach(sampling.horizon, intraday=intraday) + SPARE
    return sampling.lookback + blocks * block_bars(sampling.horizon)


@dataclass(frozen=True)
class Blocks:
    """Blocks of time, by number."""

    length_ns: int
    intraday: bool  # bars are shorter than a day
    reach: int  # see `reach`
    first_ns: Mapping[str, Ints]  # by symbol, its first bar in each block that it has bars in
    began_ns: Mapping[int, int]  # by number, the first bar of any symbol

    @classmethod
    def of(cls, frames: Mapping[str, pd.DataFrame], horizon: int) -> Blocks:
        times = {symbol: times_ns(frame) for symbol, frame in frames.items() if len(frame)}
        length_ns, intraday = _length(list(times.values()), block_bars(horizon))
        first_ns: dict[str, Ints] = {}
        began_ns: dict[int, int] = {}
        for symbol, own_ns in times.items():
            numbers, rows = np.unique(_numbers(own_ns, length_ns), return_index=True)
            first_ns[symbol] = own_ns[rows]
            for number, first in zip(numbers.tolist(), own_ns[rows].tolist(), strict=True):
                began_ns[number] = min(first, began_ns.get(number, first))
        return cls(length_ns, intraday, reach(horizon, intraday=intraday), first_ns, began_ns)

    def numbers(self, closes_ns: Array) -> Ints:
        """In which block each of some bars is, by the time it closes."""
        return _numbers(closes_ns, self.length_ns)

    def times(self, asked_ns: Array) -> Ints:
        """All past asofs that forecasts as of some times depend on, sorted, each once."""
        if not self.first_ns or not len(asked_ns):
            return np.empty(0, dtype=np.int64)
        past_ns = np.unique(np.concatenate(list(self.first_ns.values())))
        asked, numbers = np.unique(self.numbers(asked_ns)), self.numbers(past_ns)
        after = np.searchsorted(asked, numbers)  # the next block with one that is asked for
        inside = after < len(asked)
        near = asked[np.minimum(after, len(asked) - 1)] - numbers <= self.reach
        return past_ns[inside & near & (past_ns < asked_ns.max())]

    def among(self, windows: Windows, past_ns: Ints) -> Array:
        """Which windows `[W]` are past forecasts: as of one of those times, and as of the first bar
        of their symbol in its block."""
        found = np.isin(windows.asof_ns, past_ns)
        for symbol, own in windows.places.items():
            found[own] &= np.isin(windows.asof_ns[own], self.first_ns[symbol])
        return found


def _length(times: list[Ints], bars: int) -> tuple[int, bool]:
    """In nanoseconds, of bars as far apart as those of most symbols; whether these are shorter than
    a day."""
    if not times:
        return bars * NS_PER_DAY, False
    spacing = min(multimode(usual_length(own_ns) for own_ns in times))
    if spacing < DAILY_NS or spacing > NS_PER_DAY:
        return bars * spacing, spacing < DAILY_NS
    days = (np.concatenate(times) - 1 - FIRST_MONDAY_NS) // NS_PER_DAY % DAYS
    at_weekends = float((days >= WEEKDAYS).mean())
    length_ns = bars * spacing * DAYS // WEEKDAYS if at_weekends < RARE else bars * spacing
    return length_ns, False


def _numbers(closes_ns: Array, length_ns: int) -> Ints:
    numbers: Ints = (closes_ns - 1 - FIRST_MONDAY_NS) // length_ns
    return numbers
