"""Baselines: futures drawn from a symbol's own past bars. A model that knows anything beats them.

Each draws whole bars of the lookback: a bar's four prices against the close before it, as
logarithms, so that sampled candles have wicks like real ones. With the lookback's close-to-close
steps r:

- random-walk: bars drawn with replacement, so that paths have the drift and spread of the past. Its
  closes are those of the naive signal `random-walk`
- random-walk-no-drift: the same, less the mean of r
- block-bootstrap: stretches of consecutive bars of random length, n^(1/3) of n on average, taken on
  a circle (the stationary bootstrap of Politis and Romano 1994), less the mean of r
- volatility-scaled: the same, times the deviation of the last 20 r over that of all of them

All draw from the same random numbers, keyed by (seed, symbol, asof), so that luck is in common.
Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from feeds import CLOSE, COLUMNS
from kronos.inference.draws import uniforms
from sandbox.config import Sampling
from sandbox.forecast.naive import MOST_LOG_MOVE
from sandbox.forecast.windows import Array, Windows

RANDOM_WALK = "random-walk"
PRICES = CLOSE + 1  # open, high, low, close: the first columns of candles
SHORT_BARS = 20  # of the volatility that paths are scaled by


class Draws(NamedTuple):
    """Uniform numbers in [0, 1) of some windows, the same for every baseline."""

    which: Array  # [n, S, P], which bar
    more: Array  # [n, S, P], whether a stretch goes on; or anything else

    @classmethod
    def of(cls, windows: Windows, sampling: Sampling) -> Draws:
        """The first of them are those of the naive signals."""
        draws = sampling.samples * sampling.horizon
        flat = uniforms(sampling.seed, windows.keys(), 1, 1 + draws).reshape(len(windows), -1)
        parts = flat[:, 2:].astype(np.float64).reshape(len(windows), 2, sampling.samples, -1)
        return cls(parts[:, 0], parts[:, 1])


class Past(NamedTuple):
    """The bars of some windows, each against the close before it."""

    bars: Array  # [n, L - 1, 4], logarithms of open, high, low, close over the close before

    @classmethod
    def of(cls, windows: Windows) -> Past:
        prices = np.log(windows.candles()[..., :PRICES])
        return cls(prices[:, 1:] - prices[:, :-1, CLOSE, None])

    @property
    def drift(self) -> Array:
        """Mean step of the close, `[n]`."""
        drift: Array = self.bars[..., CLOSE].mean(axis=1)
        return drift


def returns_of(bars: Array) -> Array:
    """Paths of bars against the close before each, `[n, S, P, 4]` logarithms, to simple returns of
    all four prices against the close at asof."""
    closes = bars[..., CLOSE].cumsum(axis=2)
    before = np.concatenate([np.zeros_like(closes[..., :1]), closes[..., :-1]], axis=2)
    moves = np.clip(before[..., None] + bars, -MOST_LOG_MOVE, MOST_LOG_MOVE)
    returns: Array = np.expm1(moves)
    return returns


def picked(bars: Array, which: Array) -> Array:
    """Bars `[n, L - 1, 4]` by their places `[n, S, P]`: `[n, S, P, 4]`."""
    rows = np.arange(len(bars))[:, None, None]
    chosen: Array = bars[rows, which]
    return chosen


def independent(count: int, draws: Draws) -> Array:
    """Places in the past drawn each for itself, `[n, S, P]`."""
    return (draws.which * count).astype(np.int64)


def in_stretches(count: int, draws: Draws) -> Array:
    """Places that go on to the next bar, and begin anew at random, `[n, S, P]`."""
    fresh = independent(count, draws)
    anew = draws.more < count ** (-1 / 3)
    anew[..., 0] = True
    steps = np.arange(fresh.shape[2])
    begun = np.maximum.accumulate(np.where(anew, steps, 0), axis=2)
    places: Array = (np.take_along_axis(fresh, begun, axis=2) + steps - begun) % count
    return places


def _random_walk(past: Past, draws: Draws) -> Array:
    return picked(past.bars, independent(past.bars.shape[1], draws))


def _no_drift(past: Past, draws: Draws) -> Array:
    without: Array = _random_walk(past, draws) - past.drift[:, None, None, None]
    return without


def _blocks(past: Past, draws: Draws) -> Array:
    chosen = picked(past.bars, in_stretches(past.bars.shape[1], draws))
    without: Array = chosen - past.drift[:, None, None, None]
    return without


def _scaled(past: Past, draws: Draws) -> Array:
    steps = past.bars[..., CLOSE]
    whole, short = steps.std(axis=1), steps[:, -SHORT_BARS:].std(axis=1)
    scale = np.divide(short, whole, out=np.ones_like(whole), where=whole > 0)
    scaled: Array = _blocks(past, draws) * scale[:, None, None, None]
    return scaled


_BASELINES: Mapping[str, Callable[[Past, Draws], Array]] = {
    RANDOM_WALK: _random_walk,
    "random-walk-no-drift": _no_drift,
    "block-bootstrap": _blocks,
    "volatility-scaled": _scaled,
}
BASELINES = tuple(_BASELINES)
assert COLUMNS[:PRICES] == ("open", "high", "low", "close")


def baseline_returns(name: str, past: Past, draws: Draws) -> Array:
    """Sampled candles of a baseline as simple returns against the close at asof, `[n, S, P, 4]`."""
    return returns_of(_BASELINES[name](past, draws))
