"""All that is asked of quantstats: its figures and its tear sheet, of daily returns, quietly.

quantstats wants days without a zone, warns and prints by the dozen, and takes a series that never
falls and has a day above 100 % for prices. It knows nothing of costs, turnover or exposure.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Ratios = dict[str, float | None]
RATIOS = (
    "cagr_pct", "sharpe", "sortino", "calmar", "max_drawdown_pct", "volatility_pct", "hit_rate_pct"
)  # fmt: skip

UNDRAWN = "module://reports.undrawn"  # a matplotlib backend
FEWEST_DAYS = 20  # fewer are not brought to a year, and make no tear sheet


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep quantstats' fonts, warnings and prints off the console, and charts off the screen."""
    os.environ.setdefault("MPLBACKEND", UNDRAWN)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def load_quantstats() -> None:
    """Import quantstats, which takes over a second, and what it draws with."""
    with quiet():
        import quantstats  # noqa: F401

        import reports.undrawn  # noqa: F401


def draw_unseen() -> None:
    """From now on figures of this process are drawn when they are saved and not before."""
    import matplotlib

    matplotlib.use(UNDRAWN)


def daily_returns(value: pd.Series, base: float) -> pd.Series:
    """From the last value of each day (UTC); the first day's is against `base`."""
    index = value.index
    assert isinstance(index, pd.DatetimeIndex)
    by_day = value.groupby(index.tz_localize(None).normalize()).last()
    return by_day / by_day.shift(fill_value=base) - 1


def days_per_year(days: pd.DatetimeIndex) -> int:
    """What a day's mean and deviation are scaled by: 252 for sessions, 365 with weekends."""
    if len(days) < 2:
        return 252
    spacing_days = np.diff(days.to_numpy()) / np.timedelta64(1, "D")
    if spacing_days.min() >= 2:  # weekly bars, or longer
        return max(1, round(365.25 / float(np.median(spacing_days))))
    weekdays = set(days.day_of_week)
    if {5, 6} <= weekdays:
        return 365
    return 252 if len(weekdays) <= 5 else 313  # six-day weeks, as currencies have


def ratios(returns: pd.Series, periods: int) -> Ratios:
    """quantstats' own numbers; None where they are not defined.

    The hit rate is its win rate: days with a gain among the days on which the value moved.
    """
    found: dict[str, Any] = growth(returns, periods)
    if _readable(returns):
        with quiet():
            from quantstats import stats

            drawdown = stats.max_drawdown(returns)
            found["max_drawdown_pct"] = 100 * drawdown
            found["hit_rate_pct"] = 100 * stats.win_rate(returns) if returns.any() else None
            if len(returns) >= FEWEST_DAYS:
                found["sortino"] = stats.sortino(returns, periods=periods)
                found["volatility_pct"] = 100 * stats.volatility(returns, periods=periods)
                if drawdown and found["cagr_pct"] is not None:  # its calmar, without computing anew
                    found["calmar"] = found["cagr_pct"] / abs(100 * drawdown)
    return {name: _defined(found.get(name)) for name in RATIOS}


def growth(returns: pd.Series, periods: int) -> Ratios:
    """CAGR and Sharpe ratio alone."""
    if len(returns) < FEWEST_DAYS or not _readable(returns):
        return {"cagr_pct": None, "sharpe": None}
    with quiet():
        from quantstats import stats

        cagr: Any = stats.cagr(returns, periods=periods)
        sharpe: Any = stats.sharpe(returns, periods=periods) if returns.any() else None
    return {"cagr_pct": _defined(100 * cagr), "sharpe": _defined(sharpe)}


def monthly_returns(returns: pd.Series) -> pd.DataFrame:
    """Compounded returns: a row a year, columns 1 to 12 and `year`; NaN in months without a day."""
    with quiet():
        from quantstats import stats

        table = stats.monthly_returns(  # type: ignore[no-untyped-call]
            returns, eoy=True, prepare_returns=False
        )
    table.index = table.index.astype(int)
    table.columns = [*range(1, 13), "year"]
    days = pd.DatetimeIndex(returns.index)
    traded = pd.MultiIndex.from_arrays([days.year, days.month]).unique()
    inside = pd.DataFrame(False, table.index, range(1, 13))
    for year, month in traded:
        inside.loc[year, month] = True
    return table.where(inside.assign(year=True))


