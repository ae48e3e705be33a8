"""The main job: candles, forecasts, portfolios side by side, a run folder with a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from sandbox.config import RunConfig
from sandbox.cores import how_it_ended
from sandbox.errors import RunFolderError
from sandbox.forecast.book import ForecastBook
from sandbox.interrupts import tidied
from sandbox.progress import Bar
from sandbox.run.folder import Draft, run_folder
from sandbox.run.portfolios import Portfolio, Trading, trade
from sandbox.run.prepare import Prepared, prepare
from sandbox.run.record import notes, record
from sandbox.trading.engine import Backtest

ROOT = Path(__file__).resolve().parents[2]


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
    with run_folder(f"{run.name}-{config.candles.data}", out) as draft:
        draft.log(_title(run))
        with _timed(draft.log, "forecasts"), bar("Forecasting", "forecasts") as progress:
            books = run.books(progress)
        own_book = books[run.signal]
        draft.log(_counted(own_book))
        with _timed(draft.log, "backtests"), bar("Trading", "bars") as progress:
            traded = trade(run.plan(), Trading(market=run.market, books=books), progress)
        all_notes = [*notes(run, traded), *own_book.notes]
        _write(draft, traded, all_notes, record(run, traded, all_notes))
        with _timed(draft.log, "report"), bar("Reporting", "pages") as progress:
            write_report(draft.folder)
            # each strategy has a tear sheet, of a sweep the best combination
            pages = 1 + len({strategy.sweep_of or strategy.name for strategy in run.strategies})
            progress(pages, pages)
        metrics = json.loads((draft.folder / "metrics.json").read_text(encoding="utf-8"))
    return Finished(
        folder=draft.folder, name=run.name, title=_title(run), metrics=metrics,
        notes=tuple(all_notes),
    )  # fmt: skip


def _write(
    draft: Draft,
    traded: Sequence[tuple[Portfolio, Backtest]],
    all_notes: Sequence[str],
    content: Mapping[str, Any],
) -> None:
    """The files of a run folder that its report is made from."""
    for note in all_notes:
        draft.log(note)
    draft.write_json("config.json", content)
    for table in ("equity", "trades", "weights"):
        rows = pd.concat([getattr(backtest, table) for _, backtest in traded])
        draft.write_csv(f"{table}.csv", rows)
    analyses = {
        portfolio.name: backtest.analyses for portfolio, backtest in traded if backtest.analyses
    }
    if analyses:
        draft.write_json("analyzers.json", analyses)


def _counted(book: ForecastBook) -> str:
    return f"{book.computed:,} forecasts computed, {book.reused:,} taken from the store"


def _title(run: Prepared) -> str:
    model, market = run.forecaster.checkpoint, run.market
    made_by = f"model {model.name}" if model else f"signal {run.signal}"
    return (
        f"{run.name} on {run.candles.spec}, {len(run.candles.symbols)} symbols, "
        f"{market.start:%Y-%m-%d} to {market.end:%Y-%m-%d}, {made_by}"
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
