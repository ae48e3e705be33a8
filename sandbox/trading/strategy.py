"""The base of a strategy: when to decide, what is forecast, who can be traded, orders by weight.

A strategy of your own is a class with a `next`:

    class Mine(Strategy):
        params = (("rebalance", "week"),)

        def next(self) -> None:
            if self.due:
                rising = [d for d, f in self.forecasts().items() if f.prob_up() > 0.6]
                self.order_target_weights(dict.fromkeys(rising, 1 / max(5, len(rising))))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import backtrader as bt
import numpy as np
import pandas as pd

from feeds import CLOSE
from sandbox.errors import StrategyError
from sandbox.trading.clock import NEVER, Clock
from sandbox.trading.costs import CostModel
from sandbox.trading.feed import CandleFeed
from sandbox.trading.params import Allowed, check_params
from sandbox.trading.schedule import period_of
from sandbox.words import did_you_mean

if TYPE_CHECKING:
    from kronos import Forecast

DUST = 1e-9  # of a lot: nothing but rounding


class Signal(Protocol):
    """Anything that forecasts a data feed as of its current bar."""

    def forecast(self, data: CandleFeed) -> Forecast | None: ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the engine hands to a strategy."""

    clock: Clock
    signal: Signal | None
    start: pd.Timestamp  # no decision before this
    withheld: Callable[[CandleFeed], bool]  # whether nothing of a symbol is ordered at this bar
    costs: Mapping[str, CostModel]  # by symbol: in what lots it is traded, what an order is worth


