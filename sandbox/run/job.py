"""The main job: candles, forecasts, portfolios side by side, a run folder with a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from sandbox.config import NO_STORE, RunConfig
from sandbox.errors import WindowError
from sandbox.forecast.book import ForecastBook
from sandbox.forecast.naive import NAIVE, NaiveSource
from sandbox.progress import Progress
from sandbox.reporting import ReportProcess, report_process
from sandbox.run.folder import run_folder
from sandbox.run.kept import KeptBacktests
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
    with start_report() as report:
        return _run(prepare(config), out, bar, report)


def _run(run: Prepared, out: Path | None, bar: Bar, report: ReportProcess) -> Finished:
    with run_folder(f"{run.name}-{run.config.data}", out) as draft:
        draft.log(_title(run))
        with _timed(draft.log, "forecasts"), bar("Forecasting", "forecasts") as progress:
            books = _books(run, progress)
        draft.log(_counted(books[run.config.signal]))
        with _timed(draft.log, "backtests"), bar("Trading", "bars") as progress:
            trading, plan, kept = Trading(market=run.market, books=books), run.plan(), _kept(run)
            traded = trade(plan, trading, progress, kept)
        if kept is not None and kept.reused:
            draft.log(f"{kept.reused} of {len(plan)} backtests were kept from before")
        told = notes(run, traded) + list(books[run.config.signal].notes)
        for note in told:
            draft.log(note)
        draft.write_json("config.json", record(run, traded, told))
        for table in ("equity", "trades", "weights"):
            rows = pd.concat([getattr(backtest, table) for _, backtest in traded])
            draft.write_csv(f"{table}.csv", rows)
        if found := {one.name: book.analyses for one, book in traded if book.analyses}:
            draft.write_json("analyzers.json", found)
        with _timed(draft.log, "report"), bar("Reporting", "pages") as progress:
            write_report(draft.folder, report)
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
            f"no symbol has {run.config.lookback} bars of history by {run.end:%Y-%m-%d}: "
            "set a smaller --lookback or a later --end"
        )
    controls = {
        name: NaiveSource(name, run.calendar).book(frames, run.sampling, asofs)
        for name in run.controls
    }
    return {run.config.signal: book} | controls


def _kept(run: Prepared) -> KeptBacktests | None:
    """Where controls' backtests are kept: beside the forecasts."""
    if run.config.store == NO_STORE:
        return None
    sampling = run.sampling, run.config.exchange
    made_from = {name: repr(sampling) for name in NAIVE}
    if run.checkpoint is not None:
        model = run.checkpoint.fingerprint, run.config.dtype, run.config.device
        made_from[run.source.name] = repr((*sampling, *model))
    return KeptBacktests(Path(run.config.store) / "backtests", run.market, made_from)


def _counted(book: ForecastBook) -> str:
    return f"{book.computed:,} forecasts computed, {book.reused:,} taken from the store"


def _title(run: Prepared) -> str:
    told = f"model {run.checkpoint.name}" if run.checkpoint else f"signal {run.config.signal}"
    return (
        f"{run.name} on {run.candles.spec}, {len(run.candles.symbols)} symbols, "
        f"{run.start:%Y-%m-%d} to {run.end:%Y-%m-%d}, {told}"
    )


def start_report() -> AbstractContextManager[ReportProcess]:
    """A report's process, which imports what it needs while portfolios are traded."""
    return report_process("reports.report", "--wait", waits=True)


def write_report(folder: Path, report: ReportProcess | None = None) -> None:
    """Write the report of a run folder, by a process that waits for one or by a new one."""
    with nullcontext(report) if report else start_report() as process:
        process.finish("the report", str(folder))


@contextmanager
def _timed(log: Callable[[str], None], what: str) -> Iterator[None]:
    began = perf_counter()
    yield
    log(f"{what} took {perf_counter() - began:.1f} s")
