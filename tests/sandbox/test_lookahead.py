"""The proof against look-ahead: honest strategies pass it, each way to cheat is caught."""

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronos import Forecast
from sandbox import Strategy
from sandbox.altered import ALTERATIONS, BARS_AFTER_CUT, altered_future
from sandbox.errors import ConfigError, StrategyError, WindowError
from sandbox.indicator import KronosSignal
from sandbox.lookahead import CUTS, cut_times, history_amounts, prove
from sandbox.lookahead_cli import lines, main
from sandbox.naive import NaiveSource
from sandbox.rerun import Decision, Outcome, Trial, first_difference
from sandbox.signal import KronosSource
from sandbox.strategy_file import load_strategy
from sandbox.windows import Sampling
from tests.conftest import FREE, make_checkpoint, make_frame, make_market

STRATEGIES = Path(__file__).parents[2] / "strategies"
SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
FIRST, BARS = 100, 130  # the runs below start at bar 100 of 130


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
        return SimpleNamespace(forecast=lambda data: known.get((data.symbol, data.asof)))


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
        ahead = data._values[data._row + 1 : data._row + 2, 3]
        self.order_target_weights({data: 1.0} if (ahead > 1.05 * data.close[0]).any() else {})


class PeeksAtTheNextBody(Strategy):
    """Knows whether the next bar will close above its open, and which symbol's does so most."""

    def next(self):
        bodies = {}
        for data in self.tradable():
            for open_, _, _, close, *_ in data._values[data._row + 1 : data._row + 2]:
                bodies[data] = close / open_
        best = max(bodies, key=bodies.get, default=None)
        self.order_target_weights({best: 1.0} if best is not None else {})


class PeeksAtTheClock(Strategy):
    """Buys at the close of each month's last bar, which only the next bar's time tells."""

    def next(self):
        clock = self._desk.clock
        ahead = pd.DatetimeIndex(clock._times_ns[clock._at + 1 : clock._at + 2], tz="UTC")
        if len(ahead) and ahead[0].month != self.now.month:
            self.buy(self.datas[0], size=1)


class NormalisesOverTheSample(EveryBar):
    def size(self):
        return round(float(self.datas[0]._values[:, 3].mean()), 6)


class BuysEverySeventhBar(Strategy):
    def next(self):
        if len(self.data) % 7 == 0:
            self.buy(size=1)


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


class Remembers(EveryBar):
    seen: ClassVar = []  # the next run finds it filled

    def size(self):
        self.seen.append(self.now)
        return len(self.seen)


class Never(Strategy):
    def next(self):
        pass


class ReadsEightBarsAhead(EveryBar):
    last = None

    def size(self):
        if self.now < self.last:
            self.data._values[self.data._row + 8]
        return 1


class FearsHighPrices(EveryBar):
    most = None

    def size(self):
        if self.data.close[0] > self.most:
            raise ValueError("too high")
        return 1


def proved(strategy, frames, *, source=None, first=FIRST, **more):
    times = next(iter(frames.values())).index
    options = {
        "params": {}, "account": FREE, "start": times[first], "end": times[-1],
        "source": source or NoSource(), "sampling": SAMPLING, "cuts": 3,
    } | more  # fmt: skip
    return prove(strategy, frames, **options)


def first(proof):
    assert not proof.clean
    return proof.differences[0]


@pytest.fixture(scope="module")
def frames():
    return make_market("ABC", BARS)


@pytest.fixture(scope="module")
def jumps():
    """One symbol at 100, but at 110 in the bars 115, 121 and 125."""
    closes = np.full(BARS, 100.0)
    closes[[115, 121, 125]] = 110.0
    return {"A": make_frame(np.column_stack([closes] * 4), "2023-01-02")}


# Honest ones


def test_an_honest_strategy_is_clean(frames):
    told = []
    proof = proved(Momentum, frames, on_step=lambda *counts: told.append(counts))
    assert proof.clean
    assert proof.decisions > 10
    assert (len(proof.cuts), proof.futures, proof.history_bars) == (3, 9, (75,))
    assert told == [(done, 12) for done in range(1, 13)]


@pytest.mark.parametrize("name", ["topk", "uncertainty", "benchmark"])
@pytest.mark.parametrize("signal", ["momentum", "random-walk", "kronos"])
def test_the_shipped_strategies_are_clean(name, signal):
    frames = make_market("ABCDE", BARS)
    frames["D"] = frames["D"].iloc[110:]  # begins in the middle
    frames["E"] = frames["E"].drop(frames["E"].index[113])  # lacks a bar
    source = KronosSource(make_checkpoint(), store=None) if signal == "kronos" else None
    proof = proved(
        load_strategy(STRATEGIES / f"{name}.py"),
        frames,
        source=source or NaiveSource(signal),
    )
    assert proof.clean, proof.differences
    assert proof.futures == 9


