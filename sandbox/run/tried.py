"""A finished run, as the registry of tries takes it down: what counts as a thing that was tried.

A thing is told from another by the strategy's file with the modules of its own that it imports, its
parameters, the signal, the model's weights, how forecasts are sampled (the seed, too), the
calendar, the starting cash and the costs; not by its name, nor by where or on what it was computed.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sandbox.config import CostOptions
from sandbox.forecast.folds import registry_folder
from sandbox.run.portfolios import Portfolio
from sandbox.run.prepare import Prepared
from sandbox.run.reads import is_library
from sandbox.trading.engine import Backtest
from sandbox.tries.registry import FILE, Registry, TriesError
from sandbox.tries.tried import Days, Returns, Tried, TriedRun, key_of, thing_of

ELSEWHERE = {  # options that say nothing of a thing, or that a `TriedRun` has under other names
    "strategies", "params", "sweep", "preset",
    "data", "repair", "stamps", "calendar", "start", "end",
    "model", "device", "store", "backend", "ray_address", "replicas", "replica_gpus",
    "replica_threads", "costs", "benchmark", "with_benchmark", "controls", "analyzers",
    *(field.name for field in fields(CostOptions)),
}  # fmt: skip

AllTraded = Sequence[tuple[Portfolio, Backtest]]


def tried_run(run: Prepared, traded: AllTraded) -> TriedRun:
    """What a run tried: each strategy, of a sweep each combination."""
    strategies = [pair for pair in traded if pair[0].role == "strategy"]
    model = run.forecaster.checkpoint
    days, _ = _daily(strategies[0][1], run.market.account.cash)
    shared: dict[str, Any] = {
        "signal": run.signal,
        "fingerprint": model.fingerprint if model else None,
        "settings": _settings(run),
        "costs": asdict(run.market.account.costs),
    }
    first_bar, last_bar = run.market.start.isoformat(), run.market.end.isoformat()
    return TriedRun(
        when=_now(),
        folder="",  # not known yet
        spec=run.candles.spec,
        data_hash=run.candles.data_hash,
        first_bar=first_bar,
        last_bar=last_bar,
        model=model.name if model else None,
        days=days,
        benchmark=_benchmark(run, traded, days),
        tries=tuple(
            _tried(run, portfolio, backtest, shared, (first_bar, last_bar))
            for portfolio, backtest in strategies
        ),
        **shared,
    )


def _tried(
    run: Prepared, portfolio: Portfolio, backtest: Backtest, shared: Mapping[str, Any],
    window: tuple[str, str],
) -> Tried:  # fmt: skip
    code, params = code_hash(portfolio.loaded.path), dict(portfolio.loaded.params)
    thing = thing_of({**shared, "code": code, "params": params})
    return Tried(
        name=portfolio.name, code=code, params=params, thing=thing,
        key=key_of(thing, run.candles.data_hash, *window),
        returns=_daily(backtest, run.market.account.cash)[1],
    )  # fmt: skip


def _settings(run: Prepared) -> dict[str, Any]:
    """What else decides what a thing does. What is off is left out, so that an option that comes
    later makes no new thing of an old one."""
    calendar = run.forecaster.calendar
    flat = run.config.flat() | {"calendar of the bars": calendar and calendar.name}
    return {
        name: value
        for name, value in flat.items()
        if name not in ELSEWHERE and value is not None and value is not False
    }


def _daily(backtest: Backtest, cash: float) -> tuple[Days, Returns]:
    """Net returns from the last value of each day (UTC); the first day's is against the cash."""
    equity = backtest.equity
    times = pd.DatetimeIndex(equity["time"]).tz_localize(None)
    value = pd.Series(equity["value"].to_numpy(float), times.normalize()).groupby(level=0).last()
    days = pd.DatetimeIndex(value.index).to_numpy("datetime64[D]").astype(np.int32)
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = value / value.shift(fill_value=cash) - 1
    return days, returns.to_numpy(np.float32)


def _benchmark(run: Prepared, traded: AllTraded, days: Days) -> Returns | None:
    """None: there is none, or it has other days."""
    for portfolio, backtest in traded:
        if portfolio.role == "benchmark":
            own_days, returns = _daily(backtest, run.market.account.cash)
            return returns if np.array_equal(own_days, days) else None
    return None


def code_hash(path: Path) -> str:
    """SHA-256 of a strategy's file, and of the modules that it imports and that are no library."""
    digest = hashlib.sha256(path.read_bytes())
    seen: set[str] = set()
    left = list(_own_imports(path))
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += _own_imports(Path(module))
    for content in sorted(Path(module).read_bytes() for module in seen):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _own_imports(path: Path) -> Iterator[str]:
    """Files of the modules that a file imports, of those that are loaded and are no library's."""
    tree = None
    with suppress(OSError, SyntaxError, ValueError):
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and not is_library(os.path.realpath(file)) and Path(file).is_file():
                yield os.path.realpath(file)


def tries_record(tried: TriedRun, place: Path) -> dict[str, Any]:
    """For config.json: where the run is counted, and which things it tried, by portfolio."""
    registry = registry_folder(place) / FILE
    return {
        "registry": os.path.relpath(registry, place.absolute()),
        "things": {each.name: each.thing for each in tried.tries},
    }


def count(tried: TriedRun, folder: Path) -> list[str]:
    """Add the tries of a run whose folder is whole to its registry; what has to be told.

    A registry that cannot be written costs the run nothing: a note says so.
    """
    place = registry_folder(folder)
    name = os.path.relpath(folder.absolute(), place)
    try:
        said = Registry(place).add(replace(tried, folder=name, when=_now()))
    except TriesError as error:
        return [f"Not counted among the tries: {error}. Reports will say too few."]
    return [said] if said else []


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
