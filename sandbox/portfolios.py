"""Which portfolios a run trades, and their backtests: strategies, their controls, a benchmark.

A control is a strategy's twin on a naive signal: what the same rules earn without the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from kronos import Forecast
from sandbox.broker import Account
from sandbox.config import Param
from sandbox.cores import Progress, over_cores
from sandbox.engine import Backtest, run_backtest
from sandbox.feed import CandleFeed
from sandbox.signal import ForecastBook
from sandbox.strategy import Signal, Strategy

Bar = Callable[[str, str], AbstractContextManager[Progress]]  # label, unit -> (done, total)
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

    def __init__(self, book: ForecastBook) -> None:
        self._book = book
        self.times = 0

    def forecast(self, data: CandleFeed) -> Forecast | None:
        self.times += 1
        return self._book.forecast(data)


@dataclass(frozen=True, kw_only=True)
class Trading:
    """The backtests of a run's portfolios, each independent of the others."""

    market: Market
    books: Mapping[str, ForecastBook]  # by signal name

    def strategies(
        self, plan: Sequence[Portfolio], progress: Progress
    ) -> tuple[list[tuple[Portfolio, Backtest]], list[Portfolio]]:
        """Backtests of the strategies, one after the other, and the portfolios left to trade.

        A strategy that asks for no forecast would do the same on any signal: its controls go.
        """
        done: list[tuple[Portfolio, Backtest]] = []
        left = [portfolio for portfolio in plan if portfolio.role != "strategy"]
        for portfolio in plan:
            if portfolio.role == "strategy":
                asked = _Asked(self.books[portfolio.signal or ""])
                done.append((portfolio, self.backtest(portfolio, asked, progress)))
                if not asked.times:
                    left = [other for other in left if other.twin_of != portfolio.name]
        return done, left

    def others(self, left: Sequence[Portfolio], progress: Progress) -> list[Backtest]:
        """Backtests of the other portfolios, over the cores of this machine."""
        return over_cores(self._other, left, progress)

    def backtest(self, portfolio: Portfolio, signal: Signal | None, progress: Progress) -> Backtest:
        market, loaded = self.market, portfolio.loaded
        return run_backtest(
            market.frames, loaded.cls, name=portfolio.name, start=market.start, end=market.end,
            account=market.account, signal=signal, params=loaded.params, on_bar=progress,
        )  # fmt: skip

    def _other(self, portfolio: Portfolio, progress: Progress) -> Backtest:
        signal = self.books[portfolio.signal] if portfolio.signal else None
        return self.backtest(portfolio, signal, progress)


def trade(
    plan: Sequence[Portfolio], trading: Trading, bar: Bar
) -> list[tuple[Portfolio, Backtest]]:
    """Every portfolio's backtest, in the plan's order."""
    with bar("Trading", "bars") as progress:
        done, left = trading.strategies(plan, progress)
    if left:
        with bar("Comparing", "bars") as progress:
            done += zip(left, trading.others(left, progress), strict=True)
    return done
