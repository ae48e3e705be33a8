"""How good forecasts were, as numbers: CRPS, energy score, coverage, PIT, rank correlation.

Knows samples and outcomes as arrays; nothing of models, candles or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BAND = (0.05, 0.95)  # quantiles between which `covered` counts outcomes
FEWEST_SYMBOLS = 10  # on a date, for its rank correlation to count


def fair_crps(samples: Floats, outcome: Floats) -> Floats:
    """Continuous ranked probability score of sampled forecasts: `[N]`, lower is better.

    samples: `[N, S]`, S samples of each of N forecasts, S at least 2. outcome: `[N]`, what came.
    The score is in their unit. It is the estimator

        mean_i |X_i - y| - sum_ij |X_i - X_j| / (2 S (S - 1))

    whose expectation does not depend on S, so that forecasts of few and of many samples can be
    compared (Ferro 2014, "Fair scores for ensemble forecasts"; the score is that of Matheson and
    Winkler 1976). A single score may be below 0; the mean of many is not, but for luck. Raises
    ValueError where the shapes do not fit or S is below 2.
    """
    _check_shapes(samples, outcome)
    count = samples.shape[1]
    if count < 2:
        raise ValueError(f"a CRPS needs 2 samples a forecast or more, got {count}")
    weight = 2 * np.arange(count) - count + 1
    spread = (np.sort(samples, axis=1) * weight).sum(1) / (count * (count - 1))
    out: Floats = np.abs(samples - outcome[:, None]).mean(1) - spread
    return out


def covered(samples: Floats, outcome: Floats) -> float:
    """Share of the N outcomes that lie between the 5 % and the 95 % quantile of their samples.

    samples: `[N, S]`. outcome: `[N]`, in the same unit. Quantile q is the sample of rank q (S + 1),
    linear between ranks (Weibull's rule; type 6 of Hyndman and Fan 1996), so that outcomes that are
    drawn as the samples are lie inside 90 % of the time for S of 19 or more: to the dot where the
    ranks are whole, else nearly. With fewer samples the band ends at the lowest and the highest of
    them, and covers (S - 1) / (S + 1). Raises ValueError where the shapes do not fit.
    """
    _check_shapes(samples, outcome)
    low, high = np.quantile(samples, BAND, axis=1, method="weibull")
    return float(((outcome >= low) & (outcome <= high)).mean())


def inside_bands(samples: Floats, outcome: Floats, levels: Sequence[float]) -> NDArray[np.bool_]:
    """Which of the N outcomes lie in the central band of each level: `[N, len(levels)]`.

    samples: `[N, S]`. outcome: `[N]`, in the same unit. A level of 0.9 is the band from the 5 % to
    the 95 % quantile, edges included, with quantiles as in `covered`; what `honest_coverage` says
    holds of each. Raises ValueError where the shapes do not fit.
    """
    _check_shapes(samples, outcome)
    tails = (1 - np.asarray(levels, dtype=float)) / 2
    edges = np.quantile(samples, np.concatenate([tails, 1 - tails]), axis=1, method="weibull")
    low, high = edges[: len(tails)], edges[len(tails) :]  # [levels, N]
    inside: NDArray[np.bool_] = ((outcome >= low) & (outcome <= high)).T
    return inside


def honest_coverage(level: float, samples: int) -> float:
    """The share of outcomes in a band of that level where they are drawn as the samples are: the
    level, or (S - 1) / (S + 1) where S samples do not reach so far out."""
    return min(level, (samples - 1) / (samples + 1))


def pit(samples: Floats, outcome: Floats, noise: Floats) -> Floats:
    """Probability integral transform: where in its forecast each outcome lies, `[N]` in [0, 1).

    samples: `[N, S]`. outcome: `[N]`, in the same unit. noise: `[N]`, uniform in [0, 1). The rank
    of the outcome among the samples, at random among equal ones, spread evenly over its step of
    1 / (S + 1): exactly uniform where outcomes are drawn as the samples are (randomised PIT;
    Czado, Gneiting and Held 2009). Raises ValueError where the shapes do not fit.
    """
    _check_shapes(samples, outcome)
    below = (samples < outcome[:, None]).sum(1)
    equal = (samples == outcome[:, None]).sum(1)
    out: Floats = (below + noise * (equal + 1)) / (samples.shape[1] + 1)
    return np.minimum(out, np.nextafter(1, 0))


def fair_energy(samples: Floats, outcome: Floats) -> Floats:
    """Energy score of sampled vectors: `[N]`, lower is better.

    samples: `[N, S, D]`, S at least 2. outcome: `[N, D]`, in the same unit. The score of Gneiting
    and Raftery (2007) with Euclidean distances, in the estimator whose expectation does not depend
    on S (see `fair_crps`, which it is for D = 1). Raises ValueError where the shapes do not fit or
    S is below 2.
    """
    if samples.ndim != 3 or outcome.shape != (samples.shape[0], samples.shape[2]):
        raise ValueError(
            f"samples must be [N, S, D] and outcomes [N, D], got {list(samples.shape)} and "
            f"{list(outcome.shape)}"
        )
    count = samples.shape[1]
    if count < 2:
        raise ValueError(f"an energy score needs 2 samples a forecast or more, got {count}")
    distance = np.sqrt(((samples - outcome[:, None]) ** 2).sum(2)).mean(1)
    centred = samples - samples.mean(1, keepdims=True)  # keeps the squares below exact
    squares = (centred**2).sum(2)  # [N, S]
    products = centred @ centred.transpose(0, 2, 1)  # [N, S, S]
    apart = np.sqrt(np.maximum(squares[:, :, None] + squares[:, None] - 2 * products, 0))
    within = np.arange(count)
    apart[:, within, within] = 0  # what rounding makes of them is no distance
    out: Floats = distance - apart.sum((1, 2)) / (2 * count * (count - 1))
    return out


def rank_correlation(score: Floats, outcome: Floats) -> float:
    """Spearman's rank correlation, -1 to 1, of the scores and outcomes of one date's symbols.

    score, outcome: `[N]`, one a symbol, in any units; equal values share the mean of their ranks
    (Spearman 1904). NaN for fewer than `FEWEST_SYMBOLS` symbols, and where all scores or all
    outcomes are equal.
    """
    if len(score) < FEWEST_SYMBOLS:
        return math.nan
    ranked, came = (pd.Series(values).rank() for values in (score, outcome))
    if ranked.nunique() < 2 or came.nunique() < 2:
        return math.nan
    return float(ranked.corr(came))


def mean_and_t(each: Sequence[float]) -> tuple[float, float]:
    """The mean of the dates' rank correlations and its t statistic: mean / (deviation / sqrt(n)).

    The deviation divides by n - 1. t is NaN for one date and where all are equal; both are NaN
    without any. It takes dates for independent: where a forecast's bars reach past the next date's
    asof, neighbours share outcomes and t is too large.
    """
    if not each:
        return math.nan, math.nan
    values = np.array(each, dtype=float)
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    mean = float(values.mean())
    return mean, mean / error if error > 0 else math.nan


def rank_ic(score: Floats, outcome: Floats, dates: NDArray[Any]) -> dict[str, float]:
    """Rank information coefficient: `mean` of the dates' rank correlations, `t`, and `dates`.

    score, outcome: `[N]`, in any units; dates: `[N]`, the date of each (datetime64). A date counts
    with `FEWEST_SYMBOLS` symbols or more (`rank_correlation`); see `mean_and_t` for t. The measure
    is that of Grinold and Kahn (2000), on ranks. Raises ValueError where no date counts.
    """
    on_dates = [dates == date for date in np.unique(dates)]
    found = [rank_correlation(score[on], outcome[on]) for on in on_dates]
    each = [value for value in found if not math.isnan(value)]
    if not each:
        raise ValueError(f"no date has {FEWEST_SYMBOLS} symbols to rank")
    mean, t = mean_and_t(each)
    return {"mean": mean, "t": t, "dates": len(each)}


def _check_shapes(samples: Floats, outcome: Floats) -> None:
    if samples.ndim != 2 or samples.shape[:1] != outcome.shape:
        raise ValueError(
            f"samples must be [N, S] and outcomes [N], got {list(samples.shape)} and "
            f"{list(outcome.shape)}"
        )
