"""How past forecasts lay to what came, and the map that moves new ones to where they should be.

Everything here is in *scores*: where in a forecast a value lies, as a standard normal quantile. Of
S samples in their order the i-th has the score of i / (S + 1); between samples scores are linear,
and beyond the outermost they go on by standard deviations of the samples. Outcomes of a calibrated
forecast have scores that are distributed as the standard normal: this is the probability integral
transform (Dawid 1984) without its ends at 0 and 1, so that an outcome far outside of all samples
differs from an outcome just outside.

- A *map* takes standard normal quantiles to those of the scores that past outcomes had, at `KNOTS`:
  of past forecasts of all symbols, weighted for recency. Sample i of a calibrated forecast lies
  where the map puts the score of i / (S + 1).
- Where bars are shorter than a day, past forecasts of about the same time of day count most, since
  markets are restless at some hours and a strategy may always ask at the same one.
- What may be luck is moved less: location and scale are shrunk towards none by their t statistics
  over dates, since the symbols of a date move together (James and Stein 1961, positive part), and
  the shape towards the normal where outcomes are few.
- Beyond one standard deviation each tail is stretched by a *factor* of its own. It follows the
  level of Gibbs and Candes (2021, "Adaptive conformal inference under distribution shift"): the
  more past outcomes lay beyond the edges of the 90 % band, the further out they are. What lay
  beyond the other edge counts by half, since a fall is often followed by a rise as large.

Knows arrays; nothing of candles, models or files. Times are nanoseconds since 1970, UTC; a block is
a stretch of time in which each symbol has one past forecast (`sandbox.forecast.past`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from feeds.bars import NS_PER_DAY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# blocks, where forecasts do not overlap; where they do, as many times as many
MAP_BLOCKS = 104  # that a map is taken from
HALF_LIFE = 52.0  # after which a past forecast has half the weight
FACTOR_BLOCKS = 52  # that a factor has followed
TIMES_OF_DAY = 8  # by time of day a map is taken from so many times as many
# of times of day, the nearest for which there is enough: those that are 1:08, and 2:17 hours apart
# count by half, or all count the same
NEARNESS = (16.0, 4.0, 0.0)
LEAST_BLOCKS, LEAST_OUTCOMES = 20, 60  # with outcomes, before anything is moved
_LEVELS = np.array([0.01, 0.02, 0.035, 0.05, 0.075, *np.arange(0.1, 0.46, 0.05), 0.5])
KNOT_LEVELS: Floats = np.concatenate([_LEVELS, 1 - _LEVELS[-2::-1]])  # [K], symmetric about 1/2
KNOTS: Floats = ndtri(KNOT_LEVELS)
MIDDLE = len(_LEVELS) - 1
LEAST_BEYOND = 3  # outcomes beyond a knot, for its place to be taken from them
MOST_SCORE = 3.0  # that counts for location and scale
MEAN_SCORE = 0.7970  # the mean of a standard normal's absolute, no more than 3 each
SHAPE_OUTCOMES = 100.0  # that count as much as the assumption of a normal shape
BAND_TAIL = 0.05  # beyond each edge of the band that the factors watch
STRETCHED_FROM = 1.0  # standard normal quantile
SHARED = 0.5  # of what moves a tail's level, the share that is the mean of both tails
RATE, MOST_RATE = 0.05, 0.15  # of the level, a block: of one outcome, and of many
LEAST_LEVEL, MOST_LEVEL = 0.002, 0.3
NUMBERS_AT_ONCE = 1 << 22  # in memory, while factors are followed


def sample_scores(samples: int) -> Floats:
    """Of S samples in their order, `[S]`."""
    scores: Floats = ndtri(np.arange(1, samples + 1) / (samples + 1))
    return scores


def scores_of(ordered: Floats, values: Floats) -> Floats:
    """The scores `[N]` of a value `[N]` in each of N forecasts of S samples `[N, S]`, ascending.

    A value that equals several samples is in their middle. NaN where the value is, and where all
    samples of a forecast are the same.
    """
    count = ordered.shape[1]
    at, rows = sample_scores(count), np.arange(len(ordered))
    below = (ordered < values[:, None]).sum(axis=1)
    up_to = (ordered <= values[:, None]).sum(axis=1)
    left, right = np.maximum(below - 1, 0), np.minimum(below, count - 1)
    low, high, spread = ordered[rows, left], ordered[rows, right], ordered.std(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = at[left] + (at[right] - at[left]) * (values - low) / (high - low)
        under = at[0] + (values - low) / spread
        over = at[-1] + (values - high) / spread
    equal = (at[right] + at[np.maximum(up_to - 1, 0)]) / 2
    scores = np.select([up_to > below, below == 0, below == count], [equal, under, over], between)
    return np.where(np.isfinite(values) & (spread > 0), scores, np.nan)


def values_at(ordered: Floats, scores: Floats) -> Floats:
    """What lies at scores `[N, S]` in each of N forecasts of S samples `[N, S]`, ascending.

    The reverse of `scores_of`. With a single sample, or where all are the same, that one.
    """
    count = ordered.shape[1]
    if count == 1:
        return ordered
    at, spread = sample_scores(count), ordered.std(axis=1, keepdims=True)
    left = np.clip(np.searchsorted(at, scores, side="right") - 1, 0, count - 2)
    low, high = (np.take_along_axis(ordered, left + nth, axis=1) for nth in (0, 1))
    share = (scores - at[left]) / (at[left + 1] - at[left])
    inside = low + (high - low) * share
    under = ordered[:, :1] + (scores - at[0]) * spread
    over = ordered[:, -1:] + (scores - at[-1]) * spread
    exact = np.where(share == 1, high, inside)  # low + (high - low) is not always high
    return np.select([scores < at[0], scores > at[-1]], [under, over], exact)


def mapped(maps: Floats, quantiles: Floats) -> Floats:
    """Where each of the maps `[T, K]` takes standard normal quantiles `[T, Q]`.

    Linear between knots; beyond them along the line from the middle to the outermost.
    """
    left = np.clip(np.searchsorted(KNOTS, quantiles, side="right") - 1, 0, len(KNOTS) - 2)
    low, high = (np.take_along_axis(maps, left + nth, axis=1) for nth in (0, 1))
    inside = low + (high - low) * (quantiles - KNOTS[left]) / (KNOTS[left + 1] - KNOTS[left])
    middle, ends = maps[:, MIDDLE, None], maps[:, [0, -1]]
    slopes = (ends - middle) / KNOTS[[0, -1]]
    under = ends[:, :1] + slopes[:, :1] * (quantiles - KNOTS[0])
    over = ends[:, 1:] + slopes[:, 1:] * (quantiles - KNOTS[-1])
    return np.select([quantiles < KNOTS[0], quantiles > KNOTS[-1]], [under, over], inside)


def stretched(quantiles: Floats, factors: Floats) -> Floats:
    """Standard normal quantiles `[T, Q]` with their tails stretched by factors `[T, 2]` of the
    lower and the upper one: those of the 90 % band's edges are multiplied by them, those within one
    standard deviation stay."""
    edge = -ndtri(BAND_TAIL)
    size, factor = np.abs(quantiles), np.where(quantiles < 0, factors[:, :1], factors[:, 1:])
    slope = np.maximum(factor * edge - STRETCHED_FROM, 0.05) / (edge - STRETCHED_FROM)
    outer = STRETCHED_FROM + (size - STRETCHED_FROM) * slope
    return np.where(size > STRETCHED_FROM, np.sign(quantiles) * outer, quantiles)


@dataclass(frozen=True)
class Outcomes:
    """Past forecasts at one bar of their horizon, and where their outcomes lay: `n` of them, in the
    order in which the outcomes were known.

    overlap: how many blocks a forecast reaches over, 1 or more. by_time_of_day: whether maps are of
    a time of day.
    """

    blocks: Ints  # [n], of their asofs
    asof_ns: Ints  # [n]
    known_ns: Ints  # [n], when the outcome was known
    scores: Floats  # [n]
    overlap: float = 1.0
    by_time_of_day: bool = False

    def in_order(self) -> Outcomes:
        """Those of which there is a score, in the order in which they were known."""
        there = np.flatnonzero(np.isfinite(self.scores))
        keys = self.scores[there], self.asof_ns[there], self.blocks[there], self.known_ns[there]
        order = there[np.lexsort(keys)]
        return replace(
            self,
            blocks=self.blocks[order],
            asof_ns=self.asof_ns[order],
            known_ns=self.known_ns[order],
            scores=self.scores[order],
        )

    def maps(self, at_ns: Ints, at_blocks: Ints) -> tuple[Floats, Ints]:
        """Maps `[U, K]`, and which of them is that as of each of some times `[T]`, each in its
        block; NaN where too little is known."""
        known = np.searchsorted(self.known_ns, at_ns, side="right")
        time_ns = at_ns % NS_PER_DAY if self.by_time_of_day else np.zeros_like(at_ns)
        keys = np.column_stack([at_blocks, known, time_ns])
        found, which = np.unique(keys, axis=0, return_inverse=True)
        maps = [self._map(*map(int, key)) for key in found]
        return np.array(maps).reshape(-1, len(KNOTS)), which.ravel()

    def _map(self, block: int, known: int, time_ns: int) -> Floats:
        span = self.overlap * (TIMES_OF_DAY if self.by_time_of_day else 1)
        recent = np.flatnonzero(self.blocks[:known] >= block - MAP_BLOCKS * span)
        blocks, scores = self.blocks[recent], self.scores[recent]
        weights = 0.5 ** ((block - blocks) / (HALF_LIFE * span))
        if self.by_time_of_day:
            weights = _near(weights, blocks, self.asof_ns[recent] - time_ns)
        return map_of(blocks, scores, weights, self.overlap)

    def factors(
        self, at_ns: Ints, at_blocks: Ints, began_ns: Mapping[int, int], samples: int
    ) -> Floats:
        """By how much each tail is stretched as of times `[T]`, each in its block: `[T, 2]`, of
        the lower and of the upper one.

        began_ns: of all blocks with an outcome, when their first bar closed. samples: of a
        forecast, on which the edges of its band depend.
        """
        factors = np.ones((len(at_ns), 2))
        if not len(self.blocks):
            return factors
        table = _Table.of(self, began_ns)
        at_once = max(1, NUMBERS_AT_ONCE // table.scores.shape[1])
        for first in range(0, len(at_ns), at_once):
            here = slice(first, first + at_once)
            factors[here] = table.followed(at_ns[here], at_blocks[here], samples)
        return factors


def _near(weights: Floats, blocks: Ints, apart_ns: Ints) -> Floats:
    """The weights `[n]`, less where times of day are apart."""
    angles = 2 * np.pi * (apart_ns % NS_PER_DAY) / NS_PER_DAY
    _, which = np.unique(blocks, return_inverse=True)
    for nearness in NEARNESS:
        near = weights * np.exp(nearness * (np.cos(angles) - 1))
        of_blocks = np.bincount(which, near)
        if of_blocks.sum() ** 2 >= LEAST_BLOCKS * (of_blocks**2).sum():  # as many of equal weight
            break
    return near


def map_of(blocks: Ints, scores: Floats, weights: Floats, overlap: float = 1.0) -> Floats:
    """The map `[K]` from past scores `[n]` of some blocks; NaN where there are too few."""
    if len(scores) < LEAST_OUTCOMES or len(np.unique(blocks)) < LEAST_BLOCKS:
        return np.full(len(KNOTS), np.nan)
    order = np.lexsort((weights, blocks, scores))  # the order of symbols must not change a bit
    blocks, scores, weights = blocks[order], scores[order], weights[order]
    reach = weights.cumsum() - weights / 2
    found = np.interp(KNOT_LEVELS * weights.sum(), reach, scores)
    # as many outcomes of the same weight, of forecasts that share none, say as much
    outcomes = weights.sum() ** 2 / (weights**2).sum() / overlap
    even, odd = (found - found[::-1]) / 2, (found + found[::-1]) / 2
    outermost = np.clip(np.arange(len(KNOTS)), *_with_outcomes_beyond(outcomes))
    even = even[outermost] * (KNOTS / np.where(KNOTS == 0, 1, KNOTS[outermost]))
    odd = odd[outermost]
    kept = np.clip(scores, -MOST_SCORE, MOST_SCORE)
    scale = float(np.median(even[:MIDDLE] / KNOTS[:MIDDLE]))
    shrunk = scale ** _share_kept(blocks, np.abs(kept) - MEAN_SCORE, weights, overlap)
    shape = (even - scale * KNOTS) * outcomes / (outcomes + SHAPE_OUTCOMES)
    moved = shrunk * KNOTS + shape + odd * _share_kept(blocks, kept, weights, overlap)
    rising: Floats = np.maximum.accumulate(moved)
    return rising


def _with_outcomes_beyond(outcomes: float) -> tuple[int, int]:
    """The first and the last knot that has a few outcomes beyond it: the lines to the others go on
    from there, so that no single outcome says how long a tail is."""
    first = int(np.searchsorted(KNOT_LEVELS * outcomes, LEAST_BEYOND))
    first = min(first, MIDDLE - 1)
    return first, len(KNOTS) - 1 - first


def _share_kept(blocks: Ints, values: Floats, weights: Floats, overlap: float) -> float:
    """1 - 1 / t**2, and not below 0, for the t statistic of the mean of values by date."""
    order = np.lexsort((weights, values, blocks))
    _, first = np.unique(blocks[order], return_index=True)
    of_dates = np.add.reduceat(weights[order], first)
    means = np.add.reduceat((weights * values)[order], first) / of_dates
    of_dates /= of_dates.sum()
    mean = float((of_dates * means).sum())
    variance = float((of_dates**2 * (means - mean) ** 2).sum()) * overlap
    return max(0.0, 1 - variance / mean**2) if mean else 0.0


class _Table(NamedTuple):
    """Outcomes by block, `B` blocks from `first` on with `M` outcomes at most."""

    first: int
    scores: Floats  # [B, M]; infinity where there are fewer
    known_ns: Ints  # [B, M]
    maps: Floats  # [B, K], as of the first bar of each block
    overlap: float

    @classmethod
    def of(cls, outcomes: Outcomes, began_ns: Mapping[int, int]) -> _Table:
        numbers, rows = np.unique(outcomes.blocks, return_inverse=True)
        order = np.argsort(rows, kind="stable")
        counts = np.bincount(rows)
        columns = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
        places = numbers[rows[order]] - numbers[0], columns
        shape = int(numbers[-1] - numbers[0]) + 1, int(counts.max())
        scores, known_ns = np.full(shape, np.inf), np.full(shape, np.iinfo(np.int64).max)
        scores[places] = outcomes.scores[order]
        known_ns[places] = outcomes.known_ns[order]
        began = np.array([began_ns[number] for number in numbers.tolist()], dtype=np.int64)
        found, which = outcomes.maps(began, numbers)
        maps = np.full((shape[0], len(KNOTS)), np.nan)
        maps[numbers - numbers[0]] = found[which]
        return cls(int(numbers[0]), scores, known_ns, maps, outcomes.overlap)

    def followed(self, at_ns: Ints, at_blocks: Ints, samples: int) -> Floats:
        """The factors `[T, 2]` after all past blocks, from a level that is that of the band."""
        tail = max(BAND_TAIL, 1 / (samples + 1))
        place = tail * (samples + 1) - 1
        outer, share = int(place), place - int(place)
        pair = sample_scores(samples)[[outer, min(outer + 1, samples - 1)]]
        levels = np.full((len(at_ns), 2), tail)
        for back in range(math.ceil(FACTOR_BLOCKS * self.overlap), -1, -1):
            blocks = at_blocks - back - self.first
            there = np.flatnonzero((blocks >= 0) & (blocks < len(self.scores)))
            there = there[np.isfinite(self.maps[blocks[there], MIDDLE])]
            if not len(there):
                continue
            rows, factors = blocks[there], _factors(levels[there], tail)
            edges = stretched(
                np.broadcast_to(np.concatenate([pair, -pair]), (len(rows), 4)), factors
            )
            at = mapped(self.maps[rows], edges)
            low = at[:, 0] + share * (at[:, 1] - at[:, 0])  # the band's edges lie between samples
            high = at[:, 2] + share * (at[:, 3] - at[:, 2])
            known = self.known_ns[rows] <= at_ns[there, None]
            counts = known.sum(axis=1)
            under = ((self.scores[rows] < low[:, None]) & known).sum(axis=1)
            over = ((self.scores[rows] > high[:, None]) & known).sum(axis=1)
            missed = np.column_stack([under, over]) / np.maximum(counts, 1)[:, None]
            missed = SHARED * missed.mean(axis=1, keepdims=True) + (1 - SHARED) * missed
            rates = np.minimum(RATE * np.sqrt(counts), MOST_RATE)  # 0 where none is known
            levels[there] += rates[:, None] * (tail - missed)
        return _factors(levels, tail)


def _factors(levels: Floats, tail: float) -> Floats:
    factors: Floats = ndtri(np.clip(levels, LEAST_LEVEL, MOST_LEVEL)) / ndtri(tail)
    return factors
