"""The pictures of a walk-forward: equity, when each fold trains and tests, and losses by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.charts import LINE_STYLES, Chart, Series
from reports.curves import ReportCharts, drawdown_pct
from reports.formats import minus_signs
from reports.grid import Grid, points_for
from reports.walk_figures import Findings, Line, seen_days
from reports.walk_folder import FINE_TUNED, ZERO_SHOT, Epoch, Fold, Span, Stage, WalkForward

MOST_TICKS = 6  # of the timeline, which a telephone shows as well
LAST_TICK_PCT = 88.0  # a tick's text stands to its right
CURVE_WIDTH, CURVE_HEIGHT = 320, 150  # of a loss curve's own grid
STEP_POINTS = 60  # of the losses by step, each the mean of a stretch
_MARGIN = 6  # above and below a loss curve


def walk_charts(walk: WalkForward, found: Findings) -> ReportCharts:
    """Equity and drawdown of all lines, and fine-tuned over zero-shot. Shaded: seen by the base."""
    grid = Grid(walk.fine_tuned.times, points_for(3 * len(found.lines)))
    shade = 0 if walk.seen_until is None else grid.first_after(walk.seen_until)
    seen = " Shaded: the base may have seen these days." if shade else ""
    bars = grid.bars_per_point
    thinned = "" if bars == 1 else f" Each point stands for {bars} bars."
    front = [line for line in found.lines if line.kind != "control"]
    charts = [
        Chart(
            id="equity",
            title="Equity",
            explanation=f"What 1 became after costs.{seen}{thinned}",
            series=[_series(x, found, grid.values(_growth(x), "last")) for x in found.lines],
            digits=3,
            may_be_log=True,
            shade=shade,
        ),
        Chart(
            id="lead",
            title="Fine-tuned over zero-shot",
            explanation="How far the value on fine-tuned weights lies above that on the base's.",
            series=_leads(found, grid),
            digits=1,
            suffix=" %",
            zero=True,
            flat=True,
            shade=shade,
        ),
        Chart(
            id="drawdown",
            title="Drawdown",
            explanation="Below the highest value so far.",
            series=[
                _series(x, found, grid.values(drawdown_pct(x.run, x.portfolio.name), "min"))
                for x in front
            ],
            digits=2,
            suffix=" %",
            zero=True,
            flat=True,
            shade=shade,
        ),
    ]
    return ReportCharts(charts=charts, grid=grid)


def _growth(line: Line) -> pd.Series:
    return line.run.value[line.portfolio.name] / line.run.start_cash


def _series(line: Line, found: Findings, values: Sequence[float | None]) -> Series:
    """Fine-tuned full and zero-shot beside it in the next colour; controls grey behind them."""
    if line.kind in ("benchmark", "control"):
        group = "naive control" if line.kind == "control" else ""
        return Series(name=line.label, values=values, style=line.kind, group=group)
    place = [x.label for x in found.lines].index(line.label)
    return Series(name=line.label, values=values, style=LINE_STYLES[place % len(LINE_STYLES)])


def _leads(found: Findings, grid: Grid) -> list[Series]:
    pairs = [
        (line, found.of(ZERO_SHOT, line.portfolio.name))
        for line in found.lines
        if line.kind == FINE_TUNED
    ]
    return [
        Series(
            name=ours.portfolio.name,
            values=grid.values(100 * (_growth(ours) / _growth(theirs) - 1), "last"),
            style=LINE_STYLES[2 * nth % len(LINE_STYLES)],
        )
        for nth, (ours, theirs) in enumerate(pairs)
    ]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A stretch of the timeline, in percent of its length; `style` is a class of page.css."""

    left: float
    width: float
    style: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One fold of the timeline."""

    label: str
    bars: Sequence[Bar]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When each fold trains, validates and tests."""

    lanes: Sequence[Lane]
    ticks: Sequence[tuple[float, str]]  # percent, what stands there
    seen: float  # percent that the base may have seen, from the left; 0: nothing or not known
    styles: dict[str, str]  # those in use -> what they stand for


TIMELINE_STYLES = {
    "train": "train",
    "validate": "validate",
    "test": "test",
    "test known": "test days that the base may have seen",
    "test unknown": "test; what the base has seen is not known",
}


def timeline(walk: WalkForward) -> Timeline:
    first = min(fold.train.first for fold in walk.folds)
    whole = Span(first=first, end=max(fold.test.end for fold in walk.folds))
    lanes = [
        Lane(label=f"{fold.number}", bars=_bars(fold, whole, walk.seen_until))
        for fold in walk.folds
    ]
    used = {bar.style for lane in lanes for bar in lane.bars}
    until = walk.seen_until
    return Timeline(
        lanes=lanes,
        ticks=[(left, text) for left, text in _ticks(whole) if left <= LAST_TICK_PCT],
        seen=0.0 if until is None else 100 * seen_days(whole, until) / whole.days,
        styles={style: text for style, text in TIMELINE_STYLES.items() if style in used},
    )


