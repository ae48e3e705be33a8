"""One strategy over bars as they close: decide at a close, fill at the next open, keep the books.

`Engine` is handed one bar time after the other and knows of none to come; `run_backtest` hands it
those of frames. The books are the run folder's tables. A fill's time is the close of the bar in
whose open it was filled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import backtrader as bt
import pandas as pd

from sandbox.errors import SourceError, StrategyError
from sandbox.trading.analyzers import AskedAnalyzer, analyses_of
from sandbox.trading.audit import Audit, Books
from sandbox.trading.broker import Account, CostedBroker
from sandbox.trading.clock import Clock
from sandbox.trading.feed import NO_RESAMPLING, CandleFeed
from sandbox.trading.ledger import Close, Decision, Fill, Ledger, TooDear
from sandbox.trading.orders import Waiting, waiting_of
from sandbox.trading.originals import Originals
from sandbox.trading.source import Candle, FrameSource
from sandbox.trading.strategy import Desk, Signal, Strategy
from sandbox.trading.timers import check_timer, idle_timers


def _never(_: CandleFeed) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What trades, with what, and from when on."""

    name: str  # of the portfolio, in tables and messages
    strategy: type[Strategy]
    account: Account
    start: pd.Timestamp  # no decision before this; the bars until then are for indicators
    params: Mapping[str, Any] = field(default_factory=dict)
    signal: Signal | None = None
    # whether the forecast of a symbol's current bar failed or came too late: nothing is ordered
    withheld: Callable[[CandleFeed], bool] = _never
    analyzers: Sequence[AskedAnalyzer] = ()


class Step(NamedTuple):
    """What happened at one bar time."""

    fills: tuple[Fill, ...]  # in the bars that closed
    decisions: tuple[Decision, ...]  # at their close, in the order they were given
    close: Close | None  # what the portfolio is worth then; None before the start


class Position(NamedTuple):
    """What is held of a symbol. Prices are in quote currency."""

    symbol: str
    size: float
    paid: float  # a unit, on average
    close: float  # the latest


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


class Engine:
    """A strategy, its feeds and its broker, moved on by `step` from one bar time to the next."""

    def __init__(
        self, setup: Setup, symbols: Sequence[str], overlapping: Collection[str] = ()
    ) -> None:
        """`symbols` are all that may ever have a bar; of those that are `overlapping` bars are open
        while other symbols' close. The strategy is made here, before any bar."""
        self._setup = setup
        self._clock = Clock()
        self._ledger = Ledger(setup.name, setup.account.cash)
        self._feeds = {
            symbol: CandleFeed.of(self._clock, overlaps=symbol in overlapping) for symbol in symbols
        }
        self._broker = CostedBroker.of(
            setup.account, self._clock, self._ledger, self._feeds.values(), setup.withheld
        )
        self._cerebro = self._set_up()
        self._ended: set[str] = set()
        self._outside: Collection[str] = ()
        self._bars_decided = 0
        self._fills_told = self._decisions_told = 0

    def step(
        self,
        time_ns: int,
        bars: Mapping[str, Candle],
        ended: Collection[str] = (),
        outside: Collection[str] = (),
    ) -> Step:
        """Bars close: orders of before are filled in them, the strategy decides, books are kept.

        time_ns: when the bars close, in ns since 1970, later than every bar time before. bars: by
        symbol. ended: symbols of which no bar will come; what is held of them is sold. outside:
        symbols that are no members of their universe at this close; what is held of them can be
        sold. After a strategy's `runstop()` it decides no more; its orders and positions go on.
        Raises SourceError for bars that cannot be, and whatever the strategy raises.
        """
        self._check(bars, ended)
        self._clock.advance(time_ns)
        for symbol in ended:
            self._feeds[symbol].ended = True
            self._ended.add(symbol)
        if outside is not self._outside:
            self._outside = outside
            for symbol, feed in self._feeds.items():
                feed.is_member = symbol not in outside
        for symbol, candle in bars.items():
            self._feeds[symbol].deliver(candle)
        self._cerebro.take_bars()
        begun = self._clock.at_or_after(self._setup.start)
        if not self._cerebro.has_stopped:
            self._cerebro.decide(begun=begun)
            self._bars_decided += begun
        return self._told(self._closed(time_ns) if begun else None)

    def finish(self) -> Backtest:
        """End the run: the strategy's `stop` is called, and its books are handed out."""
        self._cerebro.end()
        strategy = self._cerebro.strategy
        _ORIGINALS.check(
            self._setup.name, self._broker, self._ledger, self._clock, *self._feeds.values()
        )
        return Backtest(
            name=self._setup.name,
            equity=self._ledger.equity(),
            trades=self._ledger.trades(),
            weights=self._ledger.weights(),
            decisions=self._ledger.decided(),
            refused=self._broker.refused,
            bars_needed=max(strategy._minperiods),
            bars_decided=self._bars_decided,
            too_dear=self._ledger.too_dear,
            idle_timers=idle_timers(self._cerebro._timers),
            analyses=analyses_of(strategy),
        )

    @property
    def cash(self) -> float:
        """What the account has, in quote currency."""
        return float(self._broker.cash)

    @property
    def sizes(self) -> dict[str, float]:
        """What the account holds, by symbol."""
        positions = self._broker.positions
        return {data.symbol: position.size for data, position in positions.items()}

    @property
    def positions(self) -> list[Position]:
        """What the account holds now, in the order in which it was bought."""
        return [
            Position(held.symbol, held.size, self._paid(held.symbol), held.close)
            for held in self._broker.holdings()
        ]

    @property
    def waiting(self) -> list[Waiting]:
        """The orders that have not come to an end, in the order in which they were given."""
        broker = self._broker
        return [waiting_of(order) for order in (*broker.pending, *broker.submitted)]

    def _paid(self, symbol: str) -> float:
        return float(self._broker.positions[self._feeds[symbol]].price)

    def _set_up(self) -> _Cerebro:
        setup = self._setup
        cerebro = _Cerebro(stdstats=False, preload=False, runonce=False)
        cerebro.broker = self._broker
        cerebro.desk = Desk(
            clock=self._clock, signal=setup.signal, start=setup.start, withheld=setup.withheld,
            costs={symbol: setup.account.costs.of(symbol) for symbol in self._feeds},
        )  # fmt: skip
        for symbol, feed in self._feeds.items():
            cerebro.adddata(feed, name=symbol)
        cerebro.addstrategy(setup.strategy, **setup.params)
        for asked in setup.analyzers:
            cerebro.addanalyzer(asked.cls, _name=asked.label, **asked.params)
        if not cerebro.run():
            raise StrategyError(f"{setup.name} skipped its own run (StrategySkipError in __init__)")
        return cerebro

    def _check(self, bars: Mapping[str, Candle], ended: Collection[str]) -> None:
        """Raises SourceError for what no source may hand out."""
        known = self._feeds.keys()
        if not (known >= bars.keys() and known >= set(ended)):
            symbol = next(symbol for symbol in (*bars, *ended) if symbol not in known)
            raise SourceError(f"{symbol} is no symbol of this run: it has {', '.join(known)}")
        if not self._ended.isdisjoint(bars):
            symbol = next(symbol for symbol in bars if symbol in self._ended)
            raise SourceError(f"{symbol} has a bar after it was said to have ended")

    def _closed(self, time_ns: int) -> Close:
        broker = self._broker
        return self._ledger.add_close(time_ns, broker.cash, broker.getvalue(), broker.holdings())

    def _told(self, close: Close | None) -> Step:
        """What the books have that no step has handed out yet."""
        fills, decisions = self._ledger.fills, self._ledger.decisions
        step = Step(
            tuple(fills[self._fills_told :]), tuple(decisions[self._decisions_told :]), close
        )
        self._fills_told, self._decisions_told = len(fills), len(decisions)
        return step


