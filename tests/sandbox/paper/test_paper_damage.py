"""Account files that are damaged, in part or by what lies beside them, are refused and left."""

import os
import sqlite3
import textwrap
from contextlib import closing

import pytest
from paper_cases import DAY_NS, History, trading

import feeds
from feeds.ccxt import Market
from feeds.errors import SourceError
from feeds.steps import Steps
from sandbox.config import RunConfig
from sandbox.errors import AccountError
from sandbox.paper.__main__ import _parser

ORDERS = """
import backtrader as bt
from sandbox import Strategy

class Orders(Strategy):
    def next(self):
        self.buy(self.datas[0], size=2)
        self.buy(self.datas[0], size=1, exectype=bt.Order.Limit, price=1.0)
        self.sell(self.datas[0], size=1, exectype=bt.Order.StopTrail, trailamount=50.0)
"""
BARS = 8


@pytest.fixture(scope="module")
def history():
    candles = feeds.load("sample:AAPL,NVDA", start="2019-06-01", end="2019-09-20")
    markets = tuple(
        Market(
            symbol=f"{name}/USDT",
            name=name,
            costs="us",
            calendar="XNYS",
            active=True,
            steps=Steps(),
        )
        for name in candles.frames
    )
    times = feeds.bar_times(candles.frames)
    return History(dict(candles.frames), int(times[-BARS - 1].value), DAY_NS, markets)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "orders.py"
    path.write_text(textwrap.dedent(ORDERS))
    return RunConfig.of(strategies=[str(path)], signal="momentum", lookback=30, samples=4)


@pytest.fixture
def account(config, history, tmp_path):
    """One of all bars but the last."""
    path = tmp_path / "account.sqlite"
    with trading(config, history, path) as (trader, _):
        for bar in list(history.bars(history.started_ns))[:-1]:
            trader.trade(bar, caught_up=False)
    return path


def change(path, query):
    with closing(sqlite3.connect(path)) as db:
        assert db.execute(query).rowcount != 0
        db.commit()
    return path.read_bytes()


@pytest.mark.parametrize("table", ["fills", "decisions", "equity", "positions", "orders"])
def test_a_table_that_lacks_what_the_bars_lead_to_is_found(table, config, history, account):
    content = change(account, f"DELETE FROM {table}")
    with (
        pytest.raises(AccountError, match=f"its table {table} is not what its bars lead to"),
        trading(config, history, account),
    ):
        pass
    assert account.read_bytes() == content


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE fills SET price = price * 1.0001 WHERE id = 3",
        "UPDATE equity SET cash = cash + 1 WHERE time_ns = (SELECT min(time_ns) FROM equity)",
        "UPDATE orders SET size = size + 1 WHERE id = (SELECT max(id) FROM orders)",
        "UPDATE positions SET size = size + 1",
        "INSERT INTO decisions SELECT 999, time_ns, symbol, side, size, kind, price "
        "FROM decisions LIMIT 1",
    ],
)
def test_a_row_that_is_not_what_the_bars_lead_to_is_found(query, config, history, account):
    change(account, query)
    with pytest.raises(AccountError, match="is damaged"), trading(config, history, account):
        pass


def test_a_candle_that_nobody_traded_on_is_found_where_it_was_altered(config, history, account):
    change(
        account,
        "UPDATE candles SET high = high * 1.1 "
        "WHERE symbol = 'NVDA' AND time_ns = (SELECT max(time_ns) FROM bars)",
    )
    with pytest.raises(AccountError, match="does not come out"), trading(config, history, account):
        pass


