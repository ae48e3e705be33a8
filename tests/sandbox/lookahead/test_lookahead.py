"""The proof against look-ahead: honest strategies pass it, each way to cheat is caught."""

import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds import times_ns
from sandbox.config import Sampling
from sandbox.errors import ConfigError, StrategyError, WindowError
from sandbox.forecast.naive import NaiveSource
from sandbox.forecast.sources import KronosSource
from sandbox.lookahead.__main__ import lines
from sandbox.lookahead.altered import ALTERATIONS, altered_future
from sandbox.lookahead.proof import CUTS, Proof, cut_times, history_amounts
from sandbox.lookahead.rerun import (
    HISTORY_ROUNDING,
    Outcome,
    Rerun,
    first_difference,
    largest_difference,
)
from sandbox.run.portfolios import Market
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel
from sandbox.trading.ledger import Decision
from tests.conftest import FREE, make_checkpoint, make_frame, make_market, make_run
from tests.sandbox.lookahead.lookahead_cases import (
    BARS,
    FIRST,
    SAMPLING,
    AboveLongAverage,
    BarSource,
    BidsAtAnAverage,
    BuysEverySeventhBar,
    BuysOnTheLastBar,
    BuysWhatHasEnded,
    Divides,
    FearsHighPrices,
    FlipsCoins,
    FollowsForecast,
    FollowsLines,
    LongAverage,
    Momentum,
    Never,
    NormalisesOverTheSample,
    NoSource,
    PeeksAtTheClock,
    PeeksAtTheNextBody,
    PeeksOneBar,
    ReadsEightBarsAhead,
    Remembers,
    SellsWhatWillEnd,
    ShortAverage,
    Splits,
    StopsBehindTheRange,
    WaitsForPrices,
    first,
    loaded,
    make_jumps,
    proved,
    trials,
)  # fmt: skip

FRACTIONS = CostModel(lot_size=1e-6)
STRATEGIES = Path(__file__).parents[3] / "strategies"


@pytest.fixture(scope="module")
def frames():
    return make_market("ABC", BARS)


@pytest.fixture(scope="module")
def jumps():
    return make_jumps()


def outcomes(frames, *others, start):
    """What momentum decides on each of some markets."""
    rerun = Rerun(trials=trials(), loaded=loaded(Momentum), source=NoSource(), sampling=SAMPLING)
    markets = [
        Market(frames=each, account=FREE, start=start, end=max(f.index[-1] for f in each.values()))
        for each in (frames, *others)
    ]
    return rerun.all(markets)


# Honest ones


def test_an_honest_strategy_is_clean(frames):
    told = []

    @contextmanager
    def bar(label, unit):
        yield lambda done, total: told.append((label, done, total))

    proof = proved(Momentum, frames, bar=bar)
    assert proof.clean
    assert proof.decisions > 10
    assert (len(proof.cuts), proof.futures, proof.history_bars) == (3, 12, (75,))
    runs = [counts for label, *counts in told if label == "Comparing Momentum"]
    assert runs == [[done, 15] for done in range(1, 16)]


@pytest.mark.parametrize("name", ["topk", "uncertainty", "benchmark"])
@pytest.mark.parametrize("signal", ["momentum", "random-walk", "kronos"])
def test_the_shipped_strategies_are_clean(name, signal):
    frames = make_market("ABCDE", BARS)
    frames["D"] = frames["D"].iloc[110:]  # begins in the middle
    frames["E"] = frames["E"].drop(frames["E"].index[113])  # lacks a bar
    source = KronosSource(make_checkpoint(), store=None) if signal == "kronos" else None
    proof = proved(
        STRATEGIES / f"{name}.py",
        frames,
        source=source or NaiveSource(signal),
    )
    assert proof.clean, proof.differences
    assert proof.futures == 12


@pytest.mark.parametrize("strategy", [FollowsForecast, FollowsLines])
def test_a_forecast_of_the_bars_so_far_is_clean(frames, strategy):
    assert proved(strategy, frames, source=BarSource()).clean


def test_an_indicator_that_forgets_is_clean(frames):
    assert proved(ShortAverage, frames).clean


@pytest.mark.parametrize(
    ("begins", "tried"),
    [
        (130, (200, 270)),  # three quarters of what a run gives would be 195 bars
        (190, (200,)),
        (200, ()),
    ],
)
def test_a_long_average_is_never_tried_with_fewer_bars_than_it_needs(begins, tried):
    frame = make_market("A", 430)["A"].iloc[begins:]
    proof = proved(AboveLongAverage, {"A": frame}, first=400 - begins)
    assert proof.clean or not tried
    assert (proof.history_bars, proof.differences) == (tried, ())


def test_what_is_honest_in_an_unequal_market_is_clean():
    frames = make_market("ABCD", BARS)
    frames["B"] = frames["B"].iloc[:110]  # ends in the middle
    frames["C"] = frames["C"].drop(frames["C"].index[[104, 105, 112]])
    frames["D"] = frames["D"].iloc[108:]
    for strategy in (Momentum, FlipsCoins, WaitsForPrices):
        proof = proved(strategy, frames, cuts=8)
        assert proof.clean, proof.differences


def test_the_number_of_symbols_may_be_known(frames):
    late = dict(frames, C=frames["C"].iloc[120:])
    assert proved(Splits, late).clean


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1000), cut=st.integers(30, 78), way=st.sampled_from(ALTERATIONS))
def test_no_cut_changes_an_honest_strategy(seed, cut, way):
    frames = make_market("ABC", 80, seed)
    times = frames["A"].index
    base, rerun = outcomes(frames, altered_future(frames, times[cut], way), start=times[30])
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


