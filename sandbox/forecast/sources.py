"""The Kronos signal: sampled futures of every symbol, as of the bars asked for, before the run.

A forecast depends on the model, the sampling settings, the symbol, asof and the `lookback` bars up
to asof, so computing it ahead shows a strategy nothing it could not have known. A strategy reaches
the forecast of the current bar and no other. Knows nothing of Parquet or of how a model computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from feeds import COLUMNS
from kronos import Checkpoint, Forecast
from sandbox.config import Sampling
from sandbox.errors import WindowError
from sandbox.forecast.backend import Backend, LocalBackend, Predictor, Tell, sample_windows
from sandbox.forecast.book import ForecastBook, KeptPaths
from sandbox.forecast.windows import Array, Calendar, Windows
from sandbox.progress import Progress
from sandbox.store.parts import Rows
from sandbox.store.sets import ForecastSet, ForecastStore, Settings

KEY_BYTES = 250  # of a key of the store, in a list and as a mapping's key


class KronosSource:
    """Forecasts of a checkpoint, each computed once: what the store has is not computed again.

    The weights are read only if something is missing. Without a backend this machine computes.
    """

    name = "kronos"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | None = None,
        dtype: str = "float32",
        store: ForecastStore | None,
        calendar: Calendar | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._device = device
        self._dtype = dtype
        self._store = store
        self._calendar = calendar
        self._backend = backend

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
    ) -> ForecastBook:
        bytes_kept = sampling.path_bytes + KEY_BYTES
        windows = Windows.of(frames, sampling, asofs, self._calendar, bytes_kept)
        shape = (len(windows), sampling.samples, sampling.horizon, len(COLUMNS))
        paths = np.empty(shape, dtype=np.float32)
        if self._store is None:
            self._compute(windows, np.arange(len(windows)), sampling, paths, progress, None)
            return ForecastBook(windows, KeptPaths(paths), computed=len(windows))
        forecast_set = self._store.open(self._settings(sampling))
        keys = list(windows.digests(forecast_set.id))
        known, notes = forecast_set.read(keys, paths)
        missing = np.flatnonzero(~known)
        if len(missing):
            forecast_set.expect_writable()
        self._compute(windows, missing, sampling, paths, progress, (forecast_set, keys))
        reused = len(windows) - len(missing)
        return ForecastBook(
            windows, KeptPaths(paths), computed=len(missing), reused=reused, notes=notes
        )

    def _compute(
        self,
        windows: Windows,
        missing: Array,
        sampling: Sampling,
        paths: Array,
        progress: Progress | None,
        keep: tuple[ForecastSet, Sequence[str]] | None,
    ) -> None:
        """Fill the rows of `paths` that are missing; what is done is kept at once."""
        known = len(windows) - len(missing)
        if progress:
            progress(known, len(windows))
        if not len(missing):
            return
        tell = _counter(progress, known, len(windows)) if progress else None
        wanted = windows.pick(missing)
        for rows, piece in self._computer().sample(wanted, sampling, tell):
            paths[missing[rows]] = piece
            if keep:
                kept, keys = keep
                done = wanted.pick(rows)
                kept.add(
                    Rows(
                        keys=[keys[row] for row in missing[rows]],
                        symbols=done.symbols,
                        asof_ns=done.asof_ns,
                        closes=done.closes(),
                        future_ns=done.future_ns,
                        paths=piece,
                    )
                )

    def _computer(self) -> Backend:
        if self._backend is None:
            predictor = self._checkpoint.predictor(device=self._device, dtype=self._dtype)
            self._backend = LocalBackend(predictor)
        return self._backend

    def _settings(self, sampling: Sampling) -> Settings:
        return Settings(
            model=self._checkpoint.name,
            fingerprint=self._checkpoint.fingerprint,
            dtype=self._dtype,
            sampling=sampling,
        )


def forecast_one(
    predictor: Predictor,
    sampling: Sampling,
    symbol: str,
    frame: pd.DataFrame,
    asof: pd.Timestamp,
    calendar: Calendar | None = None,
) -> Forecast:
    """The forecast of one symbol as of one of its bars: the same as a backtest's at that bar."""
    windows = Windows.of({symbol: frame}, sampling, pd.DatetimeIndex([asof]), calendar)
    if not len(windows):
        had = int((frame.index <= asof).sum())
        raise WindowError(
            f"{symbol} has {had} bars up to {asof:%Y-%m-%d}, and {sampling.lookback} are needed: "
            "choose a later --asof or a smaller --lookback"
            if had < sampling.lookback
            else f"{symbol} has no bar at {asof}: a forecast is as of one of its bars"
        )
    return windows.forecast(0, sample_windows(predictor, windows, sampling, None)[0])


def _counter(progress: Progress, done: int, total: int) -> Tell:
    """Adds up what the model says it has just done."""

    def add(just_done: int) -> None:
        nonlocal done
        done += just_done
        progress(done, total)

    return add
