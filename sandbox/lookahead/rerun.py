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
from sandbox.forecast.naive import NaiveSource
from sandbox.progress import Progress
from sandbox.run.portfolios import Loaded, Market, Traded
from sandbox.run.reads import LOADING, Touch
from sandbox.run.trials import Failed, Result, Trial, Trials
from sandbox.trading.schedule import due_times

if TYPE_CHECKING:
    from sandbox.config import Sampling
    from sandbox.forecast.book import ForecastBook, SignalSource

Frames = Mapping[str, pd.DataFrame]
Opens = Mapping[str, NDArray[np.int64]]
STAND_IN = "momentum"  # the signal of a strategy that asks for none
HISTORY_ROUNDING = 1e-6  # of a size or a price, between runs on other amounts of history


class Decision(NamedTuple):
    """An order as the strategy gave it, or the cancellation of one."""

    time: pd.Timestamp  # of the bar at whose close it was decided
    symbol: str
    side: str
    size: float
    kind: str
    price: float | None  # None where the order names none

    def words(self, digits: int = 10) -> str:
        order = f"{self.side} {self.size:,.{digits}g} {self.symbol}"
        if self.kind == "cancel":
            return f"cancel: {order}"
        if self.kind == "market" or self.price is None:
            return f"{order} at {self.kind}"
        return f"{order}, {self.kind} {self.price:,.{digits}g}"


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
        return tuple(decision for decision in self.decisions if decision.time <= cut)


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """One strategy, tried on candles of any kind."""

    trials: Trials
    loaded: Loaded
    source: SignalSource
    sampling: Sampling
    asks: list[bool] = field(default_factory=lambda: [False])  # for forecasts, as far as is known

    def twice(self, market: Market, progress: Progress | None = None) -> tuple[Outcome, Outcome]:
        """A run and the same again in the same process, for what a run leaves behind there."""
        results = self._asking(lambda: self.trial(market, times=2, progress=progress))
        if isinstance(results, Failed):  # it may have been the second: what does one alone?
            alone = self._asking(lambda: self.trial(market))
            return self._outcome(alone, market), self._outcome(results, market)
        one, two = results
        return self._outcome([one], market), self._outcome([two], market)

    def all(self, markets: Iterable[Market]) -> Iterator[Outcome]:
        """The outcome on each market, in their order; a few are tried at a time."""
        for market, result in self.trials.ordered(markets, self.trial, at_once=cores()):
            again = self._asked_in_vain(result)
            yield self._outcome(self.trials.run(self.trial(market)) if again else result, market)

    def trial(self, market: Market, times: int = 1, progress: Progress | None = None) -> Trial:
        return Trial(
            name=self.loaded.name,
            path=self.loaded.path,
            params=self.loaded.params,
            market=market,
            signal=self.source.name if self.asks[0] else STAND_IN,
            book=self._book(market, progress),
            times=times,
        )

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

    def _book(self, market: Market, progress: Progress | None) -> ForecastBook:
        known = {symbol: frame.loc[: market.end] for symbol, frame in market.frames.items()}
        known = {symbol: frame for symbol, frame in known.items() if len(frame)}
        traded = bars_of(market).as_unit("ns").asi8
        asofs = pd.DatetimeIndex(due_times(traded, str(self.loaded.params["rebalance"])), tz="UTC")
        if self.asks[0]:
            return self.source.book(known, self.sampling, asofs, progress)
        return NaiveSource(STAND_IN).book(known, self.sampling, asofs)

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
    one: Sequence[Decision], other: Sequence[Decision], rounding: float = 0.0
) -> tuple[pd.Timestamp, tuple[str, ...], tuple[str, ...]] | None:
    """The first bar at which two runs decided differently, and what only each of them decided.

    `rounding` is the share that sizes and prices may be apart. Where a size is cut to whole lots,
    one that is apart by rounding before may be a lot apart after: that counts as another decision.
    """
    for mine, theirs in zip_longest(one, other):
        if mine is None or theirs is None or not _alike(mine, theirs, rounding):
            bar = min(decision.time for decision in (mine, theirs) if decision is not None)
            return bar, *_in_words(_at(one, bar), _at(other, bar))
    return None


def largest_difference(one: Sequence[Decision], other: Sequence[Decision]) -> float:
    """How far sizes and prices of the same decisions are apart at most, as a share."""
    pairs = [
        pair
        for mine, theirs in zip(one, other, strict=False)
        for pair in ((mine.size, theirs.size), (mine.price or 0.0, theirs.price or 0.0))
    ]
    return max((_apart(mine, theirs) for mine, theirs in pairs), default=0.0)


def _alike(one: Decision, other: Decision, rounding: float) -> bool:
    if one == other:
        return True
    if one._replace(size=0.0, price=None) != other._replace(size=0.0, price=None):
        return False
    if (one.price is None) != (other.price is None):
        return False
    prices = _apart(one.price or 0.0, other.price or 0.0)
    return _apart(one.size, other.size) <= rounding and prices <= rounding


def _apart(one: float, other: float) -> float:
    if one == other or one is other:
        return 0.0
    apart = abs(one - other) / max(abs(one), abs(other))
    return math.inf if math.isnan(apart) else apart


def _decisions(table: pd.DataFrame) -> tuple[Decision, ...]:
    columns = table[list(Decision._fields)]
    return tuple(
        Decision(time, symbol, side, _number(size), kind, None if math.isnan(price) else price)
        for time, symbol, side, size, kind, price in columns.itertuples(index=False, name=None)
    )


def _number(size: float) -> float:
    """All not-a-numbers as the same object, which equals itself inside a tuple."""
    return math.nan if math.isnan(size) else float(size)


def _at(decisions: Sequence[Decision], bar: pd.Timestamp) -> list[Decision]:
    return [decision for decision in decisions if decision.time == bar]


def _in_words(
    one: Sequence[Decision], other: Sequence[Decision]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is in one and not in the other; all of both where only the order differs."""
    only_one = list((Counter(one) - Counter(other)).elements())
    only_other = list((Counter(other) - Counter(one)).elements())
    if not only_one and not only_other:
        only_one, only_other = list(one), list(other)
    alike = {d.words() for d in only_one} & {d.words() for d in only_other}
    digits = 17 if alike else 10
    return tuple(d.words(digits) for d in only_one), tuple(d.words(digits) for d in only_other)
