"""What Backtrader's analyzers found, as a table: results of one number or a few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.formats import NOTHING, minus_signs
from reports.tables import Cell, Column, Row, Table

MOST_ROWS = 30  # of one analyzer; more are rows by time, or by fill

AnalyzerFigures = dict[tuple[str, str], Any]  # (analyzer, name of a figure) -> value


def flattened(analyses: Mapping[str, Mapping[str, Any]]) -> dict[str, AnalyzerFigures]:
    """By portfolio: the figures of each analyzer, without those that have too many of any."""
    found = {
        portfolio: {analyzer: _leaves(result, "") for analyzer, result in results.items()}
        for portfolio, results in analyses.items()
    }
    too_long = {
        analyzer
        for results in found.values()
        for analyzer, rows in results.items()
        if len(rows) > MOST_ROWS
    }
    return {
        portfolio: {
            (analyzer, name): value
            for analyzer, rows in results.items()
            if analyzer not in too_long
            for name, value in rows
        }
        for portfolio, results in found.items()
    }


def _leaves(result: Any, name: str) -> list[tuple[str, Any]]:
    """The single values of nested results, each named by the keys that lead to it."""
    if not isinstance(result, Mapping):
        return [(name, result)] if not isinstance(result, list) else []
    return [
        leaf for key, inner in result.items() for leaf in _leaves(inner, f"{name} {key}".strip())
    ]


def analyses_table(found: Mapping[str, AnalyzerFigures]) -> Table:
    """One column a portfolio, one row a figure."""
    keys = list(dict.fromkeys(key for figures in found.values() for key in figures))
    rows = [
        Row(
            label=" ".join(key).strip(),
            cells=[Cell(text=_value_text(figures.get(key))) for figures in found.values()],
            classes="group" if nth == 0 or keys[nth - 1][0] != key[0] else "",
        )
        for nth, key in enumerate(keys)
    ]
    columns = [Column(text=name, classes="name") for name in found]
    return Table(columns=columns, rows=rows, classes="small wrap")


def _value_text(value: Any) -> str:
    if value is None:
        return NOTHING
    return minus_signs(f"{value:,.6g}") if isinstance(value, float) else str(value)
