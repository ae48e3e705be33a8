"""What this project leans on in quantstats: every name that it reads or replaces is there."""

import inspect
import io
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.quant import monthly_returns, rolling_beta, rolling_sharpe, sheet
from reports.undrawn import FigureCanvas
from tests.reports.conftest import days, plan, write_run

ROOT = Path(__file__).resolve().parents[2]


def returns(days=300, seed=0, first="2020-01-15"):
    generator = np.random.default_rng(seed)
    index = pd.bdate_range(first, periods=days)
    return pd.Series(generator.normal(0.0005, 0.01, days), index)


def test_the_version_is_pinned_and_is_the_one_that_runs():
    [pinned] = re.findall(r'"quantstats==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert version("quantstats") == pinned


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("cagr", {"periods"}), ("sharpe", {"periods"}), ("sortino", {"periods"}),
        ("volatility", {"periods"}), ("max_drawdown", set()), ("win_rate", set()),
        ("monthly_returns", {"eoy", "prepare_returns"}),
        ("rolling_sharpe", {"rolling_period", "periods_per_year", "prepare_returns"}),
        ("rolling_greeks", {"benchmark", "periods", "prepare_returns"}),
    ],
)  # fmt: skip
def test_figures_take_the_arguments_that_they_are_given(function, arguments):
    from quantstats import stats

    assert arguments <= set(inspect.signature(getattr(stats, function)).parameters)


def test_the_tear_sheet_has_what_is_replaced_or_left_out_of_it():
    import quantstats.reports

    parameters = inspect.signature(quantstats.reports.html).parameters
    assert {"benchmark", "title", "match_dates", "periods_per_year", "output"} <= set(parameters)
    template = (Path(quantstats.reports.__file__).parent / "report.html").read_text()
    for part in ('<div id="eoy_returns">', 'onload="save()"', "<title>", "<body"):
        assert part in template
    source = inspect.getsource(quantstats.reports.html)
    assert '"strategy_title"' in source
    assert '"benchmark_title"' in source


def test_the_chart_that_is_left_out_is_the_one_of_years(monkeypatch):
    """quantstats looks up what it draws in its `plots` at each call."""
    from quantstats import plots

    drawn = []
    for name in ("yearly_returns", "daily_returns"):
        draw = getattr(plots, name)
        monkeypatch.setattr(
            plots, name, lambda *a, draw=draw, name=name, **k: (drawn.append(name), draw(*a, **k))
        )
    frame = pd.DataFrame({"topk": returns(60)})
    before = plots.yearly_returns
    assert sheet(frame, 252, ["topk"]).count("<svg") == 11
    assert drawn == ["daily_returns"]
    assert plots.yearly_returns is before


def test_what_matplotlib_is_asked_for_is_there():
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    figure = Figure()
    figure.add_subplot()
    figure.tight_layout()
    assert isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine)
    assert issubclass(FigureCanvas, FigureCanvasBase)
    saved = io.BytesIO()
    canvas = FigureCanvas(figure)
    canvas.draw()
    canvas.print_figure(saved, format="svg")
    assert b"<svg" in saved.getvalue()
    assert figure.get_layout_engine() is None


@pytest.mark.skipif(sys.platform != "linux", reason="sheets are drawn in the process itself")
def test_a_sheet_is_the_same_whatever_backend_the_surroundings_name(tmp_path):
    folder = write_run(tmp_path / "run", plan(["topk"], controls=False), days(40))
    sheets = []
    for backend in ("Agg", "svg"):
        run = [sys.executable, "-m", "reports.report", str(folder)]
        environment = os.environ | {"MPLBACKEND": backend}
        subprocess.run(run, cwd=ROOT, env=environment, check=True, capture_output=True)
        sheets.append((folder / "tearsheets" / "topk.html").read_bytes())
    assert sheets[0] == sheets[1]


def test_months_are_compounded_and_those_without_a_day_are_empty():
    series = returns()
    table = monthly_returns(series)
    assert list(table.columns) == [*range(1, 13), "year"]
    assert list(table.index) == [2020, 2021]
    for year in table.index:
        for month in range(1, 13):
            days = series[(series.index.year == year) & (series.index.month == month)]
            expected = (1 + days).prod() - 1 if len(days) else np.nan
            assert table.loc[year, month] == pytest.approx(expected, nan_ok=True)
        days = series[series.index.year == year]
        assert table.loc[year, "year"] == pytest.approx((1 + days).prod() - 1)
    one = monthly_returns(series[:1])
    assert one.loc[2020, 1] == pytest.approx(series.iloc[0])
    assert one.loc[2020].notna().sum() == 2


def test_rolling_ratios_are_those_of_each_window_alone():
    ours, theirs = returns(seed=1), returns(seed=2)
    ours = ours + 0.7 * theirs
    sharpe, beta = rolling_sharpe(ours, 60, 252), rolling_beta(ours, theirs, 60)
    assert sharpe.isna().sum() == beta.isna().sum() == 59
    for at in (59, 60, 200, 299):
        a, b = ours.iloc[at - 59 : at + 1], theirs.iloc[at - 59 : at + 1]
        assert sharpe.iloc[at] == pytest.approx(np.sqrt(252) * a.mean() / a.std(ddof=1))
        assert beta.iloc[at] == pytest.approx(np.cov(a, b)[0, 1] / b.var(ddof=1))


def test_a_window_in_which_nothing_moved_has_no_ratio():
    series = returns(days=200)
    series.iloc[50:150] = 0.0
    sharpe = rolling_sharpe(series, 60, 252)
    assert sharpe.iloc[110:149].isna().all()
    assert sharpe.iloc[[100, 160]].notna().all()
    assert sharpe.abs().max() < 50
    assert rolling_beta(series, returns(days=200, seed=3), 60).iloc[110:149].isna().all()
    assert rolling_beta(returns(days=200, seed=3), series, 60).iloc[110:149].isna().all()


def test_a_benchmark_of_other_days_is_refused_and_never_filled_back():
    with pytest.raises(ValueError, match="are not the same"):
        rolling_beta(returns(), returns(first="2020-01-16"), 60)
    doubled = returns(seed=5)
    doubled.iloc[7] = -1.0  # all is lost: no returns that quantstats reads as such
    assert rolling_beta(doubled, returns(), 60).isna().all()