@pytest.mark.parametrize("strategy", [FollowsForecast, FollowsLines])
def test_a_forecast_of_the_bars_so_far_is_clean(frames, strategy):
    assert proved(strategy, frames, source=BarSource()).clean


def test_an_indicator_that_forgets_is_clean(frames):
    assert proved(ShortAverage, frames).clean


def test_the_number_of_symbols_may_be_known(frames):
    class Splits(EveryBar):
        def size(self):
            return len(self.datas)

    late = dict(frames, C=frames["C"].iloc[120:])
    assert proved(Splits, late).clean


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1000), cut=st.integers(30, 78), way=st.sampled_from(ALTERATIONS))
def test_no_cut_changes_an_honest_strategy(seed, cut, way):
    frames = make_market("ABC", 80, seed)
    times = frames["A"].index
    trial = Trial(Momentum, {}, FREE, times[30], NoSource(), SAMPLING)
    rerun = trial.run(altered_future(frames, times[cut], way))
    base = trial.run(frames)
    assert base.error is None and rerun.error is None
    assert base.until(times[cut]) == rerun.until(times[cut])


# Cheats


def test_a_look_at_the_next_bar_shows_where_it_was_acted_upon(jumps):
    found = first(proved(PeeksOneBar, jumps, cuts=1))
    assert (found.check, found.cut) == ("future", jumps["A"].index[114])
    assert found.bar == jumps["A"].index[114]
    assert found.as_run == ("buy 99 A at market",)
    assert found.when_varied == ()


def test_a_look_at_the_next_bar_shows_where_it_would_be_acted_upon(jumps):
    found = first(proved(PeeksOneBar, jumps, cuts=4))
    assert found.cut == found.bar == jumps["A"].index[113]
    assert (found.as_run, found.when_varied) == ((), ("buy 99 A at market",))


def test_a_look_at_the_next_bar_s_ranks_is_caught(frames):
    found = first(proved(PeeksAtTheNextBody, frames))
    assert (found.check, found.bar) == ("future", frames["A"].index[FIRST])
    assert found.as_run != found.when_varied


def test_a_look_at_the_next_bar_s_time_is_caught(frames):
    found = first(proved(PeeksAtTheClock, frames, first=40))
    times = frames["A"].index
    decided = np.flatnonzero(times.month[41:] != times.month[40:-1])[0] + 40
    assert found.varied == ALTERATIONS[2].words
    assert found.bar == found.cut == times[decided - 1]


def test_a_mean_over_the_whole_sample_is_caught_at_once(frames):
    found = first(proved(NormalisesOverTheSample, frames))
    assert (found.check, found.bar) == ("future", frames["A"].index[FIRST])


@pytest.mark.parametrize("strategy", [FollowsForecast, FollowsLines])
def test_a_signal_that_looks_ahead_is_caught(frames, strategy):
    found = first(proved(strategy, frames, source=BarSource(ahead=1)))
    assert found.check == "future"
    assert found.bar == found.cut


def test_counting_bars_is_caught(frames):
    found = first(proved(BuysEverySeventhBar, frames))
    # with 100 bars before the start its first bar is number 101, with 75 it is number 76
    assert (found.check, found.bar) == ("history", frames["A"].index[FIRST + 1])
    assert (found.as_run, found.when_varied) == ((), ("buy 1 A at market",))
    assert found.varied == "75 bars of history before the start instead of 100"


def test_an_average_that_remembers_its_start_is_caught():
    frames = make_market("A", 430)
    proof = proved(LongAverage, frames, first=400)
    found = first(proof)
    assert (found.check, found.bar) == ("history", frames["A"].index[400])
    assert found.varied == "390 bars of history before the start instead of 260"
    assert proof.futures == 9
    assert [d.check for d in proof.differences] == ["history"]


def test_what_a_run_leaves_behind_is_caught(frames):
    Remembers.seen.clear()
    proof = proved(Remembers, frames)
    found = first(proof)
    assert (found.check, found.bar) == ("repeat", frames["A"].index[FIRST])
    assert (found.as_run, found.when_varied) == (("buy 1 A at market",), ("buy 31 A at market",))
    assert proof.futures == 0


def test_a_strategy_that_stops_for_want_of_a_future_is_caught(frames):
    ReadsEightBarsAhead.last = frames["A"].index[110]
    found = first(proved(ReadsEightBarsAhead, frames, cuts=1))
    assert found.cut == found.bar == frames["A"].index[FIRST]
    assert found.as_run == ("buy 1 A at market",)
    assert found.when_varied[0].startswith("stopped with IndexError: index ")


# What can be compared


def test_a_strategy_that_decides_nothing_proves_nothing(frames):
    proof = proved(Never, frames)
    assert (proof.clean, proof.decisions, proof.futures) == (False, 0, 0)


