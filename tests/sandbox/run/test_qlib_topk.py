"""`strategies/topk.py` beside pyqlib's own TopkDropoutStrategy, under its own executor and on the
scores that are written for it: the same holdings, bar by bar."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import feeds
from feeds import bar_times
from sandbox.config import Sampling
from sandbox.forecast.naive import NaiveSource
from sandbox.run.portfolios import CurrentForecasts, shown_from
from sandbox.skill.to_qlib import write_signal
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel
from sandbox.trading.engine import Setup, run_backtest
from sandbox.trading.source import FrameSource
from sandbox.trading.strategy_file import load_strategy
from tests.qlib_directory import qlib_holdings, walk_table, write_directory

TOPK = Path(__file__).resolve().parents[3] / "strategies" / "topk.py"
DAYS = pd.bdate_range("2020-01-01", periods=90)
SYMBOLS = [f"SH6000{number:02}" for number in range(12)]
SAMPLING = Sampling(lookback=10, horizon=2, samples=4)


def span(first: int, last: int) -> tuple[str, str]:
    return f"{DAYS[first]:%Y-%m-%d}", f"{DAYS[last]:%Y-%m-%d}"


COMING_AND_GOING = {
    **{symbol: [span(0, 89)] for symbol in SYMBOLS[6:]},
    SYMBOLS[0]: [span(0, 40)],
    SYMBOLS[1]: [span(0, 30), span(55, 89)],
    SYMBOLS[2]: [span(33, 89)],
    SYMBOLS[3]: [span(0, 61)],
    SYMBOLS[4]: [span(20, 50)],
    SYMBOLS[5]: [span(0, 45), span(60, 75)],
}
CASES = {  # the set of instruments, and parameters as Qlib calls them
    "coming and going": ("pool", {"topk": 4, "n_drop": 1, "hold_thresh": 1}),
    "two at a time": ("pool", {"topk": 5, "n_drop": 2, "hold_thresh": 1}),
    "fixed": ("all", {"topk": 5, "n_drop": 2, "hold_thresh": 1}),
    "kept": ("all", {"topk": 4, "n_drop": 2, "hold_thresh": 4}),
    "too few": ("all", {"topk": 12, "n_drop": 1, "hold_thresh": 1}),
}


class Universe:
    """Random forecasts of a set of instruments, and their scores in a file."""

    def __init__(self, folder, instruments, place):
        self.candles = candles = feeds.load(f"qlib:{folder}?instruments={instruments}")
        times = bar_times(candles.frames)[:-1]  # Qlib wants to know of a day more
        self.asofs = times[SAMPLING.lookback :]
        book = NaiveSource("random").book
        self.book = book(candles.frames, SAMPLING, self.asofs, None, candles.members)
        made = {(s, asof): self.book.at(s, asof) for asof in self.asofs for s in candles}
        rows = [(*key, f.expected_return()) for key, f in made.items() if f is not None]
        self.signal = place / f"{instruments}.parquet"
        scores = pd.DataFrame(rows, columns=["symbol", "asof", "score"])
        write_signal(scores, candles, self.signal)
        self.days = [f"{asof:%Y-%m-%d}" for asof in self.asofs[1:]]

    def held(self, topk, **params):
        """What ours holds after each day but the first one, at whose close it begins."""
        signal, candles = CurrentForecasts(), self.candles
        source = FrameSource(
            candles.frames, self.asofs[0], self.asofs[-1], opens=candles.opens,
            members=candles.members,
        )  # fmt: skip
        setup = Setup(
            name="topk", strategy=load_strategy(TOPK), signal=signal, start=self.asofs[0],
            account=Account(cash=1e8, costs=CostModel().without_costs()),
            params={"rebalance": "bar", "k": topk} | params,
        )  # fmt: skip
        weights = run_backtest(source, setup, before_bar=shown_from(self.book, signal)).weights
        held = {day: set() for day in self.days}
        for time, symbol in zip(weights["time"], weights["symbol"], strict=True):
            held[f"{time:%Y-%m-%d}"].add(symbol)
        return [sorted(held[day]) for day in self.days]


@pytest.fixture(scope="module")
def holdings(tmp_path_factory):
    """By case: what ours holds after each day, and what Qlib's does."""
    place = tmp_path_factory.mktemp("signals")
    tables = {symbol: walk_table(DAYS, seed) for seed, symbol in enumerate(SYMBOLS)}
    sets = {"all": {symbol: [span(0, 89)] for symbol in SYMBOLS}, "pool": COMING_AND_GOING}
    folder = write_directory(tmp_path_factory.mktemp("qlib"), tables, sets)
    universes = {name: Universe(folder, name, place) for name in sets}
    own = [universes[name].held(**params) for name, params in CASES.values()]
    asked = [(universes[name].signal, params) for name, params in CASES.values()]
    theirs = qlib_holdings(folder, universes["all"].days, asked)
    return dict(zip(CASES, zip(own, theirs, strict=True), strict=True))


@pytest.mark.parametrize("case", ["coming and going", "two at a time"])
def test_members_that_come_and_go_are_held_as_qlib_holds_them(holdings, case):
    own, theirs = holdings[case]
    assert own == theirs
    assert {symbol for held in own for symbol in held} >= set(
        COMING_AND_GOING
    )  # each of them was held at some time
    assert all(len(held) == CASES[case][1]["topk"] for held in own)


def test_a_fixed_universe_is_held_as_qlib_holds_it(holdings):
    own, theirs = holdings["fixed"]
    assert own == theirs
    assert len(set(map(tuple, own))) > 60  # on most days another portfolio


def test_qlib_buys_for_names_that_it_may_not_sell_yet(holdings):
    """The first of the two differences that topk's docstring names."""
    own, theirs = holdings["kept"]
    assert Counter(map(len, own)) == {4: len(own)}
    assert max(map(len, theirs)) > 4
    first = next(nth for nth in range(len(own)) if own[nth] != theirs[nth])
    assert set(own[first]) < set(theirs[first])


def test_qlib_sells_where_names_are_too_few_to_fill_the_places(holdings):
    """The second one."""
    own, theirs = holdings["too few"]
    assert Counter(map(len, own)) == {12: len(own)}
    assert min(map(len, theirs)) == 11
