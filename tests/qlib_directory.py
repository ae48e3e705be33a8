"""Small directories in Qlib's published format, and pyqlib's own backtest of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

FIELDS = ("open", "high", "low", "close", "volume", "factor", "change")
Spans = Sequence[tuple[str, str]]


def write_directory(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    instruments: Mapping[str, Mapping[str, Spans]],
    freq: str = "day",
    calendar: Iterable[pd.Timestamp] | None = None,
) -> Path:
    """tables: by symbol, columns of fields by stamp. instruments: by set and symbol, spans."""
    stamps = sorted({stamp for table in tables.values() for stamp in table.index})
    stamps = stamps if calendar is None else list(calendar)
    text = [f"{stamp:%Y-%m-%d}" if freq == "day" else f"{stamp}" for stamp in stamps]
    for name in ("calendars", "instruments", "features"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "calendars" / f"{freq}.txt").write_text("\n".join(text) + "\n")
    for name, members in instruments.items():
        lines = [
            f"{symbol}\t{first}\t{last}\n"
            for symbol, spans in members.items()
            for first, last in spans
        ]
        (folder / "instruments" / f"{name}.txt").write_text("".join(lines))
    for symbol, table in tables.items():
        own = folder / "features" / symbol.lower()
        own.mkdir(exist_ok=True)
        start = stamps.index(table.index[0])
        whole = table.reindex([stamp for stamp in stamps[start:] if stamp <= table.index[-1]])
        for field in table.columns:
            values = np.concatenate([[start], whole[field].to_numpy()]).astype("<f4")
            values.tofile(own / f"{field}.{freq}.bin")
    return folder


def walk_table(stamps: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    """A walk, and a factor that doubles halfway: all fields that Qlib's backtest reads."""
    generator = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(generator.normal(0, 0.02, len(stamps))))
    open_ = close * np.exp(generator.normal(0, 0.004, len(stamps)))
    table = pd.DataFrame({"open": open_, "close": close}, index=stamps)
    table["high"] = np.maximum(open_, close) * 1.002
    table["low"] = np.minimum(open_, close) * 0.998
    table["volume"] = generator.integers(10_000, 90_000, len(stamps)) * 100.0
    table["factor"] = np.where(np.arange(len(stamps)) < len(stamps) // 2, 1.0, 2.0)
    table["change"] = table["close"].pct_change().fillna(0.0)
    return table[list(FIELDS)]


QLIB_BACKTEST = """
import json, sys
import pandas as pd
import qlib
from qlib.backtest.executor import SimulatorExecutor
from qlib.contrib.evaluate import backtest_daily
from qlib.contrib.strategy import TopkDropoutStrategy

ask = json.loads(sys.argv[1])
qlib.init(provider_uri=ask["folder"], region="us", kernels=1, logging_config=None)
zero = pd.Series(0.0, index=pd.DatetimeIndex(ask["days"]))


def holdings(signal, strategy):
    _, positions = backtest_daily(
        start_time=ask["days"][0],
        end_time=ask["days"][-1],
        strategy=TopkDropoutStrategy(signal=pd.read_parquet(signal), **strategy),
        executor=SimulatorExecutor(time_per_step="day", generate_portfolio_metrics=True),
        account=1e8,
        benchmark=zero,
        exchange_kwargs=dict(
            freq="day", codes="all", deal_price="open", trade_unit=None,
            open_cost=0, close_cost=0, min_cost=0,
        ),
    )
    held = {f"{day:%Y-%m-%d}": sorted(each.get_stock_list()) for day, each in positions.items()}
    return [held[day] for day in ask["days"]]


print("\\n" + json.dumps([holdings(*each) for each in ask["strategies"]]))
"""


def qlib_holdings(
    folder: Path, days: Sequence[str], strategies: Sequence[tuple[Path, Mapping[str, object]]]
) -> list[list[list[str]]]:
    """What pyqlib's own strategy and executor hold after each day, bought at its opening; for each
    signal's file and parameters of TopkDropoutStrategy. Qlib wants a day after the last."""
    asked = [(str(signal), dict(params)) for signal, params in strategies]
    ask = {"folder": str(folder), "days": list(days), "strategies": asked}
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", QLIB_BACKTEST, json.dumps(ask)],
        capture_output=True, text=True, cwd=strategies[0][0].parent,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    held: list[list[list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return held