def test_one_bar_has_no_future(frames):
    proof = proved(Momentum, frames, first=BARS - 1)
    assert (proof.decisions > 0, proof.futures, proof.clean) == (True, 0, False)


def test_a_stop_past_the_cut_is_no_finding(frames):
    FearsHighPrices.most = frames["A"]["close"].iloc[FIRST:].max()
    with pytest.raises(StrategyError, match=r"stopped at .* on candles altered .* too high"):
        proved(FearsHighPrices, frames, cuts=1)


def test_an_error_of_the_run_itself_is_told(frames):
    with pytest.raises(ZeroDivisionError):
        proved(type("Bad", (EveryBar,), {"size": lambda self: 1 / 0}), frames)

    class Broken(NoSource):
        def book(self, *_):
            raise WindowError("no symbol has 10 bars")

    with pytest.raises(WindowError, match="no symbol has 10 bars"):
        proved(FollowsForecast, frames, source=Broken())


def test_a_window_without_candles_is_told(frames):
    with pytest.raises(WindowError, match="no candles between 2030-01-01 and 2023-06-30"):
        proved(Momentum, frames, start=pd.Timestamp("2030-01-01", tz="UTC"))


def test_no_cut_is_refused(frames):
    with pytest.raises(ConfigError, match="--cuts 0: at least 1 is needed"):
        proved(Momentum, frames, cuts=0)


def test_cuts_are_mostly_at_decisions_and_never_at_the_end():
    bars = pd.bdate_range("2023-01-02", periods=100, tz="UTC")
    decided = [Decision(bar, "A", "buy", 1.0, "market", None) for bar in bars[4::5]]
    base = Outcome(decisions=tuple(decided), bars=bars)
    cuts = cut_times(base, CUTS)
    at_decisions = bars[4:-1:5]
    assert len(cuts) == CUTS
    assert sorted(cuts) == list(cuts)
    assert sum(cut in at_decisions for cut in cuts) == 6
    assert {cuts[0], cuts[1], cuts[-1]} == {bars[3], bars[4], bars[94]}
    assert len(cut_times(Outcome(decisions=tuple(decided[:1]), bars=bars), CUTS)) == CUTS
    assert len(cut_times(Outcome(decisions=tuple(decided), bars=bars[:5]), CUTS)) == 4


@pytest.mark.parametrize(
    ("bars_before", "given", "amounts"),
    [
        (0, 0, ()),
        (100, 100, (75,)),
        (300, 260, (195, 300)),
        (400, 260, (390, 400)),
        (1259, 260, (390, 520, 1259)),
    ],
)
def test_amounts_of_history(bars_before, given, amounts):
    frame = make_frame([[1.0] * 4] * (bars_before + 2), "2015-01-01")
    assert history_amounts({"A": frame}, frame.index[bars_before]) == (given, amounts)


# Altered candles


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000), cut=st.integers(0, 38), begins=st.integers(0, 39),
    ends=st.integers(1, 40), way=st.sampled_from(ALTERATIONS),
)  # fmt: skip
def test_altered_candles_are_valid_and_begin_after_the_cut(seed, cut, begins, ends, way):
    frames = make_market("ABC", 40, seed)
    times = frames["A"].index
    frames["B"] = frames["B"].iloc[begins:]
    frames["C"] = frames["C"].iloc[:ends]
    altered = altered_future(frames, times[cut], way)
    assert list(altered) == list(frames)
    for symbol, frame in altered.items():
        pd.testing.assert_frame_equal(
            frame.loc[: times[cut]], frames[symbol].loc[: times[cut]], check_freq=False
        )
        assert frame.index.is_monotonic_increasing and frame.index.is_unique
        assert len(frame.loc[frame.index > times[cut]]) <= BARS_AFTER_CUT
        assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
        assert (frame > 0).all(axis=None) and np.isfinite(frame).all(axis=None)
    last = max(frame.index[-1] for frame in altered.values() if len(frame))
    for symbol, frame in frames.items():  # who trades later than the cut still does
        assert (frame.index[-1] > times[cut]) == (altered[symbol].index[-1] > times[cut])
        assert altered[symbol].index[-1] <= last


def test_the_two_moves_are_opposite_for_every_symbol(frames):
    cut = frames["A"].index[110]
    one, other = (altered_future(frames, cut, way) for way in ALTERATIONS[:2])
    for nth, symbol in enumerate("ABC"):
        was, up, down = (f[symbol]["close"].iloc[111] for f in (frames, one, other))
        assert (down < was < up) if nth % 2 == 0 else (up < was < down)
        body = one[symbol]["close"].iloc[111:] / one[symbol]["open"].iloc[111:]
        assert (body > 1).all() if nth % 2 == 0 else (body < 1).all()


