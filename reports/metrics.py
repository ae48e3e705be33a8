"""Figures of every portfolio of a run, over the whole window and split where the model's data end.

Returns and ratios are quantstats' own, on daily returns after the last value of each day (UTC); the
first day's return is against the starting cash. Turnover, exposure and costs are ours. A year is
252 days, or 365 where there are weekends. None: not defined, or too short to bring to a year.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.folder import PARTS, Run
from reports.quant import FEWEST_DAYS, daily_returns, days_per_year, growth, ratios

Figures = dict[str, Any]  # name with its unit -> number, or None


def all_figures(run: Run) -> dict[str, Any]:
    """What metrics.json holds, less the verdicts."""
    spans = spans_of(run)
    return {
        "benchmark": run.benchmark.name if run.benchmark else None,
        "bars_per_year": periods_of(run),
        "seen_until": f"{run.seen_until:%Y-%m-%d}" if run.seen_until is not None else None,
        "portfolios": {
            portfolio.name: {
                "role": portfolio.role,
                "signal": portfolio.signal,
                "repeats": portfolio.repeats,
                "sweep_of": portfolio.sweep_of,
                **{
                    span: None if rows is None else figures_of(run, portfolio.name, rows)
                    for span, rows in spans.items()
                },
                **_analyses(run, portfolio.name),
            }
            for portfolio in run.portfolios
        },
    }


def _analyses(run: Run, name: str) -> Figures:
    """What Backtrader's analyzers found of a portfolio, where the run had any."""
    return {"analyzers": run.analyses[name]} if name in run.analyses else {}


def judged_span(run: Run) -> str:
    """`unseen` if that part is long enough to say something, else `whole`."""
    rows = spans_of(run)["unseen"]
    if rows is None:
        return "whole"
    days = run.times[rows].normalize().nunique()
    return "unseen" if days >= FEWEST_DAYS else "whole"


def periods_of(run: Run) -> int:
    """Days that make a year of this run."""
    return days_per_year(run.times.tz_localize(None).normalize().unique())


def spans_of(run: Run) -> dict[str, slice | None]:
    """Rows of the whole window; and of its seen and unseen parts, where it straddles that day."""
    whole: dict[str, slice | None] = {"whole": slice(0, len(run.times)), "seen": None}
    whole["unseen"] = None
    if run.seen_until is None:
        return whole
    seen = int((run.times.tz_localize(None).normalize() <= run.seen_until).sum())
    if 0 < seen < len(run.times):
        whole |= {"seen": slice(0, seen), "unseen": slice(seen, len(run.times))}
    return whole


def returns_of(run: Run, name: str, rows: slice, *, gross: bool = False) -> pd.Series:
    """Daily returns over some rows of the window, the first against the value just before them."""
    value = (run.gross_value if gross else run.value)[name]
    base = run.start_cash if rows.start == 0 else float(value.iloc[rows.start - 1])
    return daily_returns(value.iloc[rows], base)


def figures_of(run: Run, name: str, rows: slice) -> Figures:
    """Every figure of one portfolio over some rows of the window."""
    periods = periods_of(run)
    net, gross = (returns_of(run, name, rows, gross=gross) for gross in (False, True))
    years = len(net) / periods if len(net) >= FEWEST_DAYS else None
    before_costs = growth(gross, periods)
    value, cash = (frame[name].iloc[rows].to_numpy() for frame in (run.value, run.cash))
    return {
        "total_return_pct": _total_return_pct(net),
        "gross_return_pct": _total_return_pct(gross),
        **ratios(net, periods),
        "gross_cagr_pct": before_costs["cagr_pct"],
        "gross_sharpe": before_costs["sharpe"],
        "exposure_pct": _exposure_pct(value, cash),
        **_trading(trades_of(run, name, rows), float(value.mean()), years),
        "final_value": float(value[-1]),
    }


def trades_of(run: Run, name: str, rows: slice) -> pd.DataFrame:
    """A portfolio's fills within some rows of the window."""
    times, trades = run.times[rows], run.trades
    inside = (trades["time"] >= times[0]) & (trades["time"] <= times[-1])
    return trades[inside & (trades["strategy"] == name)]


def _total_return_pct(returns: pd.Series) -> float:
    return float(100 * (np.prod(1 + returns.to_numpy()) - 1))


def _exposure_pct(value: np.ndarray, cash: np.ndarray) -> float | None:
    """Mean share of the value that is not cash."""
    return float(100 * (1 - cash / value).mean()) if (value > 0).all() else None


def _trading(trades: pd.DataFrame, mean_value: float, years: float | None) -> Figures:
    """What was traded and what it cost, in money and a year of the average value."""
    paid = {part: float(trades[part].sum()) for part in PARTS}
    traded = float((trades["size"].abs() * trades["price"]).sum())

    def yearly_pct(money: float) -> float | None:
        return 100 * money / mean_value / years if years and mean_value > 0 else None

    return {
        # 100 % a year sells the average portfolio once and buys another
        "turnover_pct_per_year": yearly_pct(traded / 2),
        "cost_drag_pct_per_year": yearly_pct(sum(paid.values())),
        **{f"{part}_drag_pct_per_year": yearly_pct(money) for part, money in paid.items()},
        "costs_paid": sum(paid.values()),
        **{f"{part}_paid": money for part, money in paid.items()},
        "fills": len(trades),
    }
