"""Naive signals: what a forecast is worth is what it adds to these.

Each gives forecasts of the same kind as the model's, from the same bars up to asof. With the bars'
simple returns r over the lookback and a horizon of P bars, the expected return at the horizon is

- momentum: P times the mean of r, what rose goes on rising (Jegadeesh & Titman 1993)
- reversal: minus the return over the last P bars, what rose falls back (Jegadeesh 1990)
- volatility: the standard deviation of r times sqrt(P), what swings most is liked best
- random: a normal draw with that standard deviation, luck alone
- random-walk: none is set; paths are drawn with replacement from the symbol's own past returns, so
  that they have its drift and its spread

In the first four the expected return grows evenly over the horizon and the paths spread around it
as bootstrapped past returns do; it is kept above -90 %, so that prices stay positive. Draws are
keyed by (seed, symbol, asof). Knows nothing of models.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from feeds import AMOUNT, CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME
from feeds.members import NO_MEMBERS, Members
from kronos.inference.draws import uniforms
from sandbox.config import Sampling
from sandbox.errors import ConfigError
from sandbox.forecast.book import ForecastBook
from sandbox.forecast.windows import Array, Calendar, Windows
from sandbox.memory import expect_room
from sandbox.progress import Progress
from sandbox.words import nearest

MOST_LOG_MOVE = 30.0  # over the horizon; prices beyond are no numbers in float32
LEAST_SCORE = -0.9  # simple return over the horizon
WINDOWS_PER_BLOCK = 128  # computed together when one of them is asked for
CACHE_BYTES = 64 << 20  # of closes; blocks asked for longest ago go first


def _momentum(closes: Array, _: Array, horizon: int) -> Array:
    scores: Array = horizon * _returns(closes).mean(axis=1)
    return scores


def _reversal(closes: Array, _: Array, horizon: int) -> Array:
    past = closes[:, max(0, closes.shape[1] - 1 - horizon)]
    scores: Array = 1 - closes[:, -1] / past
    return scores


def _volatility(closes: Array, _: Array, horizon: int) -> Array:
    scores: Array = np.sqrt(horizon) * _returns(closes).std(axis=1)
    return scores


def _random(closes: Array, u: Array, horizon: int) -> Array:
    normal = np.sqrt(-2 * np.log1p(-u[:, 0])) * np.cos(2 * np.pi * u[:, 1])  # Box & Muller 1958
    return _volatility(closes, u, horizon) * normal


# Closes [W, L] and two uniforms [W, 2] to the expected simple return at the horizon, [W].
_SCORES: Mapping[str, Callable[[Array, Array, int], Array] | None] = {
    "momentum": _momentum,
    "reversal": _reversal,
    "volatility": _volatility,
    "random": _random,
    "random-walk": None,
}
NAIVE = tuple(_SCORES)


class NaiveSource:
    """A naive signal by name; its forecasts are computed when they are asked for."""

    def __init__(self, name: str, calendar: Calendar | None = None) -> None:
        if name not in NAIVE:
            near = nearest(name, NAIVE)
            hint = f" (did you mean {near!r}?)" if near else ""
            raise ConfigError(
                f"--signal {name!r}{hint}: a naive signal is one of {', '.join(NAIVE)}"
            )
        self.name = name
        self._calendar = calendar

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> ForecastBook:
        windows = Windows.of(frames, sampling, asofs, self._calendar, members)
        book = self.book_of(windows, sampling)
        if progress:
            progress(len(book), len(book))
        return book

    def book_of(self, windows: Windows, sampling: Sampling) -> ForecastBook:
        """Of windows that are there already, such as another signal's: they are shared."""
        paths = _Paths(self.name, windows, sampling)
        paths.expect_room()
        return ForecastBook(windows, paths, computed=len(windows))


