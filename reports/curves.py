"""The charts of a report: every portfolio over time, and what each strategy held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.charts import LINE_STYLES, Chart, Series, chart_data
from reports.folder import RecordedPortfolio, Run
from reports.grid import Grid, Thinning, points_for
from reports.holdings import weights_by_symbol
from reports.metrics import periods_of, returns_of, spans_of
from reports.quant import rolling_beta, rolling_sharpe
from reports.sweeps import ranked, subjects

MOST_OTHERS = 30  # combinations of a sweep in the background
MOST_SYMBOLS = len(LINE_STYLES)  # of a chart of holdings
LINE_CHARTS = 6  # in which a portfolio in front has a line
BACKGROUND_CHARTS = 2  # in which one in the background has


@dataclass(frozen=True, kw_only=True)
class ReportCharts:
    """The charts of a page, and the times that they share."""

    charts: Sequence[Chart]
    grid: Grid

    def data(self) -> dict[str, Any]:
        """The page's JSON block."""
        return chart_data(self.grid.seconds, self.charts, intraday=self.grid.intraday)


def report_charts(run: Run) -> ReportCharts:
    """Strategies and benchmark in colour; controls, and the combinations of a sweep but the best,
    grey behind equity and drawdown, else absent."""
    return _ChartMaker(run).all()


def rolling_window(days: int, periods: int) -> int | None:
    """Days that rolling ratios look back over: half a year, or a quarter where the run has less
    than a year; None where it has less than half of one."""
    if days >= periods:
        return periods // 2
    return periods // 4 if days >= periods // 2 else None


