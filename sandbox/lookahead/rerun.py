"""One run of a strategy boiled down to its decisions, and what differs between two such runs.

Each run takes place in a process of its own (`sandbox.run.trials`). Forecasts are made here from
the candles that the run is given and no others. A strategy that never asks for one gets a stand-in
that costs nothing, and if it then asks, it is run again with the forecasts it asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import bar_times
from sandbox.cores import cores
from sandbox.errors import StrategyError
from sandbox.forecast.book import book_of, history_bars
from sandbox.forecast.naive import NaiveSource
from sandbox.progress import Progress
from sandbox.run.portfolios import Loaded, Market, Portfolio, Traded, Trading
from sandbox.run.reads import LOADING, Touch
from sandbox.run.trials import Failed, Result, Trial, Trials
from sandbox.trading.ledger import Decision
from sandbox.trading.schedule import due_times

if TYPE_CHECKING:
    from sandbox.config import Sampling
    from sandbox.forecast.book import Forecasts, SignalSource

Frames = Mapping[str, pd.DataFrame]
Opens = Mapping[str, NDArray[np.int64]]
STAND_IN = "momentum"  # the signal of a strategy that asks for none
HISTORY_ROUNDING = 1e-6  # of a size or a price, between runs on other amounts of history


class Reached(NamedTuple):
    """Something outside that a strategy reached for, and the bar at which it first did."""

    touch: Touch
    bar: pd.Timestamp | None  # None: while its file was loaded


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run decided, or at which bar it stopped and why."""

    decisions: tuple[Decision, ...] = ()
    bars: pd.DatetimeIndex  # the bar times from the start on
    error: Exception | None = None
    failed_at: pd.Timestamp | None = None  # the bar at which the error was raised
    bars_needed: int = 0  # by the indicators of the symbol that needs most
    asked: int = 0  # forecasts
    reached: tuple[Reached, ...] = ()

    def until(self, cut: pd.Timestamp) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.time_ns <= cut.value)


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """One strategy, tried on candles of any kind."""

    trials: Trials
    loaded: Loaded
    source: SignalSource
    sampling: Sampling
    asks: list[bool] = field(default_factory=lambda: [False])  # for forecasts, as far as is known

    @property
    def history_bars(self) -> int:
        """Bars of each symbol that a forecast may depend on, asof included."""
        return history_bars(self.source, self.sampling)

    def twice(self, market: Market, progress: Progress | None = None) -> tuple[Outcome, Outcome]:
        """A run and the same again in the same process, for what a run leaves behind there."""
        results = self._asking(lambda: self.trial(market, times=2, progress=progress))
        if isinstance(results, Failed):  # it may have been the second: what does one alone?
            alone = self._asking(lambda: self.trial(market))
            return self._outcome(alone, market), self._outcome(results, market)
        first, again = results
        return self._outcome([first], market), self._outcome([again], market)

    def all(self, markets: Iterable[Market]) -> Iterator[Outcome]:
        """The outcome on each market, in their order; a few are tried at a time."""
        for market, result in self.trials.ordered(markets, self.trial, at_once=cores()):
            again = self._asked_in_vain(result)
            yield self._outcome(self.trials.run(self.trial(market)) if again else result, market)

    def trial(self, market: Market, times: int = 1, progress: Progress | None = None) -> Trial:
        signal = self.source.name if self.asks[0] else STAND_IN
        portfolio = Portfolio(
            name=self.loaded.name, role="strategy", loaded=self.loaded, signal=signal
        )
        books = {signal: self._book(market, progress)}
        return Trial(portfolio=portfolio, trading=Trading(market=market, books=books), times=times)

    def _asking(self, trial: Callable[[], Trial]) -> Result:
        """The result, with forecasts if the strategy turns out to ask for them."""
        result = self.trials.run(trial())
        return self.trials.run(trial()) if self._asked_in_vain(result) else result

    def _asked_in_vain(self, result: Result) -> bool:
        """Whether it asked a stand-in; from then on there are forecasts."""
        asked = (
            result.stopped is not None and result.stopped.asked > 0
            if isinstance(result, Failed)
            else any(traded.asked for traded in result)
        )
        in_vain = asked and not self.asks[0]
        self.asks[0] = self.asks[0] or asked
        return in_vain

    def _book(self, market: Market, progress: Progress | None) -> Forecasts:
        known = {symbol: frame.loc[: market.end] for symbol, frame in market.frames.items()}
        known = {symbol: frame for symbol, frame in known.items() if len(frame)}
        traded = bars_of(market).as_unit("ns").asi8
        asofs = pd.DatetimeIndex(due_times(traded, str(self.loaded.params["rebalance"])), tz="UTC")
        if self.asks[0]:
            return book_of(self.source, known, self.sampling, asofs, progress, market.members)
        return NaiveSource(STAND_IN).book(known, self.sampling, asofs, None, market.members)

    def _outcome(self, result: Result, market: Market) -> Outcome:
        bars = bars_of(market)
        if isinstance(result, Failed):
            return _failed(result, bars)
        traded: Traded = result[0]
        return Outcome(
            decisions=_decisions(traded.backtest.decisions),
            bars=bars,
            bars_needed=traded.backtest.bars_needed,
            asked=traded.asked,
            reached=_reached(traded.touches, bars),
        )


