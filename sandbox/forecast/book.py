"""The forecasts of a run, found by symbol and asof, and what makes them ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import pandas as pd

from kronos import Forecast
from sandbox.config import Sampling
from sandbox.forecast.windows import Array, Windows
from sandbox.progress import Progress


class ForecastBook:
    """Forecasts of many symbols, each as of one of its bars."""

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

    def at(self, symbol: str, asof: pd.Timestamp) -> Forecast | None:
        """As of the symbol's bar that closes then; None without such a bar, with too little
        history, or off the schedule that forecasts were asked for."""
        own = self._places.get(symbol, slice(0, 0))
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


def _places(symbols: Sequence[str]) -> dict[str, slice]:
    """Where each symbol's windows are; they stand together."""
    places: dict[str, slice] = {}
    at = 0
    for symbol, run in groupby(symbols):
        end = at + sum(1 for _ in run)
        places[symbol] = slice(at, end)
        at = end
    return places
