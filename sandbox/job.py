"""The main job: candles, forecasts, a strategy and its benchmark, a run folder with a report."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

import kronos
from feeds import Candles
from feeds import load as load_candles
from sandbox.broker import Account
from sandbox.config import RunConfig
from sandbox.engine import Backtest, run_backtest
from sandbox.errors import ConfigError, RunFolderError, WindowError
from sandbox.metrics import bars_per_year, summarize
from sandbox.run_folder import package_versions, run_folder, safe_name
from sandbox.signal import KronosSignal, Progress
from sandbox.strategy import Strategy
from sandbox.strategy_file import load_strategy, typed_params
from sandbox.windows import Sampling

ROOT = Path(__file__).resolve().parent.parent
BENCHMARK_FILE = ROOT / "strategies" / "benchmark.py"
BENCHMARK = "benchmark"  # its name in the run folder's tables

Bar = Callable[[str, str], AbstractContextManager[Progress]]  # label, unit -> (done, total)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that ended well."""

    folder: Path
    name: str  # of the strategy
    metrics: dict[str, Any]  # what metrics.json holds
    notes: tuple[str, ...]  # what a reader has to know before believing a figure


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A checked run: everything loaded, nothing computed."""

    config: RunConfig
    name: str
    strategy: type[Strategy]
    candles: Candles
    checkpoint: kronos.Checkpoint
    start: pd.Timestamp  # the first bar traded
    end: pd.Timestamp  # the last


def run_job(config: RunConfig, *, out: Path | None, bar: Bar) -> Finished:
    """Run a strategy and its benchmark; `bar` shows the progress of the long parts."""
    prepared = _prepare(config)
    default_name = f"{prepared.name}-{prepared.config.data}"
    with run_folder(default_name, out) as draft:
        draft.log(_title(prepared))
        with _timed(draft.log, "forecasts"), bar("Forecasting", "forecasts") as progress:
            signal = _forecasts(prepared, progress)
        with _timed(draft.log, "backtests"):
            backtests = _backtests(prepared, signal, bar)
        metrics = _metrics(prepared, backtests)
        notes = _notes(prepared, backtests)
        for note in notes:
            draft.log(note)
        draft.write_json("config.json", _record(prepared, notes))
        draft.write_csv("equity.csv", pd.concat([b.equity for b in backtests]))
        draft.write_csv("trades.csv", pd.concat([b.trades for b in backtests]))
        draft.write_json("metrics.json", metrics)
        with _timed(draft.log, "report"):
            _write_report(draft.folder)
    return Finished(folder=draft.folder, name=prepared.name, metrics=metrics, notes=notes)


def _prepare(config: RunConfig) -> _Prepared:
    strategy = load_strategy(config.strategy)
    params = typed_params(strategy, config.params)
    candles = load_candles(config.data, end=None, repair=config.repair)
    start, end = _window(candles, config)
    candles = candles.between(None, end)
    checkpoint = load_checkpoint(config)
    stem = safe_name(Path(config.strategy).stem)
    return _Prepared(
        config=config.model_copy(update={"params": params}).with_market_costs(candles.costs),
        name=stem if stem != BENCHMARK else strategy.__name__,
        strategy=strategy,
        candles=candles,
        checkpoint=checkpoint,
        start=start,
        end=end,
    )


def load_checkpoint(config: RunConfig) -> kronos.Checkpoint:
    """The model, if its context holds the lookback."""
    checkpoint = kronos.load(config.model)
    if config.lookback > checkpoint.max_context:
        raise ConfigError(
            f"--lookback {config.lookback}: model {checkpoint.name} sees {checkpoint.max_context} "
            "bars at most"
        )
    return checkpoint


def _window(candles: Candles, config: RunConfig) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The first and last bar time that the run trades."""
    times = candles.frames[candles.symbols[0]].index
    for frame in candles.frames.values():
        times = times.union(frame.index)
    first, last = pd.Timestamp(config.start, tz="UTC"), pd.Timestamp(config.end, tz="UTC")
    inside = times[(times >= first) & (times < last + pd.Timedelta(days=1))]
    if len(inside) < 2:
        raise WindowError(
            f"no candles to trade from {config.start} to {config.end}: {candles.spec} has "
            f"{times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}, set --start and --end"
        )
    return inside[0], inside[-1]