def bars_of(market: Market) -> pd.DatetimeIndex:
    """The bar times that are traded."""
    times = bar_times(market.frames)
    return times[(times >= market.start) & (times <= market.end)]


def _failed(result: Failed, bars: pd.DatetimeIndex) -> Outcome:
    stopped = result.stopped
    if stopped is None or not isinstance(result.shown, StrategyError):
        raise result.shown  # the run's own trouble: it says nothing of the strategy
    error = stopped.error if isinstance(stopped.error, Exception) else result.shown
    if error is not result.shown:
        error.__cause__ = result.shown
    return Outcome(
        bars=bars,
        error=error,
        failed_at=bars[min(stopped.bars_done, len(bars) - 1)],
        reached=_reached(stopped.touches, bars),
    )


def _reached(touches: Iterable[Touch], bars: pd.DatetimeIndex) -> tuple[Reached, ...]:
    return tuple(
        Reached(
            touch,
            None if touch.bars_done == LOADING else bars[min(touch.bars_done, len(bars) - 1)],
        )
        for touch in touches
    )


def first_difference(
    mine: Sequence[Decision], theirs: Sequence[Decision], rounding: float = 0.0
) -> tuple[pd.Timestamp, tuple[str, ...], tuple[str, ...]] | None:
    """The first bar at which two runs decided differently, and what only each of them decided.

    `rounding` is the share that sizes and prices may be apart. Where a size is cut to whole lots,
    one that is apart by rounding before may be a lot apart after: that counts as another decision.
    """
    for pair in zip_longest(mine, theirs):
        if None in pair or not _alike(*pair, rounding):
            bar = min(decision.time for decision in pair if decision is not None)
            return bar, *_only_in_each(_at(mine, bar), _at(theirs, bar))
    return None


def largest_difference(mine: Sequence[Decision], theirs: Sequence[Decision]) -> float:
    """How far sizes and prices of the same decisions are apart at most, as a share."""
    pairs = zip(mine, theirs, strict=False)
    return max((_furthest_apart(*pair) for pair in pairs), default=0.0)


def in_words(decision: Decision, digits: int = 10) -> str:
    """An order as a trader reads it: `buy 12 AAPL, limit 101.5`."""
    order = f"{decision.side} {decision.size:,.{digits}g} {decision.symbol}"
    if decision.kind == "cancel":
        return f"cancel: {order}"
    if decision.kind == "market" or math.isnan(decision.price):
        return f"{order} at {decision.kind}"
    return f"{order}, {decision.kind} {decision.price:,.{digits}g}"


def _alike(mine: Decision, theirs: Decision, rounding: float) -> bool:
    if mine == theirs:
        return True
    if mine._replace(size=0.0, price=0.0) != theirs._replace(size=0.0, price=0.0):
        return False
    return _furthest_apart(mine, theirs) <= rounding


def _furthest_apart(mine: Decision, theirs: Decision) -> float:
    """The larger of how far two sizes and two prices are apart."""
    return max(_apart(mine.size, theirs.size), _apart(mine.price, theirs.price))


def _apart(mine: float, theirs: float) -> float:
    """As a share of the larger; infinity where only one of them is a number."""
    if mine == theirs or (math.isnan(mine) and math.isnan(theirs)):
        return 0.0
    share = abs(mine - theirs) / max(abs(mine), abs(theirs))
    return math.inf if math.isnan(share) else share


def _decisions(table: pd.DataFrame) -> tuple[Decision, ...]:
    times_ns = pd.DatetimeIndex(table["time"]).as_unit("ns").asi8.tolist()
    columns = [table[name].tolist() for name in ("symbol", "side", "size", "kind", "price")]
    return tuple(
        Decision(time_ns, symbol, side, _number(size), kind, _number(price))
        for time_ns, symbol, side, size, kind, price in zip(times_ns, *columns, strict=True)
    )


def _number(number: float) -> float:
    """All not-a-numbers as the same object, which equals itself inside a tuple."""
    return math.nan if math.isnan(number) else number


def _at(decisions: Sequence[Decision], bar: pd.Timestamp) -> list[Decision]:
    return [decision for decision in decisions if decision.time_ns == bar.value]


def _only_in_each(
    mine: Sequence[Decision], theirs: Sequence[Decision]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """In words, what only each of them has; all of both where only the order differs."""
    only_mine = list((Counter(mine) - Counter(theirs)).elements())
    only_theirs = list((Counter(theirs) - Counter(mine)).elements())
    if not only_mine and not only_theirs:
        only_mine, only_theirs = list(mine), list(theirs)
    look_alike = {in_words(d) for d in only_mine} & {in_words(d) for d in only_theirs}
    digits = 17 if look_alike else 10
    return (
        tuple(in_words(decision, digits) for decision in only_mine),
        tuple(in_words(decision, digits) for decision in only_theirs),
    )