def _bars(fold: Fold, whole: Span, seen_until: pd.Timestamp | None) -> list[Bar]:
    parts = [("train", fold.train), ("validate", fold.validate)]
    if seen_until is None:
        parts.append(("test unknown", fold.test))
    else:
        parts += _parted(fold.test, seen_until)
    return [
        Bar(
            left=_percent(span.first, whole),
            width=_percent(span.end, whole) - _percent(span.first, whole),
            style=style,
            text=f"{TIMELINE_STYLES[style]}: {span.text}",
        )
        for style, span in parts
    ]


def _parted(test: Span, seen_until: pd.Timestamp) -> list[tuple[str, Span]]:
    """The days that the base may have seen, and those after them; each where there are any."""
    border = test.first + pd.Timedelta(days=seen_days(test, seen_until))
    found = []
    if border > test.first:
        found.append(("test known", Span(first=test.first, end=border)))
    if border < test.end:
        found.append(("test", Span(first=border, end=test.end)))
    return found


def _percent(day: pd.Timestamp, whole: Span) -> float:
    return round(100 * ((day - whole.first) / (whole.end - whole.first)), 3)


def _ticks(whole: Span) -> list[tuple[float, str]]:
    """Beginnings of years, or of months where there are less than two years."""
    yearly = whole.days >= 730
    starts = pd.date_range(whole.first, whole.end, freq="YS" if yearly else "MS")
    step = -(-len(starts) // MOST_TICKS) if len(starts) else 1
    return [
        (_percent(start, whole), f"{start:%Y}" if yearly else f"{start:%Y-%m}")
        for start in starts[::step]
    ]


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """Losses of one stage of one fold, as SVG paths on a grid of CURVE_WIDTH by CURVE_HEIGHT."""

    title: str
    steps: str  # on batches of the training, by step
    train: str  # means of epochs
    validation: str
    base: str  # that of what it began from, level
    best: tuple[float, float] | None  # where what was kept is; None: nothing was measured
    high: str  # texts of the scales
    low: str
    epochs: int
    width: int = CURVE_WIDTH
    height: int = CURVE_HEIGHT


def loss_curves(fold: Fold) -> list[LossCurve]:
    """One a stage, of those with something to draw."""
    several = len(fold.stages) > 1
    curves = []
    for name, stage in fold.stages.items():
        steps = fold.losses.loc[fold.losses["stage"] == name, ["step", "loss"]].dropna()
        title = f"Fold {fold.number}, {name}" if several else f"Fold {fold.number}"
        if curve := _curve(title, stage, _thinned(steps)):
            curves.append(curve)
    return curves


def _curve(title: str, stage: Stage, steps: np.ndarray) -> LossCurve | None:
    """`steps`: `[N, 2]`, step and loss."""
    validation = [(e.epoch, e.validation_loss) for e in stage.history]
    train = [(e.epoch, e.train_loss) for e in stage.history]
    last = max([stage.epochs_run, 1, *(e.epoch for e in stage.history)])
    by_step = [(step / max(1, stage.steps_run) * last, loss) for step, loss in steps.tolist()]
    levels = [stage.base_loss, *(loss for _, loss in [*validation, *train, *by_step])]
    numbers = [level for level in levels if level is not None]
    if not numbers:
        return None
    scale = _CurveScale(last, min(numbers), max(numbers))
    return LossCurve(
        title=title,
        steps=scale.path(by_step),
        train=scale.path(train),
        validation=scale.path(validation),
        base=scale.path([(0, stage.base_loss), (last, stage.base_loss)]),
        best=_best(stage, scale),
        high=minus_signs(f"{max(numbers):.3f}"),
        low=minus_signs(f"{min(numbers):.3f}"),
        epochs=last,
    )


def _best(stage: Stage, scale: _CurveScale) -> tuple[float, float] | None:
    kept: Epoch | None = next((e for e in stage.history if e.epoch == stage.best_epoch), None)
    if kept is None or kept.validation_loss is None:
        return None
    return scale.at(kept.epoch, kept.validation_loss)


def _thinned(steps: pd.DataFrame) -> np.ndarray:
    """Means of stretches of steps, which single batches are too restless to show."""
    if steps.empty:
        return np.empty((0, 2))
    pieces = np.array_split(steps.to_numpy(float), min(len(steps), STEP_POINTS))
    return np.array([piece.mean(axis=0) for piece in pieces])


class _CurveScale:
    """From epochs and losses to places of a loss curve."""

    def __init__(self, epochs: int, low: float, high: float) -> None:
        self._epochs, self._high = epochs, high
        self._range = max(high - low, 1e-9)

    def at(self, epoch: float, loss: float) -> tuple[float, float]:
        share = (self._high - loss) / self._range
        y = _MARGIN + (CURVE_HEIGHT - 2 * _MARGIN) * share
        return round(_MARGIN + (CURVE_WIDTH - 2 * _MARGIN) * epoch / self._epochs, 1), round(y, 1)

    def path(self, points: Sequence[tuple[float, float | None]]) -> str:
        """Through the points that there are; "" for less than two."""
        there = [self.at(epoch, loss) for epoch, loss in points if loss is not None]
        return f"M{'L'.join(f'{x} {y}' for x, y in there)}" if len(there) > 1 else ""
