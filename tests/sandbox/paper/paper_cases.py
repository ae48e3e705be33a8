"""A paper account traded from frames, as if an exchange had given their bars one by one."""

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pandas as pd

from feeds import times_ns, values_of
from feeds.ccxt import Market, Row, Warmup
from sandbox.paper import account as accounts
from sandbox.paper.opening import on_account, opened_account, the_strategy
from sandbox.paper.trader import Signals, Trader
from sandbox.trading.source import BarTime, Candle

DAY_NS = 86_400 * 10**9


def table(path, query):
    """What a query of an account's file gives."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


@dataclass
class History:
    """An exchange's history of some symbols, of bars of one length, up to a time."""

    frames: dict
    started_ns: int
    length_ns: int
    markets: tuple[Market, ...] = ()
    exchange: str = "replay:1"
    timeframe: str = "1d"

    def warmup(self, bars):
        candles = {}
        for market in self.markets:
            before = self.frames[market.name].loc[: pd.Timestamp(self.started_ns, tz="UTC")]
            candles[market.name] = list(self._rows(before.tail(bars)))
        return Warmup(self.started_ns, candles)

    def bars(self, after_ns, ended=()):
        """The bar times to come; `ended` says of which symbols the last bar is the last."""
        rows = {name: list(self._rows(frame)) for name, frame in self.frames.items()}
        by_time: dict[int, dict] = {}
        for name, own in rows.items():
            for row in own:
                by_time.setdefault(row.opened_ns + self.length_ns, {})[name] = Candle(*row)
        last = {name: own[-1].opened_ns + self.length_ns for name, own in rows.items()}
        before = after_ns
        for time_ns in sorted(by_time):
            if time_ns > after_ns:
                gone = tuple(s for s in ended if before <= last[s] < time_ns)
                yield BarTime(time_ns, by_time[time_ns], gone)
                before = time_ns

    def _rows(self, frame):
        rows = zip(times_ns(frame).tolist(), values_of(frame).tolist(), strict=True)
        for time_ns, values in rows:
            yield Row(time_ns - self.length_ns, *values)


@contextmanager
def trading(config, history, path, *, source=lambda own: own, late=lambda: None):
    """A trader that has gone through its account, and the account. `source` may put something in
    the place of what forecasts, `late` says why forecasts come too late."""
    config = on_account(config, path)
    with (
        accounts.locked(path),
        opened_account(config, the_strategy(config), history, path) as opened,
    ):
        signals = Signals(source=source(opened.forecaster.source), too_late=late)
        trader = Trader(opened.traded, opened.candles, signals, opened.account)
        trader.restore(lambda done, total: None)
        yield trader, opened.account
