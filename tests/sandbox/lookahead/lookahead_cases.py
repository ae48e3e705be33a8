"""Strategies that are honest and that cheat, and the proof run on them."""

import random
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import backtrader as bt
import numpy as np
import pandas as pd

from kronos import Forecast
from sandbox import Strategy
from sandbox.config import Sampling
from sandbox.lookahead.proof import Proof, prove
from sandbox.lookahead.rerun import Rerun
from sandbox.run.portfolios import Loaded, Market
from sandbox.run.trials import Trials
from sandbox.trading.indicator import KronosSignal
from sandbox.trading.params import typed_params
from sandbox.trading.source import FrameSource
from sandbox.trading.strategy_file import load_strategy
from tests.conftest import FREE, make_frame

SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
FIRST, BARS = 100, 130  # the runs below start at bar 100 of 130


def source_on_the_stack() -> FrameSource:
    """What a backtest's candles come from: found by going up the stack, from inside a strategy."""
    frame = sys._getframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, FrameSource):
                return value
        frame = frame.f_back
    raise AssertionError("no source is on the stack")


def bars_ahead(data, bars: int = 1) -> np.ndarray:
    """The next bars of a symbol, `[n, 6]`."""
    candles = source_on_the_stack().handed_out[data.symbol].to_numpy()
    return candles[len(data) : len(data) + bars]


def time_ahead(data) -> pd.DatetimeIndex:
    """The next bar time of a symbol, if there is one."""
    return source_on_the_stack().handed_out[data.symbol].index[len(data) : len(data) + 1]


class NoSource:
    """For strategies that ask for no forecast."""

    name = "none"

    def book(self, frames, sampling, asofs, progress=None):
        raise AssertionError("nobody asked for a forecast")


class BarSource:
    """Forecasts that repeat one bar's return: the latest bar's, or one `ahead` of asof."""

    name = "bar"

    def __init__(self, ahead=0):
        self.ahead = ahead

    def book(self, frames, sampling, asofs, progress=None):
        known = {}
        for symbol, frame in frames.items():
            closes = frame["close"].to_numpy()
            for row in np.flatnonzero(frame.index.isin(asofs)):
                at = min(row + self.ahead, len(closes) - 1)
                grown = closes[row] * closes[at] / closes[at - 1]
                known[symbol, frame.index[row]] = Forecast(
                    symbol=symbol,
                    asof=frame.index[row],
                    close=closes[row],
                    index=pd.date_range(frame.index[row], periods=2, freq="D")[1:],
                    paths=np.full((2, 1, 6), grown, dtype=np.float32),
                )
        return BarBook(known)


class BarBook:
    def __init__(self, known):
        self.known = known

    def as_of(self, asof_ns, *, likely):
        asof = pd.Timestamp(asof_ns, tz="UTC")
        return OfABar({symbol: f for (symbol, time), f in self.known.items() if time == asof})


class OfABar:
    def __init__(self, known):
        self.of = known.get


class EveryBar(Strategy):
    """Buys `self.size()` of the first symbol at every bar."""

    def next(self):
        if self.datas[0].has_bar:
            self.buy(self.datas[0], size=self.size())


class Momentum(Strategy):
    """Honest: holds what rose over the last bars and is above its average."""

    params = (("bars", 3),)

    def __init__(self):
        self.averages = {data: bt.ind.SMA(data.close, period=20) for data in self.datas}

    def next(self):
        rising = [
            data
            for data in self.tradable()
            if data.close[0] > data.close[-self.p.bars] and data.close[0] > self.averages[data][0]
        ]
        self.order_target_weights({data: 1 / len(self.datas) for data in rising})


class FollowsForecast(Strategy):
    def next(self):
        forecasts = {data: self.signal.forecast(data) for data in self.tradable()}
        up = [data for data, f in forecasts.items() if f is not None and f.expected_return() > 0]
        self.order_target_weights(dict.fromkeys(up, 1 / len(self.datas)))


