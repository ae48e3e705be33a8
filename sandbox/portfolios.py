"""Which portfolios a run trades, and their backtests: strategies, their twins, a benchmark.

A control is a strategy's twin on a naive signal: what the same rules earn without the model. The
costs-free one trades on the same signal in a market where nothing costs anything.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos import Forecast
from sandbox.analyzers import AskedAnalyzer
from sandbox.broker import Account
from sandbox.config import Param
from sandbox.cores import over_cores
from sandbox.engine import Backtest, run_backtest
from sandbox.errors import SandboxError, StrategyError
from sandbox.feed import CandleFeed
from sandbox.memory import is_shortage, ran_out
from sandbox.progress import Progress
from sandbox.signal import ForecastBook
from sandbox.strategy import Strategy
from sandbox.strategy_file import load_strategy

Role = Literal["strategy", "control", "benchmark", "costs-free"]
COSTS_FREE: Role = "costs-free"
BENCHMARK = "benchmark"  # its name in the run folder's tables


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A strategy file, read."""

    name: str  # in tables and file names
    path: Path
    cls: type[Strategy]
    params: Mapping[str, Param]  # all it declares
    sweep_of: str | None = None  # the strategy that it is a combination of parameters of


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """One line of the comparison."""

    name: str
    role: Role
    loaded: Loaded
    signal: str | None  # what its forecasts come from
    twin_of: str | None = None  # the strategy that it repeats

    def account(self, of_run: Account) -> Account:
        """The run's own, or the same cash where trading costs nothing."""
        if self.role != COSTS_FREE:
            return of_run
        return replace(of_run, costs=of_run.costs.without_costs())


@dataclass(frozen=True, kw_only=True)
class Market:
    """What all portfolios of a run share."""

    frames: Mapping[str, pd.DataFrame]
    start: pd.Timestamp
    end: pd.Timestamp
    account: Account
    opens: Mapping[str, NDArray[np.int64]] | None = None  # as `feeds.Candles.opens`
    analyzers: Sequence[AskedAnalyzer] = ()


def planned(
    strategies: Sequence[Loaded],
    signal: str,
    controls: Sequence[str],
    benchmark: Loaded | None,
    *,
    costs_free: bool = False,
) -> list[Portfolio]:
    """The strategies, the benchmark, each strategy's controls, each one without costs.

    The combinations of a sweep have no twins: they would be many times as many, and which of them
    is best is judged against how many there are.
    """
    plan = [
        Portfolio(name=loaded.name, role="strategy", loaded=loaded, signal=signal)
        for loaded in strategies
    ]
    if benchmark is not None:
        plan.append(Portfolio(name=benchmark.name, role="benchmark", loaded=benchmark, signal=None))
    single = [loaded for loaded in strategies if loaded.sweep_of is None]
    plan += [
        Portfolio(
            name=f"{loaded.name}:{naive}", role="control", loaded=loaded, signal=naive,
            twin_of=loaded.name,
        )
        for loaded in single
        for naive in controls
    ]  # fmt: skip
    return plan + [
        Portfolio(
            name=f"{loaded.name}:{COSTS_FREE}", role=COSTS_FREE, loaded=loaded, signal=signal,
            twin_of=loaded.name,
        )
        for loaded in (single if costs_free else [])
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

    def backtest(self, portfolio: Portfolio, progress: Progress) -> tuple[Backtest, int]:
        """What the portfolio did, and how often it asked for a forecast."""
        market, loaded = self.market, portfolio.loaded
        cls = load_strategy(loaded.path)  # anew: what one leaves in its class is not the next one's
        asked = _Asked(self.books[portfolio.signal]) if portfolio.signal else None
        try:
            backtest = run_backtest(
                market.frames, cls, name=portfolio.name, start=market.start, end=market.end,
                account=portfolio.account(market.account), opens=market.opens, signal=asked,
                params=loaded.params, on_bar=progress, analyzers=market.analyzers,
            )  # fmt: skip
        except SandboxError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            raise StrategyError(_told(portfolio, error)) from error
        return backtest, asked.times if asked else 0


def trade(
    plan: Sequence[Portfolio], trading: Trading, progress: Progress
) -> list[tuple[Portfolio, Backtest]]:
    """Every portfolio's backtest, in the plan's order, over the cores of this machine.

    A strategy that asks for no forecast does the same on any signal: its controls are left out. One
    that never traded, with costs or without, paid none: its run without costs is left out.
    """
    backtests = over_cores(trading.backtest, plan, progress, name=lambda each: each.name)
    done = list(zip(plan, backtests, strict=True))
    blind = {portfolio.name for portfolio, (_, asked) in done if portfolio.signal and not asked}
    idle = {portfolio.name for portfolio, (backtest, _) in done if backtest.trades.empty}

    def same(portfolio: Portfolio) -> bool:
        """Whether a twin does nothing that its strategy does not do."""
        if portfolio.role == COSTS_FREE:
            return {portfolio.name, portfolio.twin_of} <= idle
        return portfolio.role == "control" and portfolio.twin_of in blind

    return [(portfolio, backtest) for portfolio, (backtest, _) in done if not same(portfolio)]


def _told(portfolio: Portfolio, error: BaseException) -> str:
    """What an error was, and the strategy's own line that led to it, if one did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(portfolio.loaded.path.absolute())]
    frame = (own or frames)[-1]
    where = f"{frame.filename}:{frame.lineno}"
    if is_shortage(error):
        return f"{portfolio.name}: {ran_out(error)} ({where})"
    return f"{portfolio.name}: {type(error).__name__}: {error} ({where}); --debug shows more"
