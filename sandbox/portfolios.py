"""Which portfolios a run trades, and their backtests: strategies, their controls, a benchmark.

A control is a strategy's twin on a naive signal: what the same rules earn without the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from kronos import Forecast
from sandbox.broker import Account
from sandbox.config import Param
from sandbox.engine import Backtest, run_backtest
from sandbox.feed import CandleFeed
from sandbox.signal import ForecastBook
from sandbox.strategy import Strategy

Role = Literal["strategy", "control", "benchmark"]
BENCHMARK = "benchmark"  # its name in the run folder's tables


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A strategy file, read."""

    name: str  # in tables and file names
    path: Path
    cls: type[Strategy]
    params: Mapping[str, Param]  # all it declares


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """One line of the comparison."""

    name: str
    role: Role
    loaded: Loaded
    signal: str | None  # what its forecasts come from
    twin_of: str | None = None  # the strategy that a control repeats


@dataclass(frozen=True, kw_only=True)
class Market:
    """What all portfolios of a run share."""

    frames: Mapping[str, pd.DataFrame]
    start: pd.Timestamp
    end: pd.Timestamp
    account: Account


def planned(
    strategies: Sequence[Loaded], signal: str, controls: Sequence[str], benchmark: Loaded | None
) -> list[Portfolio]:
    """The strategies, then the benchmark, then each strategy's controls."""
    plan = [
        Portfolio(name=loaded.name, role="strategy", loaded=loaded, signal=signal)
        for loaded in strategies
    ]
    if benchmark is not None:
        plan.append(Portfolio(name=benchmark.name, role="benchmark", loaded=benchmark, signal=None))
    return plan + [
        Portfolio(
            name=f"{loaded.name}:{naive}", role="control", loaded=loaded, signal=naive,
            twin_of=loaded.name,
        )
        for loaded in strategies
        for naive in controls
    ]  # fmt: skip


class _Asked:
    """A signal that counts how often it was asked."""

    def __init__(self, book: ForecastBook | None) -> None:
        self._book = book
        self.times = 0

    def forecast(self, data: CandleFeed) -> Forecast | None:
        self.times += 1
        return self._book.forecast(data) if self._book is not None else None


def trade(
    plan: Sequence[Portfolio],
    books: Mapping[str, ForecastBook],
    market: Market,
    progress: Callable[[int, int], None],
) -> list[tuple[Portfolio, Backtest]]:
    """Every portfolio's backtest; controls of a strategy that asks for no forecast are left out."""
    done: list[tuple[Portfolio, Backtest]] = []
    blind: set[str] = set()
    for nth, portfolio in enumerate(plan):
        if portfolio.twin_of in blind:
            continue
        asked = _Asked(books.get(portfolio.signal or ""))
        backtest = run_backtest(
            market.frames,
            portfolio.loaded.cls,
            name=portfolio.name,
            start=market.start,
            end=market.end,
            account=market.account,
            signal=asked if portfolio.signal else None,
            params=portfolio.loaded.params,
            on_bar=_shifted(progress, nth, len(plan)),
        )
        if portfolio.role == "strategy" and not asked.times:
            blind.add(portfolio.name)
        done.append((portfolio, backtest))
    return done


def _shifted(
    progress: Callable[[int, int], None], nth: int, portfolios: int
) -> Callable[[int, int], None]:
    """One bar for all portfolios: bars done of this one on top of those before it."""
    return lambda done, bars: progress(nth * bars + done, portfolios * bars)
