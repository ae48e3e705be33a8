"""Charts of a report: their data are those of the run folder's own files."""

import json

import numpy as np
import pandas as pd
import pytest

from reports.calendar_returns import returns_table, years
from reports.curves import report_charts, rolling_window
from reports.folder import read_run
from reports.grid import MOST_POINTS, MOST_VALUES
from reports.report import fills_html, report_html
from tests.reports.conftest import CASH, days, entry, plan, write_run
from tests.reports.test_holdings import report_metrics


def charts_of(folder):
    run = read_run(folder)
    data = report_charts(run).data()
    charts = {
        chart["id"]: {series["name"]: series for series in chart["series"]}
        for chart in data["charts"]
    }
    return run, data, charts


@pytest.fixture
def drawn(tmp_path):
    return charts_of(write_run(tmp_path / "run", plan(["topk"]), days(300), symbols=4))


def test_equity_and_drawdown_are_those_of_every_portfolio_and_bar(drawn):
    run, data, charts = drawn
    equity = pd.read_csv(run.folder / "equity.csv")
    assert data["times"] == [int(time.timestamp()) for time in days(300)]
    for p in run.portfolios:
        value = equity.loc[equity["strategy"] == p.name, "value"].to_numpy()
        assert charts["equity"][p.name]["values"] == pytest.approx(value / CASH, abs=6e-4)
        peak = np.maximum.accumulate(np.concatenate([[CASH], value]))[1:]
        worst = 100 * (value / peak - 1)
        assert charts["drawdown"][p.name]["values"] == pytest.approx(worst, abs=6e-3)
    groups = [series["group"] for series in charts["equity"].values()]
    assert groups == ["", "", *["naive control"] * 5]
    assert next(iter(charts["equity"])) == "topk"


def test_exposure_turnover_and_rolling_ratios(drawn):
    run, _, charts = drawn
    for name in ("topk", "benchmark"):
        exposure = 100 * (1 - run.cash[name] / run.value[name])
        assert charts["exposure"][name]["values"] == pytest.approx(exposure.tolist(), abs=0.06)
        value = run.value[name].to_numpy()
        returns = value / np.concatenate([[CASH], value[:-1]]) - 1
        sharpe = charts["rolling-sharpe"][name]["values"]
        assert sharpe[:125] == [None] * 125
        last = returns[-126:]
        expected = np.sqrt(252) * last.mean() / last.std(ddof=1)
        assert sharpe[-1] == pytest.approx(expected, abs=6e-3)
        fills = run.trades[run.trades["strategy"] == name]
        recent = fills[fills["time"] >= run.times[-63]]
        traded = (recent["size"] * recent["price"]).sum()
        turnover = 100 * traded / 2 / value[-63:].mean() * 252 / 63
        assert charts["turnover"][name]["values"][-1] == pytest.approx(turnover, abs=0.06)
    assert set(charts["rolling-beta"]["benchmark"]["values"][125:]) == {1}


def test_holdings_are_the_weights_and_pile_up_to_their_sum(drawn):
    run, _, charts = drawn
    weights = pd.read_csv(run.folder / "weights.csv")
    mine = weights[weights["strategy"] == "topk"]
    table = mine.pivot(index="time", columns="symbol", values="weight")
    table = table.reindex(run.times.strftime("%Y-%m-%d %H:%M:%S+00:00")).fillna(0.0)
    holdings = charts["holdings-0"]
    assert set(holdings) == set(table.columns)
    assert (table < 0).to_numpy().any()
    for symbol, series in holdings.items():
        assert series["kind"] == "stack"
        assert series["values"] == pytest.approx((100 * table[symbol]).tolist(), abs=0.06)


def test_a_run_of_the_readme_s_size_is_under_a_megabyte(tmp_path):
    folder = write_run(tmp_path / "run", plan(["topk", "uncertainty"]), days(1258), symbols=10)
    run, data, charts = charts_of(folder)
    assert len(data["times"]) == 1258
    assert len(run.portfolios) == 13
    assert [len(charts[id]) for id in ("equity", "exposure", "holdings-1")] == [13, 3, 10]
    page = report_html(run, report_metrics(run))
    assert len(page.encode()) < 1_000_000


