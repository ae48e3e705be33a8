"""Portfolios of a run do not disturb one another; an error names the strategy's own line."""

import re
from pathlib import Path

import pytest

from sandbox import cores
from sandbox.errors import StrategyError
from sandbox.run.portfolios import Loaded, Market, Portfolio, Trading, trade
from sandbox.trading.broker import Account

REMEMBERS = """
from sandbox import Strategy

class Remembers(Strategy):
    seen = []

    def next(self):
        self.seen.append(self.now)
        if len(self) == 2:
            self.buy(size=len(self.seen))
"""
PEEKS = """
from sandbox import Strategy

class Peeks(Strategy):
    def next(self):
        return self.data.close[1]  # raised deep inside Backtrader
"""
LEAVES = """
import sys
from sandbox import Strategy

class Leaves(Strategy):
    def next(self):
        sys.exit("enough")
"""


@pytest.fixture
def traded(tmp_path, monkeypatch, market):
    """Several portfolios of one strategy file, traded over one core or two."""

    def run(text, portfolios, workers):
        monkeypatch.setattr(cores, "cores", lambda: workers)
        monkeypatch.chdir(tmp_path)
        path = Path("mine.py")  # as a user names it
        path.write_text(text)
        loaded = Loaded(name="mine", path=path, params={})
        frames = market("A", bars=5)
        times = frames["A"].index
        scene = Market(frames=frames, start=times[0], end=times[-1], account=Account())
        plan = [
            Portfolio(name=f"mine{nth}", role="strategy", loaded=loaded, signal=None)
            for nth in range(portfolios)
        ]
        return trade(plan, Trading(market=scene, books={}), lambda *_: None)

    return run


@pytest.mark.parametrize("workers", [1, 2])
def test_what_one_portfolio_leaves_in_its_class_is_not_the_next_one_s(traded, workers):
    books = [book for _, book in traded(REMEMBERS, 5, workers)]
    assert [book.trades["size"].tolist() for book in books] == [[2.0]] * 5


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [(PEEKS, 6, "IndexError: array index out of range"), (LEAVES, 7, "SystemExit: enough")],
)
def test_an_error_names_the_strategy_s_own_line(traded, tmp_path, text, line, what, workers):
    where = re.escape(f"({tmp_path / 'mine.py'}:{line})")
    with pytest.raises(StrategyError, match=f"^mine[01]: {what} {where}; --debug shows more$"):
        traded(text, 2, workers)
