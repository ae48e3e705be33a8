"""The folder of a skill command, read and checked: `skill.json`, which holds all figures.

Knows the file; computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reports.files import ReportError, one_line

FILE, PAGE, FORMAT = "skill.json", "skill.html", 1
MODEL, BASELINE, SIGNAL = "model", "baseline", "signal"  # kinds of sources
RANDOM_WALK = "random-walk"

Figures = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    name: str
    kind: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class Skill:
    """What `skill.json` holds."""

    record: Mapping[str, Any]
    sources: Sequence[Source]  # models first

    @property
    def models(self) -> list[str]:
        return [source.name for source in self.sources if source.kind == MODEL]

    @property
    def horizons(self) -> list[int]:
        return [int(h) for h in self.record["horizons"]]

    @property
    def headline(self) -> int:
        """The horizon that is shown where there is room for one."""
        return int(self.record["headline"])

    @property
    def judged(self) -> str:
        """The span of dates that is judged."""
        return str(self.record["judged"])

    @property
    def span(self) -> Figures:
        span: Figures = self.record["spans"][self.judged]
        return span

    @property
    def times(self) -> pd.DatetimeIndex:
        seconds = self.record["over_time"]["times"]
        return pd.DatetimeIndex(pd.to_datetime(seconds, unit="s", utc=True))

    @property
    def seen_until(self) -> pd.Timestamp | None:
        """The last day that some model may have seen, without a zone."""
        day = self.record["seen_until"]
        return None if day is None else pd.Timestamp(day)

    def figures(self, source: str, horizon: int, span: str | None = None) -> Figures:
        found: Figures = self.record["spans"][span or self.judged]["figures"][source][str(horizon)]
        return found

    def against(self, model: str, other: str, horizon: int, loss: str) -> Figures:
        """How much lower the model's loss is, and how surely."""
        found: Figures = self.span["against"][model][other][str(horizon)][loss]
        return found

    def in_set(self, source: str, horizon: int) -> float | None:
        """The source's p value in the model confidence set."""
        values = self.span["confidence_set"][str(horizon)]
        return None if values is None else values[source]


def read_skill(folder: Path) -> Skill:
    """Raises ReportError where the file is missing, damaged, or of another version."""
    path = folder / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record["format"] != FORMAT:
            raise ReportError(f"{path}: not a file that this version writes (format {FORMAT})")
        skill = Skill(
            record=record,
            sources=[
                Source(name=str(own["name"]), kind=str(own["kind"]), samples=int(own["samples"]))
                for own in record["sources"]
            ],
        )
        for source in skill.sources:
            skill.figures(source.name, skill.headline)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} cannot be read: {one_line(error)}") from error
    return skill
