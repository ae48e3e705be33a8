"""One strategy over one set of candles: decide at a close, fill at the next open, keep the books.

The books are the run folder's tables. A fill's time is the close of the bar in whose open it was
filled. `gross_value` is the value plus all costs paid so far: what the same fills would have been
worth without costs, had the money saved stayed in cash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import backtrader as bt
import pandas as pd

from sandbox.broker import Account, CostedBroker
from sandbox.errors import WindowError
from sandbox.feed import CandleFeed, Clock, times_ns
from sandbox.strategy import Desk, Signal, Strategy

EQUITY_COLUMNS = ("time", "strategy", "cash", "value", "gross_value")
TRADE_COLUMNS = (
    "time", "strategy", "symbol", "side", "size", "price", "reference_price",
    "commission", "slippage", "impact",
)  # fmt: skip
WARMUP_BARS = 260  # bars of each symbol before the start, for a strategy's own indicators


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What one strategy did."""

    name: str
    equity: pd.DataFrame  # one row a bar time, EQUITY_COLUMNS
    trades: pd.DataFrame  # one row a fill, TRADE_COLUMNS
    refused: int  # orders the broker would not take


class _Ledger(bt.Analyzer):  # type: ignore[misc]
    """Writes down every fill and, at every close from the start on, cash and value."""

    params = (("strategy_name", ""), ("on_bar", None), ("bars", 0))

    def start(self) -> None:
        self.equity: list[tuple[Any, ...]] = []
        self.trades: list[tuple[Any, ...]] = []
        self.refused = 0
        self._costs_paid = 0.0
        self._fills_seen: dict[int, int] = {}

    def prenext(self) -> None:
        """Before the start there is nothing to write down."""

    def next(self) -> None:
        cash, value = self.strategy.broker.getcash(), self.strategy.broker.getvalue()
        row = (self.strategy.now, self.p.strategy_name, cash, value, value + self._costs_paid)
        self.equity.append(row)
        if self.p.on_bar is not None:
            self.p.on_bar(len(self.equity), self.p.bars)

    def notify_order(self, order: bt.Order) -> None:
        if order.status in (bt.Order.Margin, bt.Order.Rejected):
            self.refused += 1
        fills = order.executed.exbits  # shared by all copies of the order, older fills first
        for fill in islice(fills, self._fills_seen.get(order.ref, 0), None):
            self._add_fill(order, fill)
        self._fills_seen[order.ref] = len(fills)

    def _add_fill(self, order: bt.Order, fill: bt.order.OrderExecutionBit) -> None:
        reference_price = order.info.reference_price
        slippage = abs(fill.price - reference_price) * abs(fill.size)
        commission = fill.closedcomm + fill.openedcomm
        self._costs_paid += commission + slippage
        side = "buy" if fill.size > 0 else "sell"
        self.trades.append(
            (order.data.asof, self.p.strategy_name, order.data.symbol, side, abs(fill.size),
             fill.price, reference_price, commission, slippage, 0.0)
        )  # fmt: skip


def run_backtest(
    frames: Mapping[str, pd.DataFrame],
    strategy: type[Strategy],
    *,
    name: str,
    start: pd.Timestamp,
    end: pd.Timestamp,
    account: Account,
    signal: Signal | None = None,
    params: Mapping[str, Any] | None = None,
    warmup_bars: int = WARMUP_BARS,
    on_bar: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Trade `frames` from `start` to `end`, both inclusive bar times, UTC.

    `on_bar` is told after each bar time how many are done, of how many.
    """
    cut = _cut(frames, start, end, warmup_bars)
    cerebro = bt.Cerebro(stdstats=False, preload=False, runonce=False)
    clock = Clock(times_ns(frame) for frame in cut.values())
    cerebro.desk = Desk(clock=clock, signal=signal, start=start)
    for nth, (symbol, frame) in enumerate(cut.items()):
        feed = CandleFeed.of(frame, clock, moves_clock=nth == 0)
        cerebro.adddata(feed, name=symbol)
    cerebro.broker = CostedBroker.of(account)
    cerebro.addanalyzer(
        _Ledger, _name="ledger", strategy_name=name, on_bar=on_bar, bars=clock.bars_from(start)
    )
    cerebro.addstrategy(strategy, **(params or {}))
    ledger = cerebro.run()[0].analyzers.ledger
    return Backtest(
        name=name,
        equity=pd.DataFrame(ledger.equity, columns=list(EQUITY_COLUMNS)),
        trades=pd.DataFrame(ledger.trades, columns=list(TRADE_COLUMNS)),
        refused=ledger.refused,
    )


def _cut(
    frames: Mapping[str, pd.DataFrame], start: pd.Timestamp, end: pd.Timestamp, warmup_bars: int
) -> dict[str, pd.DataFrame]:
    """Each symbol from `warmup_bars` before the start to the end; symbols without a bar go."""
    cut = {}
    for symbol, frame in frames.items():
        first, last = frame.index.searchsorted(start), frame.index.searchsorted(end, side="right")
        if last > first:
            cut[symbol] = frame.iloc[max(0, first - warmup_bars) : last]
    if not cut:
        raise WindowError(f"no candles between {start:%Y-%m-%d} and {end:%Y-%m-%d}")
    return cut