def test_the_third_way_moves_the_times(frames):
    times = frames["A"].index
    altered = altered_future(frames, times[110], ALTERATIONS[2])
    assert list(altered["A"].index[111:]) == list(times[116:121])
    near_the_end = altered_future(frames, times[BARS - 3], ALTERATIONS[2])
    assert list(near_the_end["A"].index[BARS - 2 :]) == [times[-1]]


def test_a_rerun_does_differ_after_the_cut(frames):
    times = frames["A"].index
    trial = Trial(Momentum, {}, FREE, times[FIRST], NoSource(), SAMPLING)
    base = trial.run(frames)
    assert base.error is None
    for way in ALTERATIONS[:2]:
        rerun = trial.run(altered_future(frames, times[110], way))
        assert rerun.until(times[110]) == base.until(times[110])
        assert rerun.until(times[113]) != base.until(times[113])


# Words


BUY = Decision(pd.Timestamp("2023-01-02", tz="UTC"), "A", "buy", 12.0, "market", None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "buy 12 A at market"),
        ({"size": 0.25, "side": "sell"}, "sell 0.25 A at market"),
        ({"kind": "limit", "price": 101.5}, "buy 12 A, limit 101.5"),
        ({"kind": "cancel"}, "cancel: buy 12 A"),
    ],
)
def test_a_decision_in_words(changed, words):
    assert BUY._replace(**changed).words() == words


def test_only_what_differs_is_shown():
    other = BUY._replace(symbol="B")
    assert first_difference([BUY, other], [BUY, other]) is None
    assert first_difference([BUY, other], [BUY]) == (BUY.time, ("buy 12 B at market",), ())
    _, one, two = first_difference([BUY, other], [other, BUY])
    assert one == ("buy 12 A at market", "buy 12 B at market")
    assert two == one[::-1]
    nearly = BUY._replace(size=12 + 1e-12)  # more digits where ten do not tell them apart
    assert first_difference([BUY], [nearly])[2] == ("buy 12.000000000001 A at market",)


def test_lines_say_what_differs_and_what_it_means(jumps):
    times = jumps["A"].index
    proof = proved(PeeksOneBar, jumps, cuts=1)
    shown = lines("peek", proof, times[FIRST], times[-1])
    assert proof.decisions >= 6
    assert shown[:4] == [
        f"peek: NOT clean. {proof.decisions} decisions compared on 2 altered futures and 1 amount "
        "of history.",
        "  It looks ahead. Candles after 2023-06-09 21:00 were altered (the symbols that rose now "
        "fall, the rest rise), and the decision at 2023-06-09 21:00 changed.",
        "    as run:   buy 99 A at market",
        "    changed:  nothing",
    ]
    assert shown[4].startswith("    Usually:  the strategy or its signal reads a bar that has not")
    shown = lines("never", proved(Never, jumps), times[FIRST], times[-1])
    assert shown == [
        "never: nothing proved. It decided nothing from 2023-05-22 21:00 to 2023-06-30 21:00."
    ]


# The command


SHORT = [
    "--data", "sample:AAPL,NVDA,MSFT", "--start", "2021-01-04", "--end", "2021-03-31",
    "--signal", "momentum", "--lookback", "20", "--cuts", "3",
]  # fmt: skip
PEEK = """
from sandbox import Strategy
class Peek(Strategy):
    def next(self):
        data = self.data
        ahead = data._values[data._row + 1 : data._row + 2, 3]
        self.order_target_weights({data: 1.0} if (ahead > data.close[0]).any() else {})
"""


def test_the_command_proves_a_strategy_clean(capsys):
    assert main([str(STRATEGIES / "topk.py"), *SHORT, "--param", "k=2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("topk: clean. ")
    assert shown.endswith(" decisions compared on 9 altered futures and 3 amounts of history.\n")


def test_the_command_fails_on_a_finding(tmp_path, capsys):
    (tmp_path / "peek.py").write_text(PEEK)
    assert main([str(tmp_path / "peek.py"), *SHORT]) == 1
    assert "It looks ahead. Candles after 2021-01-" in capsys.readouterr().out


def test_the_command_fails_where_nothing_is_proved(tmp_path, capsys):
    (tmp_path / "never.py").write_text(
        "from sandbox import Strategy\nclass Never(Strategy):\n    def next(self): pass\n"
    )
    assert main([str(tmp_path / "never.py"), *SHORT]) == 1
    assert capsys.readouterr().out.startswith("never: nothing proved. It decided nothing from ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([str(STRATEGIES / "topk.py"), *SHORT, "--cuts", "0"], "--cuts 0: at least 1 is needed"),
        ([], "no strategy file: name one, such as strategies/topk.py"),
    ],
)
def test_a_wrong_command_is_one_line(capsys, options, message):
    assert main(options) == 2
    assert capsys.readouterr().err.strip().endswith(f"error: {message}")
