"""Which portfolios a run trades, and their backtests: strategies, controls, a benchmark.

A control is a strategy's rules on a naive signal: what they earn without the model. The costs-free
portfolio trades the strategy's own signal in a market where nothing costs anything.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds.members import NO_MEMBERS, Members
from kronos import Forecast
from sandbox.config import Param
from sandbox.cores import over_cores
from sandbox.errors import SandboxError, StrategyError
from sandbox.forecast.book import BarForecasts, Forecasts
from sandbox.memory import is_shortage, ran_out
from sandbox.progress import Progress
from sandbox.run.reads import Touch, watched
from sandbox.trading.analyzers import AskedAnalyzer
from sandbox.trading.broker import Account
from sandbox.trading.engine import Backtest, Setup, run_backtest
from sandbox.trading.feed import CandleFeed
from sandbox.trading.source import WARMUP_BARS, FrameSource
from sandbox.trading.strategy_file import load_strategy

Role = Literal["strategy", "control", "benchmark", "costs-free"]
COSTS_FREE: Role = "costs-free"
NOTHING: Mapping[str, Collection[int]] = {}
BENCHMARK = "benchmark"  # its name in the run folder's tables


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A strategy's file and parameters, checked. The class is loaded anew for each backtest."""

    name: str  # in tables and file names
    path: Path
    params: Mapping[str, Param]  # all it declares
    sweep_of: str | None = None  # the strategy that it is a combination of parameters of

    @property
    def sha256(self) -> str:
        """Of the file as it is now."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """One line of the comparison."""

    name: str
    role: Role
    loaded: Loaded
    signal: str | None  # what its forecasts come from
    repeats: str | None = None  # the strategy whose rules it trades on other terms

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
    ended: Mapping[str, int] | None = None  # as `feeds.Candles.ended`
    members: Members = field(default_factory=lambda: NO_MEMBERS)  # as `feeds.Candles.members`
    unforecast: Mapping[str, Collection[int]] = field(default_factory=dict)  # as `feeds.Candles`'
    warmup_bars: int = WARMUP_BARS
    as_on_paper: bool = False  # as in `FrameSource`
    analyzers: Sequence[AskedAnalyzer] = ()

    def source(self) -> FrameSource:
        """Its bars, one bar time after the other."""
        return FrameSource(
            self.frames, self.start, self.end, opens=self.opens, ended=self.ended,
            members=self.members, warmup_bars=self.warmup_bars, as_on_paper=self.as_on_paper,
        )  # fmt: skip


def planned(
    strategies: Sequence[Loaded],
    signal: str,
    controls: Sequence[str],
    benchmark: Loaded | None,
    *,
    costs_free: bool = False,
) -> list[Portfolio]:
    """The strategies, the benchmark, each strategy's controls, each strategy without costs.

    The combinations of a sweep are not repeated: there would be many times as many, and which of
    them is best is judged against how many there are.
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
            repeats=loaded.name,
        )
        for loaded in single
        for naive in controls
    ]  # fmt: skip
    return plan + [
        Portfolio(
            name=f"{loaded.name}:{COSTS_FREE}", role=COSTS_FREE, loaded=loaded, signal=signal,
            repeats=loaded.name,
        )
        for loaded in (single if costs_free else [])
    ]  # fmt: skip


class Traded(NamedTuple):
    """A portfolio's backtest, and what was seen on the way."""

    backtest: Backtest
    asked: int  # forecasts
    touches: tuple[Touch, ...]  # what the strategy reached for outside


class Stopped(NamedTuple):
    """How far a strategy came before an error ended it: the error's `stopped`."""

    bars_done: int
    asked: int  # forecasts
    error: BaseException  # as its own code raised it
    touches: tuple[Touch, ...]

    def portable(self) -> Stopped:
        """With an error that can be sent to another process."""
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:
            name = type(self.error).__name__
            return self._replace(error=StrategyError(f"{name}: {self.error}"))
        return self


class CurrentForecasts:
    """The forecasts that a strategy can ask for: those as of the bar that closes now.

    `show` is called before each bar time, so that none of a later one is on what a strategy is
    handed. It counts how often it was asked. `unforecast`: bars, by symbol and in ns since 1970,
    that were traded on paper without a forecast, since it failed or came too late.
    """

    def __init__(self, unforecast: Mapping[str, Collection[int]] = NOTHING) -> None:
        self.times_asked = 0
        self._shown: BarForecasts | None = None
        self._now_ns: int | None = None
        self._asked_now = False  # on paper it is known from the first question on
        self._unforecast = unforecast

    def show(self, time_ns: int, forecasts: BarForecasts | None) -> None:
        self._shown, self._now_ns, self._asked_now = forecasts, time_ns, False

    def forecast(self, data: CandleFeed) -> Forecast | None:
        self.times_asked += 1
        self._asked_now = True
        if self._shown is None or not data.has_bar or self.withheld(data):
            return None
        return self._shown.of(data.symbol)

    def withheld(self, data: CandleFeed) -> bool:
        """Whether the symbol has no forecast now where it should have one."""
        return self._asked_now and self._now_ns in self._unforecast.get(data.symbol, ())


def shown_from(book: Forecasts, signal: CurrentForecasts) -> Callable[[int], None]:
    """What shows the book's forecasts of each bar time, in ns since 1970, to a strategy."""

    def show(time_ns: int) -> None:
        signal.show(time_ns, book.as_of(time_ns, likely=signal.times_asked > 0))

    return show


