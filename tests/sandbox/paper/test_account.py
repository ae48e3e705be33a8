"""The account: what it holds after each bar, opened again, and what it refuses."""

import json
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from paper_cases import DAY_NS, History, table, trading

import feeds
from feeds.ccxt import Market
from feeds.steps import Steps
from sandbox.config import RunConfig
from sandbox.errors import AccountError
from sandbox.paper.folder import write_run_folder
from sandbox.paper.opening import on_account
from sandbox.progress import progress_bar
from sandbox.run.job import run_job

MANY_ORDERS = '''
import backtrader as bt
import numpy as np
from sandbox import Strategy

class ManyOrders(Strategy):
    """Every kind of order, drawn by a generator whose seed is fixed."""

    params = (("seed", 1),)

    def start(self):
        self.random = np.random.default_rng(self.p.seed)
        self.mine = []

    def next(self):
        forecasts = self.forecasts()
        for data in self.tradable():
            draw, close, size = self.random.random(), data.close[0], 5
            if draw < 0.15:
                self.buy(data, size=size)
            elif draw < 0.3 and self.broker.positions[data].size >= size:
                self.sell(data, size=size)
            elif draw < 0.4:
                self.mine.append(self.buy(data, size=size, exectype=bt.Order.Limit,
                                          price=close * 0.993, valid=None))
            elif draw < 0.5:
                self.buy_bracket(data=data, size=size, exectype=bt.Order.Market,
                                 stopprice=close * 0.97, limitprice=close * 1.03)
            elif draw < 0.55 and self.broker.positions[data].size >= size:
                self.sell(data, size=size, exectype=bt.Order.StopTrail, trailpercent=0.02)
            elif draw < 0.65 and self.mine:
                self.cancel(self.mine.pop())
            elif draw < 0.7 and data in forecasts and forecasts[data].prob_up() > 0.5:
                self.buy(data, size=2 * size)
'''


@pytest.fixture
def strategy(tmp_path):
    path = tmp_path / "many.py"
    path.write_text(MANY_ORDERS)
    return path


@pytest.fixture(scope="module")
def history():
    """Three stocks, of which one ends and one is quiet now and then; the account begins at bar
    100 of 160."""
    candles = feeds.load("sample:AAPL,NVDA,MSFT", start="2019-06-01", end="2020-01-20")
    frames = dict(candles.frames)
    frames["MSFT"] = frames["MSFT"].iloc[:140]
    frames["NVDA"] = frames["NVDA"].drop(frames["NVDA"].index[105:130:5])
    markets = tuple(
        Market(
            symbol=f"{name}/USDT", name=name, costs="us", calendar="XNYS", active=True,
            steps=Steps(size=1, price=0.01, min_notional=5),
        )
        for name in frames
    )  # fmt: skip
    return History(frames, int(feeds.bar_times(frames)[100].value), DAY_NS, markets)


def config_of(strategy, signal="momentum", **options):
    return RunConfig.of(
        strategies=[str(strategy)], signal=signal, lookback=30, samples=8, **options
    )


def trade_all(config, history, path, *, sittings=1, ended=("MSFT",), out=None):
    """All bars, in so many sittings; a run folder at the end."""
    bars = list(history.bars(history.started_ns, ended))
    for own in np.array_split(np.arange(len(bars)), sittings):
        with trading(config, history, path) as (trader, account):
            for nth in own.tolist():
                trader.trade(bars[nth], caught_up=False)
            if out is not None and own[-1] == len(bars) - 1:
                write_run_folder(trader.traded.config, trader, account, out=out, bar=progress_bar)
    return bars


@pytest.mark.parametrize("signal", ["momentum", "kronos"])
def test_paper_and_a_backtest_on_its_candles_write_the_same_tables(
    signal, strategy, history, tmp_path
):
    path, config = tmp_path / "account.sqlite", config_of(strategy, signal)
    trade_all(config, history, path, sittings=3, out=tmp_path / "paper")
    run_job(on_account(config, path), out=tmp_path / "run", bar=progress_bar)
    for name in ("trades.csv", "equity.csv", "weights.csv"):
        written = (tmp_path / "paper" / name).read_bytes()
        assert written == (tmp_path / "run" / name).read_bytes()
        assert len(written.splitlines()) > 60
    fills = pd.read_csv(tmp_path / "run" / "trades.csv")
    assert (fills["strategy"] == "many").sum() == len(table(path, "SELECT 1 FROM fills"))


