"""How often one has looked: what was tried on this data in this window, and what luck can do.

A thing counts where it was tried on the same data (the same candles, or the same data spec, since a
file may have grown) in a window that shares a day with this run's; it counts once, however often
and in however many such windows. A model with settings whose forecasts were scored is a thing that
was tried, and has no returns: it is in the number of tries and in nothing else. What luck gives
follows from how many have returns, and what is computed from returns from those tries that have one
on every day that is judged here. The tries before come from the registry beside the run folder,
those of this run from the folder itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports import luck
from reports.folder import Run
from reports.metrics import judged_span, periods_of, returns_of, spans_of
from reports.overfitting import (
    FEWEST_DAYS,
    FEWEST_TRIES,
    Overfitting,
    deflated_sharpe,
    expected_maximum,
    moments,
    overfitting,
)
from reports.superior import Superior, superior
from reports.tries_file import Forgotten, Track, TriesFile, read_tries
from reports.tries_words import sentences


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What a run's report knows of tries."""

    things: int  # different ones, this run's included
    scored: int  # of them models with settings, which have no returns
    own: int  # of them in this run
    same_days: tuple[str, ...]  # labels of those with a return on every judged day, own ones first
    returns: np.ndarray  # [judged days, same days' tries]
    forgotten: dict[str, int]  # day (UTC) -> how many that would count here
    warnings: tuple[str, ...]

    @property
    def traded(self) -> int:
        """How many of the things have returns."""
        return self.things - self.scored


def all_tries(run: Run, figures: dict[str, Any]) -> dict[str, Any] | None:
    """What metrics.json holds of tries; None for a run that is not counted as one."""
    record = run.record.get("tries")
    if not record:
        return None
    span = judged_span(run)
    rows = spans_of(run)[span]
    assert rows is not None
    returns = {p.name: returns_of(run, p.name, rows) for p in run.compared}
    days = _days(pd.DatetimeIndex(returns[run.strategies[0].name].index))
    looks = _looks(run, record, read_tries(_registry(run, record)), returns, days)
    periods = periods_of(run)
    variance = _variance(looks, len(days))
    sharpes = {p.name: figures["portfolios"][p.name][span]["sharpe"] for p in run.strategies}
    found = {
        "registry": record["registry"],
        "tried": looks.things,
        "scored": looks.scored,
        "traded": looks.traded,
        "in_this_run": looks.own,
        "on_the_same_days": len(looks.same_days),
        "forgotten": looks.forgotten,
        "warnings": list(looks.warnings),
        "span": span,
        "days": len(days),
        "sharpe_deviation": math.sqrt(variance * periods),  # a year's
        "deviation_is_seen": len(looks.same_days) >= FEWEST_TRIES,
        "luck_sharpe": math.sqrt(variance * periods) * expected_maximum(looks.traded),
        "strategies": {
            name: _deflated(returns[name], sharpes[name], looks.traded, variance)
            for name in sharpes
        },
        "benchmark_sharpe": figures["portfolios"][run.benchmark.name][span]["sharpe"]
        if run.benchmark
        else None,
        "overfitting": _overfitting(looks, periods),
        "superior": _superior(run, looks, returns),
    }
    return found | sentences(run, found)


def _registry(run: Run, record: dict[str, Any]) -> Path:
    return run.folder / str(record["registry"])


def _days(index: pd.DatetimeIndex) -> np.ndarray:
    return index.to_numpy("datetime64[D]").astype(np.int32)


