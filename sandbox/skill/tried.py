"""A finished skill run, as the registry of tries takes it down: each model with settings is one.

The registry is a room that this one does not know, so `python -m sandbox.tries add` counts. It is
handed what stands in `skill.json`. Baselines and naive signals are no tries.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.config import BackendOptions, CandleOptions, ModelOptions, SkillOptions, Window
from sandbox.errors import RunFolderError
from sandbox.forecast.folds import registry_folder
from sandbox.reporting import ReportProcess
from sandbox.skill.sources import Asked

if TYPE_CHECKING:
    from sandbox.skill.job import Prepared

RECORDS = (SkillOptions, CandleOptions, Window, BackendOptions, ModelOptions)
SETTINGS = {"dtype"}  # of their options; the others say nothing of a thing, or are told besides
ELSEWHERE = {field.name for record in RECORDS for field in fields(record)} - SETTINGS


def tries_document(run: Prepared) -> dict[str, Any]:
    """What was tried, on what, as `python -m sandbox.tries add` reads it."""
    return {
        "kind": "skill",
        "spec": run.candles.spec,
        "data_hash": run.candles.data_hash,
        "first_bar": run.times[0].isoformat(),
        "last_bar": run.times[-1].isoformat(),
        "things": [
            {"name": own.name, "model": own.model, "settings": _settings(run, own),
             "fingerprint": run.models[own.model].fingerprint}
            for own in _things(run)
        ],
    }  # fmt: skip


def _things(run: Prepared) -> list[Asked]:
    """Each once: what was scored, and what was tuned."""
    tuned = run.tuning.asked if run.tuning else []
    found = {own[1:]: own for own in reversed((*run.asked, *tuned))}
    return list(reversed(found.values()))


def _settings(run: Prepared, own: Asked) -> dict[str, Any]:
    """What else its forecasts follow from. What is off is left out, so that an option that comes
    later makes no new thing of an old one."""
    given = {name: value for name, value in run.config.flat().items() if name not in ELSEWHERE}
    settings = given | own.settings() | {"calendar": run.calendar and run.calendar.name}
    return {
        name: value for name, value in settings.items() if value is not None and value is not False
    }


def add_options(record: Path) -> list[str]:
    """Of the process that counts a run: where, and which; `record` is the file of its folder."""
    place = registry_folder(record.parent)
    folder = os.path.relpath(record.parent.absolute(), place)
    return ["add", "--runs", str(place), "--folder", folder, str(record)]


def count(process: ReportProcess) -> list[str]:
    """What has to be told once it is counted. A registry that cannot be written costs the run
    nothing: a line says so."""
    try:
        said = process.finish("the count")
    except RunFolderError as error:
        return [f"Not counted among the tries: {error}. Reports will say too few."]
    return said.splitlines() if said else []
