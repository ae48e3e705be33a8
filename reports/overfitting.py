"""What picking the best of many does to a Sharpe ratio, from the papers' formulas.

Expected maximum and deflated Sharpe ratio: Bailey and Lopez de Prado (2014), "The deflated Sharpe
ratio". Probability of backtest overfitting by combinatorially symmetric cross-validation: Bailey,
Borwein, Lopez de Prado and Zhu (2017). Sharpe ratios here are a day's, not a year's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

NORMAL = NormalDist()
BLOCKS = 16  # of days, as in the paper: 12,870 ways to take half of them
FEWEST_DAYS = 10 * BLOCKS  # ten a block, for the probability of overfitting
FEWEST_TRIES = 10  # on the same days, for that probability, and to see how their ratios spread
MOST_AT_ONCE = 4_000_000  # Sharpe ratios, for the memory that they take


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of daily returns, as the deflated Sharpe ratio asks for them."""

    days: int
    sharpe: float  # a day's
    skewness: float
    kurtosis: float  # 3 for a normal distribution


@dataclass(frozen=True, kw_only=True)
class Overfitting:
    """What came, in the other half of the days, of the best in one half."""

    probability: float  # that it is below the median of all there
    splits: int
    sharpe_in: float  # of the best in the half that it was picked in, mean of all splits, a day's
    sharpe_out: float  # of the same in the other half


def moments(returns: np.ndarray) -> Moments | None:
    """Of returns [days]; None: they never move, or are not all numbers."""
    if len(returns) < 2 or not np.isfinite(returns).all() or not np.ptp(returns):
        return None
    centred = returns - returns.mean()
    variance = float((centred**2).mean())
    return Moments(
        days=len(returns),
        sharpe=float(returns.mean() / returns.std(ddof=1)),
        skewness=float((centred**3).mean() / variance**1.5),
        kurtosis=float((centred**4).mean() / variance**2),
    )


def expected_maximum(tries: int) -> float:
    """The mean of the highest of so many independent draws from a standard normal distribution,
    by the approximation of the paper; of one draw it is 0."""
    if tries < 2:
        return 0.0
    gamma = float(np.euler_gamma)
    quantile = NORMAL.inv_cdf
    return (1 - gamma) * quantile(1 - 1 / tries) + gamma * quantile(1 - 1 / (tries * math.e))


def deflated_sharpe(found: Moments, tries: int, variance: float) -> float | None:
    """The probability that the true Sharpe ratio is above what the best of so many tries comes to
    by luck, where their Sharpe ratios (a day's) have this variance. Of one try it is that of being
    above 0. None: skewness and kurtosis are too extreme for the formula."""
    threshold = math.sqrt(variance) * expected_maximum(tries)
    spread = 1 - found.skewness * found.sharpe + (found.kurtosis - 1) / 4 * found.sharpe**2
    if spread <= 0:
        return None
    return NORMAL.cdf((found.sharpe - threshold) * math.sqrt(found.days - 1) / math.sqrt(spread))


def overfitting(returns: np.ndarray, blocks: int = BLOCKS) -> Overfitting:
    """Of returns [days, tries], two tries or more, at least as many days as blocks."""
    sums, squares, days = _by_block(returns, blocks)
    below, total_in, total_out, splits = 0, 0.0, 0.0, 0
    for halves in _halves(blocks, most=max(1, MOST_AT_ONCE // returns.shape[1])):
        inside = _sharpes(halves @ sums, halves @ squares, halves @ days)
        others = 1 - halves
        outside = _sharpes(others @ sums, others @ squares, others @ days)
        best = inside.argmax(axis=1)
        rows = np.arange(len(halves))
        own = outside[rows, best]
        # its rank among n is below the middle, (n + 1) / 2; those that are equal share theirs
        lower = (outside < own[:, None]).sum(axis=1)
        equal = (outside == own[:, None]).sum(axis=1)
        rank = lower + (equal + 1) / 2
        below += int((rank < (returns.shape[1] + 1) / 2).sum())
        total_in += float(inside[rows, best].sum())
        total_out += float(own.sum())
        splits += len(halves)
    return Overfitting(
        probability=below / splits, splits=splits, sharpe_in=total_in / splits,
        sharpe_out=total_out / splits,
    )  # fmt: skip


def _by_block(returns: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums and sums of squares [blocks, tries], and days [blocks, 1]."""
    parts = np.array_split(returns.astype(float), blocks)
    sums = np.array([part.sum(axis=0) for part in parts])
    squares = np.array([(part**2).sum(axis=0) for part in parts])
    return sums, squares, np.array([[len(part)] for part in parts], dtype=float)


def _halves(blocks: int, most: int) -> Iterator[np.ndarray]:
    """Every way to take half of the blocks, as rows of 0 and 1 [splits, blocks], `most` at once."""
    ways = np.array(list(combinations(range(blocks), blocks // 2)))
    for first in range(0, len(ways), most):
        chosen = ways[first : first + most]
        rows = np.zeros((len(chosen), blocks))
        np.put_along_axis(rows, chosen, 1.0, axis=1)
        yield rows


def _sharpes(sums: np.ndarray, squares: np.ndarray, days: np.ndarray) -> np.ndarray:
    """[splits, tries]; 0 for one that stood still."""
    mean = sums / days
    variance = np.maximum(squares - days * mean**2, 0) / (days - 1)
    moves = variance > 1e-12 * squares / days  # less is rounding
    return np.where(moves, mean / np.sqrt(np.where(moves, variance, 1.0)), 0.0)
