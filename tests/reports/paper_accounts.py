"""Paper accounts written by hand: random walks, forecasts around them, fills and a log.

`python -m tests.reports.paper_accounts FILE [BARS [SYMBOLS [SECS]]]` writes one to look at, and
then goes on with a bar every so many seconds.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.paper.schema import SCHEMA

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
STARTED_NS = 1_767_225_600 * SECOND_NS  # 2026-01-01
CASH = 100_000.0
HORIZON, SAMPLES = 12, 19
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


class AccountFile:
    """An account that is written bar by bar, as the account itself does: a transaction a bar."""

    def __init__(
        self,
        path: Path,
        symbols: Sequence[str] = SYMBOLS,
        *,
        warmup: int = 60,
        name: str = "topk",
        horizon: int = HORIZON,
        seed: int = 5,
    ) -> None:
        self.path, self.symbols, self.horizon = path, list(symbols), horizon
        self.base = sqlite3.connect(path)
        self.base.execute("PRAGMA journal_mode = WAL")
        self.base.execute("PRAGMA synchronous = NORMAL")
        self.base.executescript(SCHEMA)
        self.random = np.random.default_rng(seed)
        self.closes = {symbol: 100.0 * 7**nth for nth, symbol in enumerate(self.symbols[:4])}
        self.closes |= dict.fromkeys(self.symbols[4:], 25.0)
        self.held = dict.fromkeys(self.symbols, 0.0)
        self.paid = dict.fromkeys(self.symbols, 0.0)
        self.cash, self.time_ns = CASH, STARTED_NS - warmup * HOUR_NS
        terms = {
            "version": 1,
            "strategy": {"name": name, "file": "strategies/topk.py", "sha256": "ab" * 32,
                         "params": {"k": 2}},
            "exchange": "binance", "timeframe": "1h", "length_ns": HOUR_NS,
            "symbols": self.symbols, "signal": "kronos",
            "model": {"name": "mini", "fingerprint": "cd" * 32, "seen_until": "2024-06-01"},
            "sampling": {"lookback": warmup, "horizon": horizon, "samples": SAMPLES},
            "cash": CASH, "costs": {"preset": "crypto"}, "started_ns": STARTED_NS,
        }  # fmt: skip
        with self.base:
            self.base.execute("INSERT INTO meta VALUES ('account', ?)", [json.dumps(terms)])
            for _ in range(warmup):
                self.time_ns += HOUR_NS
                for symbol in self.symbols:
                    self.candle(symbol)

    def close(self) -> None:
        self.base.close()

    def candle(self, symbol: str) -> None:
        open_ = self.closes[symbol]
        steps = open_ * np.exp(np.cumsum(self.random.normal(0, 0.003, 6)))
        close = float(steps[-1])
        self.closes[symbol] = close
        high, low = max(open_, *steps.tolist()), min(open_, *steps.tolist())
        row = (symbol, self.time_ns, self.time_ns - HOUR_NS, open_, high, low, close, 10.0,
               10.0 * close)  # fmt: skip
        self.base.execute("INSERT INTO candles VALUES (?,?,?,?,?,?,?,?,?)", row)

    def bar(self, *, quiet: Sequence[str] = (), missing: Sequence[str] = (), fill: bool = True):
        """The next bar: no candle for the quiet ones, no forecast for the missing ones."""
        self.time_ns += HOUR_NS
        number = (self.time_ns - STARTED_NS) // HOUR_NS
        with self.base:
            for symbol in self.symbols:
                if symbol not in quiet:
                    self.candle(symbol)
            self.base.execute("INSERT INTO bars VALUES (?, '[]', 'd1', ?)",
                              (self.time_ns, int(number < 4)))  # fmt: skip
            for symbol in self.symbols:
                if symbol not in quiet:
                    self.forecast(symbol, is_missing=symbol in missing)
            if fill and number % 7 == 1:
                self.trade(self.symbols[(number // 7) % min(3, len(self.symbols))])
            self.books()

    def forecast(self, symbol: str, *, is_missing: bool = False) -> None:
        if is_missing:
            row: tuple[Any, ...] = (symbol, self.time_ns, None, None, "it came too late")
            text = f"no forecast of {symbol}: it came too late"
            self.event("forecast", text, symbol)
        else:
            future = self.time_ns + HOUR_NS * np.arange(1, self.horizon + 1)
            walk = np.cumsum(self.random.normal(0, 0.007, (SAMPLES, self.horizon)), axis=1)
            closes = self.closes[symbol] * np.exp(walk)
            paths = np.repeat(closes[:, :, None], 6, axis=2).astype("<f4")
            row = (symbol, self.time_ns, future.astype("<i8").tobytes(), paths.tobytes(), None)
        self.base.execute("INSERT INTO forecasts VALUES (?,?,?,?,?)", row)

    def trade(self, symbol: str) -> None:
        """Buy what is not held, sell what is."""
        close, size = self.closes[symbol], -self.held[symbol]
        if not size:
            size = round(0.3 * CASH / close, 4)
            self.paid[symbol] = close
        commission = abs(size) * close * 0.001
        self.cash -= size * close + commission
        self.held[symbol] += size
        side = "buy" if size > 0 else "sell"
        row = (self.time_ns, symbol, side, abs(size), close, close, commission, 1.5, 0.25)
        self.base.execute(
            "INSERT INTO fills (time_ns, symbol, side, size, price, reference_price, commission,"
            " slippage, impact) VALUES (?,?,?,?,?,?,?,?,?)", row,
        )  # fmt: skip
        self.event("fill", f"{side} {abs(size):g} {symbol} at {close:.2f}", symbol)

    def books(self) -> None:
        value = self.cash + sum(size * self.closes[symbol] for symbol, size in self.held.items())
        row = (self.time_ns, self.cash, value, value)
        self.base.execute("INSERT INTO equity VALUES (?,?,?,?)", row)
        self.base.execute("DELETE FROM positions")
        self.base.execute("DELETE FROM orders")
        for symbol, size in self.held.items():
            if size:
                held = (symbol, size, self.paid[symbol], self.closes[symbol])
                self.base.execute("INSERT INTO positions VALUES (?,?,?,?)", held)
        first = self.symbols[0]
        order = (self.time_ns, first, "buy", 0.5, "limit", 0.97 * self.closes[first])
        self.base.execute(
            "INSERT INTO orders (time_ns, symbol, side, size, kind, price) VALUES (?,?,?,?,?,?)",
            order,
        )

    def event(self, kind: str, text: str, symbol: str | None = None) -> None:
        self.base.execute(
            "INSERT INTO events (wall_ns, time_ns, kind, symbol, text) VALUES (?,?,?,?,?)",
            (time.time_ns(), self.time_ns, kind, symbol, text),
        )

    def status(self, *, wall_ns: int | None = None, **changes: Any) -> None:
        now = time.time_ns() if wall_ns is None else wall_ns
        value = {
            "connected": True, "since_ns": now - 600 * SECOND_NS,
            "clock_ns": self.time_ns + 9 * SECOND_NS, "frontier_ns": self.time_ns,
            "next_close_ns": self.time_ns + HOUR_NS, "waiting_for": [],
            "speed": None, "ended": False, "stopped": False,
            "pid": os.getpid(),
        } | changes  # fmt: skip
        with self.base:
            self.base.execute(
                "INSERT OR REPLACE INTO status VALUES (1, ?, ?)", (now, json.dumps(value))
            )


def written(path: Path, bars: int, symbols: Sequence[str] = SYMBOLS, **more: Any) -> AccountFile:
    """An account with so many bars and a status, still open."""
    account = AccountFile(path, symbols, **more)
    for _ in range(bars):
        account.bar()
    account.status()
    return account


def main(path: str, bars: str = "300", symbols: str = "3", secs: str = "0") -> None:
    names = [*SYMBOLS, *(f"COIN{n}/USDT" for n in range(3, int(symbols)))][: int(symbols)]
    account = written(Path(path), int(bars), names)
    while float(secs):
        time.sleep(float(secs))
        account.bar()
        account.status()


if __name__ == "__main__":
    main(*sys.argv[1:])
