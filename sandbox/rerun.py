"""One run of a strategy boiled down to its decisions, and what differs between two such runs.

Forecasts are made from the candles that the run is given and no others, the first time the
strategy asks for one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import new_class
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from sandbox.engine import WARMUP_BARS, run_backtest
from sandbox.errors import SandboxError, StrategyError
from sandbox.feed import CandleFeed, bar_times
from sandbox.progress import Progress
from sandbox.schedule import due_times

if TYPE_CHECKING:
    from kronos import Forecast
    from sandbox.broker import Account
    from sandbox.signal import ForecastBook, SignalSource
    from sandbox.strategy import Strategy
    from sandbox.windows import Sampling

Frames = Mapping[str, pd.DataFrame]


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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run decided, or at which bar it stopped and why."""

    decisions: tuple[Decision, ...] = ()
    bars: pd.DatetimeIndex  # the bar times from the start on
    error: Exception | None = None
    failed_at: pd.Timestamp | None = None  # the bar at which the error was raised

    def until(self, cut: pd.Timestamp) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.time <= cut)


@dataclass(frozen=True)
class Trial:
    """What all runs of one proof share."""

    strategy: type[Strategy]
    params: Mapping[str, Any]
    account: Account
    start: pd.Timestamp
    source: SignalSource
    sampling: Sampling

    @classmethod
    def watched(cls, strategy: type[Strategy], *rest: Any) -> tuple[Trial, list[int]]:
        """A trial, and a list that each of its runs adds to: the bars that the strategy's
        indicators need before they say anything, of the symbol that needs most."""
        needed: list[int] = []

        def start(self: Any) -> None:
            needed.append(max(self._minperiods))
            strategy.start(self)

        # one class for all runs, so that what one leaves behind on it is there for the next
        body = {"start": start, "__module__": strategy.__module__, "__doc__": strategy.__doc__}
        made = new_class(strategy.__name__, (strategy,), exec_body=lambda own: own.update(body))
        return cls(made, *rest), needed

    def run(
        self, frames: Frames, warmup_bars: int = WARMUP_BARS, on_forecast: Progress | None = None
    ) -> Outcome:
        """Trade from the start to the last candle there is."""
        times = bar_times(frames)
        bars = times[times >= self.start]
        done = 0

        def count(bars_done: int, _: int) -> None:
            nonlocal done
            done = bars_done

        try:
            backtest = run_backtest(
                frames,
                self.strategy,
                name=self.strategy.__name__,
                start=self.start,
                end=bars[-1],
                account=self.account,
                signal=_Lazy(lambda: self._book(frames, bars, on_forecast)),
                params=self.params,
                warmup_bars=warmup_bars,
                on_bar=count,
            )
        except Exception as error:
            if isinstance(error, SandboxError) and not isinstance(error, StrategyError):
                raise  # the run's own trouble, such as a full disk: it says nothing of the strategy
            return Outcome(bars=bars, error=error, failed_at=bars[min(done, len(bars) - 1)])
        return Outcome(decisions=_decisions(backtest.decisions), bars=bars)

    def _book(
        self, frames: Frames, bars: pd.DatetimeIndex, progress: Progress | None
    ) -> ForecastBook:
        asofs = due_times(bars.as_unit("ns").asi8, self._rebalance)
        index = pd.DatetimeIndex(asofs, tz="UTC")
        return self.source.book(frames, self.sampling, index, progress)

    @property
    def _rebalance(self) -> str:
        declared = dict(self.strategy.params._getitems())
        return str((declared | dict(self.params)).get("rebalance", "bar"))


def first_difference(
    one: Sequence[Decision], other: Sequence[Decision]
) -> tuple[pd.Timestamp, tuple[str, ...], tuple[str, ...]] | None:
    """The first bar at which two runs decided differently, and what only each of them decided."""
    for mine, theirs in zip_longest(one, other):
        if mine != theirs:
            bar = min(decision.time for decision in (mine, theirs) if decision is not None)
            return bar, *_in_words(_at(one, bar), _at(other, bar))
    return None


class _Lazy:
    """A signal that is computed when the strategy first asks, if it ever does."""

    def __init__(self, make: Callable[[], ForecastBook]) -> None:
        self._make = make
        self._book: ForecastBook | None = None

    def forecast(self, data: CandleFeed) -> Forecast | None:
        if self._book is None:
            self._book = self._make()
        return self._book.forecast(data)


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
