"""Figures by hand."""

import math

import pandas as pd
import pytest

from sandbox.metrics import bars_per_year, summarize

NO_TRADES = pd.DataFrame(columns=["size", "price", "commission", "slippage", "impact"], dtype=float)


def equity_of(values, times):
    frame = pd.DataFrame({"time": times, "value": values})
    return frame.assign(gross_value=frame["value"] + 1.0)


def test_figures_of_a_small_run():
    times = pd.DatetimeIndex(["2023-01-02", "2023-01-03", "2023-01-04", "2025-01-02"], tz="UTC")
    equity = equity_of([100.0, 110.0, 99.0, 121.0], times)
    trades = pd.DataFrame(
        {"size": [2.0, 1.0], "price": [50.0, 60.0], "commission": [0.5, 0.25],
         "slippage": [0.2, 0.05], "impact": [0.0, 0.0]}
    )  # fmt: skip
    figures = summarize(equity, trades, cash=100.0)
    years = 731 / 365.25
    assert figures["total_return_pct"] == pytest.approx(21.0)
    assert figures["gross_return_pct"] == pytest.approx(22.0)
    assert figures["cagr_pct"] == pytest.approx(100 * (1.21 ** (1 / years) - 1))
    assert figures["max_drawdown_pct"] == pytest.approx(-10.0)  # 110 to 99
    assert figures["costs_paid"] == pytest.approx(1.0)
    # 160 traded, half of it, over a mean value of 107.5, a year
    assert figures["turnover_pct_per_year"] == pytest.approx(100 * 80 / 107.5 / years)


def test_sharpe_is_scaled_by_the_bars_of_a_year():
    times = pd.bdate_range("2023-01-02", periods=3, tz="UTC")
    figures = summarize(equity_of([101.0, 101.0, 102.01], times), NO_TRADES, cash=100.0)
    # returns 1 %, 0 %, 1 %: mean 2/3 %, deviation 1/sqrt(3) %
    assert figures["sharpe"] == pytest.approx((2 / 3) * math.sqrt(3) * math.sqrt(252))


def test_a_portfolio_that_stood_still_has_no_sharpe():
    times = pd.bdate_range("2023-01-02", periods=3, tz="UTC")
    figures = summarize(equity_of([100.0] * 3, times), NO_TRADES, cash=100.0)
    assert figures["sharpe"] is None
    assert figures["fills"] == 0
    assert figures["turnover_pct_per_year"] == 0


@pytest.mark.parametrize(
    ("times", "bars"),
    [
        (pd.bdate_range("2023-01-02", periods=50), 252),
        (pd.date_range("2023-01-02", periods=50), 365),
        (pd.date_range("2023-01-02", periods=1000, freq="h"), 8775),
    ],
)
def test_bars_per_year(times, bars):
    assert bars_per_year(pd.Series(times)) == bars