class Strategy(bt.Strategy):  # type: ignore[misc]
    """A portfolio: `next` decides at the close of each bar, orders fill at the next bar's open.

    `next` runs at every bar time from the start of the run on, whether or not every symbol has a
    bar then: ask `tradable()`. Earlier bars are there for indicators to warm up on.

    `self.cerebro.runstop()` ends the strategy's decisions: what it holds then, and the orders
    it has given, go on to the end of the run, so that its figures are of the same bars as others.

    Parameters are set with `--param name=value` and read as `self.p.name`. `rebalance` is one that
    every strategy has: `self.due` is true on the first bar of each such period, and forecasts are
    made for those bars only.

    Where the universe has members that come and go (`data.is_member`), a symbol is tradable and
    forecast only while it is one, and buying another is an error. What is held of one that leaves
    stays held until the strategy sells it, at any price it gets: so it is in Qlib, where a name
    without a score ranks last and is the first to be dropped. An order that was given while it was
    a member fills in the next bar, also as in Qlib; a buy that still waits then is cancelled.
    """

    params: ClassVar[Any] = (("rebalance", "bar"),)  # bar, day, week or month
    allowed: tuple[tuple[str, Allowed], ...] = ()  # of a parameter: words, or (least, most)
    cash_buffer = 0.01  # share of the portfolio's value that stays cash, for gaps and costs

    _asked_due_ns = NEVER
    _is_due = False

    @property
    def now(self) -> pd.Timestamp:
        """The close time of the current bar, UTC."""
        if self._desk.clock.now_ns is None:
            raise StrategyError(f"{type(self).__name__} asked for the time before the first bar")
        return self._desk.clock.now

    @property
    def due(self) -> bool:
        """Whether to decide now: on the run's first bar, then on the first of each period.

        Periods are the days, ISO weeks and months of UTC. Their first bar is that of whichever
        symbol trades first, so it may be one that other symbols lack.
        """
        now_ns = self._desk.clock.now_ns
        if now_ns is not None and self._asked_due_ns != now_ns:  # once a bar, whoever asks
            self._asked_due_ns, self._is_due = now_ns, self._begins_a_period(now_ns)
        return self._is_due

    @property
    def signal(self) -> Signal:
        """The forecasts: `self.signal.forecast(data)`, for the current bar only, when `due`."""
        if self._desk.signal is None:
            raise StrategyError(f"{type(self).__name__} asked for a forecast in a run without one")
        if not self.due:
            raise StrategyError(
                f"{type(self).__name__} asked for a forecast at {self.now:%Y-%m-%d %H:%M}, which "
                f"rebalance={self.p.rebalance} leaves out: ask when self.due, or set rebalance=bar"
            )
        return self._desk.signal

    def forecasts(self) -> dict[CandleFeed, Forecast]:
        """Of every symbol that is tradable and has a forecast now, in data order.

        One with a price that is not a number is none.
        """
        signal = self.signal
        asked = {data: signal.forecast(data) for data in self.tradable()}
        return {
            data: forecast
            for data, forecast in asked.items()
            if forecast is not None and np.isfinite(forecast.paths[..., : CLOSE + 1]).all()
        }

    def tradable(self) -> list[CandleFeed]:
        """The symbols that have a bar now, belong to their universe now and whose indicators have
        warmed up, in data order."""
        return [
            data
            for data, warmup_bars in zip(self.datas, self._minperiods, strict=True)
            if data.has_bar and data.is_member and len(data) >= warmup_bars
        ]

    def held(self) -> list[CandleFeed]:
        """The symbols the portfolio owns, with a bar now or not, in data order."""
        positions = self.broker.positions
        return [
            data for data in self.datas
            if data in positions and abs(positions[data].size) > DUST * self.lot_size(data)
        ]  # fmt: skip

    def weights(self) -> dict[CandleFeed, float]:
        """Each held symbol's share of the portfolio's value, at the latest closes."""
        value = self.broker.getvalue()
        return {data: self._size(data) * data.last_close / value for data in self.held()}

    def bars_held(self, data: CandleFeed) -> int:
        """Bars of this symbol since it was bought from nothing, the bar of that fill included."""
        if not self._size(data):
            return 0
        opened = [trades[-1].baropen for trades in self._trades[data].values() if trades[-1].isopen]
        return len(data) - min(opened) + 1

    def order_target_weights(
        self, weights: Mapping[CandleFeed, float], *, keep: Collection[CandleFeed] = ()
    ) -> None:
        """Sell, then buy, until each symbol's share of the value is its weight; others go to 0.

        Sized at this close, in whole lots, in the value less the `cash_buffer`. What is in `keep`
        stays as it is, whatever its share. A symbol without a bar now is not traded either, nor
        one whose forecast failed or came too late. One that is no member of its universe now
        (`data.is_member`) is not bought, whatever its weight.

        Orders that still wait are cancelled, except for a buy of a symbol in `keep` and an order
        that goes the right way for a symbol without a bar now.
        """
        keep = frozenset(keep)
        _check_weights(weights, keep)
        waiting = self._cancel_outdated(weights, keep)
        value = self.broker.getvalue()
        investable = value * (1 - self.cash_buffer)
        changes = {
            data: self._units_to_trade(data, investable * weights.get(data, 0.0))
            for data in dict.fromkeys([*self.held(), *weights])
            if data.has_bar and data not in keep and not self._desk.withheld(data)
        }
        sells = {data: -units for data, units in changes.items() if units < 0}
        buys = {data: units for data, units in changes.items() if units > 0 and data.is_member}
        cash = self.broker.getcash() + _cost(sells) - waiting - (value - investable)
        share = min(1.0, max(0.0, cash) / _cost(buys)) if buys else 1.0  # some money may be stuck
        for data, units in sells.items():
            self.sell(data, size=units)
        for data, units in buys.items():
            if size := self._whole_lots(data, units * share):
                self.buy(data, size=size)
        for data in changes:
            bought = self._size(data) or self._whole_lots(data, changes[data] * share)
            if weights.get(data) and data.is_member and not bought:
                self.broker.take_down_too_dear(data, share * investable * weights[data])

    def buy(self, data: CandleFeed | None = None, *rest: Any, **more: Any) -> bt.Order | None:
        """Backtrader's; it gives no order where a size comes to nothing, and that is taken down."""
        order = super().buy(data, *rest, **more)
        if order is None:
            self.broker.take_down_too_dear(data or self.data, self.broker.getcash())
        return order

    def getdatabyname(self, name: str) -> CandleFeed:
        """The data feed of a symbol, such as `self.getdatabyname("AAPL")`."""
        symbols = [data.symbol for data in self.datas]
        if name not in symbols:
            raise StrategyError(f"no symbol {name!r} in this run{did_you_mean(name, symbols)}")
        return self.datas[symbols.index(name)]

    def lot_size(self, data: CandleFeed) -> float:
        """Units of the symbol are bought and sold in multiples of this."""
        return self._desk.costs[data.symbol].lot_size

    def notify_order(self, order: bt.Order) -> None:
        """Lets the rest of an order go where cash ran out; where volume did, it goes on waiting.

        Call `super().notify_order(order)` in one of your own.
        """
        if order.status == bt.Order.Partial and order.info.get("cash_cut"):
            self.cancel(order)

    def prenext(self) -> None:
        """Before the start nothing is decided."""

    @property
    def _desk(self) -> Desk:
        desk: Desk = self.cerebro.desk
        return desk

    def _begins_a_period(self, now_ns: int) -> bool:
        before_ns, start_ns = self._desk.clock.before_ns, self._desk.start.value
        if before_ns < start_ns:
            return now_ns >= start_ns
        rebalance = self.p.rebalance
        return bool(period_of(before_ns, rebalance) != period_of(now_ns, rebalance))

    def _size(self, data: CandleFeed) -> float:
        return float(self.broker.positions[data].size)

    def _units_to_trade(self, data: CandleFeed, target_value: float) -> float:
        """From the size held to the target, negative to sell."""
        size = self._size(data)
        target = self._whole_lots(data, target_value / data.last_close)
        units = self._whole_lots(data, abs(target - size)) if target else size  # an odd lot, too
        if not self._desk.costs[data.symbol].takes(units, data.last_close):
            return 0.0  # the exchange takes no order as small as this
        return math.copysign(units, target - size)

    def _whole_lots(self, data: CandleFeed, units: float) -> float:
        lot_size = self.lot_size(data)
        return math.floor(units / lot_size + 1e-9) * lot_size

    def _cancel_outdated(
        self, weights: Mapping[CandleFeed, float], keep: Collection[CandleFeed]
    ) -> float:
        """The money that the buys which go on waiting need, at the latest closes."""
        needed = 0.0
        for order in [*self.broker.pending, *self.broker.submitted]:
            data, buy = order.data, order.isbuy()
            wanted = buy if data in keep else buy == bool(weights.get(data))
            if not wanted or (data.has_bar and data not in keep):
                self.cancel(order)
            elif buy:
                needed += abs(order.executed.remsize) * data.last_close
        return needed

    def _start(self) -> None:
        """Backtrader calls this once, before the first bar."""
        check_params(type(self), self.p._getkwargs())
        super()._start()

    def _stop(self) -> None:
        """Backtrader calls this as soon as the run is set up, the engine when it has ended."""
        if self.cerebro.has_ended:
            super()._stop()

    def _clk_update(self) -> int:
        """Backtrader would ask every feed whether it moved; the clock knows that one did."""
        self.forward()
        self.lines.datetime[0] = self._desk.clock.days
        return len(self)

    def _next_analyzers(self, minperstatus: int, once: bool = False) -> None:
        """Analyzers see the run, and no bar before its start."""
        if minperstatus <= 0:
            super()._next_analyzers(minperstatus, once)

    def _getminperstatus(self) -> int:
        """Backtrader's warm-up state: without this, `next` would wait for the last symbol.

        0, on the first bar of the run, is its word for `nextstart`, which calls `next`.
        """
        clock, start = self._desk.clock, self._desk.start
        begun = clock.before_ns >= start.value
        self._minperstatus = -1 if begun else 0 if clock.at_or_after(start) else 1
        return self._minperstatus


def _cost(units: Mapping[CandleFeed, float]) -> float:
    return float(sum(size * data.last_close for data, size in units.items()))


def _check_weights(weights: Mapping[Any, float], keep: Collection[Any]) -> None:
    for data, weight in weights.items():
        if not isinstance(data, CandleFeed):
            raise StrategyError(
                f"weights go by data feed, {data!r} is none: use self.getdatabyname(...)"
            )
        if data in keep:
            raise StrategyError(f"{data.symbol} has a weight and is in keep: it can be one only")
        if not (math.isfinite(weight) and weight >= 0):
            raise StrategyError(f"weight of {data.symbol} is {weight}: weights are 0 or more")
    if (total := sum(weights.values())) > 1 + 1e-9:
        raise StrategyError(f"weights add up to {total:.4f}: at most 1, there is no borrowing")
