"""How often closes came inside the bands of forecasts, counted as they come.

The definition is that of `sandbox.skill.scores.covered`: the outcome at horizon h is the simple
return from the close at asof to that of the symbol's own h-th bar after it, and it is inside a band
if it lies between the two quantiles of its samples, each the sample of rank q (S + 1), linear
between ranks (Weibull's rule).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.paper_account import Account

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
INNER, OUTER = (1, 3), (0, 4)  # places in QUANTILES of the 50 % band and of the 90 % band
ROWS_AT_ONCE = 200  # of a symbol: few enough to look at the clock between them
Floats = NDArray[np.float64]
PathsAt = tuple[int, float, Floats | None]  # time, close, closes [S, P] of the forecast then


def quantiles(samples: Floats) -> Floats:
    """samples: `[..., S, P]`. Returns `[5, ..., P]`, those of QUANTILES by Weibull's rule."""
    return np.quantile(samples, QUANTILES, axis=-2, method="weibull")


class Counts(NamedTuple):
    """At one horizon: closes that came, and how many of them inside the 50 % and the 90 % band."""

    came: int
    inner: int
    outer: int


@dataclass
class _Open:
    """A forecast some of whose bars have yet to come."""

    close: float  # at asof
    bands: Sequence[Sequence[float]]  # [P][5] returns
    next: int = 0


@dataclass
class _Symbol:
    done_ns: int = 0
    counts: list[list[int]] = field(default_factory=list)  # [P][came, inner, outer]
    open: list[_Open] = field(default_factory=list)


class Coverage:
    """Counts of every symbol; `take` goes on from where it was."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = {symbol: _Symbol() for symbol in symbols}
        self.is_complete = False  # everything there was to count has been

    def take(self, account: Account, until_ns: int, secs: float) -> None:
        """Count the candles up to then, for about so long."""
        end = time.monotonic() + secs
        for name, symbol in self._symbols.items():
            while symbol.done_ns < until_ns:
                if time.monotonic() > end:
                    self.is_complete = False
                    return
                rows = account.closes_and_paths(name, symbol.done_ns, until_ns, ROWS_AT_ONCE)
                bands = _bands(rows)
                for at_ns, close, _ in rows:
                    _came(symbol, close)
                    if at_ns in bands:
                        symbol.open.append(_Open(close, bands[at_ns]))
                    symbol.done_ns = at_ns
                if len(rows) < ROWS_AT_ONCE:
                    symbol.done_ns = until_ns
        self.is_complete = True

    def of(self, symbol: str) -> list[Counts]:
        """One a horizon, from 1 bar on; as far as closes have come."""
        return [Counts(*counts) for counts in self._symbols[symbol].counts]

    def of_all(self) -> list[Counts]:
        """The sums over symbols."""
        sums: list[list[int]] = []
        for symbol in self._symbols.values():
            for h, counts in enumerate(symbol.counts):
                _add(sums, h, counts)
        return [Counts(*counts) for counts in sums]


def _bands(rows: Sequence[PathsAt]) -> dict[int, list[list[float]]]:
    """`[P][5]` of returns by time, where there is a forecast; those of one shape at once."""
    alike: dict[tuple[int, ...], list[tuple[int, Floats]]] = {}
    for at_ns, close, closes in rows:
        if closes is not None:
            alike.setdefault(closes.shape, []).append((at_ns, closes / close - 1))
    found: dict[int, list[list[float]]] = {}
    for group in alike.values():
        bands = quantiles(np.stack([returns for _, returns in group]))
        found |= zip((at_ns for at_ns, _ in group), np.moveaxis(bands, 0, -1).tolist(), strict=True)
    return found


def _came(symbol: _Symbol, close: float) -> None:
    for each in symbol.open:
        outcome = close / each.close - 1
        band = each.bands[each.next]
        inner, outer = (int(band[low] <= outcome <= band[high]) for low, high in (INNER, OUTER))
        _add(symbol.counts, each.next, (1, inner, outer))
        each.next += 1
    symbol.open = [each for each in symbol.open if each.next < len(each.bands)]


def _add(sums: list[list[int]], h: int, counts: Sequence[int]) -> None:
    while len(sums) <= h:
        sums.append([0, 0, 0])
    for nth, count in enumerate(counts):
        sums[h][nth] += count


def shown_horizons(horizon: int, at_most: int = 12) -> list[int]:
    """Bars from 1 to the horizon that a table has room for: all, or about equal ratios apart."""
    if horizon <= at_most:
        return list(range(1, horizon + 1))
    return sorted({round(h) for h in np.geomspace(1, horizon, at_most)})


def inside(bands: Sequence[Sequence[float]], closes: Sequence[float]) -> Counts:
    """Of one forecast, prices `[5][P]`: how many of the closes that came were inside."""
    found = [0, 0]
    for h, close in enumerate(closes):
        for nth, (low, high) in enumerate((INNER, OUTER)):
            found[nth] += int(bands[low][h] <= close <= bands[high][h])
    return Counts(len(closes), *found)
