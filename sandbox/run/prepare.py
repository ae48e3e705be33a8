"""A run before anything is computed: strategies, candles, window, costs and signal, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from feeds import Candles, bar_times
from sandbox.config import ComparisonOptions, RunConfig, StrategyOptions, Window
from sandbox.errors import ConfigError, WindowError
from sandbox.forecast.book import Forecasts, SignalSource, book_of
from sandbox.forecast.calendars import NamedCalendar
from sandbox.forecast.data import bar_times_inside, load_data
from sandbox.forecast.folds import as_asked, source_of
from sandbox.forecast.model import Weights
from sandbox.forecast.naive import NAIVE, NaiveSource
from sandbox.presets import preset_params
from sandbox.progress import Progress
from sandbox.run.portfolios import BENCHMARK, Loaded, Market, Portfolio, planned
from sandbox.run.sweep import combinations
from sandbox.trading.analyzers import asked_analyzers
from sandbox.trading.broker import Account
from sandbox.trading.costs import cost_model, with_steps
from sandbox.trading.params import params_for
from sandbox.trading.schedule import due_times
from sandbox.trading.strategy import Strategy
from sandbox.trading.strategy_file import load_strategy
from sandbox.words import safe_name

BENCHMARK_FILE = Path(__file__).resolve().parents[2] / "strategies" / "benchmark.py"


class Forecaster(NamedTuple):
    """What makes a run's forecasts."""

    source: SignalSource
    checkpoint: Weights | None  # None where no model is asked
    calendar: NamedCalendar | None  # None: bars go on as observed


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A checked run: everything loaded, nothing computed."""

    config: RunConfig
    strategies: tuple[Loaded, ...]
    benchmark: Loaded | None
    candles: Candles  # up to the end of the run; the market has the bars after it, too
    market: Market
    forecaster: Forecaster

    @property
    def name(self) -> str:
        """The strategies, each once: `topk+mine`, or `topk-sweep` where it is swept."""
        names = (
            f"{strategy.sweep_of}-sweep" if strategy.sweep_of else strategy.name
            for strategy in self.strategies
        )  # fmt: skip
        return "+".join(dict.fromkeys(names))

    @property
    def default_folder(self) -> str:
        """The name of its run folder unless it is given one."""
        scheme, _, rest = self.config.candles.data.partition(":")
        data = f"{scheme}-{Path(rest).stem}" if scheme == "paper" else self.config.candles.data
        return f"{self.name}-{data}"

    @property
    def signal(self) -> str:
        """What the strategies' forecasts come from."""
        return self.config.strategy.signal

    @property
    def costs_name(self) -> str:
        """The preset whose costs the account pays, where no other ones were named."""
        return _costs_name(self.config, self.candles)

    @property
    def controls(self) -> tuple[str, ...]:
        """The naive signals that each strategy is repeated on, but for those that are swept."""
        others = tuple(name for name in NAIVE if name != self.signal)
        single = any(strategy.sweep_of is None for strategy in self.strategies)
        return others if self.config.comparison.controls and single else ()

    def plan(self) -> list[Portfolio]:
        """All portfolios. The costs-free ones are left out where there is no cost to leave out."""
        costs = self.market.account.costs
        return planned(
            self.strategies, self.signal, self.controls, self.benchmark,
            costs_free=self.config.comparison.controls and costs != costs.without_costs(),
        )  # fmt: skip

    def books(self, progress: Progress) -> dict[str, Forecasts]:
        """The forecasts of the run's own signal and of its controls', by signal name."""
        frames, sampling, asofs = self.candles.frames, self.config.sampling, self.asofs()
        source, members = self.forecaster.source, self.market.members
        book = book_of(source, frames, sampling, asofs, progress, members)
        if not len(book) and not self.market.as_on_paper:  # there it was so, and it was traded
            raise WindowError(
                f"no symbol has {sampling.lookback} bars of history by {self.market.end:%Y-%m-%d}: "
                "set a smaller --lookback or a later --end"
            )
        controls = {
            name: NaiveSource(name, self.forecaster.calendar).book_of(book.windows, sampling)
            for name in self.controls
        }
        return {self.signal: book} | controls

    def asofs(self) -> pd.DatetimeIndex:
        """The bar times at which some strategy asks for forecasts."""
        times = bar_times(self.candles.frames)
        traded = times[(times >= self.market.start) & (times <= self.market.end)].asi8
        due = [due_times(traded, str(loaded.params["rebalance"])) for loaded in self.strategies]
        return pd.DatetimeIndex(np.unique(np.concatenate(due)), tz="UTC")


