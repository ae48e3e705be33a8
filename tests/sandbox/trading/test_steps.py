"""The engine is moved on from outside, and nothing that it hands out leads to a later bar."""

import gc
import queue
import threading
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from feeds import bar_times
from sandbox import KronosSignal, Strategy
from sandbox.config import Sampling
from sandbox.errors import SourceError
from sandbox.forecast import paths
from sandbox.forecast.naive import NaiveSource
from sandbox.forecast.sources import KronosSource
from sandbox.run.portfolios import CurrentForecasts, shown_from
from sandbox.store.sets import ForecastStore
from sandbox.trading.engine import Engine, Setup, run_backtest
from sandbox.trading.source import BarTime, Candle, FrameSource
from tests.conftest import make_checkpoint, make_frame, make_market, make_run
from tests.sandbox.trading.acting import account, acting, buy

SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
COSTS = {"commission_bps": 10.0, "slippage_bps": 5.0, "impact": 1.0, "volume_cap_pct": 5.0}
DAY_NS = 86_400 * 10**9


class Trades(Strategy):
    """Orders of several kinds, an average, a bracket and a stop."""

    def __init__(self):
        self.average = {data: bt.ind.SMA(data.close, period=5) for data in self.datas}

    def next(self):
        for nth, data in enumerate(self.tradable()):
            if not self.getposition(data).size:
                self.buy_bracket(
                    data, size=20 + nth, limitprice=1.04 * data.close[0],
                    stopprice=0.97 * data.close[0], exectype=bt.Order.Market,
                )  # fmt: skip
            elif data.close[0] < self.average[data][0]:
                self.close(data)


def a_market():
    """Of three symbols one begins late and one ends early, and bars are missing."""
    frames = make_market("ABC", bars=80, seed=5)
    frames["B"] = frames["B"].iloc[25:].drop(frames["B"].index[[40, 41, 60]])
    frames["C"] = frames["C"].iloc[:55]
    return frames


def a_source(frames):
    times = bar_times(frames)
    return FrameSource(frames, times[20], times[-1])


def a_setup(source, strategy=Trades, **more):
    paid = account(cash=50_000.0, **COSTS)
    return Setup(name="test", strategy=strategy, account=paid, start=source.start, **more)


def tables(backtest):
    names = ("equity", "trades", "weights", "decisions")
    return {name: getattr(backtest, name).to_csv(float_format="%.17g") for name in names}


def test_bars_from_another_thread_give_what_a_batch_gives():
    frames = a_market()
    source = a_source(frames)
    batch = run_backtest(source, a_setup(source))
    handed: queue.Queue[BarTime | None] = queue.Queue()
    steps, results = queue.Queue(), []

    def trade():
        engine = Engine(a_setup(source), source.symbols, source.overlapping)
        while (bars := handed.get()) is not None:
            steps.put(engine.step(*bars))
        results.append(engine.finish())

    thread = threading.Thread(target=trade)
    thread.start()
    happened = []
    for bars in a_source(frames):  # each is made only once the one before has been traded
        handed.put(bars)
        happened.append(steps.get(timeout=30))
    handed.put(None)
    thread.join(timeout=30)
    [stepped] = results
    assert tables(stepped) == tables(batch)
    assert len(batch.trades) > 20 and batch.trades["side"].nunique() == 2
    closes = [step.close for step in happened if step.close is not None]
    assert [close.value for close in closes] == batch.equity["value"].tolist()
    fills = [fill for step in happened for fill in step.fills]
    assert [fill.price for fill in fills] == batch.trades["price"].tolist()
    assert sum(len(step.decisions) for step in happened) == len(batch.decisions)
    assert happened[0].close is None  # before the start


