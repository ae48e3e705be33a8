"""The Kronos signal: sampled futures of every symbol, as of every bar, computed before the run.

A forecast depends on the model, the sampling settings, the symbol, asof and the `lookback` bars up
to asof, so computing it ahead shows a strategy nothing it could not have known. A strategy reaches
the forecast of the current bar and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from kronos import Forecast
from sandbox.errors import WindowError
from sandbox.feed import CandleFeed
from sandbox.windows import Sampling, Windows

SERIES_PER_CALL = 8192  # bounds the memory of one call; forecasts do not depend on it

Progress = Callable[[int, int], None]  # forecasts done, forecasts in all


class Predictor(Protocol):
    """What the signal asks of a model."""

    def sample_paths(
        self,
        x: np.ndarray,
        x_stamp: np.ndarray,
        y_stamp: np.ndarray,
        keys: Sequence[int],
        *,
        T: float = 1.0,  # noqa: N803
        top_k: int = 0,
        top_p: float = 1.0,
        sample_count: int = 1,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray: ...


class KronosSignal:
    """Forecasts for a backtest: `compute` once, then `forecast(data)` at every bar."""

    def __init__(self, predictor: Predictor, sampling: Sampling) -> None:
        self._predictor = predictor
        self._sampling = sampling
        self._rows: dict[tuple[str, int], tuple[Windows, np.ndarray, int]] = {}

    def forecast(self, data: CandleFeed) -> Forecast | None:
        """As of the bar that closes now; None without such a bar or with too little history."""
        if not data.has_bar or data.asof is None:
            return None
        row = self._rows.get((data.symbol, data.asof.value))
        if row is None:
            return None
        windows, paths, nth = row
        return windows.forecast(nth, paths[nth])

    def compute(
        self,
        frames: Mapping[str, pd.DataFrame],
        start: pd.Timestamp,
        end: pd.Timestamp,
        progress: Progress | None = None,
    ) -> int:
        """Forecast every bar from `start` to `end`, both inclusive; returns how many there are."""
        windows = Windows.of(frames, self._sampling, start, end)
        done = 0
        for part in windows.parts(SERIES_PER_CALL):
            report = _counter(progress, done, len(windows)) if progress else None
            paths = _sample(self._predictor, part, self._sampling, report)
            for nth, (symbol, asof_ns) in enumerate(zip(part.symbols, part.asof_ns, strict=True)):
                self._rows[symbol, int(asof_ns)] = (part, paths, nth)
            done += len(part)
        return done


def forecast_one(
    predictor: Predictor, sampling: Sampling, symbol: str, frame: pd.DataFrame, asof: pd.Timestamp
) -> Forecast:
    """The forecast of one symbol as of one of its bars: the same as a backtest's at that bar."""
    windows = Windows.of({symbol: frame}, sampling, asof, asof)
    if not len(windows):
        had = int((frame.index <= asof).sum())
        raise WindowError(
            f"{symbol} has {had} bars up to {asof:%Y-%m-%d}, and {sampling.lookback} are needed: "
            "choose a later --asof or a smaller --lookback"
        )
    return windows.forecast(0, _sample(predictor, windows, sampling, None)[0])


def _counter(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    """Adds up what the model says it has just done."""

    def add(just_done: int) -> None:
        nonlocal done
        done += just_done
        progress(done, total)

    return add


def _sample(
    predictor: Predictor,
    windows: Windows,
    sampling: Sampling,
    progress: Callable[[int], None] | None,
) -> np.ndarray:
    """The sampled paths of `[B]` windows, `[B, S, P, 6]`."""
    return predictor.sample_paths(
        windows.candles(),
        *windows.stamps(),
        windows.keys(),
        T=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        sample_count=sampling.samples,
        seed=sampling.seed,
        progress=progress,
    )