@pytest.mark.parametrize("strategy", [SellsWhatWillEnd, BuysOnTheLastBar])
def test_to_know_a_last_bar_is_caught(frames, strategy):
    found = first(proved(strategy, dict(frames, B=frames["B"].iloc[:112])))
    assert found.varied == "there are none: the data end"
    assert found.bar == found.cut
    assert found.as_run != found.when_varied


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
    assert proof.futures == 12
    assert [d.check for d in proof.differences] == ["history"]


@pytest.mark.parametrize("strategy", [StopsBehindTheRange, BidsAtAnAverage])
def test_rounding_of_an_average_is_no_dependence_on_the_start(strategy):
    frames = make_market("A", 430)
    proof = proved(strategy, frames, first=400, cuts=1, account=Account(cash=1e5, costs=FRACTIONS))
    assert proof.clean, proof.differences
    assert len(proof.history_bars) == 2
    assert 0 < proof.history_apart < 1e-6


def test_the_largest_difference_between_histories_is_told():
    times = make_market("A", 2)["A"].index
    proof = Proof(decisions=5, futures=12, history_bars=(390, 400), history_apart=4.4e-11)
    assert lines("stops", proof, *times) == [
        "stops: clean. 5 decisions compared on 12 altered futures and 2 amounts of history, where "
        "sizes and prices differ by rounding, 4e-11 at most."
    ]


def test_between_histories_only_rounding_is_allowed():
    time = pd.Timestamp("2023-01-02", tz="UTC")
    stop = Decision(time.value, "A", "sell", 12.0, "stop", 101.5)
    near = stop._replace(price=101.5 * (1 + 9e-7), size=12 * (1 - 9e-7))
    assert first_difference([stop], [near]) is not None
    assert first_difference([stop], [near], HISTORY_ROUNDING) is None
    assert largest_difference([stop], [near]) == pytest.approx(9e-7, rel=1e-3)
    market = stop._replace(kind="market", price=math.nan)
    for other in (
        stop._replace(price=101.5 * (1 + 2e-6)), stop._replace(size=13.0), market,
        stop._replace(side="buy"), stop._replace(symbol="B"), stop._replace(kind="limit"),
        stop._replace(time_ns=(time + pd.Timedelta(days=1)).value),
    ):  # fmt: skip
        assert first_difference([stop], [other], HISTORY_ROUNDING) is not None
    assert first_difference([stop], [], HISTORY_ROUNDING) is not None
    assert first_difference([stop, market], [market, stop], HISTORY_ROUNDING) is not None


def test_a_forecast_has_its_lookback_however_little_history_is_given(frames):
    wide = Sampling(lookback=90, horizon=3, samples=4)
    proof = proved(FollowsForecast, frames, source=NaiveSource("momentum"), sampling=wide, cuts=1)
    assert proof.history_bars == (75,)  # fewer than the lookback
    assert proof.clean, proof.differences


# The candles are those of a run


def test_the_candles_are_those_of_a_run_and_go_on_after_its_end():
    frames = make_market("AB", 140)
    times = frames["A"].index
    frames["B"] = frames["B"].drop(times[115:135])  # pauses over the end of the run
    window = {"start": times[FIRST], "end": times[129]}
    book = make_run(frames, BuysWhatHasEnded, **window)
    proof = proved(BuysWhatHasEnded, frames, **window)
    assert proof.decisions == len(book.decisions)
    assert proof.clean, proof.differences
    at_end = {symbol: frame.loc[: times[129]] for symbol, frame in frames.items()}
    assert len(make_run(at_end, BuysWhatHasEnded, **window).decisions) != len(book.decisions)


def test_what_comes_after_the_end_of_the_run_is_altered_too():
    frames = make_market("AB", 140)
    times = frames["A"].index
    seen = proved(SellsWhatWillEnd, dict(frames, B=frames["B"].iloc[:129]), end=times[129], cuts=1)
    assert not seen.clean


def test_openings_go_with_their_bars(frames):
    hours = {"A": 24, "B": 6.5, "C": 1}
    opens = {s: times_ns(f) - int(hours[s] * 3600e9) for s, f in frames.items()}
    assert proved(Momentum, frames, opens=opens).clean


def test_what_a_run_leaves_behind_is_caught(frames):
    proof = proved(Remembers, frames)
    found = first(proof)
    assert (found.check, found.bar) == ("repeat", frames["A"].index[FIRST])
    assert (found.as_run, found.when_varied) == (("buy 1 A at market",), ("buy 31 A at market",))
    assert proof.futures == 0


def test_a_strategy_that_stops_for_want_of_a_future_is_caught(frames):
    bars = {"bars": 10}
    found = first(proved(ReadsEightBarsAhead, frames, cuts=1, attributes=bars))
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
    most = {"most": float(frames["A"]["close"].iloc[FIRST:].max())}
    with pytest.raises(StrategyError, match=r"stopped at .* on candles altered .* too high"):
        proved(FearsHighPrices, frames, cuts=1, attributes=most)


def test_an_error_of_the_run_itself_is_told(frames):
    with pytest.raises(ZeroDivisionError):
        proved(Divides, frames)

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
    decided = [Decision(bar.value, "A", "buy", 1.0, "market", math.nan) for bar in bars[4::5]]
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


def test_a_rerun_does_differ_after_the_cut(frames):
    times = frames["A"].index
    ways = [altered_future(frames, times[110], way) for way in ALTERATIONS[:2]]
    base, *reruns = outcomes(frames, *ways, start=times[FIRST])
    assert base.error is None
    for rerun in reruns:
        assert rerun.until(times[110]) == base.until(times[110])
        assert rerun.until(times[113]) != base.until(times[113])