class FollowsLines(Strategy):
    """As above, on the signal's lines."""

    def __init__(self):
        self.kronos = {data: KronosSignal(data) for data in self.datas}

    def next(self):
        up = [data for data in self.tradable() if self.kronos[data].expected_return[0] > 0]
        self.order_target_weights(dict.fromkeys(up, 1 / len(self.datas)))


class PeeksOneBar(Strategy):
    """Holds the first symbol over every bar that will rise by more than 5 %."""

    def next(self):
        data = self.datas[0]
        ahead = bars_ahead(data)[:, 3]
        self.order_target_weights({data: 1.0} if (ahead > 1.05 * data.close[0]).any() else {})


class PeeksAtTheNextBody(Strategy):
    """Knows whether the next bar will close above its open, and which symbol's does so most."""

    def next(self):
        bodies = {}
        for data in self.tradable():
            for open_, _, _, close, *_ in bars_ahead(data):
                bodies[data] = close / open_
        best = max(bodies, key=bodies.get, default=None)
        self.order_target_weights({best: 1.0} if best is not None else {})


class PeeksAtTheClock(Strategy):
    """Buys at the close of each month's last bar, which only the next bar's time tells."""

    def next(self):
        ahead = time_ahead(self.datas[0])
        if len(ahead) and ahead[0].month != self.now.month:
            self.buy(self.datas[0], size=1)


class NormalisesOverTheSample(EveryBar):
    def size(self):
        candles = source_on_the_stack().handed_out[self.datas[0].symbol]
        return round(float(candles["close"].mean()), 6)


class BuysEverySeventhBar(Strategy):
    def next(self):
        if len(self.data) % 7 == 0:
            self.buy(size=1)


class AboveLongAverage(Strategy):
    """Honest: holds what is above an average that takes 200 bars to warm up, or else the rest."""

    def __init__(self):
        self.average = bt.ind.SMA(self.data.close, period=200)

    def next(self):
        for data in self.tradable():
            self.order_target_weights({data: 0.9 if data.close[0] > self.average[0] else 0.1})


class FlipsCoins(Strategy):
    """Honest: random numbers of its own, with a seed."""

    def __init__(self):
        self.random = random.Random(0)

    def next(self):
        heads = [data for data in self.tradable() if self.random.random() < 0.5]
        self.order_target_weights({data: 1 / len(self.datas) for data in heads})


class WaitsForPrices(Strategy):
    """Honest: limit orders to buy, and a stop behind each one filled."""

    def next(self):
        for data in self.tradable():
            if not self.getposition(data).size:
                self.buy(data, size=1, exectype=bt.Order.Limit, price=0.99 * data.close[0])

    def notify_order(self, order):
        super().notify_order(order)
        if order.status == bt.Order.Completed and order.isbuy():
            stop = 0.97 * order.executed.price
            self.sell(order.data, size=1, exectype=bt.Order.Stop, price=stop)


class SellsWhatWillEnd(Strategy):
    """Holds one of each, but not beyond a symbol's last bar."""

    def next(self):
        for data in self.tradable():
            if not len(time_ahead(data)):
                self.close(data)
            elif not self.getposition(data).size:
                self.buy(data, size=1)


class BuysOnTheLastBar(Strategy):
    def next(self):
        if not any(len(time_ahead(data)) for data in self.datas):
            self.buy(self.datas[0], size=1)


class LongAverage(EveryBar):
    def __init__(self):
        self.average = bt.ind.EMA(self.data.close, period=200)

    def size(self):
        return round(self.average[0], 6)


class ShortAverage(EveryBar):
    """As long as there is a full warm-up, its first bars are long forgotten."""

    def __init__(self):
        self.average = bt.ind.EMA(self.data.close, period=5)

    def size(self):
        return round(self.average[0], 6)


