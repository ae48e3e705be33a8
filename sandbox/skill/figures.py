"""The figures of one source at one horizon: numbers by date, and their means over some dates.

A mean over forecasts is the mean over dates of each date's mean, so that every date counts the
same; shares of a histogram and of a band count forecasts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sandbox.forecast.windows import Array
from sandbox.skill.evidence import Mean, mean_of
from sandbox.skill.ranks import DailyRanks, daily_ranks
from sandbox.skill.scores import Floats
from sandbox.skill.table import LEVELS_PCT

PIT_BINS = 20
PROBABILITY_BINS = 10
DAYS_OF_A_YEAR = 365
RANKED = ("ic", "rank_ic", "spread", "own_ic", "own_rank_ic")  # of DailyRanks, with errors

Record = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """Where rows go in grids of dates and symbols."""

    dates_ns: Array  # [D]
    symbols: tuple[str, ...]  # [N]
    factors: Floats  # [D, N, F]

    def grid(self, date: Array, symbol: Array, values: Floats) -> Floats:
        """`[D, N]`, NaN where there is no row."""
        found: Floats = np.full((len(self.dates_ns), len(self.symbols)), np.nan)
        found[date, symbol] = values
        return found


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One source at one horizon."""

    rows: pd.DataFrame  # as the table of scores, with `date`, the place of its asof
    daily: dict[str, Floats]  # [D]: crps, energy, brier, volatility_error, inside_90
    ranks: DailyRanks
    overlapping: int  # dates on that outcomes are shared

    @classmethod
    def of(cls, rows: pd.DataFrame, shape: Shape, overlapping: int) -> Scored:
        """rows: of one source and horizon."""
        date = np.searchsorted(shape.dates_ns, rows["asof"].astype("int64").to_numpy())
        symbol = rows["symbol"].cat.set_categories(list(shape.symbols)).cat.codes.to_numpy()
        own = rows.assign(date=date, **_errors(rows))
        mean, outcome = own["mean"].to_numpy(), own["outcome"].to_numpy()
        daily = own.groupby("date")[[*_DAILY]].mean().reindex(range(len(shape.dates_ns)))
        return cls(
            rows=own,
            daily={name: daily[name].to_numpy(float) for name in _DAILY},
            ranks=daily_ranks(
                shape.grid(date, symbol, mean), shape.grid(date, symbol, outcome), shape.factors
            ),
            overlapping=overlapping,
        )

    def light(self) -> Scored:
        """Without the rows."""
        return Scored(
            rows=self.rows.iloc[:0], daily=self.daily, ranks=self.ranks,
            overlapping=self.overlapping,
        )  # fmt: skip

    def figures(self, dates: Array) -> Record:
        """Over dates `[D]` of True and False."""
        rows = self.rows[dates[self.rows["date"].to_numpy()]]
        return {
            "forecasts": len(rows),
            "dates": int(rows["date"].nunique()),
            **{name: number(self.mean(name, dates)) for name in ("crps", "energy", "brier")},
            "up_share": number(rows["up"].mean()),
            "inside": {str(pct): number(rows[f"inside_{pct}"].mean()) for pct in LEVELS_PCT},
            "years_90": years(rows["asof"], rows["inside_90"]),
            "pit": shares(rows["pit"].to_numpy()),
            "reliability": reliability(rows["prob_up"].to_numpy(), rows["up"].to_numpy()),
            "volatility": volatility(rows),
            **self.ranking(dates),
        }

    def mean(self, name: str, dates: Array) -> float:
        """Of a daily number over dates; NaN without any."""
        values = self.daily[name][dates]
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else math.nan

    def ranking(self, dates: Array) -> Record:
        turnover = self.ranks.turnover[dates]
        known = turnover[np.isfinite(turnover)]
        found: Record = {
            name: self.rank(name, dates).record() for name in RANKED
        }  # fmt: skip
        found["turnover"] = number(known.mean()) if len(known) else None
        return found

    def rank(self, name: str, dates: Array) -> Mean:
        return mean_of(getattr(self.ranks, name)[dates], self.overlapping)


_DAILY = ("crps", "energy", "brier", "volatility_error", "inside_90")


def _errors(rows: pd.DataFrame) -> dict[str, Any]:
    up = (rows["outcome"] > 0).astype(float)
    return {
        "up": up,
        "brier": (rows["prob_up"] - up) ** 2,
        "volatility_error": (rows["volatility"] - np.sqrt(rows["realised"])).abs(),
    }


def number(value: float) -> float | None:
    """A JSON number; None where there is none."""
    return float(value) if math.isfinite(value) else None


def years(asofs: pd.Series, inside: pd.Series) -> list[float] | None:
    """The least and the most that a band held over any year: shares of the forecasts `[n]` of 365
    days, as of whichever date they end. None where there is no whole year."""
    by_date = inside.astype(float).groupby(pd.DatetimeIndex(asofs)).agg(["sum", "size"])
    whole = by_date.index >= by_date.index.min() + pd.Timedelta(days=DAYS_OF_A_YEAR - 1)
    if not whole.any():
        return None
    sums = by_date.rolling(f"{DAYS_OF_A_YEAR}D").sum()[whole]
    held = sums["sum"] / sums["size"]
    return [float(held.min()), float(held.max())]


def shares(pit: Floats) -> list[float]:
    """Of PIT values in twenty equal steps; empty without any."""
    if not len(pit):
        return []
    counts = np.histogram(pit, bins=PIT_BINS, range=(0, 1))[0]
    return [float(share) for share in counts / len(pit)]


def reliability(said: Floats, up: Floats) -> list[Record]:
    """Of ten equal steps of the probability: the mean that was said, the share that came, and of
    how many forecasts; steps without any are left out."""
    step = np.minimum((said * PROBABILITY_BINS + 1e-9).astype(int), PROBABILITY_BINS - 1)
    return [
        {
            "said": float(said[step == nth].mean()),
            "came": float(up[step == nth].mean()),
            "forecasts": int((step == nth).sum()),
        }
        for nth in range(PROBABILITY_BINS)
        if (step == nth).any()
    ]


def volatility(rows: pd.DataFrame) -> Record:
    """Errors of the realised volatility up to the bar, the root of its sum of squared log returns.

    What is forecast is the mean of the sampled ones. mae: mean absolute error. r2: 1 less the share
    of its variance that is left, over all forecasts; None where it does not vary. qlike: mean of
    came / said - log(came / said) - 1, of the variances, 0 for perfect ones (Patton 2011), over
    those that moved and were told to. said, came: means.
    """
    said, came = rows["volatility"].to_numpy(), np.sqrt(rows["realised"].to_numpy())
    variance = rows["variance"].to_numpy()
    if not len(rows):
        return dict.fromkeys(("mae", "r2", "qlike", "said", "came"))
    total = float(((came - came.mean()) ** 2).sum())
    moved = (variance > 0) & (came > 0)
    ratio = came[moved] ** 2 / variance[moved]
    return {
        "mae": number(np.abs(said - came).mean()),
        "r2": number(1 - float(((said - came) ** 2).sum()) / total) if total > 0 else None,
        "qlike": number((ratio - np.log(ratio) - 1).mean()) if len(ratio) else None,
        "said": number(said.mean()),
        "came": number(came.mean()),
    }
