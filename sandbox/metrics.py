"""The figures of a portfolio, from its run folder's tables alone. `_pct` is per cent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

SECONDS_PER_YEAR = 365.25 * 86_400
SECONDS_OF_DAILY_BARS = 20 * 3_600  # bars this far apart are daily or longer


def summarize(equity: pd.DataFrame, trades: pd.DataFrame, cash: float) -> dict[str, Any]:
    """Figures of one strategy; `cash` is what it started with. None: not defined."""
    value = equity["value"].to_numpy()
    years = _years(equity["time"])
    traded = float((trades["size"] * trades["price"]).sum())
    parts = {part: float(trades[part].sum()) for part in ("commission", "slippage", "impact")}
    return {
        "total_return_pct": 100 * (value[-1] / cash - 1),
        "gross_return_pct": 100 * (float(equity["gross_value"].iloc[-1]) / cash - 1),
        "cagr_pct": _cagr_pct(value[-1] / cash, years),
        "sharpe": _sharpe(value, cash, bars_per_year(equity["time"])),
        "max_drawdown_pct": _max_drawdown_pct(value, cash),
        "costs_paid": sum(parts.values()),
        **{f"{part}_paid": paid for part, paid in parts.items()},
        # a turnover of 100 % a year sells the average portfolio once and buys another
        "turnover_pct_per_year": 100 * traded / 2 / float(value.mean()) / years if years else None,
        "fills": len(trades),
        "final_value": float(value[-1]),
    }


def bars_per_year(times: pd.Series) -> int:
    """What a bar's mean and deviation are scaled by: 252 for sessions, 365 with weekends."""
    if len(times) < 2:
        return 252
    spacing_secs = times.diff().dropna().dt.total_seconds().median()
    if spacing_secs >= SECONDS_OF_DAILY_BARS and spacing_secs < 2 * 86_400:
        return 365 if (times.dt.day_of_week >= 5).any() else 252
    return max(1, round(len(times) / _years(times)))


def _years(times: pd.Series) -> float:
    return float((times.iloc[-1] - times.iloc[0]).total_seconds() / SECONDS_PER_YEAR)


def _cagr_pct(growth: float, years: float) -> float | None:
    if years <= 0 or growth <= 0:
        return None
    log_growth_per_year = math.log(growth) / years
    return 100 * math.expm1(log_growth_per_year) if log_growth_per_year < 50 else None


def _sharpe(value: np.ndarray, cash: float, periods: int) -> float | None:
    """Against a rate of 0."""
    returns = np.diff(value, prepend=cash) / np.concatenate([[cash], value[:-1]])
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / deviation * math.sqrt(periods)) if deviation > 0 else None


def _max_drawdown_pct(value: np.ndarray, cash: float) -> float:
    peak = np.maximum(np.maximum.accumulate(value), cash)
    return float(100 * (value / peak - 1).min())
