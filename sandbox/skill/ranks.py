"""How well forecasts order the symbols of a date: correlations, the spread of fifths, turnover.

Works on grids `[D, N]`, a row a date and a column a symbol, NaN where there is nothing; all figures
are one number a date, `[D]`, NaN where the date has fewer than 10 symbols or nothing to order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sandbox.skill.scores import FEWEST_SYMBOLS, Floats

FIFTHS = 5


@dataclass(frozen=True, kw_only=True)
class DailyRanks:
    """One number a date, each `[D]`."""

    ic: Floats  # correlation between score and outcome
    rank_ic: Floats  # the same between their ranks
    spread: Floats  # mean outcome of the highest fifth less that of the lowest
    turnover: Floats  # share of the highest fifth that was not in it on the date before
    own_ic: Floats  # as ic, of what the factors do not explain
    own_rank_ic: Floats


def daily_ranks(score: Floats, outcome: Floats, factors: Floats) -> DailyRanks:
    """score, outcome: `[D, N]`. factors: `[D, N, F]`.

    The last two figures are those of the residuals of score and outcome, each regressed on the
    factors across the symbols of a date.
    """
    score, outcome = _together(score, outcome)
    own_score, own_outcome = unexplained(score, outcome, factors)
    return DailyRanks(
        ic=correlations(score, outcome),
        rank_ic=correlations(ranked(score), ranked(outcome)),
        spread=fifth_spreads(score, outcome),
        turnover=turnovers(score),
        own_ic=correlations(own_score, own_outcome),
        own_rank_ic=correlations(ranked(own_score), ranked(own_outcome)),
    )


def ranked(values: Floats) -> Floats:
    """Ranks along each row; equal values share the mean of theirs."""
    ranks: Floats = pd.DataFrame(values).rank(axis=1).to_numpy()
    return ranks


def correlations(a: Floats, b: Floats) -> Floats:
    """Pearson's correlation of each row of two grids with NaN in the same places."""
    count = np.isfinite(a).sum(axis=1)
    enough = np.maximum(count, 1)[:, None]
    x, y = (grid - np.nansum(grid, axis=1, keepdims=True) / enough for grid in (a, b))
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    xx, yy = (x * x).sum(axis=1), (y * y).sum(axis=1)
    size_x, size_y = (np.nansum(grid * grid, axis=1) for grid in (a, b))
    moves = (xx > 1e-12 * size_x) & (yy > 1e-12 * size_y) & (count >= FEWEST_SYMBOLS)
    products = np.sqrt(np.where(moves, xx * yy, 1.0))
    return np.where(moves, (x * y).sum(axis=1) / products, np.nan)


def _fifths(score: Floats) -> tuple[Floats, Floats]:
    """Weights of the symbols in the lowest and the highest fifth of each row; 0 or 1.

    A fifth of n symbols is n // 5 of them; of equal scores the earlier symbols go into the lower.
    """
    count = np.isfinite(score).sum(axis=1)
    size = np.where(count >= FEWEST_SYMBOLS, count // FIFTHS, 0)[:, None]
    order = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1, kind="stable")  # NaN last
    known = np.isfinite(score)
    low = known & (order < size)
    high = known & (order >= count[:, None] - size)
    return low.astype(float), high.astype(float)


def fifth_spreads(score: Floats, outcome: Floats) -> Floats:
    """NaN also where all scores of a date are equal."""
    low, high = _fifths(score)
    size = high.sum(axis=1)
    values = np.nan_to_num(outcome)
    differs = (size > 0) & (_range(score) > 0)
    spread = ((high - low) * values).sum(axis=1) / np.where(size > 0, size, 1)
    return np.where(differs, spread, np.nan)


def turnovers(score: Floats) -> Floats:
    """NaN on the first date, and where a date or the one before it has too few symbols."""
    _, high = _fifths(score)
    size = high.sum(axis=1)
    stay = (high[1:] * high[:-1]).sum(axis=1)
    found = np.full(len(score), np.nan)
    both = (size[1:] > 0) & (size[:-1] > 0)
    found[1:] = np.where(both, 1 - stay / np.where(both, size[1:], 1), np.nan)
    return found


def unexplained(score: Floats, outcome: Floats, factors: Floats) -> tuple[Floats, Floats]:
    """Residuals of both on the factors and a constant, date by date; NaN for symbols without all
    factors, and on dates where that leaves fewer than 10."""
    left = np.full(score.shape, np.nan), np.full(score.shape, np.nan)
    whole = np.isfinite(score) & np.isfinite(factors).all(axis=2)
    for row in np.flatnonzero(whole.sum(axis=1) >= FEWEST_SYMBOLS):
        on = whole[row]
        known = factors[row, on]
        deviation = known.std(axis=0)
        scaled = (known - known.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
        base = _span(np.column_stack([np.ones(len(known)), scaled]))
        for grid, values in zip(left, (score, outcome), strict=True):
            own = values[row, on]
            residual = own - base @ (base.T @ own)
            # what the factors explain whole leaves rounding, which has no order
            explained = residual @ residual <= 1e-12 * float(own @ own)
            grid[row, on] = 0.0 if explained else residual
    return left


def _span(columns: Floats) -> Floats:
    """An orthonormal base of what columns span; one that the others make up counts once."""
    base, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    found: Floats = base[:, sizes > 1e-9 * sizes[0]]
    return found


def _together(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """NaN in both where either has it."""
    known = np.isfinite(a) & np.isfinite(b)
    return np.where(known, a, np.nan), np.where(known, b, np.nan)


def _range(score: Floats) -> Floats:
    known = np.isfinite(score)
    highest = np.where(known, score, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(known, score, np.inf).min(axis=1, initial=np.inf)
    return np.where(known.any(axis=1), highest - lowest, 0.0)
