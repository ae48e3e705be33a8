"""One strategy over one set of candles: decide at a close, fill at the next open, keep the books.

The books are the run folder's tables. A fill's time is the close of the bar in whose open it was
filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from feeds import opening_times, times_ns
from feeds.bars import NS_PER_DAY
from sandbox.errors import StrategyError, WindowError
from sandbox.trading.analyzers import AskedAnalyzer, analyses_of
from sandbox.trading.audit import Audit, Books
from sandbox.trading.broker import Account, CostedBroker
from sandbox.trading.clock import Clock
from sandbox.trading.feed import NO_RESAMPLING, CandleFeed
from sandbox.trading.ledger import Ledger, TooDear
from sandbox.trading.originals import Originals
from sandbox.trading.strategy import Desk, Signal, Strategy
from sandbox.trading.timers import check_timer, idle_timers

FEW_BARS = 8
WARMUP_BARS = 260  # bars of each symbol before the start, for a strategy's own indicators


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What one strategy did; the columns are those of `sandbox.trading.ledger`."""

    name: str
    equity: pd.DataFrame  # one row a bar time
    trades: pd.DataFrame  # one row a fill
    weights: pd.DataFrame  # one row a bar time and symbol held
    decisions: pd.DataFrame  # one row an order or cancel, as the strategy gave it
    refused: int  # orders the broker would not take
    bars_needed: int  # before the indicators of the symbol that needs most say anything
    bars_decided: int  # of the bars in `equity`; fewer than all: the strategy stopped itself
    too_dear: TooDear | None  # the cheapest lot that was wanted and could not be paid for
    idle_timers: tuple[str, ...]  # timers that never came to their time
    analyses: Mapping[str, Any]  # what each of Backtrader's analyzers found, as plain JSON values


class _Cerebro(bt.Cerebro):  # type: ignore[misc]
    """Backtrader's, with a loop of its own: no feed is asked for a bar before it has closed."""

    clock: Clock
    desk: Desk
    close_bar: Callable[[], None]
    bars_decided = 0  # from the start on

    def addanalyzer(self, ancls: Any, *args: Any, **kwargs: Any) -> None:
        if self._begun:
            raise StrategyError(
                f"addanalyzer({ancls.__name__}) after the start has no effect: add it in "
                "__init__, or ask for it with --analyzer"
            )
        super().addanalyzer(ancls, *args, **kwargs)

    def _add_timer(self, owner: Any, when: Any, *args: Any, **kwargs: Any) -> bt.timer.Timer:
        timer = super()._add_timer(owner, when, *args, **kwargs)
        check_timer(timer, begun=hasattr(self, "_timers"))
        return timer

    @property
    def _begun(self) -> bool:
        return bool(getattr(self, "runningstrats", None))

    def _refuse_data(self, *_: Any, **__: Any) -> None:
        raise StrategyError(NO_RESAMPLING)

    resampledata = replaydata = chaindata = rolloverdata = _refuse_data

    def _runnext(self, runstrats: list[Strategy]) -> None:
        """Bars close, orders of before are filled in them, the strategy decides.

        After `runstop()` it decides no more; its orders and positions go on to the last bar.
        """
        for strategy in runstrats:  # many call next() from it, to get past late starters
            strategy.prenext = _do_nothing  # type: ignore[method-assign]
        while self.clock.tick():
            for feed in self.datas:
                feed.deliver()
            self._brokernotify()
            if not self._event_stop:
                self._decide(runstrats)
            self.close_bar()

    def _decide(self, runstrats: list[Strategy]) -> None:
        if self.clock.at_or_after(self.desk.start):  # before it nothing is decided
            self._check_timers(runstrats, self.clock.days)
            self.bars_decided += 1
        for strategy in runstrats:
            strategy._next()


