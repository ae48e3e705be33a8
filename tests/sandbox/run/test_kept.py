"""Backtests of controls that are kept: the same tables back, and never those of other inputs."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from feeds import bar_times
from sandbox.config import Sampling
from sandbox.forecast.naive import NaiveSource
from sandbox.run import kept as kept_module
from sandbox.run import portfolios
from sandbox.run.__main__ import main
from sandbox.run.kept import TABLES, KeptBacktests
from sandbox.run.portfolios import Loaded, Market, Portfolio, Trading
from sandbox.run.reads import Touch
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel
from sandbox.trading.params import typed_params
from sandbox.trading.strategy_file import load_strategy
from tests.conftest import make_market
from tests.sandbox.run.test_run_cli import no_report  # noqa: F401

FORECASTS = {"momentum": "momentum of ten bars"}
FILE = """
from sandbox import Strategy

class Mine(Strategy):
    params = (("least", 0.0),)

    def next(self):
        rising = [d for d, f in self.forecasts().items() if f.expected_return() > self.p.least]
        self.order_target_weights(dict.fromkeys(rising, 0.3))
"""


@pytest.fixture
def market():
    frames = make_market("ABC", 40)
    times = bar_times(frames)
    costs = CostModel(commission_bps=10.0)
    return Market(frames=frames, start=times[10], end=times[-1],
                  account=Account(cash=1e4, costs=costs))  # fmt: skip


@pytest.fixture
def control(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    cls = load_strategy(path)
    loaded = Loaded(name="mine", path=path, params=typed_params(cls, {}))
    return Portfolio(name="mine:momentum", role="control", loaded=loaded, signal="momentum",
                     repeats="mine")  # fmt: skip


def traded_in(market, portfolio):
    sampling = Sampling(lookback=5, horizon=2, samples=4)
    book = NaiveSource("momentum").book(market.frames, sampling, bar_times(market.frames))
    return Trading(market=market, books={"momentum": book}).backtest(portfolio, lambda *_: None)


def a_folder(tmp_path):
    return tmp_path / "kept"


def test_what_is_kept_comes_back_as_it_was(market, control, tmp_path):
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    assert store.read(control) is None
    traded = traded_in(market, control)
    assert len(traded.backtest.trades) > 5
    store.keep(control, traded)
    again = KeptBacktests(a_folder(tmp_path), market, FORECASTS).read(control)
    assert again.asked == traded.asked > 0
    for name in TABLES:
        assert_frame_equal(getattr(again.backtest, name), getattr(traded.backtest, name))
        csvs = [getattr(one.backtest, name).to_csv(index=False) for one in (again, traded)]
        assert csvs[0] == csvs[1]
    tables = dict.fromkeys(TABLES)
    assert replace(again.backtest, **tables) == replace(traded.backtest, **tables)


def changed_data(market):
    frame = market.frames["B"].copy()
    frame.iloc[20, 3] *= 1.0001
    return replace(market, frames={**market.frames, "B": frame})


CHANGES = {
    "a candle": changed_data,
    "the order of symbols": lambda m: replace(m, frames=dict(reversed(m.frames.items()))),
    "a symbol's bars after the end": lambda m: replace(
        m, frames={**m.frames, "C": m.frames["C"].iloc[:-1]}
    ),
    "the window": lambda m: replace(m, end=m.end - pd.Timedelta(days=3)),
    "the cash": lambda m: replace(m, account=replace(m.account, cash=2e4)),
    "a cost": lambda m: replace(m, account=Account(cash=1e4, costs=CostModel(slippage_bps=1.0))),
    "the bars before the start": lambda m: replace(m, warmup_bars=5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_inputs_find_nothing(market, control, tmp_path, change):
    KeptBacktests(a_folder(tmp_path), market, FORECASTS).keep(control, traded_in(market, control))
    other = KeptBacktests(a_folder(tmp_path), CHANGES[change](market), FORECASTS)
    assert other.read(control) is None


def test_another_strategy_file_signal_or_code_finds_nothing(market, control, tmp_path, monkeypatch):
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    store.keep(control, traded_in(market, control))
    other_params = replace(control.loaded, params={**control.loaded.params, "least": 0.1})
    assert store.read(replace(control, loaded=other_params)) is None
    assert store.read(replace(control, signal="reversal")) is None
    assert KeptBacktests(a_folder(tmp_path), market, {"momentum": "x"}).read(control) is None
    with monkeypatch.context() as context:
        context.setattr(kept_module, "source_hash", lambda: "other code")
        assert store.read(control) is None
    assert store.read(control) is not None
    control.loaded.path.write_text(FILE + "\n# changed\n")
    assert store.read(control) is None


def test_a_module_that_a_strategy_brings_along_counts(market, control, tmp_path, monkeypatch):
    helper = tmp_path / "brought_along.py"
    helper.write_text("LEAST = 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("brought_along")
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    store.keep(control, traded_in(market, control))
    assert store.read(control) is not None
    helper.write_text("LEAST = 1\n")
    assert store.read(control) is None


def test_a_module_whose_file_is_nowhere_does_not_count(market, control, tmp_path, monkeypatch):
    """Such as those that torch makes: a run that forecasts loads them, the next does not."""
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    store.keep(control, traded_in(market, control))
    made = ModuleType("made")
    made.__file__ = "_ops.py"
    monkeypatch.setitem(sys.modules, "made", made)
    assert store.read(control) is not None


def test_a_strategy_itself_and_one_that_reads_files_are_never_kept(market, control, tmp_path):
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    traded = traded_in(market, control)
    strategy = replace(control, role="strategy")
    store.keep(strategy, traded)
    store.keep(control, traded._replace(touches=(Touch("opened", "/x", 3),)))
    assert store.read(strategy) is None and store.read(control) is None
    assert not a_folder(tmp_path).exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x05\x06", b"no zip at all"])
def test_a_damaged_file_is_as_good_as_none(market, control, tmp_path, damage):
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    store.keep(control, traded_in(market, control))
    [file] = a_folder(tmp_path).iterdir()
    for content in (damage, file.read_bytes()[:-100], file.read_bytes().replace(b"PAR1", b"PAR2")):
        file.write_bytes(content)
        assert store.read(control) is None


def test_a_folder_that_cannot_be_written_is_no_error(market, control, tmp_path):
    a_folder(tmp_path).write_text("a file where the folder should be")
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    store.keep(control, traded_in(market, control))
    assert store.read(control) is None


def test_what_was_used_longest_ago_makes_room(market, control, tmp_path, monkeypatch):
    traded = traded_in(market, control)
    store = KeptBacktests(a_folder(tmp_path), market, FORECASTS)
    first, second = (replace(control, name=name) for name in ("first", "second"))
    store.keep(first, traded)
    [file] = a_folder(tmp_path).iterdir()
    monkeypatch.setattr(kept_module, "MOST_BYTES", int(1.5 * file.stat().st_size))
    store.keep(second, traded)
    assert (store.read(first), store.read(second) is None) == (None, False)


# In a run


@pytest.mark.usefixtures("no_report")
def test_a_second_run_trades_its_strategies_and_keeps_its_controls(tmp_path, monkeypatch):
    """Other rules for one strategy: what the other's controls did is not traded again."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)
    Path("other.py").write_text(FILE)
    options = [
        "mine.py", "other.py", "--data", "sample:AAPL,NVDA,MSFT", "--start", "2021-01-04",
        "--end", "2021-02-26", "--signal", "momentum", "--lookback", "20",
    ]  # fmt: skip
    traded = []

    def watched(plan, *rest):
        traded.append([portfolio.name for portfolio in plan])
        return backtests(plan, *rest)

    backtests = portfolios.backtests
    monkeypatch.setattr(portfolios, "backtests", watched)
    for folder in ("one", "two", "three"):
        more = ["--param", "mine.least=0.01"] if folder == "two" else []
        assert main([*options, *more, "--out", folder]) == 0
    everyone, second, third = traded
    assert len(everyone) == 13
    assert second == [name for name in everyone if name.startswith("mine") or name == "other"]
    assert third == ["mine", "other"]
    for table in ("trades", "equity", "weights"):
        assert (
            Path("one", f"{table}.csv").read_bytes() == Path("three", f"{table}.csv").read_bytes()
        )
    assert "11 of 13 backtests were kept from before" in Path("three", "log.txt").read_text()
    assert main([*options, "--store", "none", "--out", "four"]) == 0
    assert len(traded[-1]) == 13
