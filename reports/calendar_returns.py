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


def returns_table(run: Run, name: str, rival_years: pd.Series | None) -> Table:
    """One row a year, newest first. `rival_years`: the benchmark's, as `years` has them."""
    table = _by_month(run, name)
    columns = [*(Column(text=month) for month in MONTHS), Column(text="Year", classes="edge")]
    if run.benchmark:
        columns += [Column(text=run.benchmark.name, classes="name"), Column(text="difference")]
    rows = [
        Row(
            label=str(year),
            cells=_cells(table.loc[year], None if rival_years is None else rival_years[year]),
        )
        for year in table.index[::-1]
    ]
    return Table(columns=columns, rows=rows, corner="%", classes="small heat")


def years(run: Run, name: str) -> pd.Series:
    """Returns by year of a portfolio."""
    return _by_month(run, name)["year"]


def _by_month(run: Run, name: str) -> pd.DataFrame:
    return monthly_returns(returns_of(run, name, slice(0, len(run.times))))


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
