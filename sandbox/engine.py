"""One strategy over one set of candles: decide at a close, fill at the next open, keep the books.

The books are the run folder's tables. A fill's time is the close of the bar in whose open it was
filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import pandas as pd

from sandbox.audit import Audit, Books
from sandbox.broker import Account, CostedBroker
from sandbox.errors import WindowError
from sandbox.feed import CandleFeed, Clock, times_ns
from sandbox.ledger import Ledger
from sandbox.originals import Originals
from sandbox.strategy import Desk, Signal, Strategy

WARMUP_BARS = 260  # bars of each symbol before the start, for a strategy's own indicators


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What one strategy did; the columns are those of `sandbox.ledger`."""

    name: str
    equity: pd.DataFrame  # one row a bar time
    trades: pd.DataFrame  # one row a fill
    weights: pd.DataFrame  # one row a bar time and symbol held
    decisions: pd.DataFrame  # one row an order or cancel, as the strategy gave it
    refused: int  # orders the broker would not take
    bars_needed: int  # before the indicators of the symbol that needs most say anything


class _Cerebro(bt.Cerebro):  # type: ignore[misc]
    """Backtrader's, with a loop of its own: no feed is asked for a bar before it has closed."""

    clock: Clock
    desk: Desk
    close_bar: Callable[[], None]

    def _runnext(self, runstrats: list[Strategy]) -> None:
        """Bars close, orders of before are filled in them, the strategy decides."""
        for strategy in runstrats:  # many call next() from it, to get past late starters
            strategy.prenext = _do_nothing  # type: ignore[method-assign]
        while not self._event_stop and self.clock.tick():
            for feed in self.datas:
                feed.deliver()
            self._brokernotify()
            if self.clock.at_or_after(self.desk.start):  # before it nothing is decided
                self._check_timers(runstrats, self.clock.days)
            for strategy in runstrats:
                strategy._next()
            self.close_bar()


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
    audit = Audit(name, cut, frames=frames, start=start, account=account)
    clock = Clock(times_ns(frame) for frame in cut.values())
    ledger = Ledger(name, account.cash)
    feeds = {
        symbol: CandleFeed.of(frame, clock, last_bar=frames[symbol].index[-1])
        for symbol, frame in cut.items()
    }
    broker = CostedBroker.of(account, clock, ledger, feeds.values())
    bars = clock.bars_from(start)

    def close_bar() -> None:
        if clock.at_or_after(start):
            assert clock.now_ns is not None
            done = ledger.add_close(clock.now_ns, broker.cash, broker.getvalue(), broker.holdings())
            if on_bar is not None:
                on_bar(done, bars)

    cerebro = _Cerebro(stdstats=False, preload=False, runonce=False)
    cerebro.clock, cerebro.close_bar, cerebro.broker = clock, close_bar, broker
    cerebro.desk = Desk(clock=clock, signal=signal, start=start, lot_size=account.costs.lot_size)
    for symbol, feed in feeds.items():
        cerebro.adddata(feed, name=symbol)
    cerebro.addstrategy(strategy, **(params or {}))
    ran = cerebro.run()
    _ORIGINALS.check(name, broker, ledger, clock, *feeds.values())
    backtest = Backtest(
        name=name,
        equity=ledger.equity(),
        trades=ledger.trades(),
        weights=ledger.weights(),
        decisions=ledger.decided(),
        refused=broker.refused,
        bars_needed=max(ran[0]._minperiods) if ran else 0,
    )
    audit.check(
        Books(
            equity=backtest.equity,
            trades=backtest.trades,
            weights=backtest.weights,
            decisions=backtest.decisions,
            cash=broker.cash,
            sizes={data.symbol: position.size for data, position in broker.positions.items()},
        )
    )
    return backtest


def _do_nothing() -> None:
    """Before the start of the run nothing is decided."""


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


_ORIGINALS = Originals()  # here at the end, where all that it takes a picture of is there