def _looks(
    run: Run, record: dict[str, Any], file: TriesFile, returns: dict[str, pd.Series],
    days: np.ndarray,
) -> Looks:  # fmt: skip
    window = _days(run.times.tz_localize(None).normalize().unique())
    things: dict[str, str] = record["things"]
    own = {thing: (name, returns[name].to_numpy(float)) for name, thing in things.items()}
    others = [track for track in file.tracks.values() if _counts(run, track, window)]
    known = set(own) | {track.thing for track in others}
    with_returns = set(own) | {track.thing for track in others if track.returns is not None}
    columns = dict(own)
    for track in others:  # a later run of the same thing goes over an earlier one
        values = _on(track, days)
        if values is not None and track.thing not in own:
            columns[track.thing] = (f"{track.name} of {track.folder}", values)
    moving = [each for each in columns.values() if np.isfinite(each[1]).all() and np.ptp(each[1])]
    return Looks(
        things=len(known),
        scored=len(known - with_returns),
        own=len(own),
        same_days=tuple(label for label, _ in moving),
        returns=np.array([values for _, values in moving]).reshape(len(moving), len(days)).T,
        forgotten=_forgotten(run, file.forgotten, window, known),
        warnings=tuple(file.warnings),
    )


def _counts(run: Run, track: Track, window: np.ndarray) -> bool:
    data = run.record["data"]
    same = track.data_hash == data.get("hash") or track.spec == data["spec"]
    return same and bool(np.isin(track.days, window).any())


def _on(track: Track, days: np.ndarray) -> np.ndarray | None:
    """Its returns on those days; None where it lacks one."""
    if track.returns is None:
        return None
    at = np.searchsorted(track.days, days)
    if at[-1] >= len(track.days) or not np.array_equal(track.days[at], days):
        return None
    values = track.returns[at].astype(float)
    return values if np.isfinite(values).all() else None


def _forgotten(
    run: Run, marks: Sequence[Forgotten], window: np.ndarray, known: set[str]
) -> dict[str, int]:
    """Things that would count here; one that was tried again since counts anyway."""
    found: dict[str, int] = {}
    seen = set(known)
    for mark in marks:
        gone = {track.thing for track in mark.tracks if _counts(run, track, window)} - seen
        seen |= gone
        if gone:
            found[mark.day] = found.get(mark.day, 0) + len(gone)
    return found


def _variance(looks: Looks, days: int) -> float:
    """Of the daily Sharpe ratios of all tries: as seen, or as it is of independent ones without
    skill where there are too few to see it."""
    if len(looks.same_days) < FEWEST_TRIES:
        return 1 / days
    sharpes = looks.returns.mean(axis=0) / looks.returns.std(axis=0, ddof=1)
    return float(sharpes.var(ddof=1))


def _deflated(
    returns: pd.Series, sharpe: float | None, tries: int, variance: float
) -> dict[str, float | None]:
    found = moments(returns.to_numpy(float)) if sharpe is not None else None
    return {
        "sharpe": sharpe,
        "skewness": found.skewness if found else None,
        "kurtosis": found.kurtosis if found else None,
        "deflated_sharpe": deflated_sharpe(found, tries, variance) if found else None,
    }


def _overfitting(looks: Looks, periods: int) -> dict[str, Any] | None:
    """None: too few tries on the same days, or too few days."""
    if len(looks.same_days) < FEWEST_TRIES or len(looks.returns) < FEWEST_DAYS:
        return None
    found: Overfitting = overfitting(looks.returns)
    scale = math.sqrt(periods)
    return {
        "probability": found.probability,
        "splits": found.splits,
        "sharpe_in": found.sharpe_in * scale,
        "sharpe_out": found.sharpe_out * scale,
    }


def _superior(run: Run, looks: Looks, returns: dict[str, pd.Series]) -> dict[str, Any] | None:
    """None: one try alone, no benchmark, or too few days."""
    rival = run.benchmark
    if rival is None or len(looks.same_days) < 2 or len(looks.returns) < luck.FEWEST_DAYS:
        return None
    found: Superior | str = superior(looks.returns, returns[rival.name].to_numpy(float))
    if isinstance(found, str):
        return {"chance": None, "better": [], "why_not": found}
    better = [looks.same_days[column] for column in found.better]
    return {"chance": found.chance, "better": better, "why_not": ""}
