"""Give more to what is forecast to rise, less where the forecast is unsure; the rest is cash.

At the first close of each week, every name with a positive expected return gets a weight in
proportion to

    expected return / volatility        (spread = "width")
    expected return / volatility ** 2   (spread = "variance")

with the volatility a year that the sampled paths imply at the end of the horizon: from the width
of their 5-95 % band, as if they were normal, or from their variance. How many bars make a year is
told by how far apart they were and are forecast, since markets shut. Paths without any spread,
such as a single sample, say nothing about it, and the name gets no weight. A weight is
`max_weight` at most.

Then all weights shrink alike until the portfolio's volatility is no more than the target:

    portfolio volatility ** 2 = (1 - c) * sum((w * v) ** 2) + c * sum(w * v) ** 2

which takes every pair of names to be correlated by `correlation` c; 0.5 is usual for large stocks
of one market. A held name without a forecast now is left alone, unless it has left its universe.
"""

from collections.abc import Mapping
from math import hypot, inf, sqrt
from typing import TypeVar

from sandbox import CandleFeed, Forecast, Strategy

DAYS_PER_YEAR = 365.25
SECS_PER_DAY = 86_400
BARS_SEEN = 90  # their spacing tells, and that of the forecast
NORMAL_BAND = 3.2897  # width of a normal distribution's 5-95 % band, in standard deviations
LEAST_VOL = 1e-6  # a year's: what is below is rounding
POWER = {"width": 1, "variance": 2}
Name = TypeVar("Name")


class UncertaintySized(Strategy):
    params = (
        ("spread", "width"),  # what a name is sized down by, one of POWER
        ("max_weight", 0.35),  # of one name
        ("target_vol_pct", 15.0),  # of the portfolio, a year
        ("correlation", 0.5),  # of any two names
        ("rebalance", "week"),
    )
    allowed = (
        ("spread", tuple(POWER)),
        ("max_weight", (0, 1)),
        ("target_vol_pct", (0, inf)),
        ("correlation", (0, 1)),
    )

    def next(self) -> None:
        if self.due:
            forecasts = self.forecasts()
            gains = {data: forecast.expected_return() for data, forecast in forecasts.items()}
            rising = {data: gain for data, gain in gains.items() if gain > 0}
            weights = sized(
                rising,
                {data: self.volatility(data, forecasts[data]) for data in rising},
                power=POWER[self.p.spread],
                max_weight=self.p.max_weight,
                target_vol=self.p.target_vol_pct / 100,
                correlation=self.p.correlation,
            )
            unknown = [d for d in self.held() if d not in forecasts and d.is_member]
            self.order_target_weights(weights, keep=unknown)

    def volatility(self, data: CandleFeed, forecast: Forecast) -> float:
        """A year's, of one name, as its paths have it."""
        if self.p.spread == "width":
            spread = forecast.uncertainty() / NORMAL_BAND
        else:
            spread = float(forecast.returns().std())
        past = min(len(data) - 1, BARS_SEEN)
        days = data.datetime[0] - data.datetime[-past]
        days += (forecast.index[-1] - forecast.asof).total_seconds() / SECS_PER_DAY
        bars_per_year = DAYS_PER_YEAR * (past + forecast.horizon) / days
        return spread * sqrt(bars_per_year / forecast.horizon)


def sized(
    gains: Mapping[Name, float],
    vols: Mapping[Name, float],
    *,
    power: int,
    max_weight: float,
    target_vol: float,
    correlation: float,
) -> dict[Name, float]:
    """Weights from expected returns above 0 and volatilities a year."""
    sizes = {d: gain / vols[d] ** power for d, gain in gains.items() if vols[d] > LEAST_VOL}
    sizes = {d: size for d, size in sizes.items() if size > 0}  # the least gains vanish
    total = sum(sizes.values())
    weights = {d: min(size / total, max_weight) for d, size in sizes.items()}
    risks = [weight * vols[d] for d, weight in weights.items()]
    vol = hypot(sqrt(1 - correlation) * hypot(*risks), sqrt(correlation) * sum(risks))
    shrink = min(1.0, target_vol / vol) if vol else 1.0
    return {d: weight * shrink for d, weight in weights.items()}
