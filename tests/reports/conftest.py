"""Run folders written by hand: a few portfolios on random walks, with fills that cost something."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

NAIVE = ("momentum", "reversal", "volatility", "random", "random-walk")
CASH = 100_000.0
PARTS = ("commission", "slippage", "impact")


def days(count: int, first: str = "2020-01-02") -> pd.DatetimeIndex:
    """Weekdays at 21:00 UTC."""
    return pd.bdate_range(first, periods=count, tz="UTC") + pd.Timedelta(hours=21)


def entry(name: str, role: str, signal: str | None = None, repeats: str | None = None) -> Any:
    """A portfolio as config.json has it."""
    return {
        "name": name, "role": role, "signal": signal, "repeats": repeats,
        "file": f"strategies/{name}.py", "sha256": "ab" * 32, "params": {"k": 3},
    }  # fmt: skip


def plan(strategies: Sequence[str], *, controls: bool = True, benchmark: bool = True) -> list[Any]:
    """Strategies on kronos, a benchmark, and five naive controls of each strategy."""
    portfolios = [entry(name, "strategy", "kronos") for name in strategies]
    portfolios += [entry("benchmark", "benchmark")] if benchmark else []
    if controls:
        portfolios += [entry(f"{s}:{n}", "control", n, s) for s in strategies for n in NAIVE]
    return portfolios


def portfolio(
    name: str, times: pd.DatetimeIndex, generator: np.random.Generator, drift: float = 0.0005
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Equity on a random walk, and a fill every fifth bar that costs what its parts say."""
    gross = CASH * np.exp(np.cumsum(generator.normal(drift, 0.011, len(times))))
    gross[0] = CASH  # nothing is held before the first fill
    at = np.arange(1, len(times), 5)
    price = generator.uniform(50, 200, len(at))
    trades = pd.DataFrame(
        {"time": times[at], "strategy": name, "symbol": "NA",
         "side": np.where(np.arange(len(at)) % 2, "sell", "buy"),
         "size": generator.integers(10, 60, len(at)).astype(float), "price": price,
         "reference_price": price, "commission": 2.0, "slippage": 1.5, "impact": 0.25}
    )  # fmt: skip
    paid = np.zeros(len(times))
    paid[at] = trades[list(PARTS)].sum(axis=1)
    value = gross - np.cumsum(paid)
    cash = value * np.clip(generator.normal(0.1, 0.04, len(times)), 0, 1)
    cash[0] = CASH
    equity = pd.DataFrame(
        {"time": times, "strategy": name, "cash": cash, "value": value, "gross_value": gross}
    )
    return equity, trades


def holdings(name: str, times: pd.DatetimeIndex, symbols: int) -> pd.DataFrame:
    """Weights that change every fifth bar; about one in ten is below 0, and some are 0."""
    generator = np.random.default_rng(len(name))
    shape = (len(times), symbols)
    weights = generator.uniform(-0.1, 1.0, shape)[np.arange(len(times)) // 5 * 5] / max(1, symbols)
    bars, columns = np.nonzero(np.where(weights < 0.3 / max(1, symbols), weights < 0, True))
    return pd.DataFrame(
        {"time": times[bars], "strategy": name, "symbol": [f"S{n:02d}" for n in columns],
         "weight": weights[bars, columns]}
    )  # fmt: skip


def record(portfolios: Sequence[Any], times: pd.DatetimeIndex, **more: Any) -> dict[str, Any]:
    """A whole config.json."""
    return {
        "name": "topk", "portfolios": list(portfolios),
        "config": {
            "strategies": ["strategies/topk.py"], "params": {"k": 3}, "preset": None,
            "data": "sample", "repair": False, "start": "2020-01-02", "end": "2024-12-31",
            "signal": "kronos", "model": "bundled", "lookback": 90, "horizon": 5, "samples": 32,
            "temperature": 1.0, "top_p": 1.0, "seed": 0, "cash": CASH, "controls": True,
            "with_benchmark": True,
        },
        "costs": {
            "preset": "us", "commission_bps": 1.0, "min_commission": 1.0, "sell_tax_bps": 0.0,
            "slippage_bps": 3.0, "impact": 0.5, "volume_cap_pct": 10.0, "price_limit_pct": None,
            "lot_size": 1.0,
        },
        "window": {"first_bar": times[0].isoformat(), "last_bar": times[-1].isoformat()},
        "data": {"spec": "sample", "hash": "c0ffee" * 8, "symbols": ["NA", "AAPL"]},
        "model": {
            "name": "bundled", "fingerprint": "0123abcd" * 8, "seen_until": "2018-12-31",
            "max_context": 512,
        },
        "orders_refused": {"topk": 0}, "notes": ["Beware <of> this."],
        "packages": {"python": "3.11.7", "torch": "2.13.0"},
    } | more  # fmt: skip


def write_run(
    folder: Path,
    portfolios: Sequence[Any],
    times: pd.DatetimeIndex,
    *,
    seed: int = 3,
    drifts: Mapping[str, float] | None = None,
    symbols: int = 0,
    **more: Any,
) -> Path:
    """A run folder without metrics and pages; `more` goes over config.json.

    Every portfolio holds random shares of so many symbols, some of them short.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    written = [
        portfolio(p["name"], times, generator, (drifts or {}).get(p["name"], 0.0005))
        for p in portfolios
    ]
    pd.concat([equity for equity, _ in written]).to_csv(folder / "equity.csv", index=False)
    pd.concat([trades for _, trades in written]).to_csv(folder / "trades.csv", index=False)
    held = [holdings(p["name"], times, symbols) for p in portfolios]
    pd.concat(held).to_csv(folder / "weights.csv", index=False)
    text = json.dumps(record(portfolios, times, **more))
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """`run_folder(strategies, bars=..., ...)` -> the path of a new run folder."""

    def make(
        strategies: Sequence[str] = ("topk",),
        *,
        bars: int = 300,
        times: pd.DatetimeIndex | None = None,
        controls: bool = True,
        benchmark: bool = True,
        at: str = "run",
        **more: Any,
    ) -> Path:
        chosen = days(bars) if times is None else times
        portfolios = plan(strategies, controls=controls, benchmark=benchmark)
        return write_run(tmp_path / at, portfolios, chosen, **more)

    return make


def edit_csv(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Rewrite one CSV of a run folder."""
    change(pd.read_csv(path, keep_default_na=False)).to_csv(path, index=False)
