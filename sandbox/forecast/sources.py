"""The Kronos signal: sampled futures of every symbol, as of the bars asked for, before the run.

A forecast depends on the model, the sampling settings, the symbol, asof and the `lookback` bars up
to asof, so computing it ahead shows a strategy nothing it could not have known. A strategy reaches
the forecast of the current bar and no other. Knows nothing of Parquet or of how a model computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from feeds.members import NO_MEMBERS, Members
from kronos import Checkpoint, Forecast
from sandbox.config import NO_STORE, BackendOptions, ModelOptions, Sampling
from sandbox.errors import WindowError
from sandbox.forecast.backend import (
    Backend,
    LocalBackend,
    Predictor,
    Tell,
    find_backend,
    sample_windows,
)
from sandbox.forecast.book import ForecastBook
from sandbox.forecast.paths import KeptPaths, bytes_at_a_time, room_for_paths
from sandbox.forecast.windows import Array, Calendar, Windows
from sandbox.memory import expect_room
from sandbox.progress import Progress
from sandbox.store.keys import KEY_BYTES
from sandbox.store.parts import Rows
from sandbox.store.sets import ForecastSet, ForecastStore, Put, Settings


class Filled(NamedTuple):
    """What was computed, and what was in the store."""

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
        self.calendar = calendar
        self._backend = backend

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        model: ModelOptions,
        backend: BackendOptions,
        calendar: Calendar | None,
    ) -> KronosSource:
        """As a command's options have it; raises ConfigError for a backend that there is not."""
        return cls(
            checkpoint,
            device=model.device,
            dtype=model.dtype,
            store=None if model.store == NO_STORE else ForecastStore(Path(model.store)),
            calendar=calendar,
            backend=find_backend(checkpoint, model, backend),
        )

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> ForecastBook:
        """The paths are in memory where there is no store or they are few, else in a file on disk
        that goes with the book.

        Raises MemoryShortError where memory does not hold what is in it, StoreError where the store
        cannot be used or there is no room on disk.
        """
        windows = Windows.of(frames, sampling, asofs, self.calendar, members)
        return self.book_of(windows, sampling, progress)

    def book_of(
        self, windows: Windows, sampling: Sampling, progress: Progress | None = None
    ) -> ForecastBook:
        """As `book`, of windows that are cut already."""
        if self._store is None:
            what = f"{sampling.shape_in_words}, in memory as there is no --store"
            expect_room(len(windows), sampling.path_bytes, what)
            kept = KeptPaths.room_for(len(windows), sampling)
            for rows, piece in self._computed(windows, sampling, progress):
                kept.put(rows, piece)
            return ForecastBook(windows, kept, computed=len(windows))
        forecast_set = self._store.open(self._settings(sampling))
        paths = room_for_paths(windows.asof_ns, sampling, forecast_set.folder)
        filled = self._fill(forecast_set, windows, sampling, paths.put, progress)
        paths.seal()
        return ForecastBook(
            windows, paths, computed=filled.computed, reused=filled.reused, notes=filled.notes
        )

    def covers(self, asof_ns: Array) -> Array:
        """Which of some times `[W]` it forecasts as of: all."""
        return np.ones(len(asof_ns), dtype=bool)

    def fill_store(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> Filled:
        """Compute what the store lacks and keep it there: a piece at a time is in memory."""
        windows = Windows.of(frames, sampling, asofs, self.calendar, members)
        return self.fill_store_of(windows, sampling, progress)

    def fill_store_of(
        self, windows: Windows, sampling: Sampling, progress: Progress | None = None
    ) -> Filled:
        """As `fill_store`, of windows that are cut already."""
        if self._store is None:
            raise ValueError("there is no store")
        expect_room(
            len(windows), KEY_BYTES, f"{sampling.shape_in_words}, kept on disk",
            besides=bytes_at_a_time(sampling),
        )  # fmt: skip
        forecast_set = self._store.open(self._settings(sampling))
        return self._fill(forecast_set, windows, sampling, None, progress)

    def _fill(
        self,
        forecast_set: ForecastSet,
        windows: Windows,
        sampling: Sampling,
        put: Put | None,
        progress: Progress | None,
    ) -> Filled:
        """Compute what the store lacks; what is done is kept at once. `put` gets all paths."""
        keys = windows.digests(forecast_set.id)
        known, notes = forecast_set.read(keys, put)
        missing = np.flatnonzero(~known)
        reused = len(windows) - len(missing)
        if len(missing):
            forecast_set.expect_writable()
        wanted = windows.pick(missing)
        for rows, piece in self._computed(wanted, sampling, progress, reused):
            done = wanted.pick(rows)
            forecast_set.add(
                Rows(
                    keys=keys[missing[rows]],
                    symbols=done.symbols,
                    asof_ns=done.asof_ns,
                    closes=done.closes(),
                    future_ns=done.future_ns,
                    paths=piece,
                )
            )
            if put is not None:
                put(missing[rows], piece)
        return Filled(len(missing), reused, tuple(notes), forecast_set.folder)

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
        raise too_few_bars(frame, symbol, sampling, asof)
    return windows.forecast(0, sample_windows(predictor, windows, sampling, None)[0])


def too_few_bars(
    frame: pd.DataFrame, symbol: str, sampling: Sampling, asof: pd.Timestamp
) -> WindowError:
    """Why there is no forecast of a symbol as of a time."""
    had = int((frame.index <= asof).sum())
    return WindowError(
        f"{symbol} has {had} bars up to {asof:%Y-%m-%d}, and {sampling.lookback} are needed: "
        "choose a later --asof or a smaller --lookback"
        if had < sampling.lookback
        else f"{symbol} has no bar at {asof}: a forecast is as of one of its bars"
    )


def _counter(progress: Progress, done: int, total: int) -> Tell:
    """Adds up what the model says it has just done."""

    def add(just_done: int) -> None:
        nonlocal done
        done += just_done
        progress(done, total)

    return add
