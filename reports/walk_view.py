"""What a walk-forward's report.html says, as plain data for its template, which escapes it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import luck
from reports.charts import ChartView, chart_view
from reports.curves import ReportCharts
from reports.formats import counted
from reports.report_view import Link
from reports.tables import FiguresOf, Table, controls_table, figures_table
from reports.verdicts import difference_entry, signal_of
from reports.walk_charts import LossCurve, Timeline, loss_curves, timeline
from reports.walk_figures import Findings, Line, verdict
from reports.walk_folder import FINE_TUNED, ZERO_SHOT, Fold, WalkForward
from reports.walk_tables import crps_table, folds_table, rank_ic_table, training_table


@dataclass(frozen=True, kw_only=True)
class WalkView:
    title: str
    facts: str
    notes: Sequence[str]
    verdict: str
    links: Sequence[Link]
    timeline: Timeline
    folds: Table
    training: Table
    curves: Sequence[LossCurve]
    crps: Table
    rank_ic: Table
    figures: Table
    rivals: Sequence[Table]
    judged: str
    judged_days: int
    block_days: int
    days_per_year: int
    charts: Sequence[ChartView]
    settings: Mapping[str, str]
    resamples: int = luck.RESAMPLES
    interval_pct: int = luck.LEVEL_PCT


def walk_view(walk: WalkForward, found: Findings, charts: ReportCharts) -> WalkView:
    return WalkView(
        title=f"Walk-forward {walk.name}",
        facts=_facts(walk),
        notes=_notes(walk),
        verdict=verdict(walk, found),
        links=[Link(href=f"{model}/report.html", text=model) for model in (FINE_TUNED, ZERO_SHOT)],
        timeline=timeline(walk),
        folds=folds_table(walk),
        training=training_table(walk),
        curves=[curve for fold in walk.folds for curve in loss_curves(fold)],
        crps=crps_table(walk),
        rank_ic=rank_ic_table(walk),
        figures=_figures(walk, found),
        rivals=[_rivals(found, p.name) for p in walk.fine_tuned.strategies],
        judged=_judged(walk, found),
        judged_days=found.resamples.days,
        block_days=found.resamples.block_days,
        days_per_year=found.days_per_year,
        charts=[chart_view(chart) for chart in charts.charts],
        settings=_settings(walk),
    )


def _facts(walk: WalkForward) -> str:
    times = walk.fine_tuned.times
    until = walk.seen_until
    facts = [
        f"{walk.record['data']}",
        counted(len(walk.folds), "fold"),
        f"traded {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}, {len(times):,} bars",
        f"base {walk.base}, "
        + ("what it has seen is not known" if until is None else f"saw data to {until:%Y-%m-%d}"),
    ]
    return " \N{MIDDLE DOT} ".join(facts)


def _notes(walk: WalkForward) -> list[str]:
    """What to know before believing a figure."""
    notes = [str(note) for note in walk.record.get("notes", ())]
    for fold in walk.folds:
        if _leaks(walk, fold):
            notes.append(
                f"Fold {fold.number}: its weights saw data to {fold.seen_until:%Y-%m-%d}, and its "
                f"test begins on {fold.test.first:%Y-%m-%d}: it is not out of sample."
            )
    if walk.fine_tuned.record["data"].get("hash") != walk.record["data_hash"]:
        notes.append("The candles that were traded are not those that the folds were trained on.")
    outside = _days_outside(walk)
    if outside:
        notes.append(f"{counted(outside, 'day')} that were traded lie in no fold's test span.")
    return notes


def _leaks(walk: WalkForward, fold: Fold) -> bool:
    """Whether the fold's own training, and not the base's, reached into its test span."""
    if fold.seen_until is None or fold.seen_until < fold.test.first:
        return False
    return walk.seen_until is None or fold.seen_until > walk.seen_until


def _days_outside(walk: WalkForward) -> int:
    days = walk.fine_tuned.times.tz_localize(None).normalize().unique()
    inside = [(days >= fold.test.first) & (days < fold.test.end) for fold in walk.folds]
    return len(days) - int(sum(inside).astype(bool).sum())  # type: ignore[union-attr]


def _figures(walk: WalkForward, found: Findings) -> Table:
    """Net of costs, in groups of days where the base's data end among them."""
    until = walk.seen_until
    headings = {"whole": "Whole window"}
    if until is not None:
        headings["unseen"] = f"Unseen by the base: after {until:%Y-%m-%d}"
        headings["seen"] = f"Maybe seen: to {until:%Y-%m-%d}"
    chosen = [line for line in found.lines if line.kind != "control"]
    return figures_table(
        [
            FiguresOf(
                heading=headings[span],
                portfolios={x.label: found.figures[x.label][span] or {} for x in chosen},
            )
            for span in found.spans
        ]
    )


def _rivals(found: Findings, strategy: str) -> Table:
    """A strategy on fine-tuned weights beside the same on the base's, on naive signals, and the
    benchmark."""
    ours = found.of(FINE_TUNED, strategy)
    rivals = [line for line in found.lines if _is_rival(line, strategy)]
    against = {x.label: difference_entry(found.difference(ours, x)) for x in rivals}
    titles = {x.label: _title(x) for x in (ours, *rivals)}
    figures = {x.label: found.figures[x.label][found.judged] or {} for x in (ours, *rivals)}
    table = controls_table(ours.label, figures, against, titles, luck.LEVEL_PCT)
    return Table(
        columns=table.columns, rows=table.rows, corner=f"{strategy} on", classes=table.classes
    )


def _is_rival(line: Line, strategy: str) -> bool:
    return line.kind == "benchmark" or (line.strategy == strategy and line.kind != FINE_TUNED)


def _title(line: Line) -> str:
    titles = {
        FINE_TUNED: "fine-tuned weights", ZERO_SHOT: "the base (zero-shot)",
        "control": signal_of(line.label), "benchmark": f"({line.label})",
    }  # fmt: skip
    return titles[line.kind]


def _judged(walk: WalkForward, found: Findings) -> str:
    if found.judged == "unseen":
        return f"the days after {walk.seen_until:%Y-%m-%d}"
    return "the whole window"


def _settings(walk: WalkForward) -> dict[str, str]:
    record = walk.record
    base = record["base"]
    settings = {
        "data": record["data"],
        "data hash": record["data_hash"],
        "base": base["name"],
        "base's weights": base.get("fingerprint"),
        "window": record.get("window"),
        "each fold begins from": record.get("begin_from"),
        "gap": record.get("gap"),
        "objective": record.get("objective"),
    }
    settings |= record.get("training") or {}
    settings |= {f"version of {name}": v for name, v in (record.get("versions") or {}).items()}
    return {name.replace("_", " "): _plain(value) for name, value in settings.items()}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,.10g}" if isinstance(value, float) else str(value)
