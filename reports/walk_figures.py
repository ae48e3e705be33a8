"""Whether fine-tuning helped: portfolios on both weights, the luck of their difference, and counts
of folds; and what the base may have seen of the days that are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.costs import figures_with_costs_free
from reports.folder import RecordedPortfolio, Run
from reports.formats import counted
from reports.luck import Difference, SharpeResamples
from reports.metrics import all_figures, judged_span, periods_of, returns_of, spans_of
from reports.verdicts import against_luck, why_unsaid
from reports.walk_folder import FINE_TUNED, ZERO_SHOT, Fold, Span, WalkForward, known


@dataclass(frozen=True, kw_only=True)
class Line:
    """A portfolio of the walk-forward under the name that it goes by on the page."""

    label: str
    kind: str  # fine-tuned, zero-shot, benchmark or control
    strategy: str | None  # that it is, or that it repeats on a naive signal
    portfolio: RecordedPortfolio
    run: Run


def lines_of(walk: WalkForward) -> list[Line]:
    """Every strategy on both weights, the benchmark and the controls.

    Those that no weights decide are of the fine-tuned run; the other run has the same.
    """
    ours, theirs = walk.fine_tuned, walk.zero_shot
    several = len(ours.strategies) > 1
    found = []
    for portfolio in ours.strategies:
        twin = next(p for p in theirs.strategies if p.name == portfolio.name)
        for kind, run, own in ((FINE_TUNED, ours, portfolio), (ZERO_SHOT, theirs, twin)):
            label = f"{own.name}, {kind}" if several else kind
            found.append(Line(label=label, kind=kind, strategy=own.name, portfolio=own, run=run))
    others = [*((ours.benchmark,) if ours.benchmark else ()), *ours.controls]
    return found + [
        Line(label=p.name, kind=p.role, strategy=p.repeats, portfolio=p, run=ours) for p in others
    ]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Figures of every line, by label and span, and what luck makes of their differences."""

    lines: Sequence[Line]
    figures: Mapping[str, Mapping[str, dict[str, Any] | None]]
    resamples: SharpeResamples
    spans: Sequence[str]  # `whole`, or with `unseen` and `seen` before it
    judged: str  # the one of them that counts
    days_per_year: int

    def of(self, kind: str, strategy: str) -> Line:
        return next(x for x in self.lines if x.kind == kind and x.strategy == strategy)

    def sharpe(self, line: Line) -> float | None:
        figures = self.figures[line.label][self.judged]
        assert figures is not None
        sharpe: float | None = figures["sharpe"]
        return sharpe

    def difference(self, ours: Line, theirs: Line) -> Difference | None:
        return self.resamples.difference(ours.label, theirs.label)


def find(walk: WalkForward) -> Findings:
    """Judged on the days that the base had not seen, where they are enough to say something."""
    lines = lines_of(walk)
    run = walk.fine_tuned
    spans = {span: rows for span, rows in spans_of(run).items() if rows is not None}
    judged = judged_span(run)
    metrics = {kind: all_figures(each) for kind, each in _runs(walk).items()}
    returns = {x.label: returns_of(x.run, x.portfolio.name, spans[judged]) for x in lines}
    return Findings(
        lines=lines,
        figures={
            x.label: {
                span: figures_with_costs_free(
                    x.run, metrics[_kind_of_run(x)], x.portfolio.name, span
                )
                for span in spans
            }
            for x in lines
        },
        resamples=SharpeResamples(pd.DataFrame(returns), periods_of(run)),
        spans=[span for span in ("unseen", "seen", "whole") if span in spans],
        judged=judged,
        days_per_year=periods_of(run),
    )


def _runs(walk: WalkForward) -> dict[str, Run]:
    return {FINE_TUNED: walk.fine_tuned, ZERO_SHOT: walk.zero_shot}


def _kind_of_run(line: Line) -> str:
    return ZERO_SHOT if line.kind == ZERO_SHOT else FINE_TUNED


def verdict(walk: WalkForward, found: Findings) -> str:
    """What came of it in one sentence, and one on what the base may have seen of it."""
    clauses = [_sharpe_clause(found, p.name) for p in walk.fine_tuned.strategies]
    clauses += [loss_clause(walk), *crps_clause(walk)]
    return f"{'; '.join(clauses)}. {_caveat(walk, found)}"


