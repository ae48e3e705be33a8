"""The GARCH(1,1) baseline: variance is high after large moves and falls back (Bollerslev 1986).

Fitted by `arch` for each symbol on up to 1,000 of its bars, and again once there are twice as many
or 250 more; in between the variance goes on from bar to bar with the same parameters. Nothing after
a bar is in its variance. It may see more of the past than the lookback: on 90 bars a fit is noise.
Paths draw past bars, each over its own deviation, with replacement and without drift. Where there
are too few bars, where they do not move, or where the fit does not converge, the variance is that
of the bars.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pandas as pd

from feeds import CLOSE, times_ns, values_of
from sandbox.cores import over_cores
from sandbox.forecast.windows import Array, Windows
from sandbox.progress import Progress
from sandbox.skill.baselines import PRICES, Draws, independent, picked, returns_of

GARCH = "garch"
MOST_BARS = 1_000  # a fit sees
FEWEST_BARS = 100  # that a fit is worth
BARS_BETWEEN_FITS = 250
NEAR = 1e-6  # rounding of a sum of 1, at which the variance never falls back and does not explode


def is_installed() -> bool:
    """Whether `arch` is."""
    return find_spec("arch") is not None


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Of variance' = omega + alpha * move^2 + beta * variance, of moves less their mean."""

    mean: float
    omega: float
    alpha: float
    beta: float
    variance: float  # of the bars that it was fitted on; what the recursion begins with
    fitted: bool  # False: it is that variance and stays so


@dataclass(frozen=True, kw_only=True)
class Fits:
    """A symbol's fits, one after the other."""

    first_rows: Array  # [F], the bar that each is made as of; it holds until the next one
    parameters: tuple[Parameters, ...]  # [F]
    next_variance: Array  # [N], of the bar after each; NaN before the first fit
    variance: Array  # [N], of each bar as it was told at the one before


def fit_all(
    frames: Mapping[str, pd.DataFrame], first_ns: int, lookback: int, progress: Progress
) -> dict[str, Fits]:
    """By symbol, from the last bar at or before `first_ns` on, but of a lookback at least; over the
    cores of this machine."""
    import arch  # noqa: F401 - processes that are forked share it

    def work(symbol: str, told: Progress) -> Fits:
        frame = frames[symbol]
        first = int(times_ns(frame).searchsorted(first_ns, side="right")) - 1
        fits = fitted(np.log(values_of(frame)[:, CLOSE]), max(first, lookback - 1))
        told(1, 1)
        return fits

    symbols = list(frames)
    return dict(zip(symbols, over_cores(work, symbols, progress), strict=True))


def fitted(log_closes: Array, first: int) -> Fits:
    """Of log closes `[N]`, with variances from row `first` on."""
    steps = np.diff(log_closes, prepend=log_closes[:1])  # the first bar has none: 0
    rows = _rows_of_fits(first, len(steps))
    after, own = np.full(len(steps), np.nan), np.full(len(steps), np.nan)
    found = []
    for row, until in zip(rows, [*rows[1:], len(steps)], strict=False):
        begin = max(1, row + 1 - MOST_BARS)
        parameters = _fit(steps[begin : row + 1])
        variances = _filtered(steps[begin:until], parameters)  # [until - begin + 1]
        after[row:until] = variances[row + 1 - begin :]
        known = np.isnan(own[begin:until])
        own[begin:until][known] = variances[:-1][known]
        found.append(parameters)
    return Fits(
        first_rows=np.array(rows, dtype=np.int64), parameters=tuple(found), next_variance=after,
        variance=own,
    )  # fmt: skip


def _rows_of_fits(first: int, count: int) -> list[int]:
    rows = []
    row = first
    while row < count:
        rows.append(row)
        row += min(BARS_BETWEEN_FITS, row + 1)
    return rows


