"""The scores of `--to-qlib`: what every forecast of one model expects, to trade on.

A score is the expected return at the last bar of the horizon, by which `strategies/topk.py` ranks.
There is one for every forecast that was asked for: also for the latest ones, whose outcome is not
known yet, so that `scores.parquet` has none of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from feeds import Candles
from sandbox.errors import ConfigError, SandboxError
from sandbox.forecast.book import Forecasts, forecasts_of
from sandbox.forecast.windows import Array
from sandbox.progress import Progress
from sandbox.skill.sources import Asked
from sandbox.skill.to_qlib import COLUMNS, check_ending, write_signal
from sandbox.words import counted, listed

FLAG = "--to-qlib"


def check_signal(asked: list[Asked], path: Path) -> None:
    """Raises ConfigError where there are several models or settings, or the file cannot be written:
    before anything is computed. Of a model that is scored raw and calibrated it is the latter."""
    asked = [own for own in asked if not own.calibrated]
    if len(asked) > 1:
        names = listed([repr(own.name) for own in asked])
        raise ConfigError(
            f"{FLAG} {path}: a signal is of one model with one setting, and these are "
            f"{len(asked)} ({names}): name one --model, and no --variant"
        )
    check_ending(path, FLAG)
    if path.is_dir():
        raise ConfigError(f"{FLAG} {path}: that is a folder, name a file")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise ConfigError(f"{FLAG} {path}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{FLAG} {path}: {there} cannot be written to")


class Expected:
    """The expected returns of forecasts, taken from their books one after the other."""

    def __init__(self) -> None:
        self._symbols: list[str] = []
        self._asofs_ns: list[int] = []
        self._returns: list[float] = []

    def take(self, book: Forecasts, progress: Progress) -> None:
        """Of all forecasts of a book; no two books may share a bar time."""
        windows, before = book.windows, len(self._returns)
        for asof_ns, rows in windows.rows_at.items():
            for forecast in forecasts_of(book, windows.pick(rows)):
                self._symbols.append(forecast.symbol)
                self._asofs_ns.append(asof_ns)
                self._returns.append(forecast.expected_return())
            progress(len(self._returns) - before, len(windows))

    def table(self) -> pd.DataFrame:
        """As `to_qlib.signal_frame` takes it: symbol, asof (UTC), score (simple return)."""
        asofs = pd.DatetimeIndex(np.array(self._asofs_ns, np.int64), tz="UTC")
        scores = np.array(self._returns, np.float64)
        return pd.DataFrame(dict(zip(COLUMNS, (self._symbols, asofs, scores), strict=True)))

    def write(self, path: Path, candles: Candles, folder: Path) -> str:
        """Write the signal; says what is in it. `folder` is that of the run, which is whole: an
        error names it, since what was computed is not lost."""
        table = self.table()
        try:
            write_signal(table, candles, path)
        except SandboxError as error:
            raise SandboxError(f"{error}; all else is in {folder}") from error
        first, last = table["asof"].min(), table["asof"].max()
        symbols = counted(table["symbol"].nunique(), "symbol")
        return (
            f"Signal for Qlib: {path}, {counted(len(table), 'score')} of {symbols}, "
            f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
        )


def without_outcome(asofs: pd.DatetimeIndex, scored_ns: Array) -> Array:
    """The asofs, in ns since 1970, that are none of those times: nothing has come since of any
    symbol, or none has the history."""
    asofs_ns: Array = asofs.as_unit("ns").asi8
    return asofs_ns[~np.isin(asofs_ns, scored_ns)]
