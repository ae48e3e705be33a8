"""What a forecast is: every sampled path of one symbol, and what can be read off them.

Knows paths in price units; nothing of models or portfolios. Raw paths stay raw; `repaired` gives
candles that can be drawn or traded from, and says what share it changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from kronos.errors import InputError

COLUMNS = ("open", "high", "low", "close", "volume", "amount")
OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT = range(6)
FloatArray = np.ndarray


@dataclass(frozen=True, eq=False)
class Forecast:
    """S sampled paths of P bars of one symbol.

    symbol: whose. asof: close time of the last bar that was seen. close: the close then.
    index: close times of the P bars forecast. paths: `[S, P, 6]` fp32, columns as `COLUMNS`, in
    price and volume units. Returns are simple returns against `close`; `h` counts bars from 1 and
    is the last bar unless given.
    """

    symbol: str
    asof: pd.Timestamp
    close: float
    index: pd.DatetimeIndex
    paths: FloatArray

    def __post_init__(self) -> None:
        wanted = len(self.index), len(COLUMNS)
        if self.paths.ndim != 3 or self.paths.shape[1:] != wanted or self.paths.size == 0:
            raise InputError(
                f"paths of {self.symbol or 'a series'} must be [S, {len(self.index)}, "
                f"{len(COLUMNS)}] with at least 1 sample and bar, got {list(self.paths.shape)}"
            )

    @property
    def samples(self) -> int:
        return int(self.paths.shape[0])

    @property
    def horizon(self) -> int:
        return int(self.paths.shape[1])

    def returns(self, h: int | None = None) -> FloatArray:
        """Simple return of the close at bar `h`, of every sample: `[S]`."""
        h = self.horizon if h is None else h
        if not isinstance(h, int | np.integer) or not 1 <= h <= self.horizon:
            raise InputError(f"bar h must be a whole number from 1 to {self.horizon}, got {h}")
        closes: FloatArray = self.paths[:, h - 1, CLOSE].astype(np.float64)
        return closes / self.close - 1

    def expected_return(self, h: int | None = None) -> float:
        """Mean over samples."""
        return float(self.returns(h).mean())

    def quantile(self, q: float, h: int | None = None) -> float:
        """Quantile `q` in [0, 1] over samples, linear between them."""
        if not 0 <= q <= 1:
            raise InputError(f"quantile must be in [0, 1], got {q}")
        return _quantiles(self.returns(h), q)[0]

    def uncertainty(self, h: int | None = None) -> float:
        """Width of the 5–95 % band of returns."""
        low, high = _quantiles(self.returns(h), 0.05, 0.95)
        return high - low

    def prob_up(self, h: int | None = None) -> float:
        """Share of samples that close above the close at asof."""
        return float((self.returns(h) > 0).mean())

    def to_frame(self) -> pd.DataFrame:
        """One row a sample and bar: index (sample, time), columns as `COLUMNS`."""
        index = pd.MultiIndex.from_product(
            [range(self.samples), self.index], names=["sample", "time"]
        )
        return pd.DataFrame(self.paths.reshape(-1, len(COLUMNS)), index, list(COLUMNS))

    def repaired(self) -> tuple[Forecast, float]:
        """The forecast with valid candles, and the share of candles that had to be changed.

        High is raised and low lowered to enclose open and close; volume and amount are at least 0.
        Open and close stay as they are.
        """
        fixed = self.paths.copy()
        body = self.paths[..., [OPEN, CLOSE]]
        np.maximum(fixed[..., HIGH], body.max(-1), out=fixed[..., HIGH])
        np.minimum(fixed[..., LOW], body.min(-1), out=fixed[..., LOW])
        np.maximum(fixed[..., VOLUME:], 0, out=fixed[..., VOLUME:])
        changed = (fixed != self.paths).any(-1)
        return replace(self, paths=fixed), float(changed.mean())


def _quantiles(values: FloatArray, *qs: float) -> list[float]:
    """`np.quantile` to the bit, without its checks: they take ten times as long as the work."""
    ranked: list[float] = np.sort(values).tolist()
    if math.isnan(ranked[-1]):
        return [math.nan] * len(qs)
    quantiles = []
    for q in qs:
        place, share = divmod((len(ranked) - 1) * q, 1)
        below, above = ranked[int(place)], ranked[min(int(place) + 1, len(ranked) - 1)]
        gap = above - below
        quantiles.append(above - gap * (1 - share) if share >= 0.5 else below + gap * share)
    return quantiles