def prepare(config: RunConfig) -> Prepared:
    """Load and check everything a run needs; raises the error a user should read."""
    strategies = load_strategies(config.strategy)
    whole, calendar = load_data(config.candles)
    start, end = _traded(whole, config.window)
    candles = whole.between(None, end)
    # bars after the end, too: a symbol that comes back later has not ended
    market = whole.pick(candles.symbols)
    return Prepared(
        config=config,
        strategies=strategies,
        benchmark=_benchmark(config.comparison, candles),
        candles=candles,
        market=Market(
            frames=market.frames, opens=market.opens, start=start, end=end, ended=market.ended,
            members=market.members, as_on_paper=market.started_ns is not None,
            unforecast=market.unforecast, account=account_of(config, candles),
            analyzers=asked_analyzers(config.comparison.analyzers),
        ),
        forecaster=forecaster_of(config, calendar),
    )  # fmt: skip


def _costs_name(config: RunConfig, candles: Candles) -> str:
    return config.account.costs or candles.costs


def account_of(config: RunConfig, candles: Candles) -> Account:
    """Steps of single symbols' markets count, but for a lot size that is named."""
    named = asdict(config.cost_overrides)
    costs = cost_model(_costs_name(config, candles), **named)
    steps = {symbol: candles.steps[symbol] for symbol in candles.symbols if symbol in candles.steps}
    if named["lot_size"] is not None:
        steps = {symbol: replace(own, size=0.0) for symbol, own in steps.items()}
    return Account(cash=config.account.cash, costs=with_steps(costs, steps))


def load_strategies(options: StrategyOptions) -> tuple[Loaded, ...]:
    if not options.strategies:
        raise ConfigError("no strategy file: name one, such as strategies/topk.py")
    classes: dict[str, type[Strategy]] = {}
    paths: dict[str, Path] = {}
    for text in options.strategies:
        cls = load_strategy(text)
        stem = safe_name(Path(text).stem)
        name = _free(stem if stem != BENCHMARK else cls.__name__, classes)
        classes[name], paths[name] = cls, Path(text)
    preset = _declared_preset(options.preset, classes)
    return tuple(
        Loaded(
            name=tried.name, path=paths[tried.strategy], params=tried.params,
            sweep_of=tried.strategy if tried.swept else None,
        )
        for tried in combinations(classes, options.params, options.sweep, preset)
    )  # fmt: skip


def _free(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _declared_preset(preset: str | None, classes: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's parameters that some strategy of the run has."""
    known = {name for cls in classes.values() for name in cls.params._getkeys()}
    return {name: value for name, value in preset_params(preset).items() if name in known}


def _benchmark(options: ComparisonOptions, candles: Candles) -> Loaded | None:
    if not options.with_benchmark:
        return None
    if options.benchmark:
        _ = candles[options.benchmark]  # raises the error that names the nearest symbol
    cls = load_strategy(BENCHMARK_FILE)
    given = {"symbol": options.benchmark} if options.benchmark else {}
    params = params_for({BENCHMARK: cls}, given)[BENCHMARK]
    return Loaded(name=BENCHMARK, path=BENCHMARK_FILE, params=params)


def _traded(candles: Candles, window: Window) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The first and last bar time that the run trades: of what an account recorded all that it
    traded, unless the window names days of it."""
    if candles.started_ns is not None:
        inside = _of_account(candles, window)
    else:
        inside = bar_times_inside(candles, window, "candles to trade")
    if len(inside) == 1:
        raise WindowError(
            f"one bar time from {window.start} to {window.end}: two are needed, one to decide at "
            "and the next to trade at; set --start and --end further apart"
        )
    return inside[0], inside[-1]


def _of_account(candles: Candles, window: Window) -> pd.DatetimeIndex:
    """All bars that were traded, between the days that are named; it has no usual window."""
    started = pd.Timestamp(candles.started_ns or 0, tz="UTC")
    times, usual = bar_times(candles.frames), Window()
    traded = times[times > started]
    if window.start != usual.start:
        traded = traded[traded >= pd.Timestamp(window.start, tz="UTC")]
    if window.end != usual.end:
        traded = traded[traded < pd.Timestamp(window.end, tz="UTC") + pd.Timedelta(days=1)]
    if traded.empty:
        raise WindowError(
            f"{candles.spec} has traded no bar of the window yet: its first one closes after "
            f"{started:%Y-%m-%d %H:%M}"
        )
    return traded


def forecaster_of(config: RunConfig, calendar: NamedCalendar | None) -> Forecaster:
    signal, model = config.strategy.signal, config.model
    if signal != "kronos" and model.calibrate:
        raise ConfigError(
            f"--calibrate: {signal} is a naive signal, and it is a model's forecasts "
            "that are calibrated"
        )
    if signal != "kronos":
        return Forecaster(NaiveSource(signal, calendar), None, calendar)
    source, weights = source_of(model, config.sampling.lookback, config.backend, calendar)
    return Forecaster(as_asked(source, model, config.sampling), weights, calendar)