def test_a_step_says_what_happened_in_its_bar_and_at_its_close():
    frame = make_frame([(100, 102, 99, 101), (102, 104, 101, 103), (104, 106, 103, 105)],
                       "2024-01-01")  # fmt: skip
    setup = Setup(name="test", strategy=acting({1: buy(10)}), account=account(),
                  start=frame.index[0])  # fmt: skip
    engine = Engine(setup, ["A"])
    first, second, third = (engine.step(*bars) for bars in FrameSource(
        {"A": frame}, frame.index[0], frame.index[-1]))  # fmt: skip
    assert first.fills == () and first.close.value == 10_000
    [decision] = first.decisions
    assert (decision.symbol, decision.side, decision.size) == ("A", "buy", 10)
    [fill] = second.fills
    assert (fill.size, fill.price) == (10, 102) and second.decisions == ()
    assert second.close.value == 10_000 + 10 * (103 - 102)
    assert third == ((), (), third.close) and third.close.cash == 10_000 - 10 * 102


def test_that_a_symbol_has_ended_is_what_the_source_says():
    """What is held is sold at its last close, at the bar time at which the source says so."""
    start = pd.Timestamp("2024-01-01", tz="UTC")
    setup = Setup(name="test", strategy=acting({1: buy(10)}), account=account(), start=start)
    engine = Engine(setup, ["A", "B"])

    def candle(price, day):
        return Candle(start.value + (day - 1) * DAY_NS, price, price, price, price, 1e6, 1e8)

    for day in range(1, 6):
        bars = {"B": candle(50.0, day)} | ({"A": candle(100.0 + day, day)} if day <= 2 else {})
        step = engine.step(start.value + day * DAY_NS, bars, ["A"] if day == 4 else [])
        sold = [(fill.symbol, fill.size, fill.price) for fill in step.fills if fill.size < 0]
        assert sold == ([("A", -10.0, 102.0)] if day == 4 else [])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(2, "A", ()), (1, "A", ())], "bar time 1970-01-02 00:00:00.* after 1970-01-03 00:00:00"),
        ([(1, "A", ()), (1, "A", ())], "a source hands out bar times once each, oldest first"),
        ([(1, "C", ())], "C is no symbol of this run: it has A, B"),
        ([(1, "A", ("D",))], "D is no symbol of this run: it has A, B"),
        ([(1, "A", ()), (2, "", ("A",)), (3, "A", ())], "A has a bar after it was said to have en"),
    ],
)
def test_bars_that_cannot_be_are_refused(steps, message):
    setup = Setup(name="test", strategy=Strategy, account=account(),
                  start=pd.Timestamp(0, tz="UTC"))  # fmt: skip
    engine = Engine(setup, ["A", "B"])
    with pytest.raises(SourceError, match=message):
        for day, symbols, ended in steps:
            bars = {symbol: Candle(0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) for symbol in symbols}
            engine.step(day * DAY_NS, bars, ended)


# What is not delivered is on nothing that a strategy is handed


def reachable(thing: object, most: int = 2_000_000) -> Iterator[object]:
    """All that hangs on a thing: attributes, items, closures, bound objects, arrays' memory.

    Left out are modules, code, frames and what a function's module holds: from there all of the
    process's memory is in reach, as it is from the garbage collector.
    """
    seen: dict[int, object] = {}
    left = [thing]
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, ModuleType | CodeType | FrameType):
            continue
        seen[id(found)] = found
        assert len(seen) < most
        yield found
        if isinstance(found, FunctionType):
            left += [*(found.__closure__ or ()), *(found.__defaults__ or ())]
            left += (found.__kwdefaults__ or {}).values()
        elif isinstance(found, type):
            left += [value for name, value in vars(found).items() if name != "__dict__"]
        elif isinstance(found, MethodType | BuiltinFunctionType):
            left += [found.__self__, getattr(found, "__func__", None)]
        else:  # attributes, slots, items, closure cells, partials, generators' own objects
            left += [inner for inner in gc.get_referents(found) if not isinstance(inner, FrameType)]
            left += [getattr(found, "base", None)] if isinstance(found, np.ndarray) else []


