"""The engine of a paper account: gone through again from the start, then on with each new bar.

What the account holds of each bar is a digest of everything that came of it. When it is opened
again, the same bars and forecasts have to lead to the same digests: a strategy whose decisions do
not repeat, or a program that computes otherwise, is found before it trades.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import pandas as pd

from feeds import Candles
from sandbox.errors import AccountError, SandboxError, StrategyError
from sandbox.forecast.book import SignalSource
from sandbox.paper.account import DAMAGED, AccountFile, Event, TradedBar
from sandbox.paper.derived import Comparison
from sandbox.paper.forecasts import PaperForecasts
from sandbox.paper.terms import Traded
from sandbox.run.portfolios import Market, in_words
from sandbox.trading.audit import Audit, Books
from sandbox.trading.engine import Backtest, Engine, Setup, Step
from sandbox.trading.source import BarTime, Candle
from sandbox.trading.strategy_file import load_strategy
from sandbox.words import counted

# What a strategy's code may raise, a `sys.exit()` among it: none of it ends an account unsaid
RAISED = (Exception, SystemExit, GeneratorExit)
OnBar = Callable[[int, int], None]  # how many bars are done, of how many


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What makes forecasts, and how it is known that they come too late."""

    source: SignalSource
    too_late: Callable[[], str | None]


class Worth(NamedTuple):
    """What the account is worth, in quote currency."""

    value: float  # now
    highest: float  # at any close so far


class Trader:
    """One strategy with its engine; every bar that it trades is in the account, or it is not
    traded."""

    def __init__(
        self, traded: Traded, candles: Candles, signals: Signals, account: AccountFile
    ) -> None:
        self.traded = traded
        self._account = account
        strategy = traded.strategy
        self.forecasts = PaperForecasts(
            signals.source, traded.config.sampling, str(strategy.params["rebalance"]),
            too_late=signals.too_late,
        )  # fmt: skip
        started_ns = candles.started_ns or 0
        self._start = pd.Timestamp(started_ns + 1, tz="UTC")
        self.forecasts.load(candles.frames, started_ns)
        self._recorded = _market(traded, candles, self._start).source()
        self._digest = ""
        self.bars_traded = 0
        self.books = Worth(traded.account.cash, traded.account.cash)
        self.last_ns = started_ns  # the latest bar time that is part of the account
        try:
            self.engine = Engine(
                Setup(
                    name=strategy.name,
                    strategy=load_strategy(strategy.path),
                    start=self._start,
                    account=traded.account,
                    params=strategy.params,
                    signal=self.forecasts,
                    withheld=self.forecasts.withheld,
                ),
                self._recorded.symbols,
                self._recorded.overlapping,
            )
        except RAISED as error:
            raise self._in_words(error) from error

    def restore(self, on_bar: OnBar) -> None:
        """Go through what the account holds; raises AccountError where it does not come out as it
        did, before anything is written."""
        digests = self._account.digests()
        with Comparison(self._account) as tables:
            for bar in self._recorded:
                traded = bar.time_ns >= self._start.value
                step = self._move(bar, traded=traded, again=True)
                if not traded:
                    continue
                if self._digest != digests.get(bar.time_ns):
                    raise AccountError(self._does_not_repeat(bar.time_ns))
                tables.expect(step)
                self.bars_traded += 1
                self.last_ns = bar.time_ns
                on_bar(self.bars_traded, len(digests))
            if self.bars_traded < len(digests):
                raise AccountError(
                    f"{self._account.path} is damaged: {counted(len(digests), 'bar')} were traded, "
                    f"and it has the candles of {self.bars_traded:,}; {DAMAGED}"
                )
            tables.expect_no_more(self.engine.positions, self.engine.waiting)

    def trade(self, bar: BarTime, *, caught_up: bool, events: Iterable[Event] = ()) -> TradedBar:
        """One more bar: when this returns, it is part of the account for good."""
        step = self._move(bar, traded=True, again=False)
        done = TradedBar(
            bar=bar,
            caught_up=caught_up,
            digest=self._digest,
            step=step,
            positions=self.engine.positions,
            waiting=self.engine.waiting,
            forecasts=self.forecasts.made,
            events=[*events, *self.forecasts.events],
        )
        self._account.add(done)
        self.bars_traded += 1
        self.last_ns = bar.time_ns
        return done

    def finish(self, candles: Candles) -> Backtest:
        """End the strategy, and check its books against the candles that the account holds."""
        try:
            backtest = self.engine.finish()
        except RAISED as error:
            raise self._in_words(error) from error
        source = _market(self.traded, candles, self._start).source()
        Audit(self.traded.strategy.name, source, self.traded.account).check(
            Books(
                equity=backtest.equity, trades=backtest.trades, weights=backtest.weights,
                decisions=backtest.decisions, cash=self.engine.cash, sizes=self.engine.sizes,
            )
        )  # fmt: skip
        return backtest

    def _move(self, bar: BarTime, *, traded: bool, again: bool) -> Step:
        kept = self._account.forecasts if again else None
        self.forecasts.begin(bar, traded=traded, kept=kept)
        try:
            step = self.engine.step(*bar)
        except RAISED as error:
            raise self._in_words(error) from error
        if traded:
            self._digest = _digest(self._digest, bar, step, self.engine)
            if step.close is not None:
                value = step.close.value
                self.books = Worth(value, max(self.books.highest, value))
        return step

    def _in_words(self, error: BaseException) -> SandboxError:
        if isinstance(error, SandboxError):
            return error
        strategy = self.traded.strategy
        return StrategyError(in_words(strategy.name, strategy.path, error))

    def _does_not_repeat(self, time_ns: int) -> str:
        return (
            f"{self._account.path}: the bar of {pd.Timestamp(time_ns, tz='UTC'):%Y-%m-%d %H:%M} "
            f"does not come out as it was traded: the decisions of {self.traded.strategy.path} do "
            "not repeat from the same bars (it may use random numbers, the clock, or a file that "
            "has changed), or this is another version of the program. The account was left as it "
            "is; mend the strategy and open a new one with --state FILE"
        )


def _market(traded: Traded, candles: Candles, start: pd.Timestamp) -> Market:
    """The bars of an account as a backtest has them."""
    last_ns = max(int(frame.index[-1].value) for frame in candles.frames.values())
    return Market(
        frames=candles.frames, opens=candles.opens, ended=candles.ended, as_on_paper=True,
        start=start, end=pd.Timestamp(last_ns, tz="UTC"), account=traded.account,
    )  # fmt: skip


def _digest(before: str, bar: BarTime, step: Step, engine: Engine) -> str:
    """A hash of all bars up to this one: what came, what was done, what the account has and what
    waits."""
    fills = [astuple(fill) for fill in step.fills]
    came = sorted((symbol, *_as_kept(candle)) for symbol, candle in bar.bars.items())
    state: Sequence[Any] = (
        before, bar.time_ns, came, sorted(bar.ended),
        step.close, engine.cash, engine.positions, fills, step.decisions, engine.waiting,
    )  # fmt: skip
    return hashlib.blake2b(json.dumps(state).encode(), digest_size=16).hexdigest()


def _as_kept(candle: Candle) -> Iterator[float]:
    """As it comes back from a file, which knows no -0.0."""
    return (value + 0.0 for value in candle)
