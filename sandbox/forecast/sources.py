"""The Kronos signal: sampled futures of every symbol, as of the bars asked for, before the run.

A forecast depends on the model, the sampling settings, the symbol, asof and the `lookback` bars up
to asof, so computing it ahead shows a strategy nothing it could not have known. A strategy reaches
the forecast of the current bar and no other. Knows nothing of Parquet or of how a model computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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


class Filled(NamedTuple):
    """What `fill_store` has done."""

    computed: int  # forecasts
    reused: int  # that the store had
    notes: tuple[str, ...]  # what to tell the user
    folder: Path  # where they are


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
            for rows, piece in self._computed(windows, sampling, progress):
                paths[rows] = piece
            return ForecastBook(windows, KeptPaths(paths), computed=len(windows))
        forecast_set, keys = self._set_of(windows, sampling)
        known, notes = forecast_set.read(keys, paths)
        missing = np.flatnonzero(~known)
        for rows, piece in self._completed(
            windows, missing, sampling, progress, forecast_set, keys
        ):
            paths[rows] = piece
        reused = len(windows) - len(missing)
        return ForecastBook(
            windows, KeptPaths(paths), computed=len(missing), reused=reused, notes=notes
        )

    def fill_store(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
    ) -> Filled:
        """Compute what the store lacks and keep it there: a piece at a time is in memory."""
        windows = Windows.of(frames, sampling, asofs, self._calendar, KEY_BYTES)
        forecast_set, keys = self._set_of(windows, sampling)
        known, notes = forecast_set.read(keys)
        missing = np.flatnonzero(~known)
        for _ in self._completed(windows, missing, sampling, progress, forecast_set, keys):
            pass
        return Filled(len(missing), len(windows) - len(missing), tuple(notes), forecast_set.folder)

    def _set_of(self, windows: Windows, sampling: Sampling) -> tuple[ForecastSet, list[str]]:
        """Where the store has these forecasts, and under which keys."""
        if self._store is None:
            raise ValueError("there is no store")
        forecast_set = self._store.open(self._settings(sampling))
        return forecast_set, list(windows.digests(forecast_set.id))

    def _completed(
        self,
        windows: Windows,
        missing: Array,
        sampling: Sampling,
        progress: Progress | None,
        forecast_set: ForecastSet,
        keys: Sequence[str],
    ) -> Iterator[tuple[Array, Array]]:
        """Missing rows and their paths, each kept before it is handed on."""
        if progress and not len(missing):
            progress(len(windows), len(windows))
        if not len(missing):
            return
        forecast_set.expect_writable()
        wanted = windows.pick(missing)
        for rows, piece in self._computed(wanted, sampling, progress, len(windows) - len(missing)):
            done = wanted.pick(rows)
            forecast_set.add(
                Rows(
                    keys=[keys[row] for row in missing[rows]],
                    symbols=done.symbols,
                    asof_ns=done.asof_ns,
                    closes=done.closes(),
                    future_ns=done.future_ns,
                    paths=piece,
                )
            )
            yield missing[rows], piece

    def _computed(
        self, windows: Windows, sampling: Sampling, progress: Progress | None, known: int = 0
    ) -> Iterator[tuple[Array, Array]]:
        """Rows and their paths, piece by piece; `progress` hears of `known` ones besides."""
        total = known + len(windows)
        if progress:
            progress(known, total)
        if len(windows):
            tell = _counter(progress, known, total) if progress else None
            yield from self._computer().sample(windows, sampling, tell)

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
