"""How much of a difference between two Sharpe ratios luck may explain.

A paired circular block bootstrap: blocks of days are drawn with replacement from the window laid in
a circle (Politis and Romano 1992), the same blocks for every portfolio, so that what moves all of
them cancels; the interval is that of the difference of annualised Sharpe ratios over the resamples,
as Ledoit and Wolf (2008) compare them, by percentiles and not studentised. Blocks keep what a day
tells about the next ones. It cannot know of markets that the window does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 2_000
SEED = 0
LEVEL_PCT = 90  # of the interval
LONGEST_BLOCK_DAYS = 21  # a month of sessions
FEWEST_DAYS = 20


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One annualised Sharpe ratio less another, and where resampling puts it."""

    sharpe_difference: float
    low: float  # of the interval of LEVEL_PCT
    high: float
    share_above_zero: float  # of the resamples
    draws: np.ndarray  # [resamples]

    def bounds(self, choices: int) -> tuple[float, float]:
        """The interval, widened for being the pick of so many (Bonferroni)."""
        return interval(self.draws, choices)


def block_days(days: int) -> int:
    """Block length: grows with the cube root of the days, as is best for a variance."""
    return max(1, min(LONGEST_BLOCK_DAYS, round(2 * days ** (1 / 3))))


def interval(draws: np.ndarray, choices: int = 1) -> tuple[float, float]:
    tail_pct = (100 - LEVEL_PCT) / 2 / choices
    low, high = np.percentile(draws, [tail_pct, 100 - tail_pct])
    return float(low), float(high)


class SharpeResamples:
    """Sharpe ratios of all portfolios over the same resampled days."""

    def __init__(self, returns: pd.DataFrame, periods: int, *, resamples: int = RESAMPLES) -> None:
        """`returns`: one row a day, one column a portfolio."""
        self.days = len(returns)
        self.block_days = block_days(self.days)
        self._column = {name: nth for nth, name in enumerate(returns.columns)}
        table = returns.to_numpy(dtype=float)
        scale = np.sqrt(periods)
        self._sharpe = scale * _sharpes(table[None])[0]  # [portfolios]
        self._draws = scale * _resampled(table, self.block_days, resamples)

    def difference(self, ours: str, theirs: str) -> Difference | None:
        """None: one of them has no Sharpe ratio, or the days are too few to resample."""
        if self.days < FEWEST_DAYS:
            return None
        a, b = self._column[ours], self._column[theirs]
        draws = self._draws[:, a] - self._draws[:, b]
        draws = draws[np.isfinite(draws)]
        point = self._sharpe[a] - self._sharpe[b]
        # a portfolio that hardly ever held anything stands still in most resamples
        if not np.isfinite(point) or len(draws) < len(self._draws) / 2:
            return None
        low, high = interval(draws)
        return Difference(
            sharpe_difference=float(point),
            low=low,
            high=high,
            share_above_zero=float((draws > 0).mean()),
            draws=draws,
        )


def _sharpes(samples: np.ndarray) -> np.ndarray:
    """Daily Sharpe ratios [N, portfolios] of samples [N, days, portfolios]; NaN: it stood still."""
    days = samples.shape[1]
    return _ratio(samples.sum(axis=1), (samples**2).sum(axis=1), days)


def _resampled(table: np.ndarray, block: int, resamples: int) -> np.ndarray:
    """Sharpe ratios [resamples, portfolios]: sums over blocks are looked up, never added anew."""
    days = len(table)
    blocks, rest = divmod(days, block)
    starts = np.random.default_rng(SEED).integers(days, size=(resamples, blocks + 1))
    moments = []
    for power in (table, table**2):
        whole, part = _block_sums(power, block), _block_sums(power, rest)
        moments.append(whole[starts[:, :-1]].sum(axis=1) + part[starts[:, -1]])
    return _ratio(moments[0], moments[1], days)


def _block_sums(table: np.ndarray, length: int) -> np.ndarray:
    """Row i: the sum over rows i to i + length - 1, on a circle."""
    if length == 0:
        return np.zeros_like(table)
    circle = np.concatenate([table, table[: length - 1]])
    return np.lib.stride_tricks.sliding_window_view(circle, length, axis=0).sum(axis=-1)


def _ratio(total: np.ndarray, squares: np.ndarray, days: int) -> np.ndarray:
    mean = total / days
    variance = np.maximum(squares - days * mean**2, 0) / max(1, days - 1)
    moves = variance > 1e-12 * squares  # less is rounding
    return np.where(moves, mean / np.sqrt(np.where(moves, variance, 1.0)), np.nan)
