"""A run folder, read and checked. Knows its files; computes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.files import ReportError, one_line

PARTS = ("commission", "slippage", "impact")  # what a fill's cost is made of
_EQUITY_NUMBERS = ("cash", "value", "gross_value")
_TRADE_NUMBERS = ("size", "price", "reference_price", *PARTS)


@dataclass(frozen=True, kw_only=True)
class RecordedPortfolio:
    """A portfolio as config.json lists it: one line of the comparison."""

    name: str
    role: str  # strategy, control, benchmark or costs-free
    signal: str | None  # what its forecasts come from
    repeats: str | None  # the strategy that it repeats: on a naive signal, or without costs
    sweep_of: str | None = None  # the strategy that it is a combination of parameters of


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a report knows of a run. Frames: one row a bar time (UTC), one column a portfolio."""

    folder: Path
    record: dict[str, Any]  # config.json
    portfolios: tuple[RecordedPortfolio, ...]
    value: pd.DataFrame
    gross_value: pd.DataFrame  # what it would be without any cost
    cash: pd.DataFrame
    trades: pd.DataFrame  # one row a fill, of all portfolios
    notes: tuple[str, ...]  # what a reader has to know before believing a figure
    analyses: dict[str, Any]  # what Backtrader's analyzers found: portfolio -> analyzer -> result

    @cached_property
    def weights(self) -> pd.DataFrame:
        """weights.csv: `time, strategy, symbol, weight`, signed shares of the value at the close.

        Read when it is asked for: it is the largest file. Empty where the folder lacks it.
        """
        if not (self.folder / "weights.csv").is_file():
            columns = {"strategy": str, "symbol": str, "weight": float}
            empty = {name: pd.Series(dtype=kind) for name, kind in columns.items()}
            return pd.DataFrame({"time": self.times[:0], **empty})
        return _table(self.folder, "weights.csv", ("weight",))

    @property
    def name(self) -> str:
        return str(self.record.get("name", self.folder.name))

    @property
    def start_cash(self) -> float:
        """What every portfolio had before the first bar."""
        return float(self.record["config"]["cash"])

    @property
    def times(self) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(self.value.index)

    @property
    def strategies(self) -> tuple[RecordedPortfolio, ...]:
        return tuple(p for p in self.portfolios if p.role == "strategy")

    @property
    def benchmark(self) -> RecordedPortfolio | None:
        return next((p for p in self.portfolios if p.role == "benchmark"), None)

    @property
    def controls(self) -> tuple[RecordedPortfolio, ...]:
        return tuple(p for p in self.portfolios if p.role == "control")

    def controls_of(self, strategy: str) -> tuple[RecordedPortfolio, ...]:
        """The same strategy on naive signals."""
        return tuple(p for p in self.controls if p.repeats == strategy)

    @property
    def compared(self) -> tuple[RecordedPortfolio, ...]:
        """All but the costs-free ones, which say what costs took and are no rivals."""
        return tuple(p for p in self.portfolios if p.role != "costs-free")

    def costs_free(self, strategy: str) -> RecordedPortfolio | None:
        """The same strategy where trading costs nothing."""
        free = (p for p in self.portfolios if p.role == "costs-free" and p.repeats == strategy)
        return next(free, None)

    @property
    def sweeps(self) -> dict[str, tuple[RecordedPortfolio, ...]]:
        """By strategy that was swept: its combinations of parameters."""
        names = dict.fromkeys(p.sweep_of for p in self.strategies if p.sweep_of)
        return {
            name: tuple(p for p in self.strategies if p.sweep_of == name)
            for name in names
            if name is not None
        }

    @property
    def seen_until(self) -> pd.Timestamp | None:
        """Last day (UTC) that the model's training may have seen; None: no model, or not known."""
        day = (self.record.get("model") or {}).get("seen_until")
        return None if day is None else pd.Timestamp(str(day)).tz_localize(None).normalize()


def read_run(folder: Path) -> Run:
    """The run in `folder`.

    Strategies and controls must share their bar times. A benchmark may lack some: its last value
    before stands there, never a later one, and a note says so.
    """
    record = _record(folder)
    portfolios = _portfolios(folder, record)
    equity = _table(folder, "equity.csv", _EQUITY_NUMBERS)
    columns, notes = _columns(folder, equity, portfolios, float(record["config"]["cash"]))
    return Run(
        folder=folder,
        record=record,
        portfolios=portfolios,
        trades=_table(folder, "trades.csv", _TRADE_NUMBERS),
        notes=(*map(str, record.get("notes", ())), *notes),
        analyses=_analyses(folder),
        **columns,
    )


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        float(record["config"]["cash"])
        record["portfolios"], record["data"]["spec"], record["data"]["symbols"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{folder} is not a run folder: config.json: {one_line(error)}"
        ) from error
    return record