def numbers(thing: object) -> list[float]:
    if isinstance(thing, np.ndarray):
        return thing.astype(float).ravel().tolist() if thing.dtype.kind in "fiu" else []
    if type(thing).__name__ == "array":
        return list(thing)
    return [float(thing)] if isinstance(thing, float | int) else []


class Searches(Strategy):
    """Looks at everything that it can get at without going up the stack."""

    found: list[tuple[pd.Timestamp, set[float]]]

    def __init__(self):
        self.averages = [bt.ind.SMA(data.close, period=3) for data in self.datas]
        self.lines_of_signal = [KronosSignal(data) for data in self.datas]

    def next(self):
        if len(self) % 7 == 0:
            self.forecasts()
            every = {n for thing in reachable(self) for n in numbers(thing)}
            type(self).found.append((self.now, every))


@pytest.mark.parametrize("signal", ["momentum", "random", "kronos", "kronos on disk"])
def test_nothing_leads_to_a_later_candle_or_forecast(signal, tmp_path, monkeypatch):
    frames = make_market("AB", bars=40)
    frames["B"] = frames["B"].iloc[:33]
    monkeypatch.setattr(paths, "MOST_IN_MEMORY", 0)
    store = ForecastStore(tmp_path / "store") if signal == "kronos on disk" else None
    source = (
        KronosSource(make_checkpoint(), store=store)
        if signal.startswith("kronos")
        else NaiveSource(signal)
    )
    book = source.book(frames, SAMPLING, bar_times(frames))
    shown = CurrentForecasts()
    Searches.found = []
    make_run(frames, Searches, signal=shown, before_bar=shown_from(book, shown))
    assert len(Searches.found) >= 5
    for now, every in Searches.found:
        for symbol, frame in frames.items():
            prices = ["open", "high", "low", "close"]
            later = frame.loc[frame.index > now, prices].to_numpy().ravel()
            assert not every & set(later.tolist()), symbol
            seen = frame.loc[frame.index <= now, prices].to_numpy().ravel()
            assert every >= set(seen.tolist())  # it does find what was delivered
            later_times = frame.index[frame.index > now]
            times = later_times[SAMPLING.horizon :].as_unit("ns").asi8  # forecasts have the first
            assert not every & set(times.astype(float).tolist())
            asofs = [asof for asof in frame.index if book.at(symbol, asof) is not None]
            for asof in asofs:
                path = book.at(symbol, asof).paths[..., 3]
                there = set(path.ravel().astype(float).tolist()) <= every
                if asof > now or asof == now:
                    assert there == (asof == now)


CHEATS = {
    "the feed's candles": lambda s: s.data._values[s.data._row + 1],
    "the feed's times": lambda s: s.data._times_ns[s.data._row + 1],
    "when the feed ends": lambda s: s.data._ends_ns,
    "the feed's parameters": lambda s: s.data.p.frame.iloc[len(s.data)],
    "the clock's times": lambda s: s._desk.clock._times_ns[s._desk.clock._at + 1],
    "the next bar on the line": lambda s: s.data.close[1],
    "the line's memory": lambda s: s.data.lines.close.array[len(s.data)],
    "the delivered bars": lambda s: s.data._recent[len(s.data)],
    "the next forecast": lambda s: s.signal._book.at("A", s.now + pd.Timedelta(days=1)),
    "the engine's source": lambda s: s.cerebro.source,
    "the broker's candles": lambda s: s.broker._source,
    "the callback's cells": lambda s: s.cerebro.close_bar.__closure__,
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_look_at_the_next_bar_finds_nothing(cheat):
    frames = make_market("AB", bars=30)
    book = NaiveSource("momentum").book(frames, SAMPLING, bar_times(frames))
    shown, errors = CurrentForecasts(), []

    class Cheats(Strategy):
        def next(self):
            if len(self) == 20:
                with pytest.raises((AttributeError, IndexError)) as error:
                    CHEATS[cheat](self)
                errors.append(error)

    make_run(frames, Cheats, signal=shown, before_bar=shown_from(book, shown))
    assert len(errors) == 1
