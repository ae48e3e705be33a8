"""Speed and memory of everything around the model, beside plain Backtrader in one process.

    python -m benchmarks.sandbox_speed                 # all parts
    python -m benchmarks.sandbox_speed loop universe   # some of them

loop: the whole loop without inference against plain Backtrader that submits the same orders.
job: what the main job spends outside the model and imports. warm: a second run, with the forecasts
of random weights at mini size in the store, against the first. universe: 500 symbols over 1 250
bars on a naive signal. Prints; asserts nothing.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from sandbox import Strategy
from sandbox.interrupts import tidied
from sandbox.trading.broker import Account
from sandbox.trading.costs import cost_model
from sandbox.trading.engine import Backtest, Setup, run_backtest
from sandbox.trading.source import FrameSource

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
MARKETS = ((10, 1258), (100, 1250))  # symbols, bars
Frames = Mapping[str, pd.DataFrame]


def random_walks(symbols: int, bars: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Daily candles on weekdays, all symbols on the same ones."""
    generator = np.random.default_rng(seed)
    index = pd.bdate_range("2019-01-01", periods=bars, tz="UTC") + pd.Timedelta(hours=21)
    frames = {}
    for nth in range(symbols):
        close = 50 * np.exp(np.cumsum(generator.normal(0, 0.02, bars)))
        open_ = close * np.exp(generator.normal(0, 0.005, bars))
        volume = generator.integers(10**5, 10**6, bars).astype(float)
        frames[f"S{nth:03d}"] = pd.DataFrame(
            {
                "open": open_,
                "high": np.maximum(open_, close) * 1.01,
                "low": np.minimum(open_, close) * 0.99,
                "close": close,
                "volume": volume,
                "amount": volume * close,
            },
            index,
        )
    return frames


class WeeklyMomentum(Strategy):
    """Ten names of the best last 20 bars, once a week: orders without a forecast."""

    params = (("rebalance", "week"),)

    def next(self) -> None:
        if self.due:
            scores = {d: d.close[0] / d.close[-20] for d in self.tradable() if len(d) > 20}
            best = sorted(scores, key=lambda data: scores[data], reverse=True)[:10]
            self.order_target_weights(dict.fromkeys(best, 0.1))


def replayed(orders: Mapping[int, list[tuple[str, float]]]) -> type[Strategy]:
    """A strategy that submits these orders (bar number -> symbol and signed size)."""

    class Replay(Strategy):
        def next(self) -> None:
            submit(self, orders)

    return Replay