@dataclass(frozen=True, kw_only=True)
class Trading:
    """The backtests of a run's portfolios, each independent of the others."""

    market: Market
    books: Mapping[str, Forecasts]  # by signal name

    def backtest(self, portfolio: Portfolio, progress: Progress) -> Traded:
        """What the portfolio did; an error says in `stopped` how far it came."""
        market, loaded = self.market, portfolio.loaded
        signal = self._signal(portfolio)
        bars_done = 0
        try:
            with watched() as reads:
                cls = load_strategy(loaded.path)  # anew: what one leaves in its class is its own
                reads.begin()

                def on_bar(done: int, bars: int) -> None:
                    nonlocal bars_done
                    bars_done = done
                    reads.bar_closed(done)
                    progress(done, bars)

                backtest = run_backtest(
                    market.source(),
                    Setup(
                        name=portfolio.name, strategy=cls, start=market.start,
                        account=portfolio.account(market.account), params=loaded.params,
                        signal=signal, analyzers=market.analyzers,
                        **({"withheld": signal.withheld} if signal else {}),
                    ),
                    before_bar=self._shown(portfolio, signal),
                    on_bar=on_bar,
                )  # fmt: skip
        except (Exception, SystemExit, GeneratorExit) as error:
            own = error if isinstance(error, SandboxError) else None
            shown = own or StrategyError(in_words(portfolio.name, loaded.path, error))
            asked_for = signal.times_asked if signal else 0
            stopped = Stopped(bars_done, asked_for, error, tuple(reads.touches)).portable()
            shown.stopped = stopped
            raise shown from (None if own else error)
        return Traded(backtest, signal.times_asked if signal else 0, tuple(reads.touches))

    def _signal(self, portfolio: Portfolio) -> CurrentForecasts | None:
        """Of what is missing of the model's forecasts a control on another signal has all."""
        if portfolio.signal is None:
            return None
        own = portfolio.role != "control"
        return CurrentForecasts(self.market.unforecast if own else NOTHING)

    def _shown(
        self, portfolio: Portfolio, signal: CurrentForecasts | None
    ) -> Callable[[int], None] | None:
        if portfolio.signal is None or signal is None:
            return None
        return shown_from(self.books[portfolio.signal], signal)


class Kept(Protocol):
    """Where backtests are kept whose inputs may come again: see `sandbox.run.kept`."""

    def read(self, portfolio: Portfolio) -> Traded | None: ...

    def keep(self, portfolio: Portfolio, traded: Traded) -> None: ...


def trade(
    plan: Sequence[Portfolio], trading: Trading, progress: Progress, kept: Kept | None = None
) -> list[tuple[Portfolio, Backtest]]:
    """Every portfolio's backtest, in the plan's order, over the cores of this machine; what is
    kept is not traded again.

    A strategy that asks for no forecast does the same on any signal: its controls are left out. One
    that never traded, with costs or without, paid none: its run without costs is left out.
    """
    done = list(zip(plan, _all_backtests(plan, trading, progress, kept), strict=True))
    blind = {portfolio.name for portfolio, each in done if portfolio.signal and not each.asked}
    idle = {portfolio.name for portfolio, each in done if each.backtest.trades.empty}

    def same(portfolio: Portfolio) -> bool:
        """Whether it does nothing that the strategy that it repeats does not do."""
        if portfolio.role == COSTS_FREE:
            return {portfolio.name, portfolio.repeats} <= idle
        return portfolio.role == "control" and portfolio.repeats in blind

    return [(portfolio, each.backtest) for portfolio, each in done if not same(portfolio)]


def _all_backtests(
    plan: Sequence[Portfolio], trading: Trading, progress: Progress, kept: Kept | None
) -> list[Traded]:
    known = {portfolio.name: kept.read(portfolio) for portfolio in plan} if kept else {}
    left = [portfolio for portfolio in plan if known.get(portfolio.name) is None]
    names = [portfolio.name for portfolio in left]
    new = dict(zip(names, backtests(left, trading, progress), strict=True))
    if kept:
        for portfolio in left:
            kept.keep(portfolio, new[portfolio.name])
    return [known.get(portfolio.name) or new[portfolio.name] for portfolio in plan]


def backtests(
    plan: Sequence[Portfolio], trading: Trading, progress: Progress, most: int | None = None
) -> list[Traded]:
    """Every portfolio's backtest, in the plan's order; with `most` in that many workers at most.

    They are forked by a thread that does nothing else: a worker has the stack of the thread that
    forked it, and a strategy's is the same in a run and in the proof that it does not look ahead.
    """
    if len(plan) < 2 and most is None:  # no worker
        return over_cores(trading.backtest, plan, progress, _name)
    results: list[list[Traded]] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(over_cores(trading.backtest, plan, progress, _name, most))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="trading", daemon=True)
    others = multiprocessing.active_children()
    thread.start()
    try:
        thread.join()
    except BaseException:  # Ctrl-C: without its workers the thread ends, too
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.terminate()
        raise
    if errors:
        raise errors[0]
    return results[0]


def _name(portfolio: Portfolio) -> str:
    return portfolio.name


def in_words(name: str, path: Path, error: BaseException) -> str:
    """What an error was, and the strategy's own line that led to it, if one did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(path.absolute())]
    frame = (own or frames)[-1]
    where = f"{frame.filename}:{frame.lineno}"
    if is_shortage(error):
        return f"{name}: {ran_out(error)} ({where})"
    return f"{name}: {type(error).__name__}: {error} ({where}); --debug shows more"
