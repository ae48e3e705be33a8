"""Tables of figures as plain data, which the template `table.html` lays out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.formats import (
    NOTHING,
    Format,
    fine_percent,
    minus_signs,
    percent,
    ratio,
    shown,
    signed_percent,
    signed_ratio,
    whole,
    whole_percent,
)

Figures = Mapping[str, Any]  # name with its unit -> number, or None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure in a table; `classes` are those of page.css."""

    text: str
    classes: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    label: str
    cells: Sequence[Cell]
    classes: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The head of a column: `full` is its whole name where `text` may be cut short."""

    text: str
    classes: str = ""
    full: str = ""


@dataclass(frozen=True, kw_only=True)
class ColumnGroup:
    """A head over several columns."""

    text: str
    columns: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """`corner` is the head of the labels' column."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    corner: str = ""
    groups: Sequence[ColumnGroup] = ()
    classes: str = ""


# label, figure, format, class of the row
ROWS: Sequence[tuple[str, str, Format, str]] = (
    ("Total return, net", "total_return_pct", signed_percent, "group main"),
    ("gross", "gross_return_pct", signed_percent, "sub"),
    ("costs-free", "costs_free_return_pct", signed_percent, "sub"),
    ("CAGR, net", "cagr_pct", signed_percent, "main"),
    ("gross", "gross_cagr_pct", signed_percent, "sub"),
    ("costs-free", "costs_free_cagr_pct", signed_percent, "sub"),
    ("Sharpe, net", "sharpe", ratio, "main"),
    ("gross", "gross_sharpe", ratio, "sub"),
    ("costs-free", "costs_free_sharpe", ratio, "sub"),
    ("Sortino", "sortino", ratio, "group"),
    ("Calmar", "calmar", ratio, ""),
    ("Max drawdown", "max_drawdown_pct", percent, ""),
    ("Volatility a year", "volatility_pct", percent, ""),
    ("Hit rate, days", "hit_rate_pct", percent, ""),
    ("Exposure, mean", "exposure_pct", percent, "group"),
    ("Turnover a year", "turnover_pct_per_year", whole_percent, ""),
    ("Fills", "fills", whole, ""),
    ("Cost drag a year", "cost_drag_pct_per_year", fine_percent, "group main"),
    ("commission", "commission_drag_pct_per_year", fine_percent, "sub"),
    ("slippage", "slippage_drag_pct_per_year", fine_percent, "sub"),
    ("impact", "impact_drag_pct_per_year", fine_percent, "sub"),
    ("Costs paid", "costs_paid", whole, ""),
    ("Final value", "final_value", whole, "group"),
)

OPTIONAL = ("costs_free_return_pct", "costs_free_cagr_pct", "costs_free_sharpe")  # of ROWS

# heading, figure, format
FigureColumns = Sequence[tuple[str, str, Format]]
CONTROL_COLUMNS: FigureColumns = (
    ("CAGR", "cagr_pct", signed_percent),
    ("Sharpe", "sharpe", ratio),
    ("Max drawdown", "max_drawdown_pct", percent),
    ("Turnover a year", "turnover_pct_per_year", whole_percent),
    ("Cost drag a year", "cost_drag_pct_per_year", fine_percent),
)
SWEEP_COLUMNS: FigureColumns = (
    ("Total return, net", "total_return_pct", signed_percent),
    *CONTROL_COLUMNS,
)


@dataclass(frozen=True, kw_only=True)
class FiguresOf:
    """Figures of some portfolios, by name, under a heading of their own."""

    heading: str
    portfolios: Mapping[str, Figures]


def figures_table(groups: Sequence[FiguresOf]) -> Table:
    """One column a portfolio, one row a figure."""
    several = len(groups) > 1
    columns = [
        Column(text=name, full=name, classes=f"name{' edge' if several and nth == 0 else ''}")
        for group in groups
        for nth, name in enumerate(group.portfolios)
    ]
    over = [ColumnGroup(text=g.heading, columns=len(g.portfolios)) for g in groups]
    return Table(
        columns=columns,
        rows=[
            _figure_row(groups, label, figure, text, classes)
            for label, figure, text, classes in ROWS
            if _is_known(groups, figure)
        ],
        groups=over if several else (),
        classes="wide" if several else "",
    )


def _figure_row(
    groups: Sequence[FiguresOf], label: str, figure: str, text: Format, classes: str
) -> Row:
    several = len(groups) > 1
    cells = [
        Cell(
            text=shown(figures.get(figure), text),
            classes="edge" if several and nth == 0 else "",
        )
        for group in groups
        for nth, figures in enumerate(group.portfolios.values())
    ]
    return Row(label=label, cells=cells, classes=classes)


def _is_known(groups: Sequence[FiguresOf], figure: str) -> bool:
    """Whether a row has something to show: an optional one may not."""
    every = [figures for group in groups for figures in group.portfolios.values()]
    return figure not in OPTIONAL or any(figures.get(figure) is not None for figures in every)


def controls_table(
    strategy: str,
    figures: Mapping[str, Figures],
    against: Mapping[str, Mapping[str, float | None]],
    titles: Mapping[str, str],
    interval_pct: int,
) -> Table:
    """One row for the strategy and one for each rival, best Sharpe first, with the difference."""
    ranked = sorted(against, key=lambda name: -_sharpe(figures[name]))
    rows = [
        Row(
            label=titles[name],
            cells=[
                *_figure_cells(figures[name], CONTROL_COLUMNS),
                *_difference_cells(against.get(name)),
            ],
            classes="" if name in against else "main",
        )
        for name in (strategy, *ranked)
    ]
    columns = [
        *_heads(CONTROL_COLUMNS),
        Column(text="Sharpe difference", classes="edge"),
        Column(text=f"{interval_pct} % interval"),
        Column(text="resamples above 0"),
    ]
    return Table(columns=columns, rows=rows, corner=f"{strategy} on", classes="small")


def sweep_table(strategy: str, figures: Mapping[str, Figures], rival: str | None) -> Table:
    """One row a combination in the order given, the best first, and the rival below them."""
    best = next(iter(figures))
    rows = [
        Row(
            label=name.removeprefix(strategy).strip("[]") or name,
            cells=_figure_cells(own, SWEEP_COLUMNS),
            classes="main" if name == best else "group" if name == rival else "",
        )
        for name, own in figures.items()
    ]
    return Table(
        columns=_heads(SWEEP_COLUMNS), rows=rows, corner=f"{strategy} with", classes="small wrap"
    )


def _heads(columns: FigureColumns) -> list[Column]:
    return [Column(text=heading) for heading, _, _ in columns]


def _figure_cells(figures: Figures, columns: FigureColumns) -> list[Cell]:
    return [Cell(text=shown(figures[figure], text)) for _, figure, text in columns]


def _sharpe(figures: Figures) -> float:
    sharpe: float | None = figures["sharpe"]
    return -math.inf if sharpe is None else sharpe


def _difference_cells(against: Mapping[str, float | None] | None) -> list[Cell]:
    if against is None:
        return [Cell(text="", classes="edge"), Cell(text=""), Cell(text="")]
    low, high, share = (against[key] for key in ("low", "high", "share_above_zero"))
    interval = NOTHING
    if low is not None and high is not None:
        interval = minus_signs(f"{low:+.2f} to {high:+.2f}")
    return [
        Cell(text=shown(against["sharpe_difference"], signed_ratio), classes="edge"),
        Cell(text=interval),
        Cell(text=shown(share, lambda value: f"{100 * value:.0f} %")),
    ]