def run_backtest(
    frames: Mapping[str, pd.DataFrame],
    strategy: type[Strategy],
    *,
    name: str,
    start: pd.Timestamp,
    end: pd.Timestamp,
    account: Account,
    opens: Mapping[str, np.ndarray] | None = None,
    signal: Signal | None = None,
    params: Mapping[str, Any] | None = None,
    warmup_bars: int = WARMUP_BARS,
    on_bar: Callable[[int, int], None] | None = None,
    analyzers: Sequence[AskedAnalyzer] = (),
) -> Backtest:
    """Trade `frames` from `start` to `end`, both inclusive bar times, UTC.

    `opens` are the opening times of each symbol's bars, `[n]` in ns since 1970, by default those
    that the spacing of its bars tells: an order fills only in a bar that opens at its decision or
    later.

    `on_bar` is told after each bar time how many are done, of how many.
    """
    rows = _rows(frames, start, end, warmup_bars)
    opens = opens_by_spacing(frames) if opens is None else opens
    cut = {symbol: frames[symbol].iloc[rows[symbol]] for symbol in rows}
    clock = Clock(times_ns(frame) for frame in cut.values())
    audit = Audit(name, cut, frames=frames, start=start, account=account, opens=opens)
    ledger = Ledger(name, account.cash)
    feeds = _feeds(frames, opens, rows, clock)
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
    for asked in analyzers:
        cerebro.addanalyzer(asked.cls, _name=asked.label, **asked.params)
    ran = cerebro.run()
    if not ran:
        raise StrategyError(f"{name} skipped its own run (StrategySkipError in __init__)")
    _ORIGINALS.check(name, broker, ledger, clock, *feeds.values())
    backtest = Backtest(
        name=name,
        equity=ledger.equity(),
        trades=ledger.trades(),
        weights=ledger.weights(),
        decisions=ledger.decided(),
        refused=broker.refused,
        bars_needed=max(ran[0]._minperiods),
        bars_decided=cerebro.bars_decided,
        too_dear=ledger.too_dear,
        idle_timers=idle_timers(cerebro._timers),
        analyses=analyses_of(ran[0]),
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


def _rows(
    frames: Mapping[str, pd.DataFrame], start: pd.Timestamp, end: pd.Timestamp, warmup_bars: int
) -> dict[str, slice]:
    """Each symbol's from `warmup_bars` before the start to the end; symbols without a bar go."""
    rows = {}
    for symbol, frame in frames.items():
        first, last = frame.index.searchsorted(start), frame.index.searchsorted(end, side="right")
        if last > first:
            rows[symbol] = slice(max(0, first - warmup_bars), last)
    if not rows:
        raise WindowError(f"no candles between {start:%Y-%m-%d} and {end:%Y-%m-%d}")
    return rows


def _feeds(
    frames: Mapping[str, pd.DataFrame],
    opens: Mapping[str, np.ndarray],
    rows: Mapping[str, slice],
    clock: Clock,
) -> dict[str, CandleFeed]:
    """The rows of each symbol, as what the clock's bar times are delivered to."""
    times = {symbol: times_ns(frames[symbol])[own] for symbol, own in rows.items()}
    all_times_ns = np.unique(np.concatenate(list(times.values())))
    feeds = {}
    for symbol, own in rows.items():
        frame, opens_ns = frames[symbol], opens[symbol][own]
        feeds[symbol] = CandleFeed.of(
            frame.iloc[own], clock, opens_ns=opens_ns, last_bar=frame.index[-1],
            overlaps=_overlap(opens_ns, times[symbol], all_times_ns),
        )  # fmt: skip
    return feeds


def opens_by_spacing(frames: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Of a few bars, days apart beside daily ones, it is taken that days are missing."""
    times = {symbol: times_ns(frame) for symbol, frame in frames.items()}
    opens = {
        symbol: opening_times(pd.DatetimeIndex(own, tz="UTC")) for symbol, own in times.items()
    }
    lengths = {symbol: int(np.median(own - opens[symbol])) for symbol, own in times.items()}
    shortest = min(lengths.values())
    for symbol, own in times.items():
        if NS_PER_DAY <= shortest < lengths[symbol] < 7 * NS_PER_DAY and len(own) < FEW_BARS:
            opens[symbol] = np.maximum(opens[symbol], own - shortest)
    return opens


def _overlap(opens_ns: np.ndarray, closes_ns: np.ndarray, times_ns: np.ndarray) -> bool:
    """Whether some bar of a symbol is open at one of the run's bar times."""
    after_open = times_ns.searchsorted(opens_ns, side="right")
    before_close = times_ns.searchsorted(closes_ns, side="left")
    return bool((after_open < before_close).any())


_ORIGINALS = Originals()  # here at the end, where all that it takes a picture of is there
