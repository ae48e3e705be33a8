"""How long paper takes from a bar's close to its decision, and what a month of minutes takes.

    python -m benchmarks.paper_latency decision        # 2, 20 and 200 symbols, mini size
    python -m benchmarks.paper_latency month           # 43 200 one-minute bars of 5 symbols

decision: candles of one minute are replayed, so fast that a bar lasts as long as a decision may
take. From the close, by the exchange's clock, to the bar at hand is the feed's share; from there to
the bar in the account, decided and committed, the rest, of which forecasts (random weights of the
published mini size, 90 bars seen, 32 paths of 5) are the model's share.

month: full speed, the momentum signal. Bars a second from the first to the last bar in the account;
memory that a symbol's bar adds, from the process's own pages after a sixth of the month to the
last bar; and how long the finished account takes to be gone through again.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.paper_law import Case, environment, replaying
from benchmarks.sandbox_speed import save_random_mini
from feeds.ccxt import Feed, open_feed
from sandbox.config import RunConfig
from sandbox.forecast.backend import LocalBackend
from sandbox.paper import account as accounts
from sandbox.paper.account import AccountFile
from sandbox.paper.command import after_account
from sandbox.paper.opening import on_account, opened_account, the_strategy
from sandbox.paper.trader import Signals, Trader
from sandbox.trading.source import BarTime, Candle

ROOT = Path(__file__).resolve().parent.parent
HISTORY_BARS = 300
MONTH_BARS, MONTH_SYMBOLS = 43_200, 5
STRATEGY = str(ROOT / "strategies" / "topk.py")
SPEEDS = {2: 30.0, 20: 20.0, 200: 4.0}  # by symbols: a minute in 2, 3 and 15 s
BARS = {2: 100, 20: 60, 200: 20}  # that are measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_latency")
    parser.add_argument("part", choices=("decision", "month"))
    parser.add_argument("--symbols", type=int, nargs="+", default=list(SPEEDS))
    parser.add_argument("--bars", type=int, help="of each measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.part == "month":
            month(Path(folder), args.bars or MONTH_BARS)
        else:
            for symbols in args.symbols:
                decision(Path(folder) / str(symbols), symbols, args.bars or BARS[symbols])


def decision(folder: Path, symbols: int, bars: int) -> None:
    """The feed's, the model's and the whole delay of each bar, in seconds."""
    write_minutes(folder / "candles", symbols, HISTORY_BARS + bars + 2)
    save_random_mini(folder / "mini")
    speed = SPEEDS[symbols]
    config = RunConfig.of(
        strategies=[STRATEGY], model=str(folder / "mini"), params={"k": 2, "rebalance": "bar"}
    )
    model_secs = _timed_model()
    feed_secs: list[float] = []
    whole_secs: list[float] = []
    with (
        _replay(folder, f"{speed:g}x") as port,
        _trading(config, f"replay:{port}", folder / "account.sqlite") as (trader, account, feed),
        feed.live(after_account(account, trader.last_ns, feed.length_ns)) as live,
    ):
        trader.forecasts.rehearse()
        model_secs.clear()
        while len(whole_secs) < bars:
            bar = live.next(timeout=60)
            if bar is None:
                raise RuntimeError("no bar for a minute")
            came = (live.status().clock_ns - bar.time_ns) / 1e9 / speed
            began = time.perf_counter()
            candles = {name: Candle(*row) for name, row in bar.candles.items()}
            trader.trade(BarTime(bar.time_ns, candles, bar.ended), caught_up=False)
            feed_secs.append(came)
            whole_secs.append(came + time.perf_counter() - began)
    for name, secs in (("feed", feed_secs), ("model", model_secs), ("whole", whole_secs)):
        middle, worst = np.percentile(secs, (50, 99))
        print(
            f"{symbols} symbols, {name}: median {1e3 * middle:,.0f} ms, 99 % within "
            f"{1e3 * worst:,.0f} ms ({len(secs)} bars, one every {60 / speed:.0f} s)",
            flush=True,
        )


def _timed_model() -> list[float]:
    """What each batch of forecasts takes, from now on."""
    taken: list[float] = []
    sample = LocalBackend.sample

    def timed(self, *words, **more):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        pieces = list(sample(self, *words, **more))
        taken.append(time.perf_counter() - began)
        return iter(pieces)

    LocalBackend.sample = timed  # type: ignore[method-assign]
    return taken


def month(folder: Path, bars: int) -> None:
    """The command itself, watched from outside."""
    write_minutes(folder / "candles", MONTH_SYMBOLS, HISTORY_BARS + bars)
    state = folder / "account.sqlite"
    options = ["--signal", "momentum", "--param", "k=2", "rebalance=day"]
    with _replay(folder, "max") as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.paper", STRATEGY, *options,
             "--exchange", f"replay:{port}", "--state", str(state), "--quiet"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        seen = list(_watched(process, state, bars))
        process.kill()  # the run folder of its end is another matter
        process.wait()
        (first_at, first, _), (last_at, last, last_bytes) = seen[0], seen[-1]
        _, early, early_bytes = next(one for one in seen if one[1] >= last / 6)
        rate = (last - first) / (last_at - first_at)
        memory = (last_bytes - early_bytes) / (last - early) / MONTH_SYMBOLS
        print(
            f"month: {last:,} bars of {MONTH_SYMBOLS} symbols, {rate:,.0f} bars a second, "
            f"{memory:,.0f} bytes of memory a symbol-bar (aim 250), "
            f"{last_bytes / 2**20:,.0f} MiB at the end; the account's file "
            f"{state.stat().st_size / last / MONTH_SYMBOLS:,.0f} bytes a symbol-bar"
        )
        config = RunConfig.of(
            strategies=[STRATEGY], signal="momentum", params={"k": 2, "rebalance": "day"}
        )
        began, cpu = time.perf_counter(), time.process_time()
        with _trading(config, f"replay:{port}", state):
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"month: gone through again in {took:.1f} s ({cpu:.1f} s of a processor)")


def _watched(
    process: subprocess.Popen[bytes], state: Path, bars: int
) -> Iterator[tuple[float, int, int]]:
    """When, how many bars the account has, and the process's own memory in bytes."""
    done = 0
    while done < bars:
        if process.poll() is not None:
            raise RuntimeError(f"paper ended with {process.returncode} after {done} bars")
        time.sleep(0.25)
        if not state.exists():
            continue
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
            done = db.execute("SELECT count(*) FROM bars").fetchone()[0]
        status = Path(f"/proc/{process.pid}/status").read_text()
        kib = next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]
        if done:
            yield time.perf_counter(), done, int(kib) * 1024


