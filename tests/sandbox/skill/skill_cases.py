"""What tests of the skill command share: the command without what takes seconds."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

from sandbox.reporting import report_process
from sandbox.skill import job
from sandbox.skill.__main__ import main

OUT = ["--out", "out"]


def without_slow_parts(patch, *, counted=False):
    """Without GARCH, the confidence set and the page; a finished run is `counted` among the tries
    or not."""
    patch.setattr("sandbox.skill.garch.is_installed", lambda: False)
    for place in ("sandbox.skill.job", "sandbox.skill.evidence"):
        patch.setattr(f"{place}.has_confidence_sets", lambda: False)
    nothing = SimpleNamespace(finish=lambda what: "")

    def process(module, *options):
        if counted and module == "sandbox.tries":
            return report_process(module, *options)
        return contextlib.nullcontext(nothing)

    patch.setattr(job, "report_process", process)


def record_of(folder="out"):
    return json.loads((Path(folder) / "skill.json").read_text(encoding="utf-8"))


def error_of(capsys, *options, status=2):
    assert main([*options]) == status
    return capsys.readouterr().err.strip().splitlines()[-1]


def write_candles(folder, frames):
    """As CSV files; the data spec of them all."""
    for symbol, frame in frames.items():
        frame.rename_axis("timestamp").reset_index().to_csv(folder / f"{symbol}.csv", index=False)
    return f"csv:{folder}/*.csv"
