"""Tuned settings on a skill page: what was chosen, and heat maps of what all combinations scored,
on the dates that they were chosen by and on those after.

A map has the first setting down and the second across; of further settings each combination has
maps of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from reports.formats import counted, shown, signed_fine_percent
from reports.skill_folder import Figures, Skill

PERIODS = ("before", "after")
STRONGEST_PCT = 45  # of a cell's colour, the rest is the page's own


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    text: str
    classes: str  # better or worse; chosen; plain
    mark: str  # what the cell is, in a word
    strength_pct: int  # of its colour


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    heading: str  # which dates
    down: str  # name of the setting
    across: str  # empty: there is one setting
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[HeatCell]]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Both periods of one combination of the settings beyond the second."""

    title: str  # empty where there are no more than two
    maps: Sequence[HeatMap]


@dataclass(frozen=True, kw_only=True)
class ModelTuning:
    sentence: str
    panels: Sequence[Panel]
    plain: str


@dataclass(frozen=True, kw_only=True)
class TuningView:
    until: str
    models: Sequence[ModelTuning]


def tuning_view(skill: Skill) -> TuningView | None:
    """None where nothing was tuned."""
    tuning = skill.record.get("tuning")
    if not tuning:
        return None
    return TuningView(
        until=str(tuning["until"]),
        models=[_model(tuning, name, own) for name, own in tuning["models"].items()],
    )


def _model(tuning: Figures, name: str, own: Figures) -> ModelTuning:
    settings = list(tuning["settings"])
    rest = [tuning["settings"][setting] for setting in settings[2:]]
    most = _furthest(own)
    panels = []
    for values in product(*rest):
        fixed = dict(zip(settings[2:], values, strict=True))
        maps = [_map(tuning, own, period, fixed, most) for period in PERIODS]
        panels.append(Panel(title=", ".join(f"{k} {v}" for k, v in fixed.items()), maps=maps))
    return ModelTuning(sentence=str(own["sentence"]), panels=panels, plain=_plain(name, own))


def _furthest(own: Figures) -> float:
    """The largest difference from the plain settings, per cent, in either period."""
    leads = [abs(each[period]["lower_pct"] or 0.0) for each in own["combinations"]
             for period in PERIODS]  # fmt: skip
    return max(leads)


def _map(
    tuning: Figures, own: Figures, period: str, fixed: Mapping[str, str], most: float
) -> HeatMap:
    down, *more = list(tuning["settings"])[:2]
    columns = tuning["settings"][more[0]] if more else [""]
    found = {tuple(each["values"].values()): nth for nth, each in enumerate(own["combinations"])}
    rows = []
    for value in tuning["settings"][down]:
        cells = []
        for other in columns:
            place = found[(value, *([other] if more else []), *fixed.values())]
            cells.append(_cell(own, place, period, most))
        rows.append((value, cells))
    dates = tuning["periods"][period]
    words = "Chosen on" if period == "before" else "Judged on"
    return HeatMap(
        heading=f"{words} {dates['first']} to {dates['last']}, {counted(dates['dates'], 'date')}",
        down=down,
        across=more[0] if more else "",
        columns=columns,
        rows=rows,
    )


def _cell(own: Figures, place: int, period: str, most: float) -> HeatCell:
    each = own["combinations"][place]
    lead, chosen = each[period]["lower_pct"], place == own["chosen"]
    marks = [word for word, is_so in (("chosen", chosen), ("plain", each["plain"])) if is_so]
    colour = [] if not lead else ["better" if lead > 0 else "worse"]
    return HeatCell(
        text=shown(lead, _lead),
        classes=" ".join([*colour, *marks]),
        mark=", ".join(marks),
        # the root, so that one combination that is far off leaves some colour to the others
        strength_pct=round(STRONGEST_PCT * math.sqrt(abs(lead or 0.0) / most)) if most else 0,
    )


def _lead(value: float) -> str:
    text = signed_fine_percent(value)
    return text[1:] if float(text.rstrip(" %")) == 0 else text


def _plain(name: str, own: Figures) -> str:
    """How good the settings are that all others are measured by."""
    values: Mapping[str, Any] = own["plain"]["values"]
    against = [_against_walk(own["plain"][period]["score"]) for period in PERIODS]
    return (
        f"{name} with its plain settings ({', '.join(f'{k} {v}' for k, v in values.items())}): "
        f"CRPS {against[0]} random-walk's on the first dates, {against[1]} on the later ones"
    )


def _against_walk(score: float | None) -> str:
    if score is None:
        return "not comparable with"
    return f"{abs(100 * (1 - score)):.1f} % {'below' if score <= 1 else 'above'}"