def plain(orders: Mapping[int, list[tuple[str, float]]]) -> type[bt.Strategy]:
    class Plain(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            submit(self, orders)

    return Plain


def submit(strategy: bt.Strategy, orders: Mapping[int, list[tuple[str, float]]]) -> None:
    for symbol, size in orders.get(len(strategy), ()):
        data = strategy.getdatabyname(symbol)
        if size > 0:
            strategy.buy(data, size=size)
        else:
            strategy.sell(data, size=-size)


def ours(frames: Frames, strategy: type[Strategy]) -> Backtest:
    times = next(iter(frames.values())).index
    account = Account(cash=1e6, costs=cost_model("us"))
    setup = Setup(name="ours", strategy=strategy, account=account, start=times[0])
    return run_backtest(FrameSource(frames, times[0], times[-1]), setup)


class Rows(bt.feed.DataBase):  # type: ignore[misc]
    """Candles from plain lists: Backtrader's own PandasData spends most of a run in `iloc`."""

    params = (("rows", None),)

    def start(self) -> None:
        super().start()
        self._rows = iter(self.p.rows)

    def _load(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        lines = self.lines
        (
            lines.datetime[0], lines.open[0], lines.high[0], lines.low[0], lines.close[0],
            lines.volume[0],
        ) = row  # fmt: skip
        return True


def pandas_feed(frame: pd.DataFrame) -> bt.feed.DataBase:
    naive = frame.set_axis(frame.index.tz_localize(None))  # type: ignore[attr-defined]
    return bt.feeds.PandasData(dataname=naive)


def row_feed(frame: pd.DataFrame) -> bt.feed.DataBase:
    days = [bt.date2num(time) for time in frame.index]
    columns = [frame[name].tolist() for name in ("open", "high", "low", "close", "volume")]
    return Rows(rows=list(zip(days, *columns, strict=True)))


def backtrader(
    frames: Frames, strategy: type[bt.Strategy], feed: Callable[[pd.DataFrame], bt.feed.DataBase]
) -> None:
    """Backtrader with its own percentage commission, without the observers it adds by itself."""
    cerebro = bt.Cerebro(stdstats=False)
    for symbol, frame in frames.items():
        cerebro.adddata(feed(frame), name=symbol)
    cerebro.broker.setcash(1e6)
    cerebro.broker.setcommission(commission=1e-4)
    cerebro.addstrategy(strategy)
    cerebro.run()


def orders_of(book: Backtest, times: pd.DatetimeIndex) -> dict[int, list[tuple[str, float]]]:
    made = book.decisions[book.decisions["kind"] == "market"]
    bars = times.get_indexer(pd.DatetimeIndex(made["time"])) + 1
    signed = made["size"].where(made["side"] == "buy", -made["size"])
    orders: dict[int, list[tuple[str, float]]] = {}
    for bar, symbol, size in zip(bars, made["symbol"], signed, strict=True):
        orders.setdefault(int(bar), []).append((symbol, float(size)))
    return orders


def seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def loop() -> None:
    """Both sides take turns, so that a slow minute of the machine hits both."""
    print("loop: the same orders through this engine and through plain Backtrader")
    for symbols, bars in MARKETS:
        frames = random_walks(symbols, bars)
        times = pd.DatetimeIndex(next(iter(frames.values())).index)
        orders = orders_of(ours(frames, WeeklyMomentum), times)
        sides: list[Callable[[], object]] = [
            lambda: ours(frames, replayed(orders)),  # noqa: B023
            lambda: backtrader(frames, plain(orders), row_feed),  # noqa: B023
            lambda: backtrader(frames, plain(orders), pandas_feed),  # noqa: B023
            lambda: ours(frames, WeeklyMomentum),  # noqa: B023
        ]
        rounds = [[seconds(side) for side in sides] for _ in range(ROUNDS)]
        our, rows, pandas, whole = (median(side) for side in zip(*rounds, strict=True))
        count = symbols * bars
        print(
            f"  {symbols} x {bars}, {sum(map(len, orders.values()))} orders: {our:.2f} s, plain "
            f"{rows:.2f} s from lists ({our / rows:.2f}x, aim 1.3x) and {pandas:.2f} s from frames "
            f"({our / pandas:.2f}x); {count / our:,.0f} against {count / rows:,.0f} and "
            f"{count / pandas:,.0f} symbol-bars/s; with the strategy that thinks: {whole:.2f} s"
        )


def sandbox(*options: str, folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds of one `sandbox.run` in a process of its own, and those its log tells of."""
    command = [sys.executable, "-m", "sandbox.run", *options, "--out", str(folder / "run")]
    began = perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    took = perf_counter() - began
    log = (folder / "run" / "log.txt").read_text(encoding="utf-8")
    parts = re.findall(r"^(\w+) took ([\d.]+) s$", log, flags=re.MULTILINE)
    return took, {name: float(secs) for name, secs in parts}


@contextmanager
def scratch_folder() -> Iterator[Path]:
    with (
        tempfile.TemporaryDirectory() as scratch,
        tidied(partial(shutil.rmtree, scratch, ignore_errors=True)),
    ):
        yield Path(scratch)


MAIN_JOB = ("strategies/topk.py", "strategies/uncertainty.py")


def job() -> None:
    """The README's first command, cold, then with its forecasts in the store."""
    imports = sum(
        seconds(lambda: subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True))  # noqa: B023
        for code in ("import torch, sandbox.run.job", "import reports.report, quantstats")
    )
    with scratch_folder() as folder:
        store = ("--store", str(folder / "store"))
        cold, parts = sandbox(*MAIN_JOB, *store, folder=folder)
        warm, warm_parts = sandbox(*MAIN_JOB, *store, "--param", "k=2", folder=folder)
    rest = cold - parts["forecasts"] - imports
    print(
        f"job: {cold:.1f} s cold ({parts}), imports {imports:.1f} s; outside the model and "
        f"imports {rest:.1f} s, {rest / cold:.0%} (aim under 25 %)\n"
        f"     {warm:.1f} s with other portfolio rules and the store warm ({warm_parts}), "
        f"{cold / warm:.1f}x"
    )


def warm() -> None:
    """Random weights at mini size, a forecast of every symbol at every bar."""
    with scratch_folder() as folder:
        save_random_mini(folder / "mini")
        every = (
            "--model", str(folder / "mini"), "--param", "rebalance=bar",
            "--store", str(folder / "store"),
        )  # fmt: skip
        alone = (MAIN_JOB[0], "--no-controls", *every)
        cold, parts = sandbox(*alone, folder=folder)
        again, again_parts = sandbox(*alone, "--param", "k=2", folder=folder)
        whole, whole_parts = sandbox(*MAIN_JOB, *every, folder=folder)
    print(
        f"warm: mini size, every bar: {cold:.1f} s ({parts}), then {again:.1f} s "
        f"({again_parts}) with other rules: {cold / again:.1f}x (aim 20x)\n"
        f"      with a second strategy and all controls {whole:.1f} s ({whole_parts}), which "
        f"would have been {(parts['forecasts'] + whole) / whole:.1f}x"
    )


def save_random_mini(folder: Path) -> None:
    from benchmarks.kronos_speed import BITS, DROPOUT, SIZES, TOKENIZER, build
    from sandbox.checkpoints.weights import save_weights

    model, tokenizer = build("mini")
    shape = SIZES["mini"] | BITS | DROPOUT | {"token_dropout_p": 0.0, "learn_te": True}
    save_weights(folder / "model", model.state_dict(), shape)
    save_weights(folder / "tokenizer", tokenizer.state_dict(), TOKENIZER | BITS | DROPOUT)


def universe() -> None:
    """In a process of its own, so that its memory is its own."""
    with scratch_folder() as folder:
        file = folder / "walks.parquet"
        frames = random_walks(500, 1250)
        table = pd.concat(frames, names=["symbol", "date"]).reset_index()
        table.to_parquet(file, index=False)
        for name, rebalance in (("weekly", "week"), ("every bar", "bar")):
            options: tuple[str, ...] = (
                "strategies/topk.py", "--data", f"parquet:{file}", "--start", "2019-01-01",
                "--signal", "momentum", "--no-controls", "--param", "k=20",
                "--param", f"rebalance={rebalance}",
            )  # fmt: skip
            took, parts = sandbox(*options, folder=folder)
            peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            bars = 2 * sum(len(frame) for frame in frames.values())  # the strategy, the benchmark
            print(
                f"universe: 500 x 1250, {name}: {took:.1f} s ({parts}), "
                f"{1e6 * parts['backtests'] / bars:.0f} us a symbol-bar in the loop, "
                f"{1e6 * took / bars:.0f} in all, peak {peak_gib:.2f} GiB (aim 4)"
            )


PARTS: dict[str, Callable[[], None]] = {
    "loop": loop, "job": job, "warm": warm, "universe": universe,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sandbox_speed", description="Time all but the model."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    chosen: Any = parser.parse_args().parts or list(PARTS)
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
