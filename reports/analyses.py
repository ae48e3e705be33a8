"""What Backtrader's analyzers found, as a table: results of one number or a few."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

MOST_ROWS = 30  # of one analyzer; more are rows by time, or by fill


def flattened(analyses: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """(analyzer, name of a figure) -> value, without analyzers that have too many."""
    found: dict[tuple[str, str], Any] = {}
    for analyzer, result in analyses.items():
        rows = dict(_leaves(result, ""))
        if len(rows) <= MOST_ROWS:
            found |= {(analyzer, name): value for name, value in rows.items()}
    return found


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
        f'<div class="box small"><table><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "&ndash;"
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", "\N{MINUS SIGN}")
    return escape(str(value))
