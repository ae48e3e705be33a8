"""What costs took of a strategy, in two ways, and why they differ.

Gross: its own fills at their prices before costs; money saved stays cash. Costs-free: a portfolio
of its own that trades where nothing costs anything; money saved is invested, and compounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.folder import PARTS, Run
from reports.sweeps import subjects

# of the costs-free portfolio -> what it is called among the strategy's own figures
FIGURES = {
    "total_return_pct": "costs_free_return_pct",
    "cagr_pct": "costs_free_cagr_pct",
    "sharpe": "costs_free_sharpe",
}
REST_PCT = 10  # of what no costs at all would bring: from here on the sentence tells the rest


def figures_with_costs_free(
    run: Run, metrics: Mapping[str, Any], name: str, span: str
) -> dict[str, Any]:
    """A portfolio's figures, with those of its run without costs, None where there is none."""
    costless = run.costs_free(name)
    free = metrics["portfolios"][costless.name][span] if costless else {}
    return dict(metrics["portfolios"][name][span]) | {
        shown: free.get(figure) for figure, shown in FIGURES.items()
    }


def all_costs(run: Run, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """By strategy that has a run without costs and paid something: figures and one sentence."""
    found = {}
    for strategy in subjects(run):
        figures = figures_with_costs_free(run, metrics, strategy.name, "whole")
        if figures["costs_free_return_pct"] is None or not figures["costs_paid"]:
            continue
        reinvested = reinvested_return_pct(run, strategy.name)
        found[strategy.name] = {
            "costs_paid": figures["costs_paid"],
            "net_return_pct": figures["total_return_pct"],
            "gross_return_pct": figures["gross_return_pct"],
            "costs_free_return_pct": figures["costs_free_return_pct"],
            "reinvested_return_pct": reinvested,
            "sentence": _sentence(strategy.name, figures, reinvested),
        }
    return found


def reinvested_return_pct(run: Run, name: str) -> float | None:
    """The return if what each fill cost had been invested from its close on as the rest was."""
    value = run.value[name]
    if not (value > 0).all():
        return None
    mine = run.trades[run.trades["strategy"] == name]
    paid = mine[list(PARTS)].sum(axis=1).groupby(mine["time"]).sum()
    last = float(value.iloc[-1])
    became = float((paid * (last / value.reindex(paid.index))).sum())
    return 100 * ((last + became) / run.start_cash - 1)


def _sentence(name: str, figures: Mapping[str, Any], reinvested: float | None) -> str:
    net, free = figures["total_return_pct"], figures["costs_free_return_pct"]
    text = (
        f"Costs took {figures['costs_paid']:,.0f} of {name}, which made {_pct(net)}. Gross, its "
        f"own fills before costs, is {_pct(figures['gross_return_pct'])}, with that money left as "
        f"cash; the same run without any costs, which invests it, made {_pct(free)}"
    )
    if reinvested is None:
        return f"{text}."
    rest = abs(free - reinvested) > REST_PCT / 100 * max(abs(free - net), 0.1)
    return (
        f"{text}. That is compounding: had the money saved earned what {name} did, it would be "
        f"{_pct(reinvested)}{'; the rest is other sizes and fills' if rest else ''}."
    )


def _pct(value: float) -> str:
    return f"{value:+,.1f} %" if abs(value) < 100 else f"{value:+,.0f} %"