def run_backtest(
    source: FrameSource,
    setup: Setup,
    *,
    before_bar: Callable[[int], None] | None = None,
    on_bar: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Trade all bars of a source, and check the books against them.

    `before_bar` is called with each bar time, in ns since 1970, before its bars are delivered;
    `on_bar` after each bar time from the start on, with how many are done, of how many.
    """
    audit = Audit(setup.name, source, setup.account)
    engine = Engine(setup, source.symbols, source.overlapping)
    bars, done = source.bars_traded, 0
    for time_ns, candles, ended in source:
        if before_bar is not None:
            before_bar(time_ns)
        step = engine.step(time_ns, candles, ended, source.outside(time_ns))
        if step.close is not None:
            done += 1
            if on_bar is not None:
                on_bar(done, bars)
    backtest = engine.finish()
    audit.check(
        Books(
            equity=backtest.equity,
            trades=backtest.trades,
            weights=backtest.weights,
            decisions=backtest.decisions,
            cash=engine.cash,
            sizes=engine.sizes,
        )
    )
    return backtest


class _Cerebro(bt.Cerebro):  # type: ignore[misc]
    """Backtrader's, without its loop: `run` sets everything up, the engine moves it on."""

    desk: Desk
    has_ended = False

    @property
    def strategy(self) -> Strategy:
        strategy: Strategy = self.runningstrats[0]
        return strategy

    @property
    def has_stopped(self) -> bool:
        """Whether the strategy has called `runstop()`."""
        return bool(self._event_stop)

    def take_bars(self) -> None:
        """Let the broker fill what can be filled, and tell the strategy of it."""
        self._brokernotify()

    def decide(self, *, begun: bool) -> None:
        """Let the strategy see the bars; before the start its indicators alone do."""
        if begun:
            self._check_timers(self.runningstrats, self.desk.clock.days)
        self.strategy._next()

    def end(self) -> None:
        self.has_ended = True
        self.strategy._stop()

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
        """Backtrader's loop over all bars: there is none yet."""
        for strategy in runstrats:  # many call next() from it, to get past late starters
            strategy.prenext = _do_nothing  # type: ignore[method-assign]


def _do_nothing() -> None:
    """Before the start of the run nothing is decided."""


_ORIGINALS = Originals()  # here at the end, where all that it takes a picture of is there
