"""`python -m reports.compare RUN RUN ...`: portfolios of several runs side by side.

A table in the terminal and one self-contained page. Which settings differ comes first, and where
they make figures incomparable, that is said. Reads run folders; a run without metrics.json has its
figures computed anew.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.charts import Chart, Line, chart_html, thinned
from reports.costs import figures_with_costs_free
from reports.folder import Portfolio, ReportError, Run, read_run, write_whole
from reports.interrupts import leave
from reports.metrics import all_figures
from reports.report import guarded
from reports.style import LINE_STYLES, page
from reports.sweeps import subjects
from reports.tables import (
    OPTIONAL,
    ROWS,
    figures_table,
    fine_percent,
    ratio,
    signed_percent,
    whole_percent,
)

_COLUMNS = (
    ("CAGR", "cagr_pct", signed_percent),
    ("gross", "gross_cagr_pct", signed_percent),
    ("Sharpe", "sharpe", ratio),
    ("Drawdown", "max_drawdown_pct", signed_percent),
    ("Turnover", "turnover_pct_per_year", whole_percent),
    ("Costs", "cost_drag_pct_per_year", fine_percent),
)
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
    def portfolios(self) -> tuple[Portfolio, ...]:
        """Strategies, of a sweep the best, and the benchmark; twins stay in the run's report."""
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
    told = {
        "data": str(record["data"].get("spec")),
        "data hash": str(record["data"].get("hash"))[:12],
        "first bar": f"{run.times[0]:%Y-%m-%d %H:%M}",
        "last bar": f"{run.times[-1]:%Y-%m-%d %H:%M}",
        "costs": _flat(record.get("costs") or {}),
        "cash": f"{run.start_cash:,.0f}",
        "model": f"{model.get('name')} {str(model.get('fingerprint'))[:12]}" if model else "none",
    }
    told |= {
        name: _flat(value)
        for name, value in record["config"].items()
        if name not in _NOT_SETTINGS | set(told) | set(record.get("costs") or {})
    }
    shown = {p.name for p in subjects(run)}
    for entry in record["portfolios"]:
        if entry["name"] in shown:
            told[f"parameters of {entry['name']}"] = _flat(entry.get("params") or {})
            told[f"code of {entry['name']}"] = str(entry.get("sha256"))[:12]
    return told


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_flat, value)) or "none"
    return "none" if value is None else str(value)


def differences(compared: Sequence[Compared]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs: name -> the value in each, "" where it lacks."""
    told = [settings(each.run) for each in compared]
    names = dict.fromkeys(name for one in told for name in one)
    rows = {name: [one.get(name, "") for one in told] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def warning(differing: Mapping[str, Sequence[str]]) -> str | None:
    """What keeps the figures from being compared."""
    found = [name for name in _SAME_FOR_FIGURES if name in differing]
    if not found:
        return None
    listed = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
    return f"These runs differ in {listed}: their figures cannot be compared as they stand."


def comparison_page(compared: Sequence[Compared]) -> str:
    """The whole HTML page."""
    differing = differences(compared)
    warned = warning(differing)
    title = f"{len(compared)} runs side by side"
    body = (
        f"<h1>{title}</h1>"
        + (f'<div class="warn"><p><b>{escape(warned)}</b></p></div>' if warned else "")
        + f"<h2>What differs</h2>{_differences_table(compared, differing)}"
        + "<h2>Figures</h2>"
        + figures_table([(c.label, {p.name: c.figures(p.name) for p in c.portfolios})
                         for c in compared])
        + chart_html(_chart(compared))
    )  # fmt: skip
    return page(title, body)


def _differences_table(compared: Sequence[Compared], differing: Mapping[str, Sequence[str]]) -> str:
    if not differing:
        return "<p>Nothing: the runs have the same settings.</p>"
    heads = "".join(f'<th class="name">{escape(each.label)}</th>' for each in compared)
    rows = "".join(
        f'<tr class="group"><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="text">{escape(value) or "&ndash;"}</td>' for value in values)
        + "</tr>"
        for name, values in differing.items()
    )
    return (
        f'<div class="box settings"><table><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _chart(compared: Sequence[Compared]) -> Chart:
    """A colour a run; its first strategy full, the others dotted, its benchmark dashed."""
    lines = [
        Line(
            name=f"{each.label}: {portfolio.name}",
            values=thinned(each.run.value[portfolio.name] / each.run.start_cash, "last"),
            style=f"{LINE_STYLES[nth % len(LINE_STYLES)]}{_dash(each.run, portfolio)}",
            label=f"{each.run.value[portfolio.name].iloc[-1] / each.run.start_cash:,.2f}",
        )
        for nth, each in enumerate(compared)
        for portfolio in each.portfolios
    ]
    return Chart(
        title="Equity",
        explanation="What 1 became after costs. A colour a run; benchmarks are dashed.",
        lines=lines,
        tick=lambda value: f"{value:,.6g}",
        log=True,
    )


def _dash(run: Run, portfolio: Portfolio) -> str:
    if portfolio.role == "benchmark":
        return " dashed"
    return "" if portfolio == subjects(run)[0] else " dotted"


def print_comparison(compared: Sequence[Compared], console: Console) -> None:
    """What differs, a warning where it matters, and a table of the figures."""
    differing = differences(compared)
    if differing:
        settings_table = Table(title="What differs", title_justify="left")
        settings_table.add_column("setting")
        for each in compared:
            settings_table.add_column(_plain(each.label), overflow="fold")
        for name, values in differing.items():
            settings_table.add_row(_plain(name), *map(_plain, values))
        console.print(settings_table)
    warned = warning(differing)
    if warned:
        console.print(f"Warning: {warned}", markup=False, style="yellow")
    console.print(_figures(compared))


def _figures(compared: Sequence[Compared]) -> Table:
    title = "Figures a year, net of costs but for gross"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold", max_width=24)
    table.add_column("portfolio", overflow="fold", min_width=11, max_width=24)
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in compared:
        for portfolio in each.portfolios:
            figures = each.figures(portfolio.name)
            cells = [
                "-" if figures[key] is None else text(figures[key]) for _, key, text in _COLUMNS
            ]
            table.add_row(_plain(each.label), _plain(portfolio.name), *cells)
        table.add_section()
    return table


def _plain(text: str) -> Text:
    """Text that rich does not read as markup."""
    return Text("".join(c if c.isprintable() else "?" for c in text))


def _compare(folders: Sequence[Path], out: Path) -> None:
    compared = read_all(folders)
    print_comparison(compared, Console(highlight=False))
    write_whole(out, comparison_page(compared))
    print(out)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.compare",
        description="Compare portfolios of several runs: a table here, and a page.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN")
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"), help="the page (default: compare.html)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if len(args.folders) < 2:
        parser.error(f"one run, {args.folders[0]}: name two or more to compare")
    return guarded(lambda: _compare(args.folders, args.out), debug=args.debug)


if __name__ == "__main__":
    leave(main())
