"""Tables of a walk-forward, a row a fold: its days, its training, and what its forecasts were
worth before and after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.formats import (
    NOTHING,
    counted,
    crps,
    duration,
    loss,
    shown,
    signed_fine_percent,
    signed_loss,
    signed_tenths,
    signed_thousandths,
)
from reports.tables import Cell, Column, ColumnGroup, Row, Table
from reports.walk_figures import crps_pair, score, seen_days
from reports.walk_folder import ALL_FOLDS, MODELS, Fold, Stage, WalkForward

_CLASSES = "small wide heat"
_Cells = Callable[[WalkForward, int, int], Sequence[Cell]]  # of a fold and a horizon


def folds_table(walk: WalkForward) -> Table:
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
    return Table(columns=_heads(heads), rows=rows, corner="Fold", classes=_CLASSES)


def seen_text(walk: WalkForward, fold: Fold) -> str:
    """How much of a fold's test span the base may have seen."""
    until = walk.seen_until
    if until is None:
        return "not known"
    seen = seen_days(fold.test, until)
    if seen == fold.test.days:
        return "all of it"
    return f"to {until:%Y-%m-%d}" if seen else "nothing"


def training_table(walk: WalkForward) -> Table:
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
        classes=_CLASSES,
    )


def _stage_cells(stage: Stage | None, *, edge: bool) -> list[Cell]:
    first = "edge" if edge else ""
    if stage is None:
        return [Cell(text=NOTHING, classes=first), *[Cell(text=NOTHING)] * 5]
    kept = f"epoch {stage.best_epoch} of {stage.epochs_run}" if stage.improved else "the base"
    change = _change(stage.base_loss, stage.best_loss)
    return [
        Cell(text=shown(stage.base_loss, loss), classes=first),
        Cell(text=shown(stage.best_loss, loss)),
        Cell(text=shown(change, signed_loss), classes=_tint(change, lower_is_better=True)),
        Cell(text=kept),
        Cell(text=f"{stage.steps_run:,}"),
        Cell(text=duration(stage.seconds)),
    ]


def crps_table(walk: WalkForward) -> Table:
    return _scores_table(walk, "forecasts", _crps_cells)


def rank_ic_table(walk: WalkForward) -> Table:
    return _scores_table(walk, "dates", _rank_ic_cells)


def _scores_table(walk: WalkForward, counted_as: str, cells: _Cells) -> Table:
    """A row a fold, and one for all of them where it was scored; columns by horizon: how many were
    scored, and three of `cells`."""
    numbers = [fold.number for fold in walk.folds]
    if ALL_FOLDS in walk.scores.index.get_level_values("fold"):
        numbers.append(ALL_FOLDS)
    heads = (counted_as, *MODELS, "difference")
    rows = [
        Row(
            label="all" if number == ALL_FOLDS else str(number),
            cells=[
                cell
                for nth, horizon in enumerate(walk.horizons)
                for cell in (
                    Cell(
                        text=_counts(walk, number, horizon, counted_as),
                        classes="edge" if nth else "",
                    ),
                    *cells(walk, number, horizon),
                )
            ],
            classes="group main" if number == ALL_FOLDS else "",
        )
        for number in numbers
    ]
    return Table(
        columns=_edged(heads, len(walk.horizons)),
        rows=rows,
        corner="Fold",
        groups=[ColumnGroup(text=counted(h, "bar"), columns=len(heads)) for h in walk.horizons],
        classes=_CLASSES,
    )


def _crps_cells(walk: WalkForward, fold: int, horizon: int) -> Sequence[Cell]:
    before, after = crps_pair(walk, fold, horizon)
    change = None if before is None or after is None or before == 0 else 100 * (after / before - 1)
    return [
        Cell(text=shown(before, crps)),
        Cell(text=shown(after, crps)),
        Cell(text=shown(change, signed_fine_percent), classes=_tint(change, lower_is_better=True)),
    ]


def _rank_ic_cells(walk: WalkForward, fold: int, horizon: int) -> Sequence[Cell]:
    before, after = (score(walk, fold, model, horizon, "rank_ic") for model in MODELS)
    ts = [score(walk, fold, model, horizon, "rank_ic_t") for model in MODELS]
    change = _change(before, after)
    return [
        *(Cell(text=_with_t(ic, t)) for ic, t in zip((before, after), ts, strict=True)),
        Cell(text=shown(change, signed_thousandths), classes=_tint(change, lower_is_better=False)),
    ]


def _counts(walk: WalkForward, fold: int, horizon: int, name: str) -> str:
    """One number where both models have it."""
    found = [score(walk, fold, model, horizon, name) for model in MODELS]
    return " / ".join(dict.fromkeys(shown(count, lambda value: f"{value:,.0f}") for count in found))


def _with_t(ic: float | None, t: float | None) -> str:
    return (
        f"{shown(ic, signed_thousandths)} ({shown(t, signed_tenths)})"
        if ic is not None
        else NOTHING
    )


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