def _fit(steps: Array) -> Parameters:
    mean = float(steps.mean()) if len(steps) else 0.0
    variance = float(steps.var()) if len(steps) else 0.0
    still = Parameters(
        mean=mean, omega=variance, alpha=0.0, beta=0.0, variance=variance, fitted=False
    )
    if len(steps) < FEWEST_BARS or variance == 0:
        return still
    from arch import arch_model

    unit = variance**0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that does not converge is looked at below
        model = arch_model((steps - mean) / unit, mean="Zero", vol="GARCH", p=1, q=1, rescale=False)
        result = model.fit(disp="off", show_warning=False)
    omega, alpha, beta = (float(result.params[name]) for name in ("omega", "alpha[1]", "beta[1]"))
    stays = omega > 0 and alpha >= 0 and beta >= 0 and alpha + beta < 1 + NEAR
    if result.convergence_flag != 0 or not stays:
        return still
    return Parameters(
        mean=mean, omega=omega * variance, alpha=alpha, beta=beta, variance=variance, fitted=True
    )


def _filtered(steps: Array, own: Parameters) -> Array:
    """The variance of each bar `[n]` as told at the one before, and of the one after: `[n + 1]`."""
    variances = np.empty(len(steps) + 1)
    variances[0] = variance = own.variance
    squares = ((steps - own.mean) ** 2).tolist()
    for nth, square in enumerate(squares, 1):
        variances[nth] = variance = own.omega + own.alpha * square + own.beta * variance
    return variances


class Garch:
    """Draws paths of windows from their symbols' fits."""

    def __init__(self, fits: Mapping[str, Fits], frames: Mapping[str, pd.DataFrame]) -> None:
        self._fits = fits
        self._times_ns = {symbol: times_ns(frame) for symbol, frame in frames.items()}
        self._logs = {symbol: np.log(values_of(own)[:, :PRICES]) for symbol, own in frames.items()}

    @property
    def unfitted(self) -> int:
        """How many fits are no more than the variance of their bars."""
        each = (own.fitted for fits in self._fits.values() for own in fits.parameters)
        return sum(not fitted for fitted in each)

    @property
    def count(self) -> int:
        return sum(len(fits.parameters) for fits in self._fits.values())

    def returns(self, windows: Windows, draws: Draws) -> Array:
        """Sampled candles as simple returns against the close at asof, `[n, S, P, 4]`."""
        drawn = [
            self._bars(symbol, asof_ns, Draws(draws.which[[nth]], draws.more[[nth]]))
            for nth, (symbol, asof_ns) in enumerate(
                zip(windows.symbols, windows.asof_ns.tolist(), strict=True)
            )
        ]
        return returns_of(np.concatenate(drawn))

    def _bars(self, symbol: str, asof_ns: int, draws: Draws) -> Array:
        """Of one window, `[1, S, P, 4]` logarithms against the close before each bar."""
        fits = self._fits[symbol]
        row = int(self._times_ns[symbol].searchsorted(asof_ns))
        own = fits.parameters[int(fits.first_rows.searchsorted(row, side="right")) - 1]
        begin = max(1, row + 1 - MOST_BARS)
        prices = self._logs[symbol][begin - 1 : row + 1]
        moves = prices[1:] - prices[:-1, CLOSE, None] - own.mean  # [n, 4]
        deviation = np.sqrt(fits.variance[begin : row + 1])
        known = np.isfinite(deviation) & (deviation > 0)
        shapes = np.divide(
            moves, deviation[:, None], out=np.zeros_like(moves), where=known[:, None]
        )
        chosen = picked(shapes[None], independent(len(shapes), draws))  # [1, S, P, 4]
        return _paths(chosen, own, float(fits.next_variance[row]))


def _paths(shapes: Array, own: Parameters, variance: float) -> Array:
    """Standardised bars `[1, S, P, 4]` with variances that follow from those before them."""
    paths = np.empty_like(shapes)
    now = np.full(shapes.shape[:2], variance)
    for bar in range(shapes.shape[2]):
        paths[:, :, bar] = shapes[:, :, bar] * np.sqrt(now)[..., None]
        now = own.omega + own.alpha * paths[:, :, bar, CLOSE] ** 2 + own.beta * now
    return paths
