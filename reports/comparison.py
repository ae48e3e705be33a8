"""Several runs side by side: what differs in their settings, their figures, and the page.

Where settings differ that make figures incomparable, that is said. A run without metrics.json has
its figures computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.charts import LINE_STYLES, Chart, ChartView, Series, chart_data, chart_view
from reports.costs import figures_with_costs_free
from reports.files import ReportError
from reports.folder import RecordedPortfolio, Run, read_run
from reports.formats import NOTHING
from reports.grid import Grid, all_times, points_for
from reports.metrics import all_figures
from reports.pages import chart_scripts, render
from reports.sweeps import subjects
from reports.tables import OPTIONAL, ROWS, Cell, Column, FiguresOf, Row, Table, figures_table

# Settings that decide what was traded, when and at what price: figures of runs that differ in one
# are not of the same thing.
_SAME_FOR_FIGURES = ("data hash", "first bar", "last bar", "costs", "cash")
_NOT_SETTINGS = {"store", "device", "strategies", "cash", "start", "end", "costs"}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A run with its figures and the name it goes by on the page."""

    label: str
    run: Run
    metrics: Mapping[str, Any]

    @property
    def shown(self) -> tuple[RecordedPortfolio, ...]:
        """Strategies, of a sweep the best, and the benchmark; controls stay in the run's report."""
        benchmark = (self.run.benchmark,) if self.run.benchmark else ()
        return (*subjects(self.run), *benchmark)

    def figures(self, name: str) -> Mapping[str, Any]:
        return figures_with_costs_free(self.run, self.metrics, name, "whole")


def read_all(folders: Sequence[Path]) -> list[Compared]:
    """The runs, each under a label that no other has."""
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise ReportError(f"{folder} is named twice")
        seen.add(folder.resolve())
    runs = [read_run(folder) for folder in folders]
    labels = _labels(folders)
    return [
        Compared(label=label, run=run, metrics=_metrics(run))
        for label, run in zip(labels, runs, strict=True)
    ]


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folder's name, or its whole path where two share one."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]


def _metrics(run: Run) -> Mapping[str, Any]:
    """What the run's report wrote, if it is there and whole."""
    try:
        found: dict[str, Any] = json.loads((run.folder / "metrics.json").read_text("utf-8"))
        for portfolio in run.portfolios:
            figures = found["portfolios"][portfolio.name]["whole"]
            for _, figure, _, _ in ROWS:
                figures[figure] if figure not in OPTIONAL else None
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return all_figures(run)


def settings(run: Run) -> dict[str, str]:
    """What decides a run's outcome, by name."""
    record = run.record
    model = record.get("model") or {}
    found = {
        "data": str(record["data"].get("spec")),
        "data hash": str(record["data"].get("hash"))[:12],
        "first bar": f"{run.times[0]:%Y-%m-%d %H:%M}",
        "last bar": f"{run.times[-1]:%Y-%m-%d %H:%M}",
        "costs": _flat(record.get("costs") or {}),
        "cash": f"{run.start_cash:,.0f}",
        "model": f"{model.get('name')} {str(model.get('fingerprint'))[:12]}" if model else "none",
    }
    found |= {
        name: _flat(value)
        for name, value in record["config"].items()
        if name not in _NOT_SETTINGS | set(found) | set(record.get("costs") or {})
    }
    in_table = {p.name for p in subjects(run)}
    for entry in record["portfolios"]:
        if entry["name"] in in_table:
            found[f"parameters of {entry['name']}"] = _flat(entry.get("params") or {})
            found[f"code of {entry['name']}"] = str(entry.get("sha256"))[:12]
    return found


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_flat, value)) or "none"
    return "none" if value is None else str(value)


def differences(compared: Sequence[Compared]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs: name -> the value in each, "" where it lacks."""
    by_run = [settings(each.run) for each in compared]
    names = dict.fromkeys(name for own in by_run for name in own)
    rows = {name: [own.get(name, "") for own in by_run] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def warning(differing: Mapping[str, Sequence[str]]) -> str | None:
    """What keeps the figures from being compared."""
    found = [name for name in _SAME_FOR_FIGURES if name in differing]
    if not found:
        return None
    listed = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
    return f"These runs differ in {listed}: their figures cannot be compared as they stand."


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """What compare.html says."""

    title: str
    warning: str  # "": the figures can be compared
    differences: Table | None  # None: the runs have the same settings
    figures: Table
    charts: Sequence[ChartView]


def comparison_html(compared: Sequence[Compared]) -> str:
    """The whole page."""
    differing = differences(compared)
    grid = _grid(compared)
    chart = _equity_chart(compared, grid)
    figures = [
        FiguresOf(heading=each.label, portfolios={p.name: each.figures(p.name) for p in each.shown})
        for each in compared
    ]
    view = ComparisonView(
        title=f"{len(compared)} runs side by side",
        warning=warning(differing) or "",
        differences=_differences_table(compared, differing) if differing else None,
        figures=figures_table(figures),
        charts=[chart_view(chart)],
    )
    data = chart_data(grid.seconds, [chart], intraday=grid.intraday)
    return render("compare.html", chart_scripts(), view=view, charts=data)


def _differences_table(
    compared: Sequence[Compared], differing: Mapping[str, Sequence[str]]
) -> Table:
    return Table(
        columns=[Column(text=each.label, classes="name") for each in compared],
        rows=[
            Row(
                label=name,
                cells=[Cell(text=value or NOTHING, classes="text") for value in values],
                classes="group",
            )
            for name, values in differing.items()
        ],
        classes="settings",
    )


def _grid(compared: Sequence[Compared]) -> Grid:
    lines = sum(len(each.shown) for each in compared)
    return Grid(all_times([each.run.times for each in compared]), points_for(lines))


def _equity_chart(compared: Sequence[Compared], grid: Grid) -> Chart:
    """A colour a run; its first strategy full, the others dotted, its benchmark dashed."""
    series = [
        Series(
            name=f"{each.label}: {portfolio.name}",
            values=grid.values(each.run.value[portfolio.name] / each.run.start_cash, "last"),
            style=f"{LINE_STYLES[nth % len(LINE_STYLES)]}{_dash(each.run, portfolio)}",
        )
        for nth, each in enumerate(compared)
        for portfolio in each.shown
    ]
    return Chart(
        id="equity",
        title="Equity",
        explanation="What 1 became after costs. A colour a run; benchmarks are dashed.",
        series=series,
        digits=3,
        may_be_log=True,
    )


def _dash(run: Run, portfolio: RecordedPortfolio) -> str:
    if portfolio.role == "benchmark":
        return " dashed"
    return "" if portfolio == subjects(run)[0] else " dotted"
