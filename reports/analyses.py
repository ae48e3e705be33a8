"""What Backtrader's analyzers found, as a table: results of one number or a few."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

MOST_ROWS = 30  # of one analyzer; more are rows by time, or by fill


Figures = dict[tuple[str, str], Any]  # (analyzer, name of a figure) -> value


def flattened(analyses: Mapping[str, Mapping[str, Any]]) -> dict[str, Figures]:
    """By portfolio: the figures of each analyzer, without those that have too many of any."""
    found = {
        portfolio: {analyzer: _leaves(result, "") for analyzer, result in results.items()}
        for portfolio, results in analyses.items()
    }
    long = {
        analyzer
        for results in found.values()
        for analyzer, rows in results.items()
        if len(rows) > MOST_ROWS
    }
    return {
        portfolio: {
            (analyzer, name): value
            for analyzer, rows in results.items()
            if analyzer not in long
            for name, value in rows
        }
        for portfolio, results in found.items()
    }


def _leaves(result: Any, name: str) -> list[tuple[str, Any]]:
    if not isinstance(result, Mapping):
        return [(name, result)] if not isinstance(result, list) else []
    return [
        leaf for key, inner in result.items() for leaf in _leaves(inner, f"{name} {key}".strip())
    ]


def analyses_table(found: Mapping[str, Mapping[tuple[str, str], Any]]) -> str:
    """One column a portfolio, one row a figure."""
    heads = "".join(f'<th class="name">{escape(name)}</th>' for name in found)
    keys = list(dict.fromkeys(key for own in found.values() for key in own))
    rows = "".join(
        f'<tr class="{"group" if nth == 0 or keys[nth - 1][0] != key[0] else ""}">'
        f'<th scope="row">{escape(" ".join(key).strip())}</th>'
        + "".join(f"<td>{_cell(own.get(key))}</td>" for own in found.values())
        + "</tr>"
        for nth, key in enumerate(keys)
    )
    return (
        f'<div class="box small wrap"><table><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "&ndash;"
    if isinstance(value, float):
        return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")
    return escape(str(value))