def _forecasts(run: _Prepared, progress: Progress) -> KronosSignal:
    predictor = run.checkpoint.predictor(device=run.config.device, dtype=run.config.dtype)
    signal = KronosSignal(predictor, Sampling.of(run.config))
    if not signal.compute(run.candles.frames, run.start, run.end, progress):
        raise WindowError(
            f"no symbol has {run.config.lookback} bars of history by {run.end:%Y-%m-%d}: "
            "set a smaller --lookback or a later --end"
        )
    return signal


def _backtests(run: _Prepared, signal: KronosSignal, bar: Bar) -> list[Backtest]:
    config = run.config
    account = Account(
        cash=config.cash,
        commission_bps=config.commission_bps or 0.0,
        slippage_bps=config.slippage_bps or 0.0,
    )
    books = []
    for name, strategy, params in (
        (run.name, run.strategy, config.params),
        (BENCHMARK, load_strategy(BENCHMARK_FILE), {}),
    ):
        with bar(f"Trading {name}", "bars") as progress:
            book = run_backtest(
                run.candles.frames, strategy, name=name, start=run.start, end=run.end,
                account=account, signal=signal, params=params, on_bar=progress,
            )  # fmt: skip
        books.append(book)
    return books


def _metrics(run: _Prepared, backtests: list[Backtest]) -> dict[str, Any]:
    figures = {b.name: summarize(b.equity, b.trades, run.config.cash) for b in backtests}
    ours, theirs = (figures[b.name]["total_return_pct"] for b in backtests)
    return {
        "strategies": figures,
        "benchmark": BENCHMARK,
        "beat_benchmark": ours > theirs,
        "bars_per_year": bars_per_year(backtests[0].equity["time"]),
        "orders_refused": {b.name: b.refused for b in backtests},
    }


def _notes(run: _Prepared, backtests: list[Backtest]) -> tuple[str, ...]:
    notes = [f"Data: {run.candles.note}"] if run.candles.note else []
    notes += list(run.candles.repairs)
    notes.append(model_sentence(run.checkpoint, run.start))
    refused = backtests[0].refused
    if refused:
        notes.append(f"{refused} orders of {run.name} were refused for lack of cash.")
    return tuple(notes)


def model_sentence(checkpoint: kronos.Checkpoint, first: pd.Timestamp) -> str:
    """Whether figures from `first` on can be called unseen."""
    weights = f"Model: {checkpoint.name} (weights {checkpoint.fingerprint[:12]})"
    if checkpoint.seen_until is None:
        return f"{weights}; up to when its training data runs is not known."
    seen_until = pd.Timestamp(checkpoint.seen_until).tz_localize("UTC")
    if seen_until >= first.normalize():
        return (
            f"{weights} was trained on data to {seen_until:%Y-%m-%d} and may have seen these very "
            "candles: figures up to then are not out of sample."
        )
    return f"{weights} was trained on data to {seen_until:%Y-%m-%d}; these candles came later."


def _record(run: _Prepared, notes: tuple[str, ...]) -> dict[str, Any]:
    """Everything needed to repeat the run, and what the report says about it."""
    return {
        "name": run.name,
        "config": run.config.model_dump(mode="json"),
        "strategy_sha256": hashlib.sha256(Path(run.config.strategy).read_bytes()).hexdigest(),
        "window": {"first_bar": run.start.isoformat(), "last_bar": run.end.isoformat()},
        "data": {
            "spec": run.candles.spec,
            "hash": run.candles.data_hash,
            "symbols": list(run.candles.symbols),
        },
        "model": {
            "name": run.checkpoint.name,
            "fingerprint": run.checkpoint.fingerprint,
            "seen_until": run.checkpoint.seen_until,
            "max_context": run.checkpoint.max_context,
        },
        "notes": list(notes),
        "packages": package_versions(),
    }


def _title(run: _Prepared) -> str:
    return (
        f"{run.name} on {run.candles.spec}, {len(run.candles.symbols)} symbols, "
        f"{run.start:%Y-%m-%d} to {run.end:%Y-%m-%d}, model {run.checkpoint.name}"
    )


def _write_report(folder: Path) -> None:
    """In a process of its own: reports read run folders, and the runtime knows no reports."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "reports.tearsheet", str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise RunFolderError(f"the report could not be written: {lines[-1]}")


@contextmanager
def _timed(log: Callable[[str], None], what: str) -> Iterator[None]:
    began = perf_counter()
    yield
    log(f"{what} took {perf_counter() - began:.1f} s")
