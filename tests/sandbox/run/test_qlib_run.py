"""A whole run on a Qlib directory, and single forecasts of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feeds import load, times_ns
from feeds.members import were_members
from sandbox.config import RunConfig
from sandbox.forecast import __main__ as forecast_cli
from sandbox.progress import progress_bar
from sandbox.run.job import run_job
from tests.conftest import write_no_report
from tests.qlib_directory import walk_table, write_directory

TOPK = Path(__file__).resolve().parents[3] / "strategies" / "topk.py"
DAYS = pd.bdate_range("2020-01-01", periods=80)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """Eight symbols, of which two are members for a while only."""
    names = [f"SH60000{number}" for number in range(8)]
    tables = {name: walk_table(DAYS, seed) for seed, name in enumerate(names)}
    days = [f"{day:%Y-%m-%d}" for day in DAYS]
    pool = {name: [(days[0], days[-1])] for name in names}
    pool["SH600000"] = [(days[0], days[44]), (days[60], days[-1])]
    pool["SH600001"] = [(days[40], days[64])]
    folder = write_directory(tmp_path_factory.mktemp("qlib"), tables, {"pool": pool})
    return f"qlib:{folder}?instruments=pool&freq=day"


def test_a_run_buys_members_alone_and_pays_chinese_costs(spec, tmp_path, monkeypatch):
    def write(folder):
        (folder / "metrics.json").write_text("{}")

    write_no_report(monkeypatch, write)
    config = RunConfig.of(
        strategies=[str(TOPK)], data=spec, signal="random", lookback=10, horizon=2, samples=2,
        start="2020-01-22", cash=1e6, store=str(tmp_path / "store"),
        params={"rebalance": "bar", "k": 4, "n_drop": 2},
    )  # fmt: skip
    run = run_job(config, out=tmp_path / "run", bar=progress_bar)
    candles = load(spec)
    record = json.loads((run.folder / "config.json").read_text())
    assert record["costs"]["preset"] == "cn"
    assert record["data"]["hash"] == candles.data_hash
    assert any("only while it was one of pool" in note for note in run.notes)
    trades = pd.read_csv(run.folder / "trades.csv", parse_dates=["time"])
    assert (trades.query("strategy == 'topk'")["commission"] >= 5).all()  # the minimum
    closes_ns = times_ns(candles["SH600000"])
    for symbol in ("SH600000", "SH600001"):
        own = trades[trades["symbol"] == symbol]
        bought = pd.DatetimeIndex(own[own["side"] == "buy"]["time"]).as_unit("ns").asi8
        assert len(bought)
        decided = closes_ns[closes_ns.searchsorted(bought) - 1]
        assert were_members(candles.members, symbol, decided).all()
    names = set(trades["strategy"])
    assert {"topk", "topk:momentum", "topk:costs-free", "benchmark"} <= names
    assert np.allclose(trades["size"] % 100, 0)  # lots


def test_one_forecast_is_made_of_a_member_only(spec, tmp_path, capsys):
    asked = ["--symbol", "SH600001", "--data", spec, "--model", "bundled", "--lookback", "20",
             "--horizon", "2", "--samples", "2", "--out", str(tmp_path)]  # fmt: skip
    assert forecast_cli.main([*asked, "--asof", f"{DAYS[30]:%Y-%m-%d}"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"SH600001 is no member of its universe at {DAYS[30]:%Y-%m-%d}" in error
    assert f"it was from {DAYS[40]:%Y-%m-%d} to {DAYS[64]:%Y-%m-%d}" in error
    assert forecast_cli.main([*asked, "--asof", f"{DAYS[50]:%Y-%m-%d}"]) == 0