def _analyses(folder: Path) -> dict[str, Any]:
    """analyzers.json, which is there where the run had analyzers."""
    path = folder / "analyzers.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ReportError(
            f"{folder} is not a run folder: {path.name}: {one_line(error)}"
        ) from error
    return dict(found)


def _portfolios(folder: Path, record: dict[str, Any]) -> tuple[RecordedPortfolio, ...]:
    try:
        found = tuple(
            RecordedPortfolio(
                name=str(entry["name"]),
                role=str(entry["role"]),
                signal=entry.get("signal"),
                repeats=entry.get("repeats", entry.get("twin_of")),  # its name in older folders
                sweep_of=entry.get("sweep_of"),
            )
            for entry in record["portfolios"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ReportError(
            f"{folder} is not a run folder: config.json: {one_line(error)}"
        ) from error
    if not any(p.role == "strategy" for p in found):
        raise ReportError(f"{folder}: config.json names no portfolio with the role strategy")
    return found


def _table(folder: Path, file: str, numbers: Sequence[str]) -> pd.DataFrame:
    """A CSV with times in UTC. Nothing is taken for missing: `NA` is a fine name for a symbol."""
    try:
        types: dict[str, type] = dict.fromkeys(numbers, float)
        types |= dict.fromkeys(("time", "strategy", "symbol", "side"), str)
        frame = pd.read_csv(folder / file, dtype=types, keep_default_na=False)
        frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
        for column in ("strategy", *numbers):
            frame[column]
    except (OSError, ValueError, KeyError) as error:
        raise ReportError(f"{folder} is not a run folder: {file}: {one_line(error)}") from error
    return frame


def _columns(
    folder: Path, equity: pd.DataFrame, portfolios: Sequence[RecordedPortfolio], start_cash: float
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Value, gross value and cash, one column a portfolio, on the first strategy's times."""
    subject = next(p.name for p in portfolios if p.role == "strategy")
    times = pd.DatetimeIndex(equity.loc[equity["strategy"] == subject, "time"])
    if times.empty:
        raise ReportError(f"{folder}: equity.csv has no row of {subject}")
    if not times.is_monotonic_increasing or times.has_duplicates:
        raise ReportError(f"{folder}: the times of {subject} in equity.csv do not ascend")
    found, notes = {}, []
    for portfolio in portfolios:
        rows = equity[equity["strategy"] == portfolio.name].set_index("time")
        if portfolio.role == "benchmark" and not rows.index.equals(times):
            rows, note = _aligned(rows, times, portfolio.name, start_cash)
            notes.append(note)
        elif not rows.index.equals(times):
            raise ReportError(
                f"{folder}: {portfolio.name} and {subject} do not share their times in equity.csv"
            )
        found[portfolio.name] = rows
    frames = {
        number: pd.DataFrame({name: rows[number] for name, rows in found.items()})
        for number in _EQUITY_NUMBERS
    }
    _check_finite(folder, frames)
    return frames, notes


def _aligned(
    rows: pd.DataFrame, times: pd.DatetimeIndex, name: str, start_cash: float
) -> tuple[pd.DataFrame, str]:
    """Rows at `times`; a missing one is the row before, or the starting cash."""
    rows = rows[~rows.index.duplicated(keep="last")].sort_index()
    missing = len(times.difference(pd.DatetimeIndex(rows.index)))
    numbers = rows[list(_EQUITY_NUMBERS)].reindex(times, method="ffill").fillna(start_cash)
    return numbers, (
        f"{name} has no value at {missing:,} of the {len(times):,} bar times: its last value "
        "before stands there."
    )


def _check_finite(folder: Path, frames: dict[str, pd.DataFrame]) -> None:
    for number, frame in frames.items():
        bad = ~np.isfinite(frame.to_numpy())
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ReportError(
                f"{folder}: equity.csv: {number} of {frame.columns[column]} at "
                f"{frame.index[row]:%Y-%m-%d %H:%M} is not a number"
            )