def test_the_tables_are_what_the_engine_has(strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    config = config_of(strategy)
    bars = trade_all(config, history, path)
    with trading(config, history, path) as (trader, account):
        value = trader.books.value
        assert trader.bars_traded == len(bars) == account.count("bars")
        assert trader.last_ns == bars[-1].time_ns
        held = {p.symbol: p.size for p in trader.engine.positions}
    equity = table(path, "SELECT time_ns, value FROM equity ORDER BY time_ns")
    assert [time_ns for time_ns, _ in equity] == [bar.time_ns for bar in bars]
    assert equity[-1][1] == value
    assert dict(table(path, "SELECT symbol, size FROM positions")) == held
    bought = table(path, "SELECT sum(CASE side WHEN 'buy' THEN size ELSE -size END) FROM fills")
    assert bought[0][0] == pytest.approx(sum(held.values()))
    assert "MSFT" not in held  # it has ended: what was held of it is sold
    ended = [json.loads(text) for (text,) in table(path, "SELECT ended FROM bars")]
    assert ended.count(["MSFT"]) == 1


def test_recorded_candles_are_a_data_spec(strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    trade_all(config_of(strategy), history, path)
    candles = feeds.load(f"paper:{path}")
    assert candles.symbols == ("AAPL", "NVDA", "MSFT")
    assert candles.started_ns == history.started_ns
    assert candles.steps["AAPL"] == Steps(size=1, price=0.01, min_notional=5)
    assert (candles.costs, candles.calendar) == ("us", "XNYS")
    assert set(candles.ended) == {"MSFT"}
    for name, frame in candles.frames.items():
        pd.testing.assert_frame_equal(
            frame, history.frames[name].loc[frame.index[0] :], check_freq=False
        )
        assert (feeds.times_ns(frame) - candles.opens[name] == DAY_NS).all()


def test_a_symbol_that_is_quiet_at_the_end_is_not_sold(strategy, history, tmp_path):
    """A backtest that looks at the last row of a frame would sell it."""
    path, config = tmp_path / "account.sqlite", config_of(strategy)
    trade_all(config, history, path, ended=(), out=tmp_path / "paper")
    run_job(on_account(config, path), out=tmp_path / "run", bar=progress_bar)
    assert (tmp_path / "paper" / "equity.csv").read_bytes() == (
        tmp_path / "run" / "equity.csv"
    ).read_bytes()
    assert "MSFT" in dict(table(path, "SELECT symbol, size FROM positions"))


def test_a_strategy_that_does_not_repeat_is_refused_by_the_bar(history, tmp_path):
    path, strategy = tmp_path / "account.sqlite", tmp_path / "dice.py"
    strategy.write_text(
        textwrap.dedent(
            """
            import random
            from sandbox import Strategy

            class Dice(Strategy):
                def next(self):
                    if random.random() < 0.5:
                        self.buy(self.datas[0], size=1 + int(9 * random.random()))
            """
        )
    )
    config = config_of(strategy)
    trade_all(config, history, path)
    before = path.read_bytes()
    with (
        pytest.raises(AccountError, match=r"the bar of 20\d\d-\d\d-\d\d .* does not come out as"),
        trading(config, history, path),
    ):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"params": {"seed": 2}}, "parameters: seed 1, now 2"),
        ({"cash": 5_000.0}, "cash 100000.0, now 5000.0"),
        ({"signal": "reversal"}, "signal momentum, now reversal"),
        ({"horizon": 7}, "sampling: horizon 5, now 7"),
        ({"slippage_bps": 9.0}, "costs: slippage_bps 5.0, now 9.0"),
        ({"calendar": "none"}, "calendar XNYS, now None"),
    ],
)
def test_an_account_of_something_else_is_refused(change, words, strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    with trading(config_of(strategy), history, path):
        pass
    before = path.read_bytes()
    with pytest.raises(AccountError) as told, trading(config_of(strategy, **change), history, path):
        pass
    assert words in str(told.value)
    assert str(path) in str(told.value)
    assert path.read_bytes() == before


def test_another_file_of_the_same_name_and_other_symbols_are_refused(strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    with trading(config_of(strategy), history, path):
        pass
    fewer = replace(history, markets=history.markets[:2])
    with (
        pytest.raises(AccountError, match="symbols AAPL, NVDA, MSFT, now AAPL, NVDA"),
        trading(config_of(strategy), fewer, path),
    ):
        pass
    strategy.write_text(MANY_ORDERS.replace("0.15", "0.16"))
    with (
        pytest.raises(AccountError, match="strategy file"),
        trading(config_of(strategy), history, path),
    ):
        pass


def test_a_replay_at_another_port_is_the_same_exchange(strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    for exchange in ("replay:1", "replay:2"):
        with trading(config_of(strategy), replace(history, exchange=exchange), path):
            pass


def test_one_process_at_a_time(strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib\nfrom sandbox.paper.account import locked\n"
            "with locked(pathlib.Path(sys.argv[1])):\n print('held', flush=True)\n input()",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(AccountError, match=rf"another process \({holder.pid}\)"),
        trading(config_of(strategy), history, path),
    ):
        pass
    holder.communicate("\n")
    with trading(config_of(strategy), history, path):  # the lock went with its process
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no database at all, but a text", "cannot be read as a paper account"),
        (b"", "is no paper account"),
    ],
)
def test_a_file_that_is_no_account_is_refused_and_left(content, words, strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    path.write_bytes(content)
    with pytest.raises(Exception, match=words), trading(config_of(strategy), history, path):
        pass
    assert path.read_bytes() == content


def test_a_damaged_account_is_refused_and_left(strategy, history, tmp_path):
    path = tmp_path / "account.sqlite"
    trade_all(config_of(strategy), history, path)
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    with (
        pytest.raises(Exception, match=r"damaged|cannot be read"),
        trading(config_of(strategy), history, path),
    ):
        pass
    assert path.read_bytes() == bytes(content)


def test_an_altered_candle_is_found(strategy, history, tmp_path):
    path, config = tmp_path / "account.sqlite", config_of(strategy)
    bars = trade_all(config, history, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "UPDATE candles SET close = close * 1.001, high = high * 1.01 "
            "WHERE symbol = 'AAPL' AND time_ns = ?",
            (bars[20].time_ns,),
        )
        db.commit()
    with (
        pytest.raises(AccountError, match="does not come out as it was traded"),
        trading(config, history, path),
    ):
        pass


def test_a_full_disk_stops_before_the_bar_is_traded_and_it_goes_on_after(
    strategy, history, tmp_path
):
    whole, path = tmp_path / "whole.sqlite", tmp_path / "account.sqlite"
    config = config_of(strategy)
    bars = trade_all(config, history, whole)
    with trading(config, history, path) as (trader, account):
        pages = account._db.execute("PRAGMA page_count").fetchone()[0]
        account._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(AccountError, match="with room on the disk the same command goes on"):
            for bar in bars:
                trader.trade(bar, caught_up=False)
    done = len(table(path, "SELECT 1 FROM bars"))
    assert 0 < done < len(bars)
    with trading(config, history, path) as (trader, _):
        for bar in bars[done:]:
            trader.trade(bar, caught_up=False)
    for name in ("bars", "fills", "decisions", "equity", "candles", "positions"):
        assert table(path, f"SELECT * FROM {name}") == table(whole, f"SELECT * FROM {name}")


def test_a_kill_at_any_write_leaves_whole_bars(strategy, history, tmp_path):
    """Each bar is one transaction: a copy of the file at any time is an account."""
    path, config = tmp_path / "account.sqlite", config_of(strategy)
    bars = list(history.bars(history.started_ns, ["MSFT"]))[:12]
    with trading(config, history, path) as (trader, account):
        for nth, bar in enumerate(bars, start=1):
            trader.trade(bar, caught_up=False)
            copy = tmp_path / f"copy-{nth}.sqlite"
            for end in ("", "-wal"):
                source = path.with_name(path.name + end)
                copy.with_name(copy.name + end).write_bytes(source.read_bytes())
    for nth in (1, 7, 12):
        with trading(config, history, tmp_path / f"copy-{nth}.sqlite") as (trader, account):
            assert account.count("bars") == nth
            for bar in bars[nth:]:
                trader.trade(bar, caught_up=False)
        rows = "SELECT time_ns, digest FROM bars"
        assert table(tmp_path / f"copy-{nth}.sqlite", rows) == table(path, rows)
