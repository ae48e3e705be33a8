"""The top of a tear sheet: what ran, what it cost, and what to know before believing it."""

from __future__ import annotations

from html import escape
from typing import Any

from reports.folder import Run

STYLE = """
<style>
.run{max-width:960px;margin:0 auto 24px;font:13px/1.5 Arial,sans-serif}
.run h1{font-size:24px;font-weight:400;margin:0 0 4px}
.run .verdict{font-size:15px;margin:4px 0 14px}
.run .facts{color:#555;margin:0 0 14px}
.run ul.notes{margin:0 0 14px;padding:8px 12px 8px 28px;background:#fff8e1;
  border-left:3px solid #e0a800}
.run table{border-collapse:collapse;width:auto;margin:0 0 14px;min-width:460px}
.run th,.run td{padding:4px 14px 4px 2px;text-align:right;border-bottom:1px solid #ddd}
.run th:first-child,.run td:first-child{text-align:left}
.run thead th{background:#eee;font-weight:700}
</style>
"""

FIGURES = (
    ("Total return after costs", "total_return_pct", "{:+,.1f} %"),
    ("Total return before costs", "gross_return_pct", "{:+,.1f} %"),
    ("CAGR", "cagr_pct", "{:+,.1f} %"),
    ("Sharpe", "sharpe", "{:.2f}"),
    ("Max drawdown", "max_drawdown_pct", "{:.1f} %"),
    ("Costs paid", "costs_paid", "{:,.0f}"),
    ("of it commission", "commission_paid", "{:,.0f}"),
    ("of it slippage", "slippage_paid", "{:,.0f}"),
    ("Turnover a year", "turnover_pct_per_year", "{:,.0f} %"),
    ("Fills", "fills", "{:,}"),
)


def header(run: Run) -> str:
    """HTML; every text from the run folder is escaped."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.record["notes"])
    return (
        f'{STYLE}<div class="run"><h1>{escape(run.name)} against {escape(run.benchmark)}</h1>'
        f'<p class="facts">{_facts(run.record)}</p>'
        f'<p class="verdict">{escape(_verdict(run))}</p>'
        f"{_table(run)}"
        f'<ul class="notes">{notes}</ul></div>'
    )


def _verdict(run: Run) -> str:
    figures = run.metrics["strategies"]
    ours = figures[run.name]["total_return_pct"]
    theirs = figures[run.benchmark]["total_return_pct"]
    beat = "beat" if run.metrics["beat_benchmark"] else "did not beat"
    traded = "" if figures[run.name]["fills"] else f" {run.name} never traded."
    against = f"{ours:+.1f} % against {theirs:+.1f} %."
    return f"{run.name} {beat} the benchmark after costs: {against}{traded}"


def _facts(record: dict[str, Any]) -> str:
    config = record["config"]
    first, last = (str(record["window"][bar])[:10] for bar in ("first_bar", "last_bar"))
    params = ", ".join(f"{name} = {value}" for name, value in config["params"].items())
    facts = (
        f"{config['strategy']}" + (f" ({params})" if params else ""),
        f"{record['data']['spec']}, {len(record['data']['symbols'])} symbols, {first} to {last}",
        f"model {record['model']['name']}, lookback {config['lookback']} bars, horizon "
        f"{config['horizon']} bars, {config['samples']} samples, seed {config['seed']}",
        f"starts with {config['cash']:,.0f}; a side costs {config['commission_bps']:g} bps "
        f"commission and {config['slippage_bps']:g} bps slippage; decided at the close, filled at "
        "the next open",
    )
    return "<br>".join(escape(fact) for fact in facts)


def _table(run: Run) -> str:
    names = (run.name, run.benchmark)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{label}</td>"
        + "".join(f"<td>{_cell(run.metrics['strategies'][name][key], text)}</td>" for name in names)
        + "</tr>"
        for label, key, text in FIGURES
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: float | None, text: str) -> str:
    return "-" if value is None else text.format(value)