@contextmanager
def _trading(
    config: RunConfig, exchange: str, path: Path
) -> Iterator[tuple[Trader, AccountFile, Feed]]:
    config = on_account(config, path)
    with (
        accounts.locked(path),
        open_feed(exchange) as feed,
        opened_account(config, the_strategy(config), feed, path) as opened,
    ):
        signals = Signals(source=opened.forecaster.source, too_late=lambda: None)
        trader = Trader(opened.traded, opened.candles, signals, opened.account)
        trader.restore(lambda done, bars: None)
        yield trader, opened.account, feed


@contextmanager
def _replay(folder: Path, speed: str) -> Iterator[str]:
    """The port of a replay whose candles of 2024 are live."""
    case = Case(data=f"csv:{folder / 'candles'}/*.csv", start="2024-01-01", end="2026-01-01",
                speed=speed)  # fmt: skip
    with replaying(case, 0, 0.0) as address:
        yield address.rpartition(":")[2]


def write_minutes(folder: Path, symbols: int, bars: int) -> None:
    """Random walks of one minute: the history on 2023-12-31, the rest from 2024-01-01 on."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    last_of_history = pd.Timestamp("2024-01-01") - pd.Timedelta(minutes=1)
    times = pd.date_range(
        last_of_history - pd.Timedelta(minutes=HISTORY_BARS - 1), periods=bars, freq="1min"
    )
    for nth in range(symbols):
        close = 100 * np.exp(np.cumsum(generator.normal(0, 0.001, bars)))
        open_ = np.concatenate([close[:1], close[:-1]])
        table = pd.DataFrame(
            {
                "time": times,
                "open": open_,
                "high": np.maximum(open_, close) * 1.0005,
                "low": np.minimum(open_, close) * 0.9995,
                "close": close,
                "volume": generator.uniform(1e3, 1e4, bars),
            }
        )
        table.to_csv(folder / f"S{nth:03d}-USDT.csv", index=False)


if __name__ == "__main__":
    main()