class _ChartMaker:
    """What all charts of a run draw on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._subjects = subjects(run)
        self._front = (*self._subjects, *((run.benchmark,) if run.benchmark else ()))
        self._background = (*run.controls, *_others_swept(run))
        self._held = {p.name: weights_by_symbol(run, p.name, MOST_SYMBOLS) for p in self._subjects}
        self.grid = Grid(run.times, points_for(self._count_of_series()))
        self._days = run.times.normalize().nunique()
        self._periods = periods_of(run)
        self._whole = slice(0, len(run.times))
        straddles = spans_of(run)["unseen"] is not None and run.seen_until is not None
        self._shade = self.grid.first_after(run.seen_until) if straddles else 0  # type: ignore[arg-type]

    def _count_of_series(self) -> int:
        held = sum(table.shape[1] for table in self._held.values())
        return LINE_CHARTS * len(self._front) + BACKGROUND_CHARTS * len(self._background) + held

    def all(self) -> ReportCharts:
        charts = [self._equity(), self._drawdown(), self._exposure(), self._turnover()]
        charts += [*self._rolling(), *self._holdings()]
        return ReportCharts(charts=charts, grid=self.grid)

    def _equity(self) -> Chart:
        growth = self._run.value / self._run.start_cash
        seen = " Shaded: the model may have seen these days." if self._shade else ""
        return Chart(
            id="equity",
            title="Equity",
            explanation=f"What 1 became after costs.{seen}{self._thinned()}",
            series=self._lines(lambda name: growth[name], "last", background=True),
            digits=3,
            may_be_log=True,
            shade=self._shade,
        )

    def _thinned(self) -> str:
        bars = self.grid.bars_per_point
        return "" if bars == 1 else f" Each point stands for {bars} bars."

    def _drawdown(self) -> Chart:
        by_bar = ", at every bar; the table has the last value of each day"
        explanation = f"Below the highest value so far{by_bar if self.grid.intraday else ''}."
        lines = self._lines(lambda name: drawdown_pct(self._run, name), "min", background=True)
        return self._flat("drawdown", "Drawdown", explanation, lines, digits=2)

    def _exposure(self) -> Chart:
        explanation = "Share of the value that is not cash, at the close."
        lines = self._lines(lambda name: exposure_pct(self._run, name), "mean")
        return self._flat("exposure", "Exposure", explanation, lines)

    def _turnover(self) -> Chart:
        window = turnover_window(self._days)
        over = f"over the last {window} days, brought to a year" if window > 1 else "on each day"
        explanation = f"Half of what was traded {over}: share of the mean value."
        lines = self._day_lines(lambda name: turnover_pct(self._run, name))
        return self._flat("turnover", "Turnover", explanation, lines)

    def _rolling(self) -> list[Chart]:
        """Sharpe ratio and beta over the last months, where the run is long enough."""
        window = rolling_window(self._days, self._periods)
        if window is None:
            return []
        returns = {p.name: returns_of(self._run, p.name, self._whole) for p in self._front}
        charts = [
            self._ratio(
                "rolling-sharpe", "Rolling Sharpe ratio",
                f"Of the daily returns of the last {window} days, brought to a year.",
                lambda name: rolling_sharpe(returns[name], window, self._periods),
            )
        ]  # fmt: skip
        if self._run.benchmark:
            rival = self._run.benchmark.name
            charts.append(
                self._ratio(
                    "rolling-beta", "Rolling beta",
                    f"Of the daily returns of the last {window} days, against {rival}.",
                    lambda name: rolling_beta(returns[name], returns[rival], window),
                )
            )  # fmt: skip
        return charts

    def _ratio(
        self, id: str, title: str, explanation: str, values: Callable[[str], pd.Series]
    ) -> Chart:
        return self._flat(id, title, explanation, self._day_lines(values), digits=2, suffix="")

    def _holdings(self) -> list[Chart]:
        """What each strategy held, symbol by symbol."""
        explanation = (
            "Share of the value in each symbol at the close, piled up; what is short is below 0."
        )
        return [
            self._flat(f"holdings-{nth}", f"Holdings of {name}", explanation, self._areas(table))
            for nth, (name, table) in enumerate(self._held.items())
            if not table.empty
        ]

    def _areas(self, weights: pd.DataFrame) -> list[Series]:
        return [
            Series(
                name=str(symbol),
                values=self.grid.values(100 * weights[symbol], "last"),
                style=LINE_STYLES[place] if place < MOST_SYMBOLS else "other",
                kind="stack",
            )
            for place, symbol in enumerate(weights.columns)
        ]

    def _flat(
        self,
        id: str,
        title: str,
        explanation: str,
        series: Sequence[Series],
        *,
        digits: int = 1,
        suffix: str = " %",
    ) -> Chart:
        """A chart of less height, whose scale holds 0."""
        return Chart(
            id=id, title=title, explanation=explanation, series=series, digits=digits,
            suffix=suffix, zero=True, flat=True, shade=self._shade,
        )  # fmt: skip

    def _lines(
        self, values: Callable[[str], pd.Series], thinning: Thinning, *, background: bool = False
    ) -> list[Series]:
        """A line a portfolio, from its values by bar time."""
        portfolios = (*self._front, *(self._background if background else ()))
        return [self._line(p, self.grid.values(values(p.name), thinning)) for p in portfolios]

    def _day_lines(
        self,
        values: Callable[[str], pd.Series],
        portfolios: Sequence[RecordedPortfolio] | None = None,
    ) -> list[Series]:
        """A line a portfolio in front, from its values by day."""
        chosen = self._front if portfolios is None else portfolios
        return [self._line(p, self.grid.by_day(values(p.name), "last")) for p in chosen]

    def _line(self, portfolio: RecordedPortfolio, values: Sequence[float | None]) -> Series:
        in_front = portfolio in self._front
        style, group = portfolio.role, ""
        if portfolio in self._subjects:
            style = LINE_STYLES[self._subjects.index(portfolio) % len(LINE_STYLES)]
        elif not in_front:
            style = "control"
            group = "other combination" if portfolio.role == "strategy" else "naive control"
        return Series(name=portfolio.name, values=values, style=style, group=group)


def _others_swept(run: Run) -> list[RecordedPortfolio]:
    """Combinations from the second best to the worst of each sweep, evenly spread over the ranks
    where they are too many to draw."""
    found = []
    for strategy in run.sweeps:
        others = ranked(run, strategy)[1:]
        steps = np.linspace(0, len(others) - 1, min(len(others), MOST_OTHERS))
        found += [others[nth] for nth in steps.round().astype(int)]
    return found


def drawdown_pct(run: Run, name: str) -> pd.Series:
    value = run.value[name]
    return 100 * (value / value.cummax().clip(lower=run.start_cash) - 1)


def exposure_pct(run: Run, name: str) -> pd.Series:
    value = run.value[name]
    return (100 * (1 - run.cash[name] / value)).where(value > 0)


def turnover_window(days: int) -> int:
    """What turnover is summed over: long enough that lines do not flicker."""
    if days >= 252:
        return 63
    return 21 if days >= 63 else 1


def turnover_pct(run: Run, name: str) -> pd.Series:
    """By day (no zone), over the window up to it; NaN before the first whole window."""
    days = run.times.tz_localize(None).normalize()
    mine = run.trades[run.trades["strategy"] == name]
    fill_days = pd.DatetimeIndex(mine["time"]).tz_localize(None).normalize()
    money = (mine["size"].abs() * mine["price"]).groupby(fill_days).sum()
    value = run.value[name].groupby(days).mean()
    window = turnover_window(len(value))
    traded = money.reindex(value.index, fill_value=0.0).rolling(window).sum()
    years = window / periods_of(run) if window > 1 else 1.0
    share = 100 * traded / 2 / value.rolling(window).mean() / years
    return share.where(value > 0)
