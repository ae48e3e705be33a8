"""The Kronos signal: sampled futures of every symbol, as of the bars asked for, before the run.

A forecast depends on the model, the sampling settings, the symbol, asof and the `lookback` bars up
to asof, so computing it ahead shows a strategy nothing it could not have known. A strategy reaches
the forecast of the current bar and no other. Knows nothing of Parquet or of how a model computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import pandas as pd

from kronos import Checkpoint, Forecast
from kronos.forecast import COLUMNS
from sandbox.errors import WindowError
from sandbox.forecast.windows import Array, Calendar, Sampling, Windows
from sandbox.progress import Progress
from sandbox.store.sets import ForecastSet, ForecastStore, Settings
from sandbox.trading.feed import CandleFeed

WINDOWS_PER_PIECE = 1024  # what a killed run loses at most; forecasts do not depend on it
PIECE_BYTES = 256 << 20  # of paths; long horizons and many samples make pieces of fewer windows
KEY_BYTES = 250  # of a key of the store, in a list and as a mapping's key

Tell = Callable[[int], None]  # forecasts just done


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


class Backend(Protocol):
    """Where forecasts are computed."""

    def sample(
        self, windows: Windows, sampling: Sampling, tell: Tell | None
    ) -> Iterator[tuple[Array, Array]]:
        """Pieces as they are done, in any order: rows `[n]` of the windows, paths `[n, S, P, 6]`.

        `tell` hears how many forecasts have just been done, also within a piece.
        """
        ...


class LocalBackend:
    """This machine, one piece after the other."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def sample(
        self, windows: Windows, sampling: Sampling, tell: Tell | None
    ) -> Iterator[tuple[Array, Array]]:
        size = max(1, min(WINDOWS_PER_PIECE, PIECE_BYTES // sampling.path_bytes))
        for at in range(0, len(windows), size):
            rows = np.arange(at, min(at + size, len(windows)))
            yield rows, _sample(self._predictor, windows.pick(rows), sampling, tell)


class ForecastBook:
    """The forecasts of a run: `forecast(data)` gives the one of the current bar."""

    def __init__(
        self,
        windows: Windows,
        paths: Callable[[int], Array],
        *,
        computed: int,
        reused: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        self._windows = windows
        self._paths = paths  # of a window, by its place
        self.computed = computed  # forecasts the model was asked for
        self.reused = reused  # forecasts that came from the store
        self.notes = tuple(notes)  # what to tell the user
        self._asof_ns = windows.asof_ns
        self._places = _places(windows.symbols)

    def __len__(self) -> int:
        return len(self._windows)

    def forecast(self, data: CandleFeed) -> Forecast | None:
        """As of the bar that closes now; None without such a bar, too little history, or off the
        schedule that forecasts were asked for."""
        asof = data.asof if data.has_bar else None
        if asof is None:
            return None
        own = self._places.get(data.symbol, slice(0, 0))
        asof_ns = asof.value
        nth = own.start + int(self._asof_ns[own].searchsorted(asof_ns))
        if nth == own.stop or self._asof_ns[nth] != asof_ns:
            return None
        return self._windows.forecast(nth, self._paths(nth))


class SignalSource(Protocol):
    """Anything that forecasts a universe ahead of a run."""

    @property
    def name(self) -> str: ...

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
    ) -> ForecastBook: ...


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
            return ForecastBook(windows, paths.__getitem__, computed=len(windows))
        kept = self._store.open(self._settings(sampling))
        keys = list(windows.digests(kept.id))
        known, notes = kept.read(keys, paths)
        missing = np.flatnonzero(~known)
        if len(missing):
            kept.expect_writable()
        self._compute(windows, missing, sampling, paths, progress, (kept, keys))
        reused = len(windows) - len(missing)
        return ForecastBook(
            windows, paths.__getitem__, computed=len(missing), reused=reused, notes=notes
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
        done = len(windows) - len(missing)
        if progress:
            progress(done, len(windows))
        if not len(missing):
            return
        tell = _counter(progress, done, len(windows)) if progress else None
        wanted = windows.pick(missing)
        for rows, piece in self._computer().sample(wanted, sampling, tell):
            paths[missing[rows]] = piece
            if keep:
                kept, keys = keep
                kept.add([keys[row] for row in missing[rows]], wanted.pick(rows), piece)

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
    return windows.forecast(0, _sample(predictor, windows, sampling, None)[0])


def _places(symbols: Sequence[str]) -> dict[str, slice]:
    """Where each symbol's windows are; they stand together."""
    places: dict[str, slice] = {}
    at = 0
    for symbol, run in groupby(symbols):
        end = at + sum(1 for _ in run)
        places[symbol] = slice(at, end)
        at = end
    return places


def _counter(progress: Progress, done: int, total: int) -> Tell:
    """Adds up what the model says it has just done."""

    def add(just_done: int) -> None:
        nonlocal done
        done += just_done
        progress(done, total)

    return add


def _sample(predictor: Predictor, windows: Windows, sampling: Sampling, tell: Tell | None) -> Array:
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
        progress=tell,
    )
