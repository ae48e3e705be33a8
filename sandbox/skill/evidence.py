"""How sure a figure is: errors that heed overlapping outcomes, tests of one forecast on another.

All of them work on one number a date, so that symbols of a date, which move together, are not
counted as if each told something new. Knows arrays; nothing of forecasts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

Floats = NDArray[np.float64]

FEWEST_DATES = 20  # below that nothing is claimed
T_SURE = 3.0  # what "how many dates would it take" is asked for
MCS_SIZE = 0.10
MCS_RESAMPLES = 1_000
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Of one number a date. error, t: None for fewer than 20 dates, or where all are equal."""

    mean: float | None
    error: float | None
    t: float | None
    dates: int

    @property
    def dates_needed(self) -> int | None:
        """How many dates like these would give t = 3; None where the mean is not above 0."""
        if self.t is None or self.t <= 0:
            return None
        return math.ceil(self.dates * (T_SURE / self.t) ** 2)

    def record(self) -> dict[str, float | int | None]:
        return {
            "mean": self.mean, "error": self.error, "t": self.t, "dates": self.dates,
            "dates_needed": self.dates_needed,
        }  # fmt: skip


def overlap(horizon: int, every: int) -> int:
    """How many dates on a forecast's outcome still shares bars with another's, where they are
    `every` bars apart."""
    return -(-horizon // every) - 1


def lags_for(dates: int, overlapping: int) -> int:
    """Lags of a Newey-West error: those of the overlap, or more by the rule 4 (n / 100)^(2/9)."""
    return min(max(overlapping, int(4 * (dates / 100) ** (2 / 9))), max(dates - 1, 0))


def newey_west(values: Floats, lags: int) -> float:
    """Standard error of the mean of values `[n]` in the order of time, with Bartlett weights on
    that many autocovariances (Newey and West 1987); no correction for few of them."""
    count = len(values)
    centred = values - values.mean()
    total = centred @ centred
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag])
    return math.sqrt(max(total, 0.0)) / count


def mean_of(values: Floats, overlapping: int) -> Mean:
    """Of one number a date, in the order of time; NaN are dates without one."""
    known = values[np.isfinite(values)]
    count = len(known)
    if not count:
        return Mean(mean=None, error=None, t=None, dates=0)
    mean = float(known.mean())
    if count < FEWEST_DATES or _equal(known):
        return Mean(mean=mean, error=None, t=None, dates=count)
    error = newey_west(known, lags_for(count, overlapping))
    return Mean(mean=mean, error=error, t=mean / error if error > 0 else None, dates=count)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One forecast's loss against another's. lead: mean loss of the other less its own."""

    lead: float | None
    t: float | None  # above 0: it is better; None: too few dates, or no difference
    p: float | None  # two-sided, that there is no difference
    dates: int

    def record(self) -> dict[str, float | int | None]:
        needed = Mean(mean=self.lead, error=None, t=self.t, dates=self.dates).dates_needed
        return {"lead": self.lead, "t": self.t, "p": self.p, "dates": self.dates,
                "dates_needed": needed}  # fmt: skip


def diebold_mariano(own: Floats, other: Floats, overlapping: int) -> Comparison:
    """Whether the losses `[n]` of one forecast are lower than another's on the same dates.

    The test of Diebold and Mariano (1995) with the correction of Harvey, Leybourne and Newbold
    (1997), against Student's t with n - 1 degrees: autocovariances to lag `overlapping` count in
    full, as a forecast of overlapping + 1 steps has them. Where these make the variance no more
    than 0, they get Bartlett weights.
    """
    differences = other - own
    known: Floats = differences[np.isfinite(differences)]
    count, steps = len(known), overlapping + 1
    if not count:
        return Comparison(lead=None, t=None, p=None, dates=0)
    lead = float(known.mean())
    if count < FEWEST_DATES or count <= steps or _equal(known):
        return Comparison(lead=lead, t=None, p=None, dates=count)
    t = dm_statistic(known, steps)
    return Comparison(lead=lead, t=t, p=2 * float(stdtr(count - 1, -abs(t))), dates=count)


def dm_statistic(differences: Floats, steps: int) -> float:
    """The corrected statistic of loss differences `[n]` of forecasts `steps` dates ahead."""
    count = len(differences)
    centred = differences - differences.mean()
    lagged = [centred[lag:] @ centred[: count - lag] for lag in range(steps)]
    variance = (lagged[0] + 2 * sum(lagged[1:])) / count**2
    if variance <= 0:
        variance = newey_west(differences, steps - 1) ** 2
    correction = (count + 1 - 2 * steps + steps * (steps - 1) / count) / count
    return float(differences.mean() / math.sqrt(variance) * math.sqrt(correction))


def has_confidence_sets() -> bool:
    """Whether `arch` is installed, which finds them."""
    return find_spec("arch") is not None


def confidence_set(losses: Mapping[str, Floats], overlapping: int) -> dict[str, float] | None:
    """The p value of each forecast in the model confidence set (Hansen, Lunde and Nason 2011).

    Those above 0.1 are in the set that holds the best of them with 90 % confidence.

    losses: `[n]` on the same dates in the order of time, by name. None without `arch`, with fewer
    than 20 dates, and with fewer than two forecasts that differ. Forecasts whose losses are equal
    share a value.
    """
    table = np.column_stack(list(losses.values()))
    table = table[np.isfinite(table).all(axis=1)]
    if not has_confidence_sets() or len(table) < FEWEST_DATES:
        return None
    distinct, place = np.unique(table, axis=1, return_inverse=True)
    if distinct.shape[1] < 2:
        return None
    from arch.bootstrap import MCS

    scale = distinct.mean() or 1.0
    block = max(overlapping + 1, round(len(table) ** (1 / 3)))
    found = MCS(distinct / scale, MCS_SIZE, reps=MCS_RESAMPLES, block_size=block, seed=SEED)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found.compute()
    values = found.pvalues["Pvalue"]
    return {
        name: float(values.loc[column])
        for name, column in zip(losses, place.ravel().tolist(), strict=True)
    }


def _equal(values: Floats) -> bool:
    """Whether they do not differ by more than rounding."""
    return float(np.ptp(values)) <= 1e-12 * max(1e-12, float(np.abs(values).max()))