def _sharpe_clause(found: Findings, strategy: str) -> str:
    ours, theirs = found.of(FINE_TUNED, strategy), found.of(ZERO_SHOT, strategy)
    after, before = found.sharpe(ours), found.sharpe(theirs)
    difference = found.difference(ours, theirs)
    if after is None or before is None or difference is None:
        why = why_unsaid(found.resamples.days, ours.label, after)
        return f"What fine-tuning did to the Sharpe ratio of {strategy} cannot be said: {why}"
    if not difference.draws.any():
        return f"Fine-tuning changed nothing that {strategy} earned (Sharpe ratio {after:.2f})"
    verb = "raised" if difference.sharpe_difference > 0 else "lowered"
    return (
        f"Fine-tuning {verb} the Sharpe ratio of {strategy} from {before:.2f} to {after:.2f}: "
        f"{against_luck(difference)}"
    )


def loss_clause(walk: WalkForward) -> str:
    """In how many folds something beat the base on the validation span, and what became of the
    rest."""
    folds = len(walk.folds)
    fell = [fold for fold in walk.folds if _fell(fold)]
    kept = sum(fold.is_base for fold in walk.folds)
    rest = ""
    if kept:
        where = "there" if kept == folds else f"in {kept:,}"
        rest = f" (nothing beat the base {where}, and its weights were kept)"
    return f"validation loss fell in {len(fell):,} of {counted(folds, 'fold')}{rest}"


def _fell(fold: Fold) -> bool:
    """Of the predictor, which is what forecasts; of whatever was trained where it was not."""
    stages = fold.stages
    chosen = [stages["predictor"]] if "predictor" in stages else list(stages.values())
    return any(stage.improved for stage in chosen)


def crps_clause(walk: WalkForward) -> list[str]:
    """In how many folds the fine-tuned forecasts were nearer to what came; [] where none is
    scored."""
    counts: list[str] = []
    for horizon in walk.horizons:
        pairs = [crps_pair(walk, fold.number, horizon) for fold in walk.folds]
        scored = [(b, a) for b, a in pairs if b is not None and a is not None]
        if scored:
            better = sum(after < before for before, after in scored)
            folds = f" fold{'s' * (len(scored) > 1)}" if not counts else ""
            counts.append(f"{better:,} of {len(scored):,}{folds} at {counted(horizon, 'bar')}")
    return [f"CRPS was better in {', '.join(counts)}"] if counts else []


def crps_pair(walk: WalkForward, fold: int, horizon: int) -> tuple[float | None, float | None]:
    """Zero-shot and fine-tuned."""
    return score(walk, fold, ZERO_SHOT, horizon, "crps"), score(
        walk, fold, FINE_TUNED, horizon, "crps"
    )


def score(walk: WalkForward, fold: int, model: str, horizon: int, name: str) -> float | None:
    """One number of scores.csv; None where it is not defined or there is no such row."""
    key = (fold, model, horizon)
    return known(walk.scores.loc[key, name]) if key in walk.scores.index else None


def seen_days(span: Span, seen_until: pd.Timestamp) -> int:
    """How many calendar days of a span weights may have seen that saw data to that day."""
    return max(0, (min(seen_until, span.last) - span.first).days + 1)


def _caveat(walk: WalkForward, found: Findings) -> str:
    """What the base may have seen of the days that the sentence is about."""
    until = walk.seen_until
    if until is None:
        return (
            f"What the base, {walk.base}, has seen is not known: it may have seen these days, so "
            "this is no evidence of what either does on new days."
        )
    seen = [fold for fold in walk.folds if seen_days(fold.test, until)]
    if not seen:
        return f"The base, {walk.base}, saw data to {until:%Y-%m-%d}; every test day came later."
    reach = (
        f"The base, {walk.base}, saw data to {until:%Y-%m-%d} and may have seen "
        f"{seen_in_words(walk, seen)}"
    )
    if found.judged == "unseen":
        return f"{reach}: the Sharpe ratios are of the days after {until:%Y-%m-%d} alone."
    if walk.fine_tuned.times[0].tz_localize(None).normalize() > until:
        return f"{reach}, all before the first bar that was traded."
    return f"{reach}, so this is no evidence of what either does on new days."


def seen_in_words(walk: WalkForward, seen: Sequence[Fold]) -> str:
    """`every test day`, or test days of which folds."""
    until = walk.seen_until
    assert until is not None
    if all(seen_days(fold.test, until) == fold.test.days for fold in walk.folds):
        return "every test day"
    numbers = [str(fold.number) for fold in seen]
    listed = " and ".join(filter(None, [", ".join(numbers[:-1]), numbers[-1]]))
    return f"test days of fold{'s' * (len(numbers) > 1)} {listed}"