def test_an_account_without_its_latest_candles_is_refused(config, history, account):
    change(account, "DELETE FROM candles WHERE time_ns = (SELECT max(time_ns) FROM bars)")
    with (
        pytest.raises(AccountError, match="7 bars were traded, and it has the candles of 6"),
        trading(config, history, account),
    ):
        pass


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("DROP TABLE events", "it has no table events"),
        ("DROP TABLE bars", "it lacks bars"),
        ("UPDATE meta SET value = '[]' WHERE key = 'account'", "cannot be read|is damaged"),
        ("UPDATE meta SET value = '{}' WHERE key = 'exchange'", "meta lacks 'markets'"),
        ("UPDATE meta SET value = '7' WHERE key = 'exchange'", "cannot be read"),
        (
            "UPDATE meta SET value = json_remove(value, '$.cash') WHERE key = 'account'",
            "cash None, now 100000.0",
        ),
        (
            "UPDATE meta SET value = json_set(value, '$.started_ns', 'x') WHERE key = 'account'",
            "cannot be read as a paper account",
        ),
        (
            "UPDATE meta SET value = json_set(value, '$.version', 0) WHERE key = 'account'",
            "is an account of version 0",
        ),
    ],
)
def test_what_is_missing_or_none_is_told(query, words, config, history, account):
    content = change(account, query)
    with pytest.raises((AccountError, SourceError), match=words), trading(config, history, account):
        pass
    assert account.read_bytes() == content


def test_what_is_left_beside_an_account_that_was_moved_away_is_not_taken(config, history, tmp_path):
    """SQLite would take the bars in it for those of the new account."""
    path, first = tmp_path / "account.sqlite", next(history.bars(history.started_ns))
    with trading(config, history, path) as (trader, _):
        trader.trade(first, caught_up=False)
        left = path.with_name("account.sqlite-wal").read_bytes()
        assert left
    path.rename(tmp_path / "away.sqlite")
    for end in ("-wal", "-journal"):  # as after a kill
        beside = tmp_path / f"account.sqlite{end}"
        beside.write_bytes(left)
        with (
            pytest.raises(AccountError, match=f"is not there, but .*account.sqlite{end} is"),
            trading(config, history, path),
        ):
            pass
        assert not path.exists()
        beside.unlink()
    with trading(config, history, path) as (trader, _):
        assert trader.bars_traded == 0


def test_an_account_by_another_name_is_the_same_account(config, history, account, tmp_path):
    link = tmp_path / "link.sqlite"
    link.symlink_to(account)
    with (
        trading(config, history, account),
        pytest.raises(AccountError, match=rf"another process \({os.getpid()}\)"),
        trading(config, history, link),
    ):
        pass
    with trading(config, history, link) as (trader, _):
        assert trader.bars_traded == BARS - 1


def test_a_new_account_is_made_where_a_link_leads(config, history, tmp_path):
    link, folder = tmp_path / "link.sqlite", tmp_path / "elsewhere"
    folder.mkdir()
    link.symlink_to(folder / "account.sqlite")
    with trading(config, history, link) as (trader, _):
        trader.trade(next(history.bars(history.started_ns)), caught_up=False)
    assert [path.name for path in folder.iterdir()] == ["account.sqlite"]
    with trading(config, history, folder / "account.sqlite") as (trader, _):
        assert trader.bars_traded == 1


def test_an_account_in_the_home_folder(monkeypatch, tmp_path):
    """No shell puts the folder's name in place of ~ in --state=~/a.sqlite."""
    monkeypatch.setenv("HOME", str(tmp_path))
    given = _parser().parse_args(["mine.py", "--exchange", "binance", "--state=~/a.sqlite"])
    assert given.state == tmp_path / "a.sqlite"


def test_an_account_in_a_folder_that_cannot_be_written_is_read(
    config, history, account, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for somebody who may not
    *before, last = feeds.bar_times(history.frames).asi8
    assert feeds.bar_times(feeds.load(f"paper:{account}").frames)[-1].value == before[-1]
    with trading(config, history, account) as (trader, _):  # meanwhile it is written
        trader.trade(list(history.bars(history.started_ns))[-1], caught_up=False)
        assert feeds.bar_times(feeds.load(f"paper:{account}").frames)[-1].value == last
