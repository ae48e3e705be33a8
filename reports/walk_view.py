"""What a walk-forward's report.html says, as plain data for its template, which escapes it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import luck
from reports.charts import ChartView, chart_view
from reports.curves import ReportCharts
from reports.formats import NOTHING, counted, shown
from reports.report_view import Link
from reports.tables import (
    Cell,
    Column,
    ColumnGroup,
    FiguresOf,
    Row,
    Table,
    controls_table,
    figures_table,
)
from reports.verdicts import difference_entry, signal_of
from reports.walk_charts import LossCurve, Timeline, loss_curves, timeline
from reports.walk_figures import Findings, Line, crps_pair, score, seen_days, verdict
from reports.walk_folder import (
    ALL_FOLDS,
    FINE_TUNED,
    MODELS,
    ZERO_SHOT,
    Fold,
    Stage,
    WalkForward,
)


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
        folds=_folds_table(walk),
        training=_training_table(walk),
        curves=[curve for fold in walk.folds for curve in loss_curves(fold)],
        crps=_scores_table(walk, _crps_cells),
        rank_ic=_scores_table(walk, _rank_ic_cells),
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


def _folds_table(walk: WalkForward) -> Table:
    heads = ("Train", "Validate", "Test", "Windows to train", "to validate", "Test seen by base")
    rows = [
        Row(
            label=str(fold.number),
            cells=[
                Cell(text=fold.train.text),
                Cell(text=fold.validate.text),
                Cell(text=fold.test.text),
                Cell(text=f"{fold.train_windows:,}"),
                Cell(text=f"{fold.validation_windows:,}"),
                Cell(text=seen_text(walk, fold)),
            ],
        )
        for fold in walk.folds
    ]
    return Table(columns=_heads(heads), rows=rows, corner="Fold", classes="small wide heat")


def seen_text(walk: WalkForward, fold: Fold) -> str:
    """How much of a fold's test span the base may have seen."""
    until = walk.seen_until
    if until is None:
        return "not known"
    seen = seen_days(fold.test, until)
    if seen == fold.test.days:
        return "all of it"
    return f"to {until:%Y-%m-%d}" if seen else "nothing"


def _training_table(walk: WalkForward) -> Table:
    names = list(dict.fromkeys(name for fold in walk.folds for name in fold.stages))
    heads = ("Base's loss", "After", "Change", "Kept", "Steps", "Time")
    rows = [
        Row(
            label=str(fold.number),
            cells=[
                cell
                for nth, name in enumerate(names)
                for cell in _stage_cells(fold.stages.get(name), edge=nth > 0)
            ],
        )
        for fold in walk.folds
    ]
    return Table(
        columns=_edged(heads, len(names)),
        rows=rows,
        corner="Fold",
        groups=[ColumnGroup(text=name.capitalize(), columns=len(heads)) for name in names],
        classes="small wide heat",
    )


def _stage_cells(stage: Stage | None, *, edge: bool) -> list[Cell]:
    first = "edge" if edge else ""
    if stage is None:
        return [Cell(text=NOTHING, classes=first), *[Cell(text=NOTHING)] * 5]
    kept = f"epoch {stage.best_epoch} of {stage.epochs_run}" if stage.improved else "the base"
    change = _change(stage.base_loss, stage.best_loss)
    return [
        Cell(text=shown(stage.base_loss, _loss), classes=first),
        Cell(text=shown(stage.best_loss, _loss)),
        Cell(text=shown(change, _signed_loss), classes=_tint(change, lower_is_better=True)),
        Cell(text=kept),
        Cell(text=f"{stage.steps_run:,}"),
        Cell(text=_duration(stage.seconds)),
    ]


def _scores_table(walk: WalkForward, cells: Any) -> Table:
    """A row a fold, and one for all of them where it was scored; columns by horizon."""
    numbers = [fold.number for fold in walk.folds]
    if ALL_FOLDS in walk.scores.index.get_level_values("fold"):
        numbers.append(ALL_FOLDS)
    rows = [
        Row(
            label="all" if number == ALL_FOLDS else str(number),
            cells=[
                cell
                for nth, horizon in enumerate(walk.horizons)
                for cell in cells(walk, number, horizon, "edge" if nth else "")
            ],
            classes="group main" if number == ALL_FOLDS else "",
        )
        for number in numbers
    ]
    heads = ("forecasts" if cells is _crps_cells else "dates", *MODELS, "difference")
    return Table(
        columns=_edged(heads, len(walk.horizons)),
        rows=rows,
        corner="Fold",
        groups=[ColumnGroup(text=counted(h, "bar"), columns=len(heads)) for h in walk.horizons],
        classes="small wide heat",
    )


def _crps_cells(walk: WalkForward, fold: int, horizon: int, edge: str) -> list[Cell]:
    before, after = crps_pair(walk, fold, horizon)
    change = None if before is None or after is None or before == 0 else 100 * (after / before - 1)
    return [
        Cell(text=_counts(walk, fold, horizon, "forecasts"), classes=edge),
        Cell(text=shown(before, _crps)),
        Cell(text=shown(after, _crps)),
        Cell(text=shown(change, _fine_change), classes=_tint(change, lower_is_better=True)),
    ]


def _rank_ic_cells(walk: WalkForward, fold: int, horizon: int, edge: str) -> list[Cell]:
    before, after = (score(walk, fold, model, horizon, "rank_ic") for model in MODELS)
    ts = [score(walk, fold, model, horizon, "rank_ic_t") for model in MODELS]
    change = _change(before, after)
    return [
        Cell(text=_counts(walk, fold, horizon, "dates"), classes=edge),
        *(Cell(text=_with_t(ic, t)) for ic, t in zip((before, after), ts, strict=True)),
        Cell(text=shown(change, _ic), classes=_tint(change, lower_is_better=False)),
    ]


def _counts(walk: WalkForward, fold: int, horizon: int, name: str) -> str:
    """One number where both models have it."""
    found = [score(walk, fold, model, horizon, name) for model in MODELS]
    return " / ".join(dict.fromkeys(shown(count, lambda value: f"{value:,.0f}") for count in found))


def _with_t(ic: float | None, t: float | None) -> str:
    return f"{shown(ic, _ic)} ({shown(t, _t)})" if ic is not None else NOTHING


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


def _heads(names: Sequence[str]) -> list[Column]:
    return [Column(text=name) for name in names]


def _edged(heads: Sequence[str], times: int) -> list[Column]:
    """The heads so many times, with a line between the groups."""
    return [
        Column(text=head, classes="edge" if group and not nth else "")
        for group in range(times)
        for nth, head in enumerate(heads)
    ]


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _tint(change: float | None, *, lower_is_better: bool) -> str:
    """A class of page.css: what got better is green."""
    if not change:
        return ""
    return "up" if (change < 0) == lower_is_better else "down"


def _loss(value: float) -> str:
    return f"{value:.4f}"


def _signed_loss(value: float) -> str:
    return f"{value:+.4f}" if value else "0"


def _crps(value: float) -> str:
    return f"{value:.5f}"


def _fine_change(value: float) -> str:
    return f"{value:+.2f} %"


def _ic(value: float) -> str:
    return f"{value:+.3f}"


def _t(value: float) -> str:
    return f"{value:+.1f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
