"""Forecasts as Backtrader lines, for strategies that are written as indicators are.

def __init__(self):
    self.kronos = {data: KronosSignal(data) for data in self.datas}

def next(self):
    rising = [data for data in self.tradable() if self.kronos[data].prob_up[0] > 0.6]
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import backtrader as bt

from sandbox.errors import StrategyError
from sandbox.trading.feed import CandleFeed

if TYPE_CHECKING:
    from kronos import Forecast
    from sandbox.trading.strategy import Signal, Strategy

NOTHING = (float("nan"),) * 3


class KronosSignal(bt.Indicator):  # type: ignore[misc]
    """What the run's signal forecasts for one symbol, as of each of its bars.

    Lines, at the horizon: expected_return, uncertainty (width of the 5-95 % band) and prob_up. They
    are NaN where there is no forecast: too little history, a bar off the schedule, no bar now.
    """

    lines = ("expected_return", "uncertainty", "prob_up")
    _forecast: Forecast | None = None
    _figures: tuple[float, ...] = NOTHING  # of the symbol's latest bar
    _hidden = False  # whether the lines say NaN where that bar's figures belong

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(self.data, CandleFeed):
            raise StrategyError(
                f"KronosSignal needs candles of the sandbox's own feeds, got "
                f"{type(self.data).__name__}: give it a data of the strategy, not a line"
            )

    def forecast(self) -> Forecast | None:
        """Every sampled path of the current bar's forecast; None where the lines are NaN."""
        return self._forecast

    def next(self) -> None:
        if not self.data.has_bar:
            if not self._hidden:
                self._forecast, self._hidden = None, True
                self._show(NOTHING, 0)
            return
        if self._hidden and len(self) > 1:
            self._show(self._figures, -1)
        # forecasts are there for the schedules of all strategies of a run, not of this one alone
        due = self._strategy.due
        self._forecast, self._hidden = self._signal.forecast(self.data) if due else None, False
        self._figures = _figures(self._forecast)
        if self._forecast:  # Backtrader has put NaN there already
            self._show(self._figures, 0)

    def _show(self, figures: tuple[float, ...], ago: int) -> None:
        lines: Any = self.lines  # Backtrader makes the tuple of names an object
        for line, figure in zip(lines, figures, strict=True):
            line[ago] = figure

    @cached_property
    def _strategy(self) -> Strategy:
        """The strategy that owns this indicator, or owns its owner."""
        owner: Any = self._owner
        while owner is not None and not hasattr(owner, "cerebro"):
            owner = getattr(owner, "_owner", None)
        if getattr(getattr(owner, "cerebro", None), "desk", None) is None:
            raise StrategyError("KronosSignal asked for a forecast in a run without one")
        strategy: Strategy = owner
        return strategy

    @cached_property
    def _signal(self) -> Signal:
        """The run's."""
        signal: Signal | None = self._strategy.cerebro.desk.signal
        if signal is None:
            raise StrategyError("KronosSignal asked for a forecast in a run without one")
        return signal


def _figures(forecast: Forecast | None) -> tuple[float, ...]:
    if forecast is None:
        return NOTHING
    return forecast.expected_return(), forecast.uncertainty(), forecast.prob_up()
