"""Figures by hand, from the run folder's own CSVs."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from reports.folder import read_run
from reports.metrics import all_figures, figures_of, spans_of
from reports.quant import daily_returns, days_per_year, growth, ratios
from tests.reports.conftest import CASH, days, edit_csv

PARTS = ("commission", "slippage", "impact")


def whole(folder):
    return {
        name: entry["whole"] for name, entry in all_figures(read_run(folder))["portfolios"].items()
    }


def test_cagr_sharpe_and_drawdown_follow_from_equity_csv(run_folder):
    folder = run_folder(bars=300)
    equity = pd.read_csv(folder / "equity.csv")
    for name, figures in whole(folder).items():
        value = equity.loc[equity["strategy"] == name, "value"].to_numpy()
        before = np.concatenate([[CASH], value[:-1]])
        returns = value / before - 1
        sharpe = returns.mean() / returns.std(ddof=1) * math.sqrt(252)
        peak = np.maximum.accumulate(np.concatenate([[CASH], value]))[1:]
        assert figures["cagr_pct"] == pytest.approx(100 * ((value[-1] / CASH) ** (252 / 300) - 1))
        assert figures["sharpe"] == pytest.approx(sharpe)
        assert figures["max_drawdown_pct"] == pytest.approx(100 * (value / peak - 1).min())
        assert figures["total_return_pct"] == pytest.approx(100 * (value[-1] / CASH - 1))
        assert figures["final_value"] == value[-1]


def test_figures_are_quantstats_own(run_folder):
    import quantstats as qs

    run = read_run(run_folder(bars=120))
    figures = figures_of(run, "topk", slice(0, 120))
    returns = daily_returns(run.value["topk"], CASH)
    for name, theirs in {
        "cagr_pct": 100 * qs.stats.cagr(returns, periods=252),
        "sharpe": qs.stats.sharpe(returns, periods=252),
        "sortino": qs.stats.sortino(returns, periods=252),
        "calmar": qs.stats.calmar(returns, periods=252),
        "volatility_pct": 100 * qs.stats.volatility(returns, periods=252),
        "hit_rate_pct": 100 * qs.stats.win_rate(returns),
        "max_drawdown_pct": 100 * qs.stats.max_drawdown(returns),
    }.items():
        assert figures[name] == pytest.approx(theirs), name


def test_cost_parts_add_up_and_gross_less_net_is_what_was_paid(run_folder):
    folder = run_folder()
    trades = pd.read_csv(folder / "trades.csv")
    for name, figures in whole(folder).items():
        mine = trades[trades["strategy"] == name]
        paid = {part: figures[f"{part}_paid"] for part in PARTS}
        assert paid == pytest.approx({part: mine[part].sum() for part in PARTS})
        assert figures["costs_paid"] == pytest.approx(sum(paid.values()))
        drag = sum(figures[f"{part}_drag_pct_per_year"] for part in PARTS)
        assert figures["cost_drag_pct_per_year"] == pytest.approx(drag)
        lost = CASH / 100 * (figures["gross_return_pct"] - figures["total_return_pct"])
        assert lost == pytest.approx(figures["costs_paid"])
        assert figures["fills"] == len(mine)


def test_turnover_drag_and_exposure_by_hand(run_folder):
    folder = run_folder(bars=252)
    equity, trades = (pd.read_csv(folder / f"{file}.csv") for file in ("equity", "trades"))
    mine, fills = (frame[frame["strategy"] == "topk"] for frame in (equity, trades))
    figures = whole(folder)["topk"]
    mean = mine["value"].mean()  # over a year of 252 days
    traded = (fills["size"] * fills["price"]).sum()
    assert figures["turnover_pct_per_year"] == pytest.approx(100 * traded / 2 / mean)
    assert figures["cost_drag_pct_per_year"] == pytest.approx(100 * len(fills) * 3.75 / mean)
    assert figures["exposure_pct"] == pytest.approx(100 * (1 - mine["cash"] / mine["value"]).mean())


def test_the_first_day_counts_against_the_starting_cash(run_folder):
    folder = run_folder(bars=60, controls=False)
    edit_csv(folder / "equity.csv", lambda equity: equity.assign(value=0.8 * CASH))
    figures = whole(folder)["topk"]
    assert figures["total_return_pct"] == pytest.approx(-20.0)
    assert figures["max_drawdown_pct"] == pytest.approx(-20.0)


def test_seen_and_unseen_days_chain_to_the_whole(run_folder):
    model = {"name": "mini", "fingerprint": "ab", "seen_until": "2020-08-14", "max_context": 512}
    folder = run_folder(bars=300, model=model)
    for entry in all_figures(read_run(folder))["portfolios"].values():
        parts = [entry[span] for span in ("seen", "unseen")]
        for figure in ("total_return_pct", "gross_return_pct"):
            chained = math.prod(1 + part[figure] / 100 for part in parts)
            assert 100 * (chained - 1) == pytest.approx(entry["whole"][figure])
        for figure in ("costs_paid", "impact_paid", "fills"):
            assert sum(part[figure] for part in parts) == pytest.approx(entry["whole"][figure])
        worst = min(part["max_drawdown_pct"] for part in parts)
        assert entry["whole"]["max_drawdown_pct"] <= worst + 1e-9


@pytest.mark.parametrize(
    ("seen_until", "seen_bars"),
    [("2019-12-31", None), ("2020-01-02", 1), ("2020-01-08", 5), ("2020-01-15", None)],
)
def test_the_split_is_after_the_last_day_seen(run_folder, seen_until, seen_bars):
    times = days(10)  # 2020-01-02 to 2020-01-15
    model = {"name": "mini", "fingerprint": "ab", "seen_until": seen_until, "max_context": 512}
    spans = spans_of(read_run(run_folder(times=times, model=model)))
    if seen_bars is None:
        assert (spans["seen"], spans["unseen"]) == (None, None)
    else:
        assert (spans["seen"], spans["unseen"]) == (slice(0, seen_bars), slice(seen_bars, 10))


def test_no_model_and_a_model_of_unknown_training_split_nothing(run_folder):
    unknown = {"name": "own", "fingerprint": "ab", "seen_until": None, "max_context": 512}
    for nth, model in enumerate((None, unknown)):
        run = read_run(run_folder(bars=30, model=model, at=str(nth)))
        assert all_figures(run)["seen_until"] is None
        assert spans_of(run)["unseen"] is None


def test_intraday_bars_are_brought_to_days(run_folder):
    hours = pd.date_range("2023-01-02", periods=24 * 40, freq="h", tz="UTC")
    folder = run_folder(times=hours, controls=False, benchmark=False)
    run = read_run(folder)
    metrics = all_figures(run)
    last = run.value["topk"].groupby(run.times.date).last().to_numpy()
    returns = last / np.concatenate([[CASH], last[:-1]]) - 1
    assert metrics["bars_per_year"] == 365
    figures = metrics["portfolios"]["topk"]["whole"]
    assert figures["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * 365**0.5)


def test_a_portfolio_that_stood_still_has_no_ratios_and_no_nan(run_folder):
    folder = run_folder(bars=60)
    edit_csv(
        folder / "equity.csv", lambda equity: equity.assign(value=CASH, cash=CASH, gross_value=CASH)
    )
    edit_csv(folder / "trades.csv", lambda trades: trades.iloc[:0])
    figures = whole(folder)["topk"]
    undefined = ("sharpe", "gross_sharpe", "sortino", "calmar", "hit_rate_pct")
    assert [figures[name] for name in undefined] == [None] * 5
    still = ("total_return_pct", "cagr_pct", "max_drawdown_pct", "turnover_pct_per_year")
    assert [figures[name] for name in still] == [0.0] * 4
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("bars", [1, 3, 19])
def test_too_few_days_are_not_brought_to_a_year(run_folder, bars):
    figures = whole(run_folder(bars=bars))["topk"]
    for name in ("cagr_pct", "sharpe", "turnover_pct_per_year", "cost_drag_pct_per_year"):
        assert figures[name] is None
    assert figures["total_return_pct"] is not None
    json.dumps(figures, allow_nan=False)


def test_returns_that_quantstats_takes_for_prices_have_no_ratios():
    returns = pd.Series(0.0, pd.bdate_range("2023-01-02", periods=30))
    returns.iloc[3] = 1.5
    assert set(ratios(returns, 252).values()) == {None}
    returns.iloc[3] = -1.0  # all is lost
    assert set(growth(returns, 252).values()) == {None}


@pytest.mark.parametrize(
    ("index", "periods"),
    [
        (pd.bdate_range("2023-01-02", periods=50), 252),
        (pd.date_range("2023-01-02", periods=50), 365),
        (pd.date_range("2023-01-02", periods=50, freq="7D"), 52),
        (pd.bdate_range("2023-01-05", periods=3), 252),
        (pd.bdate_range("2023-01-02", periods=1), 252),
        (
            pd.bdate_range("2023-01-01", periods=60, freq="C", weekmask="Sun Mon Tue Wed Thu Fri"),
            313,
        ),
        (pd.bdate_range("2023-01-01", periods=60, freq="C", weekmask="Sun Mon Tue Wed Thu"), 252),
    ],
    ids=[
        "weekdays",
        "all days",
        "weeks",
        "three days",
        "one day",
        "currencies",
        "sunday to thursday",
    ],
)
def test_days_of_a_year(index, periods):
    assert days_per_year(index) == periods
