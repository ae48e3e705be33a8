"""The main job: candles, forecasts, portfolios side by side, a run folder with a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import pandas as pd

from sandbox.config import NO_STORE, RunConfig
from sandbox.files import Draft
from sandbox.forecast.book import Forecasts
from sandbox.forecast.naive import NAIVE
from sandbox.progress import Bar
from sandbox.reporting import ReportProcess, report_process
from sandbox.run.folder import run_folder
from sandbox.run.kept import KeptBacktests
from sandbox.run.portfolios import Kept, Portfolio, Trading, trade
from sandbox.run.prepare import Prepared, prepare
from sandbox.run.record import notes, record
from sandbox.run.tried import count, tried_run, tries_record
from sandbox.trading.engine import Backtest

ROOT = Path(__file__).resolve().parents[2]


class Reused(Kept, Protocol):
    """Backtests that are not traded again, counted."""

    reused: int


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
    return run_prepared(run, out=out, bar=bar, report=report, kept=_kept(run), is_try=True)


def run_prepared(
    run: Prepared, *, out: Path | None, bar: Bar, report: ReportProcess, kept: Reused | None,
    more_notes: Sequence[str] = (), is_try: bool = False,
) -> Finished:  # fmt: skip
    """Trade what is not `kept`, and write the run folder; one that is a try is counted."""
    with run_folder(run.default_folder, out) as draft:
        draft.log(_title(run))
        with _timed(draft.log, "forecasts"), bar("Forecasting", "forecasts") as progress:
            books = run.books(progress)
        own_book = books[run.signal]
        draft.log(_counted(own_book))
        with _timed(draft.log, "backtests"), bar("Trading", "bars") as progress:
            trading, plan = Trading(market=run.market, books=books), run.plan()
            traded = trade(plan, trading, progress, kept)
        if kept is not None and kept.reused:
            draft.log(f"{kept.reused} of {len(plan)} backtests were kept from before")
        all_notes = [*notes(run, traded), *own_book.notes, *more_notes]
        content, tried = record(run, traded, all_notes), None
        if is_try:
            tried = tried_run(run, traded)
            content["tries"] = tries_record(tried, draft.folder)
        _write(draft, traded, all_notes, content)
        with _timed(draft.log, "report"), bar("Reporting", "pages") as progress:
            write_report(draft.folder, report)
            # each strategy has a tear sheet, of a sweep the best combination
            pages = 1 + len({strategy.sweep_of or strategy.name for strategy in run.strategies})
            progress(pages, pages)
        metrics = json.loads((draft.folder / "metrics.json").read_text(encoding="utf-8"))
    if tried is not None:
        all_notes += _counted_tries(metrics, count(tried, draft.folder), draft)
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


def _kept(run: Prepared) -> KeptBacktests | None:
    """Where controls' backtests are kept: beside the forecasts."""
    model, forecaster = run.config.model, run.forecaster
    if model.store == NO_STORE:
        return None
    calendar = forecaster.calendar and forecaster.calendar.name
    sampling = run.config.sampling, calendar
    made_from = {name: repr(sampling) for name in NAIVE}
    if forecaster.checkpoint is not None:
        weights = forecaster.checkpoint.fingerprint, model.dtype, model.device, model.calibrate
        made_from[forecaster.source.name] = repr((*sampling, *weights))
    return KeptBacktests(Path(model.store) / "backtests", run.market, made_from)


def _counted(book: Forecasts) -> str:
    return f"{book.computed:,} forecasts computed, {book.reused:,} taken from the store"


def _counted_tries(metrics: Mapping[str, Any], said: list[str], draft: Draft) -> list[str]:
    """What the report says of tries, and what went wrong with counting them, which is logged."""
    for line in said:
        draft.log(line)
    report = metrics.get("tries") or {}
    return [report["sentence"], *said] if report else said


def _title(run: Prepared) -> str:
    model, market = run.forecaster.checkpoint, run.market
    made_by = f"model {model.name}" if model else f"signal {run.signal}"
    return (
        f"{run.name} on {run.candles.spec}, {len(run.candles.symbols)} symbols, "
        f"{market.start:%Y-%m-%d} to {market.end:%Y-%m-%d}, {made_by}"
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
