"""The forecasts of a run, found by symbol and asof, and what makes them ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import pandas as pd

from kronos import Forecast
from sandbox.config import Sampling
from sandbox.forecast.windows import Array, Windows
from sandbox.progress import Progress


class Forecasts(Protocol):
    """The forecasts of a run, each as of one bar of a symbol; `ForecastBook` says more."""

    computed: int  # forecasts the model was asked for
    reused: int  # forecasts that came from the store
    notes: tuple[str, ...]  # what to tell the user

    def __len__(self) -> int: ...

    def as_of(self, asof_ns: int, *, likely: bool = True) -> BarForecasts | None: ...

    def at(self, symbol: str, asof: pd.Timestamp) -> Forecast | None: ...


class ForecastBook:
    """Forecasts of many symbols, each as of one of its bars."""

    def __init__(
        self,
        windows: Windows,
        paths: Paths,
        *,
        computed: int,
        reused: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        self._windows = windows
        self._paths = paths
        self.computed = computed  # forecasts the model was asked for
        self.reused = reused  # forecasts that came from the store
        self.notes = tuple(notes)  # what to tell the user
        self._asof_ns = windows.asof_ns
        self._places = _places(windows.symbols)
        self._rows_at = _rows_at(windows.asof_ns)

    def __len__(self) -> int:
        return len(self._windows)

    def as_of(self, asof_ns: int, *, likely: bool = True) -> BarForecasts | None:
        """All that are as of one bar time, in ns since 1970; None where there are none.

        They lead to no forecast and no candle of another time, so a strategy can be handed them.
        Unless it is `likely` that it asks for one, nothing is computed before it does.
        """
        rows = self._rows_at.get(asof_ns)
        if rows is None:
            return None
        return BarForecasts(self._windows.alone(rows, 1), self._paths.only(rows, likely=likely))

    def at(self, symbol: str, asof: pd.Timestamp) -> Forecast | None:
        """As of the symbol's bar that closes then; None without such a bar, with too little
        history, or off the schedule that forecasts were asked for."""
        own = self._places.get(symbol, slice(0, 0))
        asof_ns = asof.value
        nth = own.start + int(self._asof_ns[own].searchsorted(asof_ns))
        if nth == own.stop or self._asof_ns[nth] != asof_ns:
            return None
        return self._windows.forecast(nth, self._paths(nth))


class Paths(Protocol):
    """The sampled paths of windows, by their place."""

    def __call__(self, nth: int) -> Array:
        """Of one window, `[S, P, 6]`."""
        ...

    def only(self, rows: Array, *, likely: bool) -> Callable[[int], Array]:
        """The same of a few windows, by their place among `rows`, and nothing of any other.

        Unless it is `likely` that some are asked for, nothing is computed before one is.
        """
        ...


class KeptPaths:
    """Paths that are there already, `[W, S, P, 6]`."""

    def __init__(self, paths: Array) -> None:
        self._paths = paths

    def __call__(self, nth: int) -> Array:
        paths: Array = self._paths[nth]
        return paths

    def only(self, rows: Array, *, likely: bool) -> Callable[[int], Array]:
        return KeptPaths(self._paths[rows])  # a copy: it leads to no other


class BarForecasts:
    """The forecasts as of one bar time, without anything that knows of another.

    Each is made when it is first asked for.
    """

    def __init__(self, windows: Windows, paths: Callable[[int], Array]) -> None:
        self._windows = windows
        self._paths = paths
        self._places = {symbol: nth for nth, symbol in enumerate(windows.symbols)}

    def of(self, symbol: str) -> Forecast | None:
        """None without a bar now, with too little history, or off the schedule."""
        nth = self._places.get(symbol)
        return None if nth is None else self._windows.forecast(nth, self._paths(nth))


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
    ) -> Forecasts: ...


def _rows_at(asof_ns: Array) -> dict[int, Array]:
    """The places of the windows as of each time."""
    in_time = np.argsort(asof_ns, kind="stable")
    times, firsts = np.unique(asof_ns[in_time], return_index=True)
    if not len(times):
        return {}
    return dict(zip(times.tolist(), np.split(in_time, firsts[1:]), strict=True))


def _places(symbols: Sequence[str]) -> dict[str, slice]:
    """Where each symbol's windows are; they stand together."""
    places: dict[str, slice] = {}
    at = 0
    for symbol, run in groupby(symbols):
        end = at + sum(1 for _ in run)
        places[symbol] = slice(at, end)
        at = end
    return places
