"""Tear sheets made from run folders written by hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.tearsheet import main

FIGURES = {
    "total_return_pct": 1.0, "gross_return_pct": 2.0, "cagr_pct": 1.0, "sharpe": None,
    "max_drawdown_pct": -3.0, "costs_paid": 40.0, "commission_paid": 25.0, "slippage_paid": 15.0,
    "turnover_pct_per_year": 100.0, "fills": 12,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A run folder of `days` days, of which the strategy may have traded none."""

    def write(days=300, *, traded=True, note="Beware <of> this."):
        record = {
            "name": "topk", "notes": [note],
            "config": {
                "strategy": "topk.py", "params": {"k": 3}, "lookback": 90, "horizon": 5,
                "samples": 16, "seed": 0, "cash": 100.0, "commission_bps": 5, "slippage_bps": 5,
            },
            "window": {"first_bar": "2020-01-02T21:00:00+00:00", "last_bar": "2020-12-31"},
            "data": {"spec": "sample", "symbols": ["AAPL"]}, "model": {"name": "bundled"},
        }  # fmt: skip
        metrics = {
            "strategies": {"topk": FIGURES | {"fills": 12 * traded}, "benchmark": FIGURES},
            "benchmark": "benchmark", "beat_benchmark": False,
        }  # fmt: skip
        times = pd.bdate_range("2020-01-02", periods=days, tz="UTC") + pd.Timedelta(hours=21)
        walk = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, (2, days)), axis=1))
        values = {"topk": walk[0] if traded else np.full(days, 100.0), "benchmark": walk[1]}
        equity = pd.concat(
            pd.DataFrame({"time": times, "strategy": name, "value": value})
            for name, value in values.items()
        )
        (tmp_path / "config.json").write_text(json.dumps(record))
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        equity.to_csv(tmp_path / "equity.csv", index=False)
        return tmp_path

    return write


def test_the_page_opens_without_a_network_and_nothing_spills(folder):
    root = Path(__file__).resolve().parents[2]
    run = [sys.executable, "-m", "reports.tearsheet", str(folder())]
    done = subprocess.run(run, cwd=root, capture_output=True, text=True, check=False)
    page_at = Path(done.stdout.strip())
    assert (done.returncode, done.stderr, page_at.name) == (0, "", "report.html")
    page = page_at.read_text()
    assert not re.search(r"<(link|script|img|iframe)\b", page.replace('<img src="data:', ""))
    assert not re.search(r"url\(\s*['\"]?http", page)
    assert page.count("<h1") == 2
    assert "Key Performance Metrics" in page
    assert "topk did not beat the benchmark after costs: +1.0 % against +1.0 %." in page
    assert "Beware &lt;of&gt; this." in page
    assert "5 bps commission" in page
    assert "Costs paid" in page


@pytest.mark.parametrize(
    ("days", "traded", "message"),
    [(300, False, "topk never traded, so there is nothing to chart."), (5, True, "5 days are too")],
)
def test_a_run_with_nothing_to_chart_has_a_page_all_the_same(folder, days, traded, message):
    made = folder(days, traded=traded)
    assert main([str(made)]) == 0
    page = (made / "report.html").read_text()
    assert message in page
    assert "Costs paid" in page


def test_what_is_no_run_folder_is_told(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert f"error: {tmp_path} is not a run folder" in capsys.readouterr().err


def test_strategies_with_other_times_are_refused(folder, capsys):
    made = folder()
    lines = (made / "equity.csv").read_text().splitlines()
    (made / "equity.csv").write_text("\n".join(lines[:-1]))
    assert main([str(made)]) == 1
    assert "do not share their times" in capsys.readouterr().err


def test_a_drawdown_that_begins_on_the_first_day_is_found(folder):
    made = folder(60)
    equity = pd.read_csv(made / "equity.csv")
    ours = equity["strategy"] == "topk"
    equity.loc[ours, "value"] = np.linspace(95.0, 80.0, 60)  # 100 at the start, and 80 at the end
    equity.to_csv(made / "equity.csv", index=False)
    assert main([str(made)]) == 0
    assert re.search(r"<td>Max Drawdown</td><td>.*?</td><td>-20.0%</td>", _rows(made))


def _rows(folder):
    return re.sub(r"\s*(</?t[drh])[^>]*>\s*", r"\1>", (folder / "report.html").read_text())
