"""What is scored: every symbol at every asof, what came after it, and what was known of it then.

A cell is a symbol and an asof for which every source has a forecast and at least one bar has come
since. Knows candles; nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from feeds import bar_times, times_ns
from feeds.members import NO_MEMBERS, Members
from sandbox.config import Sampling
from sandbox.errors import WindowError
from sandbox.forecast.windows import Array, Calendar, Windows, last_rows, rows_ahead
from sandbox.skill.baselines import PRICES, SHORT_BARS

BETA_BARS = 60  # of a beta
REVERSAL_BARS = 21  # a month of sessions
FACTORS = ("beta", "volatility", "reversal")
BATCH_BYTES = 64 << 20  # of one source's sampled candles and the distances between them
MOST_HORIZONS = (1, 2, 3, 4, 5, 10, 20, 50, 100, 200, 500)  # scored, besides the last bar


@dataclass(frozen=True)
class Cells:
    """`W` cells, in the order of time."""

    windows: Windows  # [W], of `lookback` bars each
    last_rows: Array  # [W], the last row of each one's symbol in the windows' table
    horizon: int

    @classmethod
    def of(
        cls,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        calendar: Calendar | None,
        members: Members = NO_MEMBERS,
    ) -> Cells:
        """Of symbols while they are members of their universe. Raises WindowError where none has
        the history, or nothing has come since."""
        found = Windows.of(frames, sampling, asofs, calendar, members)
        if not len(found):
            raise WindowError(
                f"no symbol has {sampling.lookback} bars of history by {asofs[-1]:%Y-%m-%d}: set a "
                "smaller --lookback or a later --end"
            )
        last = last_rows(frames, found)
        rows = np.flatnonzero(found.ends < last)
        if not len(rows):
            raise WindowError(
                f"no outcome is known yet: the last bar is of {bar_times(frames)[-1]:%Y-%m-%d}, "
                f"and forecasts would begin at {asofs[0]:%Y-%m-%d}; set an earlier --start"
            )
        rows = rows[np.argsort(found.asof_ns[rows], kind="stable")]
        return cls(found.pick(rows), last[rows], sampling.horizon)

    def __len__(self) -> int:
        return len(self.windows)

    @cached_property
    def dates_ns(self) -> Array:
        """All asofs, each once, `[D]`."""
        return np.unique(self.windows.asof_ns)

    @cached_property
    def date_of(self) -> Array:
        """The place of each cell's asof among the dates, `[W]`."""
        return np.searchsorted(self.dates_ns, self.windows.asof_ns)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Each once, sorted: `[N]`."""
        return tuple(sorted(set(self.windows.symbols)))

    @cached_property
    def symbol_of(self) -> Array:
        """The place of each cell's symbol among the symbols, `[W]`."""
        place = {symbol: nth for nth, symbol in enumerate(self.symbols)}
        return np.array([place[symbol] for symbol in self.windows.symbols])

    @cached_property
    def bars_after(self) -> Array:
        """How many bars of the horizon have come since, `[W]`: 1 or more."""
        after: Array = np.minimum(self.last_rows - self.windows.ends, self.horizon)
        return after

    @property
    def horizons(self) -> list[int]:
        """Bars ahead that are scored: all to 5, then fewer, and the last one of which anything is
        known."""
        return scored_horizons(int(self.bars_after.max()))

    def outcomes(self, rows: Array) -> Array:
        """Simple returns of the four prices of the bars after, against the close at asof,
        `[n, P, 4]`; NaN where they have not come."""
        after, there = rows_ahead(self.windows.ends[rows], self.last_rows[rows], self.horizon)
        prices = self.windows.values[after][..., :PRICES]
        closes = self.windows.closes()[rows][:, None, None]
        outcomes: Array = np.where(there[..., None], prices / closes - 1, np.nan)
        return outcomes

    def batches(self, samples: int, first: int, end: int) -> Iterator[Array]:
        """Rows of the cells from `first` to before `end`, in order, as many at a time as memory
        should hold."""
        bytes_each = 8 * samples * (self.horizon * PRICES + samples)
        size = max(1, BATCH_BYTES // bytes_each)
        for at in range(first, end, size):
            yield np.arange(at, min(at + size, end))


def scored_horizons(longest: int) -> list[int]:
    """All bars ahead to 5, then fewer, and the last one."""
    return sorted({h for h in MOST_HORIZONS if h < longest} | {longest})


def factors(cells: Cells, frames: Mapping[str, pd.DataFrame]) -> Array:
    """What is known of each cell at its asof, `[W, 3]` as `FACTORS`; NaN where bars are too few.

    beta: of the last 60 returns on the mean return of all symbols with a bar then. volatility:
    standard deviation of the last 20. reversal: the simple return over the last 21 bars.
    """
    closes = {symbol: frame["close"] for symbol, frame in frames.items()}
    returns = {symbol: close.pct_change(fill_method=None) for symbol, close in closes.items()}
    market = _mean_by_time(list(returns.values()))
    found = np.full((len(cells), len(FACTORS)), np.nan)
    asof_ns = cells.windows.asof_ns
    for nth, symbol in enumerate(cells.symbols):
        own = returns[symbol]
        theirs = market.reindex(own.index)
        variance = theirs.rolling(BETA_BARS).var()
        table = np.column_stack(
            [
                own.rolling(BETA_BARS).cov(theirs) / variance.where(variance > 0),
                own.rolling(SHORT_BARS).std(),
                closes[symbol].pct_change(REVERSAL_BARS, fill_method=None),
            ]
        )
        rows = np.flatnonzero(cells.symbol_of == nth)
        found[rows] = table[times_ns(frames[symbol]).searchsorted(asof_ns[rows])]
    return found


def _mean_by_time(returns: Sequence[pd.Series]) -> pd.Series:
    together = pd.concat(returns)
    return together.groupby(level=0).mean()


def regimes(cells: Cells, volatility: Array) -> Array:
    """The volatility regime of each date, `[D]`: 0 calm, 1 usual, 2 restless; -1 not known.

    Thirds of the dates by the median over symbols of their `volatility` `[W]`: that of the past
    bars, so it was known then, but where the thirds part is known only at the end.
    """
    medians = pd.Series(volatility).groupby(cells.date_of).median()
    by_date = medians.reindex(range(len(cells.dates_ns))).to_numpy()
    known = np.isfinite(by_date)
    found = np.full(len(by_date), -1)
    if known.any():
        parts = np.quantile(by_date[known], [1 / 3, 2 / 3])
        found[known] = np.searchsorted(parts, by_date[known], side="left")
    return found
