"""Returns by month and year of a portfolio, beside the benchmark's years, as a table."""

from __future__ import annotations

import calendar

import pandas as pd

from reports.folder import Run
from reports.formats import shown, signed_percent
from reports.metrics import returns_of
from reports.quant import monthly_returns
from reports.tables import Cell, Column, Row, Table

MONTHS = tuple(calendar.month_abbr)[1:]


def returns_table(run: Run, name: str) -> Table:
    """One row a year, newest first; the benchmark's year beside the portfolio's."""
    whole = slice(0, len(run.times))
    table = monthly_returns(returns_of(run, name, whole))
    rival: pd.Series | None = None
    columns = [*(Column(text=month) for month in MONTHS), Column(text="Year", classes="edge")]
    if run.benchmark:
        rival = monthly_returns(returns_of(run, run.benchmark.name, whole))["year"]
        columns += [Column(text=run.benchmark.name, classes="name"), Column(text="difference")]
    rows = [
        Row(label=str(year), cells=_cells(table.loc[year], None if rival is None else rival[year]))
        for year in table.index[::-1]
    ]
    return Table(columns=columns, rows=rows, corner="%", classes="small heat")


def _cells(months: pd.Series, rival_year: float | None) -> list[Cell]:
    """Twelve months, the year, the benchmark's year and the difference."""
    *by_month, year = months.tolist()
    cells = [_return_cell(value) for value in by_month]
    cells.append(_return_cell(year, "edge main"))
    if rival_year is not None:
        cells += [_return_cell(rival_year), _return_cell(year - rival_year)]
    return cells


def _return_cell(value: float, classes: str = "") -> Cell:
    """Per cent without its sign, which stands in the table's corner; losses are marked."""
    known = None if pd.isna(value) else 100 * value
    tint = "" if not known else "up" if known > 0 else "down"
    return Cell(text=shown(known, _bare), classes=f"{classes} {tint}".strip())


def _bare(value: float) -> str:
    return signed_percent(value).removesuffix(" %")
