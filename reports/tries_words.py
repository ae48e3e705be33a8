"""What is said of tries, in sentences, from the figures of `reports.tries`."""

from __future__ import annotations

from typing import Any

from reports import luck
from reports.folder import Run
from reports.formats import counted
from reports.overfitting import FEWEST_DAYS, FEWEST_TRIES
from reports.superior import SIZE
from reports.sweeps import subjects

HEADS = ("Count", "Luck of the best", "Overfitting", "Against the benchmark")  # of the sentences
SURE = 0.95  # a deflated Sharpe ratio from which luck is no explanation
NAMES_SHOWN = 5
MOST_ON_TOP = 2  # strategies that the first sentence has figures of
MUCH, LITTLE = 0.35, 0.10  # probabilities of overfitting: as good as chance is 0.5


def sentences(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """`sentence` for the top of a page, and `sentences`, all there is to say, as in `HEADS`."""
    count, lucky = " ".join([_count(found), *_scored(found)]), _luck(found)
    judged = [_deflated(portfolio.name, found) for portfolio in subjects(run)]
    market = _market(run, found)
    own = judged if len(judged) <= MOST_ON_TOP else []
    return {
        "sentence": " ".join(filter(None, [count, lucky, *own, market])),
        "sentences": [
            " ".join(filter(None, [count, *_forgotten(found), *found["warnings"]])),
            " ".join(filter(None, [lucky, *judged, market])),
            _overfitting(found),
            _superior(run, found),
        ],
    }


def _count(found: dict[str, Any]) -> str:
    tried, own = found["tried"], found["in_this_run"]
    here = "on this data in this window"
    if tried == 1:
        return f"This is the first thing that was tried {here}."
    if own == tried:
        return f"{tried:,} different things were tried {here}, all of them in this run."
    return f"{tried:,} different things have been tried {here}, {own:,} of them in this run."


def _scored(found: dict[str, Any]) -> list[str]:
    many = found["scored"]
    if not many:
        return []
    which = "is a model" if many == 1 else "are models"
    has = "It has" if many == 1 else "They have"
    return [
        f"{many:,} of them {which} with settings whose forecasts were scored (sandbox.skill). "
        f"{has} no returns: no other figure of tries here knows of a choice by scores."
    ]


def _forgotten(found: dict[str, Any]) -> list[str]:
    return [
        f"{many:,} more {'was' if many == 1 else 'were'} forgotten on {day}."
        for day, many in found["forgotten"].items()
    ]


def _luck(found: dict[str, Any]) -> str:
    if found["traded"] == 1:
        if found["scored"]:
            return "Nothing else has returns, so that nothing is taken off for having picked it."
        return "Nothing has to be taken off for having picked it."
    return (
        f"Had none of them any skill, the best of {_with_returns(found)} would still have a Sharpe "
        f"ratio of about {found['luck_sharpe']:.2f}, by luck alone."
    )


def _with_returns(found: dict[str, Any]) -> str:
    return f"{found['traded']:,}" + (" that have returns" if found["scored"] else "")


def _deflated(name: str, found: dict[str, Any]) -> str:
    figures = found["strategies"][name]
    deflated = figures["deflated_sharpe"]
    if deflated is None:
        return f"{name} has no Sharpe ratio to compare with that."
    several = found["traded"] > 1
    lucky = f"the best of {found['traded']:,} has by luck" if several else "0"
    outcome = "is more than" if deflated >= SURE else "is not clearly more than"
    return (
        f"{name} has {figures['sharpe']:.2f}, which {outcome} {lucky}: its deflated Sharpe ratio "
        f"is {_probability(deflated)}, and {SURE} is needed."
    )


def _market(run: Run, found: dict[str, Any]) -> str:
    """What a deflated Sharpe ratio does not know of."""
    sharpe = found["benchmark_sharpe"]
    sure = [found["strategies"][p.name]["deflated_sharpe"] or 0 for p in subjects(run)]
    if sharpe is None or run.benchmark is None or max(sure) < SURE:
        return ""
    return f"A rising market counts as skill in this: {run.benchmark.name} has {sharpe:.2f}."


def _probability(value: float) -> str:
    """Never 1.00 for what is not sure."""
    return "over 0.99" if value > 0.99 else "under 0.01" if value < 0.01 else f"{value:.2f}"


def _overfitting(found: dict[str, Any]) -> str:
    figures, shared = found["overfitting"], found["on_the_same_days"]
    if figures is None:
        return (
            f"The probability of backtest overfitting needs {FEWEST_TRIES} tries that share "
            f"{FEWEST_DAYS} days; {shared:,} {'has' if shared == 1 else 'have'} a return on all of "
            f"the {counted(found['days'], 'day')} that are judged here."
        )
    probability = figures["probability"]
    return (
        f"The probability of backtest overfitting is {100 * probability:.0f} %: so often, in "
        f"{figures['splits']:,} ways to halve the days, the best of {shared:,} tries in one half "
        "was below their median in the other. Picked with a Sharpe ratio of "
        f"{figures['sharpe_in']:.2f} on average, it had {figures['sharpe_out']:.2f} there: "
        f"{_picking(probability)}."
    )


def _picking(probability: float) -> str:
    if probability > MUCH:
        return "picking the best by its past was little better than drawing one"
    if probability < LITTLE:
        return "what was best in one half was good in the other, too"
    return "picking the best by its past helped somewhat"


def _superior(run: Run, found: dict[str, Any]) -> str:
    figures, tested = found["superior"], found["on_the_same_days"]
    asked = "beats a benchmark by more than luck (SPA, StepM)"
    if run.benchmark is None:
        return f"Whether any try {asked} is not asked: the run has none."
    if figures is None:
        few = f"{counted(found['days'], 'day')} of {luck.FEWEST_DAYS} that are needed"
        why = few if found["days"] < luck.FEWEST_DAYS else "it needs two tries on the same days"
        return f"Whether any try {asked} is not asked: {why}."
    rival = run.benchmark.name
    if figures["chance"] is None:
        return (
            f"Whether any of {tested:,} tries beats {rival} by more than luck (SPA, StepM) is not "
            f"said: {figures['why_not']}."
        )
    better = figures["better"]
    named = ", ".join(better[:NAMES_SHOWN]) or "none of them"
    more = f" and {len(better) - NAMES_SHOWN:,} more" if len(better) > NAMES_SHOWN else ""
    return (
        f"Were none of the {tested:,} tries on these days better than {rival} at equal volatility, "
        f"luck would still put the best of them as far ahead as it is in "
        f"{_chance(figures['chance'])} of cases (SPA). Better by more than luck, with a chance of "
        f"{100 * SIZE:g} % of naming any wrongly (StepM): {named}{more}."
    )


def _chance(chance: float) -> str:
    return "under 0.1 %" if chance < 0.001 else f"{100 * chance:.{1 if chance < 0.01 else 0}f} %"
