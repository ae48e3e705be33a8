"""The forecasts of a walk through time, scored against the bars that came.

Knows forecasts and candles; nothing of models or portfolios. Goes from one asof to the next, so
that the forecasts of one bar time are in memory at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from feeds import times_ns
from kronos import Forecast
from sandbox.forecast.book import BarForecasts, Forecasts
from sandbox.forecast.windows import Array
from sandbox.skill.scores import fair_crps, mean_and_t, rank_correlation

COLUMNS = ("horizon", "forecasts", "crps", "rank_ic", "rank_ic_t", "dates")


def score_forecasts(
    book: Forecasts,
    frames: Mapping[str, pd.DataFrame],
    asofs: pd.DatetimeIndex,
    horizons: Sequence[int],
    until: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row a horizon, columns `COLUMNS`.

    book: forecasts by symbol and asof. frames: by symbol, with a column `close` and the bars' close
    times (UTC) as index. asofs: close times (UTC) at which forecasts count; one that the book lacks
    is left out. horizons: bars, each at most the forecasts' own. until: the last time whose closes
    are known (UTC, included); without one every bar of the frames is.

    The outcome at horizon h is the simple return from the close at asof to that of the symbol's own
    h-th bar after it; a forecast whose outcome is not known is not scored at that horizon.
    `forecasts` are those scored. `crps` is their mean (`fair_crps`), in simple returns: 0.01 is
    1 %; NaN without any and where a forecast has a single sample. `rank_ic` is the mean over dates
    of the rank correlation between mean sampled return and outcome, `rank_ic_t` its t (`mean_and_t`
    says when that is too large) and `dates` how many counted; the first two are NaN where no date
    has the symbols for one (`rank_correlation`). Raises ValueError for times without a zone and for
    horizons that are not different whole numbers from 1 up, InputError (`kronos`) for one beyond
    the forecasts.
    """
    _check(asofs, horizons, until)
    outcomes = {symbol: _Closes.of(frame, until) for symbol, frame in frames.items()}
    tallies = {h: _Tally() for h in horizons}
    for asof_ns in asofs.as_unit("ns").asi8.tolist():
        forecasts = book.as_of(asof_ns)
        if forecasts is not None:
            found = list(_with_outcomes(forecasts, outcomes, asof_ns, min(horizons)))
            for h, tally in tallies.items():
                tally.add(found, h)
    return pd.DataFrame([tally.row(h) for h, tally in tallies.items()], columns=list(COLUMNS))


def _check(asofs: pd.DatetimeIndex, horizons: Sequence[int], until: pd.Timestamp | None) -> None:
    if asofs.tz is None or (until is not None and until.tz is None):
        raise ValueError("asofs and until must be times in UTC, got one without a zone")
    whole = all(isinstance(h, int | np.integer) and h >= 1 for h in horizons)
    if not horizons or not whole or len(set(horizons)) < len(horizons):
        raise ValueError(
            f"horizons must be different whole numbers of bars from 1 up, got {list(horizons)}"
        )


@dataclass(frozen=True)
class _Closes:
    """A symbol's known closes."""

    closes: Array  # [N]
    times_ns: Array  # [N]

    @classmethod
    def of(cls, frame: pd.DataFrame, until: pd.Timestamp | None) -> _Closes:
        known = frame if until is None else frame.loc[:until]
        return cls(known["close"].to_numpy(float), times_ns(known))

    def returns_after(self, asof_ns: int) -> Array:
        """Simple returns after one bar, then two, ... of those after asof; empty without a bar
        that closes at asof."""
        at = int(np.searchsorted(self.times_ns, asof_ns))
        if at == len(self.times_ns) or self.times_ns[at] != asof_ns:
            return self.closes[:0]
        returns: Array = self.closes[at + 1 :] / self.closes[at] - 1
        return returns


def _with_outcomes(
    forecasts: BarForecasts, outcomes: Mapping[str, _Closes], asof_ns: int, fewest: int
) -> Iterator[tuple[Forecast, Array]]:
    """Forecasts as of one bar time with what came after; those with too few bars later are not
    asked for."""
    for symbol, closes in outcomes.items():
        came = closes.returns_after(asof_ns)
        if len(came) >= fewest and (forecast := forecasts.of(symbol)) is not None:
            yield forecast, came


@dataclass
class _Tally:
    """What has been scored at one horizon."""

    forecasts: int = 0
    crps: float = 0.0  # sum over the forecasts
    correlations: list[float] = field(default_factory=list)  # one a date that counts

    def add(self, found: Sequence[tuple[Forecast, Array]], h: int) -> None:
        """The forecasts of one more date."""
        scored = [(forecast.returns(h), came[h - 1]) for forecast, came in found if len(came) >= h]
        if not scored:
            return
        samples = np.stack([returns for returns, _ in scored])  # [N, S]
        outcome = np.array([came for _, came in scored])
        self.forecasts += len(scored)
        one_sample = samples.shape[1] < 2
        self.crps += math.nan if one_sample else float(fair_crps(samples, outcome).sum())
        correlation = rank_correlation(samples.mean(1), outcome)
        if not math.isnan(correlation):
            self.correlations.append(correlation)

    def row(self, h: int) -> tuple[int, int, float, float, float, int]:
        """As `COLUMNS`."""
        crps = self.crps / self.forecasts if self.forecasts else math.nan
        return h, self.forecasts, crps, *mean_and_t(self.correlations), len(self.correlations)
