"""The forecasts of a run, found by symbol and asof, and what makes them ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import pandas as pd

from feeds.members import NO_MEMBERS, Members
from kronos import Forecast
from sandbox.config import Sampling
from sandbox.forecast.paths import Paths
from sandbox.forecast.windows import Array, Windows
from sandbox.progress import Progress


class Forecasts(Protocol):
    """The forecasts of a run, each as of one bar of a symbol; `ForecastBook` says more."""

    windows: Windows  # what they are made from
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
        self.windows = windows
        _ = windows.rows_at  # found now, processes that are forked share it
        self._paths = paths
        self.computed = computed  # forecasts the model was asked for
        self.reused = reused  # forecasts that came from the store
        self.notes = tuple(notes)  # what to tell the user

    def __len__(self) -> int:
        return len(self.windows)

    def as_of(self, asof_ns: int, *, likely: bool = True) -> BarForecasts | None:
        """All that are as of one bar time, in ns since 1970; None where there are none.

        They lead to no forecast and no candle of another time, so a strategy can be handed them.
        Unless it is `likely` that it asks for one, nothing is computed before it does.
        """
        rows = self.windows.rows_at.get(asof_ns)
        if rows is None:
            return None
        return BarForecasts(self.windows.alone(rows, 1), self._paths.only(rows, likely=likely))

    def at(self, symbol: str, asof: pd.Timestamp) -> Forecast | None:
        """As of the symbol's bar that closes then; None without such a bar, with too little
        history, or off the schedule that forecasts were asked for."""
        own = self.windows.places.get(symbol, slice(0, 0))
        all_ns, asof_ns = self.windows.asof_ns, asof.value
        nth = own.start + int(all_ns[own].searchsorted(asof_ns))
        if nth == own.stop or all_ns[nth] != asof_ns:
            return None
        return self.windows.forecast(nth, self._paths(nth))


class BarForecasts:
    """The forecasts as of one bar time, without anything that knows of another.

    Each is made when it is first asked for.
    """

    def __init__(
        self,
        windows: Windows,
        paths: Callable[[int], Array],
        moved: Callable[[Forecast], Forecast] | None = None,
    ) -> None:
        """With `moved` each goes through it before it is handed out."""
        self._windows = windows
        self._paths = paths
        self._moved = moved
        self._places = {symbol: nth for nth, symbol in enumerate(windows.symbols)}

    def of(self, symbol: str) -> Forecast | None:
        """None without a bar now, with too little history, or off the schedule."""
        nth = self._places.get(symbol)
        if nth is None:
            return None
        forecast = self._windows.forecast(nth, self._paths(nth))
        return self._moved(forecast) if self._moved else forecast

    def moved_by(self, move: Callable[[Forecast], Forecast]) -> BarForecasts:
        """The same, each moved by `move`."""
        first = self._moved

        def both(forecast: Forecast) -> Forecast:
            return move(first(forecast) if first else forecast)

        return BarForecasts(self._windows, self._paths, both)


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
        members: Members = NO_MEMBERS,
    ) -> Forecasts:
        """Of every symbol at those `asofs` at which it has a bar and is a member of its universe
        (`feeds.Candles.members`)."""
        ...


def book_of(
    source: SignalSource,
    frames: Mapping[str, pd.DataFrame],
    sampling: Sampling,
    asofs: pd.DatetimeIndex,
    progress: Progress | None,
    members: Members,
) -> Forecasts:
    """`source.book`; a source that knows of no membership serves where there is none."""
    if not members:
        return source.book(frames, sampling, asofs, progress)
    return source.book(frames, sampling, asofs, progress, members)


def forecasts_of(book: Forecasts, windows: Windows) -> Iterator[Forecast]:
    """Of each of the windows, which the book has; those of a bar time that follow one another are
    asked for together."""
    at_ns, shown = None, None
    for symbol, asof_ns in zip(windows.symbols, windows.asof_ns.tolist(), strict=True):
        if at_ns != asof_ns:
            at_ns, shown = asof_ns, book.as_of(asof_ns)
        forecast = None if shown is None else shown.of(symbol)
        assert forecast is not None, f"there is no forecast of {symbol} at {asof_ns}"
        yield forecast


def history_bars(source: SignalSource, sampling: Sampling) -> int:
    """Bars of each symbol, asof included, that a source's forecasts depend on at most: a source
    says so by a method of that name where it is more than it looks back."""
    own: Callable[[Sampling], int] | None = getattr(source, "history_bars", None)
    return sampling.lookback if own is None else own(sampling)
