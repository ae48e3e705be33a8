"""The base of a strategy: forecasts, who can be traded now, and orders by target weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import backtrader as bt
import pandas as pd

from sandbox.errors import StrategyError
from sandbox.feed import CandleFeed, Clock

if TYPE_CHECKING:
    from kronos import Forecast


class Signal(Protocol):
    """Anything that forecasts a data feed as of its current bar."""

    def forecast(self, data: CandleFeed) -> Forecast | None: ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the engine hands to a strategy."""

    clock: Clock
    signal: Signal | None
    start: pd.Timestamp  # no decision before this


class Strategy(bt.Strategy):  # type: ignore[misc]
    """A portfolio: `next` decides at the close of each bar, orders fill at the next bar's open.

    `next` runs at every bar time from the start of the run on, whether or not every symbol has a
    bar then: ask `tradable()`. Earlier bars are there for indicators to warm up on.
    """

    cash_buffer = 0.01  # share of the portfolio's value that stays cash, for gaps and costs
    lot_size = 1.0  # units of a symbol are bought and sold in multiples of this

    @property
    def signal(self) -> Signal:
        """The forecasts: `self.signal.forecast(data)`, for the current bar only."""
        if self._desk.signal is None:
            raise StrategyError(f"{type(self).__name__} asked for a forecast in a run without one")
        return self._desk.signal

    @property
    def now(self) -> pd.Timestamp:
        """The close time of the current bar, UTC."""
        return self._desk.clock.now

    def tradable(self) -> list[CandleFeed]:
        """The symbols that have a bar now and whose indicators have warmed up, in data order."""
        return [
            data
            for data, warmup_bars in zip(self.datas, self._minperiods, strict=True)
            if data.has_bar and len(data) >= warmup_bars
        ]

    def held(self) -> list[CandleFeed]:
        """The symbols the portfolio owns, with a bar now or not, in data order."""
        return [data for data in self.datas if len(data) and self.getposition(data).size]

    def new_week(self) -> bool:
        """Whether this is the run's first bar, or the first one of its ISO week (UTC)."""
        before = self._desk.clock.before
        if before is None or before < self._desk.start:
            return True
        return before.isocalendar()[:2] != self.now.isocalendar()[:2]

    def order_target_weights(self, weights: Mapping[CandleFeed, float]) -> None:
        """Sell, then buy, until each symbol's share of the value is its weight; others go to 0.

        Sized at this close in whole lots. A symbol without a bar now keeps its position; it is
        not bought either, unless an order for it is waiting already. Older orders that wait for
        any other symbol are cancelled.
        """
        _check_weights(weights)
        self._cancel_waiting(weights)
        changes = {
            data: change
            for data in self.datas
            if data.has_bar and (change := self._units_to_trade(data, weights.get(data, 0.0)))
        }
        sells = {data: -units for data, units in changes.items() if units < 0}
        buys = {data: units for data, units in changes.items() if units > 0}
        for data, units in sells.items():
            self.sell(data, size=units)
        share = self._affordable_share(sells, buys)
        for data, units in buys.items():
            if size := self._whole_lots(units * share):
                self.buy(data, size=size)

    def notify_order(self, order: bt.Order) -> None:
        if order.status == bt.Order.Partial:  # cash ran out at the open: let the rest go
            self.cancel(order)

    @property
    def _desk(self) -> Desk:
        desk: Desk = self.cerebro.desk
        return desk

    def _units_to_trade(self, data: CandleFeed, weight: float) -> float:
        target_value = weight * self.broker.getvalue() * (1 - self.cash_buffer)
        target = self._whole_lots(target_value / data.close[0])
        return float(target - self.getposition(data).size)

    def _whole_lots(self, units: float) -> float:
        return math.floor(units / self.lot_size + 1e-9) * self.lot_size

    def _affordable_share(
        self, sells: Mapping[CandleFeed, float], buys: Mapping[CandleFeed, float]
    ) -> float:
        """Below 1 where money is stuck in symbols that cannot be sold now."""
        proceeds = sum(units * data.close[0] for data, units in sells.items())
        spare = self.cash_buffer * self.broker.getvalue()
        cost = sum(units * data.close[0] for data, units in buys.items())
        return min(1.0, max(0.0, self.broker.getcash() + proceeds - spare) / cost) if cost else 1.0

    def _cancel_waiting(self, weights: Mapping[CandleFeed, float]) -> None:
        for order in list(self.broker.pending):
            if order.data.has_bar or order.data not in weights:
                self.cancel(order)

    def _getminperstatus(self) -> int:
        """Backtrader's warm-up state: without this, `next` would wait for the last symbol."""
        self._minperstatus = -1 if self.now >= self._desk.start else 1
        return self._minperstatus

    def prenext(self) -> None:
        """Before the start nothing is decided."""


def _check_weights(weights: Mapping[Any, float]) -> None:
    for data, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise StrategyError(f"weight of {data.symbol} is {weight}: weights are 0 or more")
    if (total := sum(weights.values())) > 1 + 1e-9:
        raise StrategyError(f"weights add up to {total:.4f}: at most 1, there is no borrowing")