def rolling_sharpe(returns: pd.Series, window: int, periods: int) -> pd.Series:
    """Sharpe ratios of the last `window` days; NaN before, and where the value stood still."""
    with quiet():
        from quantstats import stats

        found: pd.Series = stats.rolling_sharpe(
            returns, rolling_period=window, periods_per_year=periods, prepare_returns=False
        )
    return found.where(_moved(returns, window))


def rolling_beta(returns: pd.Series, benchmark: pd.Series, window: int) -> pd.Series:
    """Betas of the last `window` days; NaN before, and where one of the two stood still.

    Both share every day: where they do not, quantstats fills a benchmark's gaps with later values.
    """
    if not returns.index.equals(benchmark.index):
        raise ValueError("the days of the returns and of the benchmark are not the same")
    if not (_readable(returns) and _readable(benchmark)):
        return pd.Series(np.nan, returns.index)
    with quiet():
        from quantstats import stats

        greeks = stats.rolling_greeks(  # type: ignore[no-untyped-call]
            returns, benchmark, periods=window, prepare_returns=False
        )
    found: pd.Series = greeks["beta"]
    return found.where(_moved(returns, window) & _moved(benchmark, window))


def _moved(returns: pd.Series, window: int) -> pd.Series:
    """Whether there are two different returns or more among the last `window`: else a deviation is
    0, or what rounding leaves of it."""
    changes = (returns != returns.shift()).astype(float)
    return changes.rolling(window - 1).sum().fillna(0.0) > 0


def _readable(returns: pd.Series) -> bool:
    """Whether quantstats takes these for returns, and none of them loses everything."""
    return not _taken_for_prices(returns) and bool((returns > -1).all())


def _taken_for_prices(returns: pd.Series) -> bool:
    return bool(returns.min() >= 0 and returns.max() >= 1)


def _defined(figure: float | None) -> float | None:
    if figure is None or not math.isfinite(figure) or abs(figure) > 1e15:
        return None
    return float(figure) + 0.0  # no minus before a zero


def why_no_sheet(returns: pd.Series) -> str | None:
    """What keeps quantstats from drawing a tear sheet of these returns."""
    days = len(returns)
    if days < FEWEST_DAYS:
        return f"{days} day{'' if days == 1 else 's'} of {FEWEST_DAYS} that are needed"
    if not returns.any():
        return "its value never moved, so there is nothing to chart"
    if not _readable(returns):
        return "its returns are not ones that quantstats can chart"
    return None


@contextlib.contextmanager
def _no_yearly_chart() -> Iterator[None]:
    """Leave out quantstats' bars of yearly returns, which stand over the wrong years; the table
    beside them is right."""
    from quantstats import plots

    drawn = plots.yearly_returns
    plots.yearly_returns = lambda *args, **kwargs: None
    try:
        yield
    finally:
        plots.yearly_returns = drawn


def sheet(returns: pd.DataFrame, periods: int, titles: list[str]) -> str:
    """quantstats' full tear sheet as HTML: of the first column, against the second if there is one.

    Both columns share every day, so nothing is filled or cut.
    """
    if (returns.iloc[0] != 0).any():  # it finds no drawdown that began on the first day
        day_before = pd.DatetimeIndex([returns.index[0] - pd.Timedelta(days=1)])
        returns = pd.concat([pd.DataFrame(0.0, day_before, returns.columns), returns])
    against = returns.iloc[:, 1] if returns.shape[1] > 1 else None
    if against is not None and why_no_sheet(against):
        against = None  # its regression fails on a benchmark that stands still
    load_quantstats()
    with quiet(), _no_yearly_chart(), tempfile.TemporaryDirectory() as scratch:
        import quantstats
        from matplotlib import rc_context

        page = Path(scratch) / "page.html"
        # text as text: smaller, and it can be searched; a salt, so that ids are not random
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tearsheet"}):
            quantstats.reports.html(  # type: ignore[no-untyped-call]
                returns.iloc[:, 0],
                benchmark=against,
                title="Tear sheet",
                strategy_title=titles[0],
                benchmark_title=titles[-1],
                match_dates=False,
                periods_per_year=periods,
                output=str(page),
            )
        return page.read_text(encoding="utf-8")
