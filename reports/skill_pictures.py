"""The pictures of a skill page: where outcomes lay in their forecasts, whether odds came true, and
leads over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.charts import LINE_STYLES, Chart, Series
from reports.curves import ReportCharts
from reports.grid import Grid, points_for
from reports.skill_folder import BASELINE, RANDOM_WALK, Skill, Source

WIDTH, HEIGHT = 320, 150  # of a small picture's own grid
MARGIN = 6


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A histogram: bars as (x, y, width, height), and where all would be level."""

    title: str
    bars: Sequence[tuple[float, float, float, float]]
    level: float  # y
    style: str
    high: str  # text of the highest bar
    says: str  # for those who cannot see it
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True, kw_only=True)
class Odds:
    """Reliability: dots as (x, y, radius), from what was said to how often it came."""

    title: str
    dots: Sequence[tuple[float, float, float]]
    style: str
    says: str
    width: int = WIDTH
    height: int = WIDTH


def pictured(skill: Skill) -> list[Source]:
    """The models and the baselines."""
    return [source for source in skill.sources if source.kind != "signal"]


def style_of(skill: Skill, source: Source) -> str:
    """Models in colours, all else grey."""
    if source.name not in skill.models:
        return "control"
    return LINE_STYLES[skill.models.index(source.name) % len(LINE_STYLES)]


def pit_pictures(skill: Skill) -> list[Bars]:
    """All on one scale."""
    pits = {own: skill.figures(own.name, skill.headline)["pit"] for own in pictured(skill)}
    highest = max((max(pit) for pit in pits.values() if pit), default=1.0)
    return [_bars(skill, own, pit, highest) for own, pit in pits.items() if pit]


def _bars(skill: Skill, source: Source, pit: Sequence[float], highest: float) -> Bars:
    scale = (HEIGHT - MARGIN) / highest
    step = (WIDTH - 2 * MARGIN) / len(pit)
    bars = [
        (round(MARGIN + nth * step + 1, 1), round(HEIGHT - share * scale, 1), round(step - 2, 1),
         round(share * scale, 1))
        for nth, share in enumerate(pit)
    ]  # fmt: skip
    ends = 100 * (pit[0] + pit[-1])
    return Bars(
        title=source.name,
        bars=bars,
        level=round(HEIGHT - scale / len(pit), 1),
        style=style_of(skill, source),
        high=f"{100 * highest:.0f} %",
        says=f"{source.name}: {ends:.0f} % of outcomes in the two outermost of {len(pit)} steps, "
        f"{200 / len(pit):.0f} % would be right",
    )


def odds_pictures(skill: Skill) -> list[Odds]:
    found = []
    for own in pictured(skill):
        steps = skill.figures(own.name, skill.headline)["reliability"]
        most = max((step["forecasts"] for step in steps), default=1)
        dots = [
            (_at(step["said"]), _at(1 - step["came"]), round(2 + 9 * (step["forecasts"] / most)
                                                             ** 0.5, 1))
            for step in steps
        ]  # fmt: skip
        says = ", ".join(f"{100 * s['said']:.0f} % came {100 * s['came']:.0f} %" for s in steps)
        found.append(
            Odds(title=own.name, dots=dots, style=style_of(skill, own), says=f"{own.name}: {says}")
        )
    return found


def _at(share: float) -> float:
    return round(MARGIN + (WIDTH - 2 * MARGIN) * share, 1)


def skill_charts(skill: Skill) -> ReportCharts:
    """Running leads over the random walk, and running sums of rank IC."""
    models = skill.models
    grid = Grid(skill.times, points_for(2 * len(skill.sources)))
    shade = 0 if skill.seen_until is None else grid.first_after(skill.seen_until)
    seen = " Shaded: some model may have seen these dates." if shade else ""
    baselines = [own.name for own in skill.sources if own.kind == BASELINE]
    others = [name for name in baselines if name != RANDOM_WALK]
    charts = [
        Chart(
            id="lead",
            title=f"Lead over {RANDOM_WALK}",
            explanation=f"CRPS saved up to then, in per cent of all of {RANDOM_WALK}'s: it ends at "
            f"the skill of the whole window. Grey: baselines.{seen}",
            series=[
                *(_line(skill, grid, name, _leads(skill, name)) for name in models),
                *(_line(skill, grid, name, _leads(skill, name)) for name in others),
            ],
            digits=2,
            suffix=" %",
            zero=True,
            shade=shade,
        )
    ]
    ranked = [name for name in models if _known(skill.record["over_time"]["rank_ic"][name])]
    if ranked:
        charts.append(
            Chart(
                id="rank-ic",
                title="Rank IC, added up",
                explanation="Over dates, divided by how many there are: it ends at the mean. A "
                f"model that knows the order of symbols rises evenly.{seen}",
                series=[_line(skill, grid, name, _sums(skill, name)) for name in ranked],
                digits=4,
                zero=True,
                flat=True,
                shade=shade,
            )
        )
    return ReportCharts(charts=charts, grid=grid)


def _line(skill: Skill, grid: Grid, name: str, values: pd.Series) -> Series:
    source = next(own for own in skill.sources if own.name == name)
    group = "" if name in skill.models else "other baseline"
    return Series(
        name=name, values=grid.values(values, "last"), style=style_of(skill, source), group=group
    )


def _known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _leads(skill: Skill, name: str) -> pd.Series:
    crps = skill.record["over_time"]["crps"]
    own, walk = (np.array(crps[source], dtype=float) for source in (name, RANDOM_WALK))
    both = np.isfinite(own) & np.isfinite(walk)
    total = float(walk[both].sum())
    saved = np.where(both, walk - own, 0.0).cumsum()
    return pd.Series(100 * saved / total if total > 0 else 0 * saved, skill.times)


def _sums(skill: Skill, name: str) -> pd.Series:
    values = np.array(skill.record["over_time"]["rank_ic"][name], dtype=float)
    known = np.isfinite(values)
    return pd.Series(np.where(known, values, 0.0).cumsum() / max(1, known.sum()), skill.times)
