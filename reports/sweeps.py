"""Parameter sweeps: which combination did best, and how good the best of so many is by luck.

Only the best combination of a sweep stands among the other strategies on a page; all of them are
in a table of their own, and grey behind the charts.
"""

from __future__ import annotations

import math
from typing import Any

from reports import luck
from reports.folder import RecordedPortfolio, Run
from reports.luck import BestOf, SharpeResamples
from reports.metrics import judged_span, returns_of, spans_of

WITHIN_LUCK = (100 - luck.LEVEL_PCT) / 2 / 100  # chances above this are luck, as for the intervals


def subjects(run: Run) -> tuple[RecordedPortfolio, ...]:
    """The strategies that a page is about: of each sweep the best combination alone."""
    if not run.sweeps:
        return run.strategies
    best = {name: best_of(run, name) for name in run.sweeps}
    return tuple(p for p in run.strategies if p.sweep_of is None or p == best[p.sweep_of])


def best_of(run: Run, strategy: str) -> RecordedPortfolio:
    """The combination with the highest Sharpe ratio over the days that are judged."""
    return ranked(run, strategy)[0]


def ranked(run: Run, strategy: str) -> list[RecordedPortfolio]:
    """All combinations, best first; those without a Sharpe ratio last."""
    rows = spans_of(run)[judged_span(run)]
    assert rows is not None
    sharpes = {p.name: _sharpe(run, p.name, rows) for p in run.sweeps[strategy]}
    return sorted(run.sweeps[strategy], key=lambda p: -sharpes[p.name])


def _sharpe(run: Run, name: str, rows: slice) -> float:
    returns = returns_of(run, name, rows)
    deviation = returns.std()
    return float(returns.mean() / deviation) if deviation > 0 else -math.inf


def all_sweeps(run: Run, resamples: SharpeResamples, span: str) -> dict[str, Any]:
    """By strategy: the best combination, how many were tried, and what luck makes of so many."""
    found = {}
    for strategy in run.sweeps:
        order = [p.name for p in ranked(run, strategy)]
        rival = run.benchmark.name if run.benchmark else None
        best = resamples.best_of(order, rival)
        found[strategy] = {
            "best": order[0],
            "tried": len(order),
            "ranked": order,
            "span": span,
            "sharpe_difference": best and best.lead,  # to the benchmark's, or to 0 without one
            "luck_mean": best and best.by_luck,
            "chance": best and best.chance,
            "sentence": _sentence(strategy, order, rival, best),
        }
    return found


def _sentence(strategy: str, order: list[str], rival: str | None, best: BestOf | None) -> str:
    tried = len(order)
    several = tried > 1
    which = f"the best of the {tried:,} combinations" if several else "the only combination"
    picked = f"{order[0]} is {which} of {strategy} that {'were' if several else 'was'} tried"
    if best is None:
        return f"{picked}, and nothing tells it from luck: it has no Sharpe ratio, or too few days."
    against = f" against {best.rival_sharpe:.2f} for {rival}, {best.lead:+.2f}" if rival else ""
    none = f"none of the {tried:,}" if several else "it not"
    return (
        f"{picked}: Sharpe {best.sharpe:.2f}{against}. Were {none} better than "
        f"{rival or 'chance'}, luck alone would put {'the best of them' if several else 'it'} "
        f"{best.by_luck:+.2f} ahead on average, and {best.lead:+.2f} or more in "
        f"{_chance(best.chance)} of cases: {_judged(best.chance)}."
    )


def _chance(chance: float) -> str:
    return "under 0.1 %" if chance < 0.001 else f"{100 * chance:.{1 if chance < 0.01 else 0}f} %"


def _judged(chance: float) -> str:
    return "it lies within luck" if chance > WITHIN_LUCK else "this is more than luck explains"
