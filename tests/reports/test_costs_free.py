"""What costs took: gross, the run without costs, and the compounding between them."""

import json

import numpy as np
import pandas as pd
import pytest

from reports.compare import main as compare
from reports.costs import reinvested_return_pct
from reports.folder import read_run
from reports.metrics import all_figures
from reports.report import main
from reports.verdicts import judged
from tests.reports.conftest import CASH, days, edit_csv, entry, plan, write_run

FREE = entry("topk:costs-free", "costs-free", "kronos", "topk")


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", [*plan(["topk"]), FREE], days(300))


def test_the_table_and_one_line_show_both(folder, capsys):
    assert main([str(folder), "--debug"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    [cost] = metrics["costs"].values()
    own, free = (metrics["portfolios"][name]["whole"] for name in ("topk", "topk:costs-free"))
    assert cost["costs_free_return_pct"] == free["total_return_pct"]
    assert cost["gross_return_pct"] == own["gross_return_pct"]
    assert cost["sentence"].startswith(f"Costs took {own['costs_paid']:,.0f} of topk, which made ")
    page = (folder / "report.html").read_text()
    assert page.count('<th scope="row">costs-free</th>') == 3
    shown = f"{free['total_return_pct']:+,.1f} %".replace("-", "\N{MINUS SIGN}")
    assert f"<td>{shown}</td>" in page
    assert f"Costs took {own['costs_paid']:,.0f} of topk" in page
    assert not (folder / "tearsheets" / "topk_costs-free.html").exists()
    side_by_side = folder / "side.html"
    assert compare([str(folder), str(copied(folder)), "--out", str(side_by_side)]) == 0
    assert side_by_side.read_text().count(f">{shown}</td>") == 2  # of two runs
    assert "costs-free" not in capsys.readouterr().out  # a portfolio of its own it is not


def copied(folder):
    target = folder.with_name("other")
    target.mkdir()
    for name in ("config.json", "equity.csv", "trades.csv"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def test_a_run_without_costs_is_no_rival(folder, tmp_path):
    without = write_run(tmp_path / "without", plan(["topk"]), days(300))
    found = [judged(run, all_figures(run)) for run in map(read_run, (folder, without))]
    assert found[0] == found[1]
    assert "topk:costs-free" not in found[0]["verdicts"]["topk"]["against"]


def test_without_a_costs_free_run_nothing_is_said_of_it(tmp_path):
    folder = write_run(tmp_path / "run", plan(["topk"]), days(60))
    assert main([str(folder), "--debug"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["costs"] == {}
    assert "costs-free" not in (folder / "report.html").read_text().lower()


def test_what_costs_would_have_become_is_compounded_from_each_fill_on(folder):
    times = days(300)
    value = CASH * 1.001 ** np.arange(300)

    def grows(equity):
        equity.loc[equity["strategy"] == "topk", "value"] = value
        return equity

    def two_fills(trades):
        mine = trades[trades["strategy"] == "topk"].iloc[:2].copy()
        mine["time"] = [str(times[9]), str(times[199])]
        mine["commission"], mine["slippage"], mine["impact"] = [100.0, 50.0], [20.0, 0.0], 0.0
        return pd.concat([mine, trades[trades["strategy"] != "topk"]])

    edit_csv(folder / "equity.csv", grows)
    edit_csv(folder / "trades.csv", two_fills)
    last = CASH * 1.001**299 + 120 * 1.001**290 + 50 * 1.001**100
    assert reinvested_return_pct(read_run(folder), "topk") == pytest.approx(100 * (last / CASH - 1))