class _Paths:
    """The paths of a window by its place, computed a block of windows at a time."""

    def __init__(self, name: str, windows: Windows, sampling: Sampling) -> None:
        self._name = name
        self._windows = windows
        self._sampling = sampling
        self._blocks: OrderedDict[int, tuple[Array, Array]] = OrderedDict()
        block_bytes = 4 * WINDOWS_PER_BLOCK * sampling.samples * sampling.horizon
        # a bar asks for all symbols one after the other, so a block of each has to fit
        least = 2 * len(set(windows.symbols))
        self._most_blocks = max(least, CACHE_BYTES // block_bytes)

    def expect_room(self) -> None:
        """Raises MemoryShortError where the blocks that are kept do not fit."""
        sampling = self._sampling
        windows_kept = min(len(self._windows), self._most_blocks * WINDOWS_PER_BLOCK)
        expect_room(windows_kept, 4 * sampling.samples * sampling.horizon, sampling.shape_in_words)

    def __call__(self, nth: int) -> Array:
        return self._path(nth)()

    def only(self, rows: Array, *, likely: bool) -> Callable[[int], Array]:
        if not likely:
            alone = self._windows.alone(rows, self._windows.lookback)
            return _Paths(self._name, alone, self._sampling)
        paths = [self._path(row) for row in rows.tolist()]
        return lambda nth: paths[nth]()

    def _path(self, nth: int) -> Callable[[], Array]:
        """What makes the paths of a window, and knows of no other."""
        block, row = divmod(nth, WINDOWS_PER_BLOCK)
        if block not in self._blocks:
            self._blocks[block] = self._computed(block)
            if len(self._blocks) > self._most_blocks:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(block)
        closes, volumes = self._blocks[block]
        close_now = self._windows.values[self._windows.ends[nth], CLOSE]
        return partial(_candles, closes[row].copy(), float(close_now), float(volumes[row]))

    def _computed(self, block: int) -> tuple[Array, Array]:
        """Closes `[n, S, P]` and mean volumes `[n]` of a block."""
        first = block * WINDOWS_PER_BLOCK
        windows = self._windows.pick(
            np.arange(first, min(first + WINDOWS_PER_BLOCK, len(self._windows)))
        )
        drawn = naive_closes(self._name, windows, self._sampling)
        return drawn.astype(np.float32), windows.columns("volume").mean(axis=1)


def naive_closes(name: str, windows: Windows, sampling: Sampling) -> Array:
    """Sampled closes `[W, S, P]` of `[W]` windows."""
    samples, horizon = sampling.samples, sampling.horizon
    past = windows.columns("close")
    draws = samples * horizon
    # all of a window's numbers in one step; the first two belong to the random score
    flat = uniforms(sampling.seed, windows.keys(), 1, 1 + (draws + 1) // 2)
    u = flat.reshape(len(windows), -1).astype(np.float64)
    steps = np.diff(np.log(past), axis=1)
    which = (u[:, 2 : 2 + draws] * steps.shape[1]).astype(np.int64)
    score = _SCORES[name]
    if score is not None:
        steps -= steps.mean(axis=1, keepdims=True)
    drawn = np.take_along_axis(steps, which, axis=1).reshape(-1, samples, horizon)
    growth = np.exp(np.clip(drawn.cumsum(axis=2), -MOST_LOG_MOVE, MOST_LOG_MOVE))
    if score is not None:
        at_horizon = np.maximum(score(past, u[:, :2], horizon), LEAST_SCORE)
        line = 1 + at_horizon[:, None] * np.arange(1, horizon + 1) / horizon
        growth *= (line / growth.mean(axis=1))[:, None]  # spread, without moving the mean
    closes: Array = past[:, -1, None, None] * growth
    return closes


def _candles(closes: Array, close_now: float, volume: float) -> Array:
    """Closes `[S, P]` as candles `[S, P, 6]` that open where the bar before closed."""
    candles = np.empty((*closes.shape, len(COLUMNS)), dtype=np.float32)
    candles[:, 0, OPEN] = close_now
    candles[:, 1:, OPEN] = closes[:, :-1]
    opens = candles[..., OPEN]
    candles[..., CLOSE] = closes
    np.maximum(opens, closes, out=candles[..., HIGH])
    np.minimum(opens, closes, out=candles[..., LOW])
    candles[..., VOLUME] = volume
    np.multiply(opens + closes, volume / 2, out=candles[..., AMOUNT])  # the four prices' mean
    return candles


def _returns(closes: Array) -> Array:
    """Simple returns `[W, L - 1]`."""
    returns: Array = closes[:, 1:] / closes[:, :-1] - 1
    return returns
