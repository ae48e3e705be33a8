"""The tables of a report, as HTML: portfolios with their figures, and controls with their luck."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

Format = Callable[[float], str]


def percent(value: float) -> str:
    return f"{value:,.1f} %"


def signed_percent(value: float) -> str:
    return f"{value:+,.1f} %"


def fine_percent(value: float) -> str:
    return f"{value:,.2f} %"


def whole_percent(value: float) -> str:
    return f"{value:,.0f} %"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def whole(value: float) -> str:
    return f"{value:,.0f}"


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

# heading, figure, format: of the sweeps' table
SWEEP_COLUMNS: Sequence[tuple[str, str, Format]] = (
    ("Total return, net", "total_return_pct", signed_percent),
    ("CAGR", "cagr_pct", signed_percent),
    ("Sharpe", "sharpe", ratio),
    ("Max drawdown", "max_drawdown_pct", percent),
    ("Turnover a year", "turnover_pct_per_year", whole_percent),
    ("Cost drag a year", "cost_drag_pct_per_year", fine_percent),
)

# heading, figure, format: of the controls' table
CONTROL_COLUMNS: Sequence[tuple[str, str, Format]] = (
    ("CAGR", "cagr_pct", signed_percent),
    ("Sharpe", "sharpe", ratio),
    ("Max drawdown", "max_drawdown_pct", percent),
    ("Turnover a year", "turnover_pct_per_year", whole_percent),
    ("Cost drag a year", "cost_drag_pct_per_year", fine_percent),
)


def cell(value: float | None, text: Format, classes: str = "") -> str:
    shown = "&ndash;" if value is None else text(value).replace("-", "\N{MINUS SIGN}")
    return f'<td class="{classes}">{shown}</td>' if classes else f"<td>{shown}</td>"


def figures_table(groups: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]]) -> str:
    """One column a portfolio. `groups`: a heading over the columns, and name -> figures."""
    over = ""
    if len(groups) > 1:
        cells = "".join(
            f'<th class="edge over" colspan="{len(columns)}">{escape(heading)}</th>'
            for heading, columns in groups
        )
        over = f"<tr><th></th>{cells}</tr>"
    heads = "".join(
        f'<th class="name{_edge(groups, nth)}" title="{escape(name)}">{escape(name)}</th>'
        for _, columns in groups
        for nth, name in enumerate(columns)
    )
    rows = "".join(_row(groups, *row) for row in ROWS if _known(groups, row[1]))
    box = "box wide" if over else "box"
    return (
        f'<div class="{box}"><table><thead>{over}<tr><th></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _known(groups: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]], figure: str) -> bool:
    """Whether a row has something to show: an optional one may not."""
    every = [figures for _, columns in groups for figures in columns.values()]
    return figure not in OPTIONAL or any(figures.get(figure) is not None for figures in every)


def _edge(groups: Sequence[Any], nth: int) -> str:
    return " edge" if len(groups) > 1 and nth == 0 else ""


def _row(groups: Sequence[Any], label: str, figure: str, text: Format, classes: str) -> str:
    cells = "".join(
        cell(figures.get(figure), text, _edge(groups, nth).strip())
        for _, columns in groups
        for nth, figures in enumerate(columns.values())
    )
    return f'<tr class="{classes}"><th scope="row">{label}</th>{cells}</tr>'


def controls_table(
    strategy: str,
    figures: Mapping[str, Mapping[str, Any]],
    against: Mapping[str, Mapping[str, float | None]],
    titles: Mapping[str, str],
    interval_pct: int,
) -> str:
    """One row for the strategy and one for each rival, best Sharpe first, with the difference."""
    heads = "".join(f"<th>{heading}</th>" for heading, _, _ in CONTROL_COLUMNS)
    ranked = sorted(against, key=lambda name: -_sharpe(figures[name]))
    rows = "".join(
        _control_row(titles[name], figures[name], against.get(name)) for name in (strategy, *ranked)
    )
    return (
        f'<div class="box small"><table><thead><tr><th>{escape(strategy)} on</th>{heads}'
        f'<th class="edge">Sharpe difference</th><th>{interval_pct} % interval</th>'
        f"<th>resamples above 0</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def sweep_table(strategy: str, figures: Mapping[str, Mapping[str, Any]], rival: str | None) -> str:
    """One row a combination in the order given, the best first, and the rival below them."""
    heads = "".join(f"<th>{heading}</th>" for heading, _, _ in SWEEP_COLUMNS)
    best = next(iter(figures))
    rows = "".join(
        f'<tr class="{"main" if name == best else "group" if name == rival else ""}">'
        f'<th scope="row">{escape(name.removeprefix(strategy).strip("[]") or name)}</th>'
        + "".join(cell(own[figure], text) for _, figure, text in SWEEP_COLUMNS)
        + "</tr>"
        for name, own in figures.items()
    )
    return (
        f'<div class="box small wrap"><table><thead><tr><th>{escape(strategy)} with</th>{heads}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _sharpe(figures: Mapping[str, Any]) -> float:
    sharpe: float | None = figures["sharpe"]
    return -math.inf if sharpe is None else sharpe


def _control_row(
    title: str, figures: Mapping[str, Any], against: Mapping[str, float | None] | None
) -> str:
    cells = "".join(cell(figures[figure], text) for _, figure, text in CONTROL_COLUMNS)
    classes = "main" if against is None else ""
    return (
        f'<tr class="{classes}"><th scope="row">{escape(title)}</th>{cells}'
        f"{_difference_cells(against)}</tr>"
    )


def _difference_cells(against: Mapping[str, float | None] | None) -> str:
    if against is None:
        return '<td class="edge"></td><td></td><td></td>'
    low, high, share = (against[key] for key in ("low", "high", "share_above_zero"))
    interval = "&ndash;"
    if low is not None and high is not None:
        interval = f"{low:+.2f} to {high:+.2f}".replace("-", "\N{MINUS SIGN}")
    return (
        cell(against["sharpe_difference"], lambda value: f"{value:+.2f}", "edge")
        + f"<td>{interval}</td>"
        + cell(share, lambda value: f"{100 * value:.0f} %")
    )