class StopsBehindTheRange(Strategy):
    """Honest: a stop two average ranges below each close; the average never quite forgets."""

    def __init__(self):
        self.range = bt.ind.ATR(self.data, period=14)
        self.stop_order = None

    def next(self):
        if self.stop_order is not None:
            self.cancel(self.stop_order)
        if not self.position.size:
            self.buy(size=5)
        stop = self.data.close[0] - 2 * self.range[0]
        self.stop_order = self.sell(size=5, exectype=bt.Order.Stop, price=stop)


class BidsAtAnAverage(Strategy):
    """Honest: as above, with limits at an exponential average and sizes by it."""

    def __init__(self):
        self.average = bt.ind.EMA(self.data.close, period=20)

    def next(self):
        order = {"exectype": bt.Order.Limit, "price": self.average[0], "valid": self.now}
        if not self.position.size:
            self.buy(size=500 / self.average[0], **order)
        else:
            self.close()


class BuysWhatHasEnded(Strategy):
    """Holds the first symbol once the data of another one have ended."""

    def next(self):
        ended = any(data.ended for data in self.datas)
        self.order_target_weights({self.datas[0]: 0.9 if ended else 0.1})


class Remembers(EveryBar):
    seen: ClassVar = []  # the next run finds it filled

    def size(self):
        self.seen.append(self.now)
        return len(self.seen)


class Never(Strategy):
    def next(self):
        pass


class ReadsEightBarsAhead(EveryBar):
    """On its first bars only."""

    bars = 0

    def size(self):
        if len(self.data) <= FIRST + self.bars:
            bars_ahead(self.data, 8)[7]
        return 1


class FearsHighPrices(EveryBar):
    most = None

    def size(self):
        if self.data.close[0] > self.most:
            raise ValueError("too high")
        return 1


class Splits(EveryBar):
    def size(self):
        return len(self.datas)


class Divides(EveryBar):
    def size(self):
        return 1 / 0


_trials: Trials | None = None


def trials() -> Trials:
    """One process for all the tests of a session; it ends with this one."""
    global _trials
    if _trials is None:
        _trials = Trials()
    return _trials


def loaded(strategy, params=None, **attributes) -> Loaded:
    """A strategy as a run has it, from a file of its own that derives it from a class here."""
    if isinstance(strategy, Path):
        path = strategy
    else:
        path = Path(tempfile.mkdtemp()) / f"{strategy.__name__.lower()}.py"
        path.write_text(
            f"from {strategy.__module__} import {strategy.__name__} as Base\n"
            f"class {strategy.__name__}(Base):\n    __doc__ = Base.__doc__\n"
            + "".join(f"    {name} = {value!r}\n" for name, value in attributes.items())
        )
    cls = load_strategy(path)
    params = typed_params(cls, params or {})
    return Loaded(name=cls.__name__, path=path, params=params)


def proved(strategy, frames, *, source=None, first=FIRST, params=None, **more) -> Proof:
    times = next(iter(frames.values())).index
    attributes = more.pop("attributes", {})
    market = {"account": FREE, "start": times[first], "end": times[-1]}
    market |= {
        name: more.pop(name) for name in ("account", "start", "end", "opens") if name in more
    }
    rerun = Rerun(
        trials=more.pop("trials", None) or trials(),
        loaded=loaded(strategy, params, **attributes),
        source=source or NoSource(), sampling=more.pop("sampling", SAMPLING),
    )  # fmt: skip
    options: dict[str, Any] = {"cuts": 3} | more
    return prove(rerun, Market(frames=frames, **market), **options)


def first(proof):
    assert not proof.clean
    return proof.differences[0]


def make_jumps():
    """One symbol at 100, but at 110 in the bars 115, 121 and 125."""
    closes = np.full(BARS, 100.0)
    closes[[115, 121, 125]] = 110.0
    return {"A": make_frame(np.column_stack([closes] * 4), "2023-01-02")}
