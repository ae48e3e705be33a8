"""A forecast that fails or comes too late is none, and nothing is ordered of its symbol then."""

import pandas as pd
import pytest
from paper_cases import DAY_NS, History, table, trading

import feeds
from feeds.ccxt import Market
from feeds.steps import Steps
from sandbox.config import RunConfig
from sandbox.paper.folder import write_run_folder
from sandbox.paper.opening import on_account
from sandbox.progress import progress_bar
from sandbox.run.job import run_job

EAGER = """
from sandbox import Strategy

class Eager(Strategy):
    def next(self):
        for data in self.datas:
            forecast = self.signal.forecast(data)
            held = self.broker.positions[data].size
            if held:
                self.sell(data, size=held)
            elif data.has_bar:
                self.buy(data, size=3)
"""
BARS = 24


@pytest.fixture(scope="module")
def history():
    candles = feeds.load("sample:AAPL,NVDA", start="2019-06-01", end="2019-11-20")
    markets = tuple(
        Market(symbol=f"{name}/USDT", name=name, costs="us", calendar="XNYS", active=True,
               steps=Steps(size=1))
        for name in candles.frames
    )  # fmt: skip
    times = feeds.bar_times(candles.frames)
    return History(dict(candles.frames), int(times[-BARS - 1].value), DAY_NS, markets)


class Failing:
    """A source whose model fails for one symbol at every third bar, alone or in a batch."""

    name = "kronos"

    def __init__(self, own, symbol):
        self.own, self.symbol = own, symbol
        self.failed = set()

    def book(self, frames, sampling, asofs, progress=None):
        (asof,) = asofs
        if self.symbol in frames and asof.day % 3 == 0:
            self.failed.add(asof.value)
            raise RuntimeError("out of memory")
        return self.own.book(frames, sampling, asofs, progress)


def config_of(path, **options):
    return RunConfig.of(strategies=[str(path)], lookback=30, samples=4, **options)


@pytest.fixture
def eager(tmp_path):
    path = tmp_path / "eager.py"
    path.write_text(EAGER)
    return path


def test_nothing_is_ordered_where_a_forecast_failed_also_not_in_a_backtest(
    eager, history, tmp_path
):
    path, config, sources = tmp_path / "account.sqlite", config_of(eager), []

    def failing(own):
        sources.append(Failing(own, "NVDA"))
        return sources[-1]

    bars = list(history.bars(history.started_ns))
    for part in (bars[:9], bars[9:]):  # what failed before is not tried again
        with trading(config, history, path, source=failing) as (trader, account):
            for bar in part:
                trader.trade(bar, caught_up=False)
            if part[-1] is bars[-1]:
                assert account.count("missing") == len(sources[0].failed | sources[1].failed) > 4
                write_run_folder(
                    trader.traded.config, trader, account, out=tmp_path / "paper", bar=progress_bar
                )
    failed = sources[0].failed | sources[1].failed
    assert not sources[0].failed & sources[1].failed
    given = table(path, "SELECT symbol, time_ns FROM decisions")
    all_ns = {bar.time_ns for bar in bars}
    assert all_ns - {at for symbol, at in given if symbol == "NVDA"} == failed
    assert all_ns == {at for symbol, at in given if symbol == "AAPL"}
    events = table(path, "SELECT kind, symbol, text, time_ns FROM events")
    assert {event[:3] for event in events} == {
        ("forecast failed", "NVDA", "RuntimeError: out of memory")
    }
    assert {event[3] for event in events} == failed
    run_job(on_account(config, path), out=tmp_path / "run", bar=progress_bar)
    for name in ("trades.csv", "equity.csv"):
        assert (tmp_path / "paper" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_late_forecasts_are_not_used(eager, history, tmp_path):
    path, config = tmp_path / "account.sqlite", config_of(eager)
    bars = list(history.bars(history.started_ns))[:6]
    late: list[str | None] = [None, None, "they were there 90 s after the close", None, None, None]
    asked = iter(late)
    with trading(config, history, path, late=lambda: next(asked)) as (trader, _):
        for bar in bars:
            trader.trade(bar, caught_up=False)
    given = {at for (at,) in table(path, "SELECT time_ns FROM decisions")}
    assert given == {bar.time_ns for bar in bars} - {bars[2].time_ns}
    missing = table(path, "SELECT symbol, asof_ns, missing FROM forecasts WHERE paths IS NULL")
    assert {symbol for symbol, _, _ in missing} == {"AAPL", "NVDA"}
    assert {(at, why) for _, at, why in missing} == {(bars[2].time_ns, late[2])}
    with trading(config, history, path, late=lambda: "never asked again"):
        pass


def test_a_holding_without_a_forecast_is_kept_by_target_weights(history, tmp_path):
    """A symbol that is not in the top for want of a forecast would be sold for it."""
    path = tmp_path / "account.sqlite"
    config = config_of("strategies/topk.py", params={"k": 2, "n_drop": 2, "rebalance": "bar"})
    sources = []

    def failing(own):
        sources.append(Failing(own, "NVDA"))
        return sources[-1]

    with trading(config, history, path, source=failing) as (trader, _):
        for bar in history.bars(history.started_ns):
            trader.trade(bar, caught_up=False)
    assert len(sources[0].failed) > 4
    sold = table(path, "SELECT time_ns FROM decisions WHERE symbol = 'NVDA'")
    assert not {at for (at,) in sold} & sources[0].failed
    weights = pd.DataFrame(table(path, "SELECT symbol, size FROM positions"))
    assert set(weights[0]) == {"AAPL", "NVDA"}
