"""Whether any of many tries beats a rival beyond luck: SPA and StepM, by the package `arch`.

Hansen's test of superior predictive ability (2005), and its stepwise use by Romano and Wolf (2005),
which says of which tries it can be said. Compared are daily returns at equal volatility, so that
more risk is no merit: their mean difference is that of the Sharpe ratios, as in `reports.luck`'s
reality check. Each difference is divided by its deviation, since `arch` does not studentise the
largest one itself. Days are drawn as in `reports.luck`: in circular blocks, the same for all.
`arch` is optional.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports import luck
from reports.quant import quiet

RESAMPLES = 1_000
SIZE = 0.05  # chance of naming a single one that is no better
MOST_TRIES = 1_000  # more take minutes
INSTALL = "pip install 'kronos-sandbox[skill]'"


@dataclass(frozen=True, kw_only=True)
class Superior:
    """`chance` that luck alone gives a best lead as large as the one seen."""

    chance: float
    better: tuple[int, ...]  # columns of the tries that are better beyond luck


def superior(returns: np.ndarray, rival: np.ndarray) -> Superior | str:
    """Of daily returns [days, tries], which all move, against the rival's [days]; or why it cannot
    be said."""
    try:
        with quiet():
            from arch.bootstrap import SPA
    except ImportError:
        return f"the package arch is not installed ({INSTALL})"
    if returns.shape[1] > MOST_TRIES:
        return f"there are more than {MOST_TRIES:,}"
    if not np.ptp(rival):
        return "its value never moved"
    lead = returns / returns.std(axis=0, ddof=1) - rival[:, None] / rival.std(ddof=1)
    scale = lead.std(axis=0, ddof=1)
    moves = np.flatnonzero(scale > 1e-9)
    if not len(moves):
        return "all of them did what it did"
    with quiet():
        test = SPA(
            np.zeros(len(lead)),
            -lead[:, moves] / scale[moves],  # `arch` compares losses
            block_size=luck.block_days(len(lead)),
            reps=RESAMPLES,
            bootstrap="circular",
            seed=luck.SEED,
        )
        test.compute()
        chance = float(test.pvalues["consistent"])
        better = _stepwise(test, len(moves))
    return Superior(chance=chance, better=tuple(int(moves[nth]) for nth in better))


def _stepwise(test: Any, count: int) -> list[int]:
    """As `arch`'s StepM from an SPA, but where all are better in the end: StepM fails there."""
    left = np.ones(count, dtype=bool)
    while left.any():
        test.subset(left)
        test.compute()
        better = test.better_models(SIZE)
        if not len(better):
            break
        left[better] = False
    return np.flatnonzero(~left).tolist()
