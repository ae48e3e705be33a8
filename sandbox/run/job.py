"""The main job: candles, forecasts, portfolios side by side, a run folder with a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from sandbox.config import RunConfig
from sandbox.cores import how_it_ended
from sandbox.errors import RunFolderError, WindowError
from sandbox.forecast.book import ForecastBook
from sandbox.forecast.naive import NaiveSource
from sandbox.interrupts import tidied
from sandbox.progress import Progress
from sandbox.run.folder import run_folder
from sandbox.run.portfolios import Trading, trade
from sandbox.run.prepare import Prepared, prepare
from sandbox.run.record import notes, record

ROOT = Path(__file__).resolve().parents[2]

Bar = Callable[[str, str], AbstractContextManager[Progress]]  # label, unit -> (done, total)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that ended well."""

    folder: Path
    name: str
    title: str  # what was traded, on what, from when to when
    metrics: dict[str, Any]  # what metrics.json holds
    notes: tuple[str, ...]  # what a reader has to know before believing a figure


def run_job(config: RunConfig, *, out: Path | None, bar: Bar) -> Finished:
    """Trade the strategies, their controls and the benchmark; `bar` shows progress."""
    run = prepare(config)
    with run_folder(f"{run.name}-{run.config.candles.data}", out) as draft:
        draft.log(_title(run))
        with _timed(draft.log, "forecasts"), bar("Forecasting", "forecasts") as progress:
            books = _books(run, progress)
        draft.log(_counted(books[run.config.strategy.signal]))
        with _timed(draft.log, "backtests"), bar("Trading", "bars") as progress:
            traded = trade(run.plan(), Trading(market=run.market, books=books), progress)
        told = notes(run, traded) + list(books[run.config.strategy.signal].notes)
        for note in told:
            draft.log(note)
        draft.write_json("config.json", record(run, traded, told))
        for table in ("equity", "trades", "weights"):
            rows = pd.concat([getattr(backtest, table) for _, backtest in traded])
            draft.write_csv(f"{table}.csv", rows)
        if found := {one.name: book.analyses for one, book in traded if book.analyses}:
            draft.write_json("analyzers.json", found)
        with _timed(draft.log, "report"), bar("Reporting", "pages") as progress:
            write_report(draft.folder)
            # each strategy has a tear sheet, of a sweep the best combination
            pages = 1 + len({one.sweep_of or one.name for one in run.strategies})
            progress(pages, pages)
        metrics = json.loads((draft.folder / "metrics.json").read_text(encoding="utf-8"))
    return Finished(
        folder=draft.folder, name=run.name, title=_title(run), metrics=metrics, notes=tuple(told)
    )


def _books(run: Prepared, progress: Progress) -> dict[str, ForecastBook]:
    """Forecasts of the run's own signal and of its controls', by signal name."""
    frames, asofs = run.candles.frames, run.asofs()
    book = run.source.book(frames, run.sampling, asofs, progress)
    if not len(book):
        raise WindowError(
            f"no symbol has {run.config.sampling.lookback} bars of history by {run.end:%Y-%m-%d}: "
            "set a smaller --lookback or a later --end"
        )
    controls = {
        name: NaiveSource(name, run.calendar).book(frames, run.sampling, asofs)
        for name in run.controls
    }
    return {run.config.strategy.signal: book} | controls


def _counted(book: ForecastBook) -> str:
    return f"{book.computed:,} forecasts computed, {book.reused:,} taken from the store"


def _title(run: Prepared) -> str:
    signal = run.config.strategy.signal
    told = f"model {run.checkpoint.name}" if run.checkpoint else f"signal {signal}"
    return (
        f"{run.name} on {run.candles.spec}, {len(run.candles.symbols)} symbols, "
        f"{run.start:%Y-%m-%d} to {run.end:%Y-%m-%d}, {told}"
    )


def write_report(folder: Path) -> None:
    """In a process of its own: reports read run folders, and the runtime knows no reports."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    options = ["--parent", str(os.getpid())]
    with (
        subprocess.Popen(
            [sys.executable, "-m", "reports.report", str(folder), *options],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as report,
        tidied(partial(_kill, report)),
    ):
        try:
            _, errors = report.communicate()
        except BaseException:
            _kill(report)
            raise
    if report.returncode:
        lines = errors.strip().splitlines()
        reason = lines[-1].removeprefix("error: ") if lines else _ended(report.returncode)
        raise RunFolderError(f"the report could not be written: {reason}")


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _ended(exit_code: int) -> str:
    return f"its process {how_it_ended(exit_code)}"


@contextmanager
def _timed(log: Callable[[str], None], what: str) -> Iterator[None]:
    began = perf_counter()
    yield
    log(f"{what} took {perf_counter() - began:.1f} s")
