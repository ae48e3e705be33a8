"""A run folder, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


class ReportError(Exception):
    """The run folder cannot be read, or the page cannot be written; the text is one line."""


@dataclass(frozen=True)
class Run:
    """What a report knows of a run."""

    record: dict[str, Any]  # config.json
    metrics: dict[str, Any]  # metrics.json
    value: pd.DataFrame  # portfolio value, one row a bar time (UTC), one column a strategy

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def cash(self) -> float:
        """What every strategy started with."""
        return float(self.record["config"]["cash"])

    @property
    def benchmark(self) -> str:
        return str(self.metrics["benchmark"])


def read_run(folder: Path) -> Run:
    """The run in `folder`; every strategy has a value at exactly the same times."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        equity = pd.read_csv(folder / "equity.csv", parse_dates=["time"])
    except (OSError, ValueError) as error:
        raise ReportError(f"{folder} is not a run folder: {error}") from error
    value = equity.pivot(index="time", columns="strategy", values="value")
    if value.isna().any(axis=None):
        raise ReportError(f"{folder}: the strategies in equity.csv do not share their times")
    return Run(record, metrics, value)
