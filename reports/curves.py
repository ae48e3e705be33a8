"""The four charts of a report: equity, drawdown, exposure and turnover of every portfolio."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from reports.charts import Chart, Line, chart_html, thinned
from reports.folder import Portfolio, Run
from reports.metrics import periods_of, spans_of
from reports.style import LINE_STYLES
from reports.sweeps import ranked, subjects

MOST_OTHERS = 30  # combinations of a sweep in the background


def all_charts(run: Run) -> str:
    """Strategies and benchmark in colour; controls, and the combinations of a sweep but the best,
    grey behind equity and drawdown, else absent."""
    front = (*subjects(run), *_benchmark(run))
    everyone = (*front, *run.controls, *_others_swept(run))
    shade = run.seen_until if spans_of(run)["unseen"] is not None else None
    seen = " Shaded: the model may have seen these days." if shade is not None else ""
    growth = run.value / run.start_cash
    worth = {p.name: f"{growth[p.name].iloc[-1]:,.2f}" for p in run.portfolios}
    window = _window_days(run.times.normalize().nunique())
    over = f"over the last {window} days, brought to a year" if window > 1 else "on each day"
    intraday = len(run.times) > run.times.normalize().nunique()
    by_bar = ", at every bar; the table has the last value of each day" if intraday else ""
    charts = (
        Chart(
            title="Equity",
            explanation=f"What 1 became after costs.{seen}",
            lines=_lines(run, everyone, lambda name: thinned(growth[name], "last"), worth),
            tick=lambda value: f"{value:,.6g}",
            log=True,
            shade_until=shade,
        ),
        Chart(
            title="Drawdown",
            explanation=f"Below the highest value so far{by_bar}.",
            lines=_lines(run, everyone, lambda name: thinned(_drawdown_pct(run, name), "min")),
            tick=_percent,
            from_zero=True,
            flat=True,
            shade_until=shade,
        ),
        Chart(
            title="Exposure",
            explanation="Share of the value that is not cash, at the close.",
            lines=_lines(run, front, lambda name: thinned(_exposure_pct(run, name), "mean")),
            tick=_percent,
            from_zero=True,
            flat=True,
            shade_until=shade,
        ),
        Chart(
            title="Turnover",
            explanation=f"Half of what was traded {over}: share of the mean value.",
            lines=_lines(run, front, lambda name: _turnover_pct(run, name)),
            tick=_percent,
            from_zero=True,
            flat=True,
            shade_until=shade,
        ),
    )
    return "".join(chart_html(chart) for chart in charts)


def _others_swept(run: Run) -> list[Portfolio]:
    """Combinations from the second best to the worst of each sweep, evenly spread over the ranks
    where they are too many to draw."""
    found = []
    for strategy in run.sweeps:
        others = ranked(run, strategy)[1:]
        steps = np.linspace(0, len(others) - 1, min(len(others), MOST_OTHERS))
        found += [others[nth] for nth in steps.round().astype(int)]
    return found


def _benchmark(run: Run) -> tuple[Portfolio, ...]:
    return (run.benchmark,) if run.benchmark else ()


def _lines(
    run: Run,
    portfolios: Iterable[Portfolio],
    values: Callable[[str], pd.Series],
    labels: dict[str, str] | None = None,
) -> list[Line]:
    front = subjects(run)
    styles = {p.name: LINE_STYLES[n % len(LINE_STYLES)] for n, p in enumerate(front)}
    return [
        Line(
            name=p.name,
            values=values(p.name),
            style=styles.get(p.name, "control" if p.role == "strategy" else p.role),
            label=(labels or {}).get(p.name, ""),
            kind="other combination" if p.role == "strategy" else "naive twin",
        )
        for p in portfolios
    ]


def _percent(value: float) -> str:
    return f"{value:,.4g} %".replace("-", "\N{MINUS SIGN}")


def _drawdown_pct(run: Run, name: str) -> pd.Series:
    value = run.value[name]
    return 100 * (value / value.cummax().clip(lower=run.start_cash) - 1)


def _exposure_pct(run: Run, name: str) -> pd.Series:
    value = run.value[name]
    return (100 * (1 - run.cash[name] / value)).where(value > 0)


def _window_days(days: int) -> int:
    """What turnover is summed over: long enough that lines do not flicker."""
    if days >= 252:
        return 63
    return 21 if days >= 63 else 1


def _turnover_pct(run: Run, name: str) -> pd.Series:
    """By day, over the window up to it; NaN before the first whole window."""
    days = run.times.normalize()
    mine = run.trades[run.trades["strategy"] == name]
    money = (mine["size"].abs() * mine["price"]).groupby(mine["time"].dt.normalize()).sum()
    value = run.value[name].groupby(days).mean()
    window = _window_days(len(value))
    traded = money.reindex(value.index, fill_value=0.0).rolling(window).sum()
    years = window / periods_of(run) if window > 1 else 1.0
    share = 100 * traded / 2 / value.rolling(window).mean() / years
    return thinned(share.where(value > 0), "mean")