@pytest.mark.parametrize("strategies", [13, 25])
def test_more_strategies_make_coarser_lines_and_no_heavy_page(tmp_path, strategies):
    names = [f"s{n}" for n in range(strategies)]
    portfolios = [entry(name, "strategy", "kronos") for name in names]
    folder = write_run(tmp_path / "run", portfolios, days(1258), symbols=12)
    run, data, charts = charts_of(folder)
    assert 50 < len(data["times"]) < 1258
    values = sum(map(len, charts.values())) * len(data["times"])
    assert values <= MOST_VALUES
    bars = -(-1258 // len(data["times"]))
    [equity] = [chart for chart in report_charts(run).charts if chart.id == "equity"]
    assert f"Each point stands for {bars} bars." in equity.explanation
    assert equity.series[0].values[-1] == pytest.approx(run.value["s0"].iloc[-1] / CASH)
    assert len(report_html(run, report_metrics(run)).encode()) < 1_600_000


def test_a_large_sweep_has_a_page_of_reasonable_size(tmp_path):
    made = [entry(f"topk[k={n}]", "strategy", "kronos") | {"sweep_of": "topk"} for n in range(120)]
    folder = write_run(
        tmp_path / "run", [*made, entry("benchmark", "benchmark")], days(1258), symbols=10
    )
    run, data, charts = charts_of(folder)
    assert len(charts["equity"]) == 1 + 1 + 30
    assert len(data["times"]) == 1258
    assert len(report_html(run, report_metrics(run)).encode()) < 1_000_000
    assert len(fills_html(run).encode()) < 6_000_000


@pytest.mark.parametrize("bars", [1, 2, 5, 30, 70, 125, 126, 252])
def test_short_windows_have_the_charts_that_they_can(tmp_path, bars):
    folder = write_run(tmp_path / "run", plan(["topk"]), days(bars), symbols=3)
    run, data, charts = charts_of(folder)
    assert len(data["times"]) == bars
    assert ("rolling-sharpe" in charts) is (bars >= 126)
    assert rolling_window(bars, 252) == (None if bars < 126 else 63 if bars < 252 else 126)
    json.dumps(data, allow_nan=False)
    assert "<svg" in report_html(run, report_metrics(run))


def test_intraday_bars_are_points_with_a_time_of_day(tmp_path):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h", tz="UTC")
    run, data, charts = charts_of(write_run(tmp_path / "run", plan(["topk"]), times, symbols=3))
    assert data["intraday"]
    assert len(data["times"]) <= MOST_POINTS
    assert data["times"][-1] == int(times[-1].timestamp())
    step = 3600 * -(-len(times) // MOST_POINTS)
    assert set(np.diff(data["times"])) == {step}
    sharpe = charts["rolling-sharpe"]["topk"]["values"]
    assert None not in sharpe[len(sharpe) // 2 :]
    value = run.value["topk"]
    assert min(charts["drawdown"]["topk"]["values"]) == pytest.approx(
        (100 * (value / value.cummax().clip(lower=CASH) - 1)).min(), abs=6e-3
    )


def test_without_a_benchmark_and_controls_there_is_no_beta(tmp_path):
    portfolios = plan(["topk"], controls=False, benchmark=False)
    run, _, charts = charts_of(write_run(tmp_path / "run", portfolios, days(300)))
    assert set(charts) == {"equity", "drawdown", "exposure", "turnover", "rolling-sharpe"}
    assert list(charts["equity"]) == ["topk"]
    [table] = [returns_table(run, "topk", None)]
    assert [column.text for column in table.columns][-2:] == ["Dec", "Year"]


def test_seventy_two_symbols_are_nine_and_the_rest(tmp_path):
    folder = write_run(tmp_path / "run", plan(["topk"]), days(300), symbols=72)
    run, _, charts = charts_of(folder)
    assert list(charts["holdings-0"])[9:] == ["63 other symbols", "63 other symbols, short"]
    held = run.weights[run.weights["strategy"] == "topk"].groupby("time")["weight"].sum()
    total = np.sum([series["values"] for series in charts["holdings-0"].values()], axis=0)
    assert total == pytest.approx(100 * held.to_numpy(), abs=0.6)


def test_returns_by_month_chain_to_the_year_beside_the_benchmark_s(drawn):
    run, _, _ = drawn
    table = returns_table(run, "topk", years(run, "benchmark"))
    assert [row.label for row in table.rows] == ["2021", "2020"]
    for row in table.rows:
        cells = [cell.text.replace("\N{MINUS SIGN}", "-") for cell in row.cells]
        year = run.times.year == int(row.label)
        for name, shown in (("topk", cells[12]), ("benchmark", cells[13])):
            value = run.value[name]
            before = value[~year & (run.times < run.times[year][0])]
            start = before.iloc[-1] if len(before) else CASH
            assert float(shown) == pytest.approx(100 * (value[year].iloc[-1] / start - 1), abs=0.06)
        chained = np.prod([1 + float(text) / 100 for text in cells[:12] if text != "\N{EN DASH}"])
        assert 100 * (chained - 1) == pytest.approx(float(cells[12]), abs=0.8)
        assert float(cells[14]) == pytest.approx(float(cells[12]) - float(cells[13]), abs=0.11)
    assert table.rows[0].cells[11].text == "\N{EN DASH}"  # the window ends in February
