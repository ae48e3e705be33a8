"""How much of a difference between two Sharpe ratios luck may explain.

A paired circular block bootstrap: blocks of days are drawn with replacement from the window laid in
a circle (Politis and Romano 1992), the same blocks for every portfolio, so that what moves all of
them cancels; the interval is that of the difference of annualised Sharpe ratios over the resamples,
as Ledoit and Wolf (2008) compare them, by percentiles and not studentised. Blocks keep what a day
tells about the next ones. It cannot know of markets that the window does not hold.

The best of many portfolios is lucky. What luck makes of so many is what their best lead over the
rival comes to in the same resamples, each lead less the one that was observed, so that none has
any: the reality check of White (2000), with Sharpe ratios as in Sullivan, Timmermann and White
(1999). It heeds how alike the portfolios are, and errs on the side of luck where some are bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 2_000
SEED = 0
LEVEL_PCT = 90  # of the interval
LONGEST_BLOCK_DAYS = 21  # a month of sessions
FEWEST_DAYS = 20
MOST_AT_ONCE = 32  # portfolios, for the memory that it takes


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


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """The highest of many annualised Sharpe ratios, and what luck alone makes of so many."""

    sharpe: float
    rival_sharpe: float  # 0 without a rival
    lead: float  # over the rival
    by_luck: float  # mean lead of the best, where none has any but by luck
    chance: float  # of such a lead or a larger one, where none has any but by luck


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
        parts = np.split(table, range(MOST_AT_ONCE, table.shape[1], MOST_AT_ONCE), axis=1)
        drawn = [_resampled(part, self.block_days, resamples) for part in parts]
        self._draws = scale * np.concatenate(drawn, axis=1)

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

    def best_of(self, names: Sequence[str], rival: str | None) -> BestOf | None:
        """How lucky the best of the names is. Without a rival each is compared with 0.

        None: nobody has a Sharpe ratio, or the days are too few to resample.
        """
        if self.days < FEWEST_DAYS:
            return None
        columns = [self._column[name] for name in names]
        sharpes, draws = self._sharpe[columns], self._draws[:, columns]
        rival_sharpe, rival_draws = 0.0, np.zeros(len(draws))
        if rival is not None:
            rival_sharpe = float(self._sharpe[self._column[rival]])
            rival_draws = self._draws[:, self._column[rival]]
        leads = sharpes - rival_sharpe
        known = np.isfinite(leads)
        if not known.any():
            return None
        # one that stands still in a resample has no lead there
        by_luck = draws[:, known] - rival_draws[:, None] - leads[known]
        highest = np.where(np.isfinite(by_luck), by_luck, -np.inf).max(axis=1)
        highest = highest[np.isfinite(highest)]
        if len(highest) < len(draws) / 2:
            return None
        lead = float(leads[known].max())
        return BestOf(
            sharpe=lead + rival_sharpe,
            rival_sharpe=rival_sharpe,
            lead=lead,
            by_luck=float(highest.mean()),
            chance=float((1 + (highest >= lead).sum()) / (1 + len(highest))),
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
