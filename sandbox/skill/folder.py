"""The folder of a skill command: written beside its place under a hidden name, then renamed.

Whole or absent, as a run folder is.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sandbox.errors import RunFolderError
from sandbox.files import RUNS
from sandbox.interrupts import held, tidied
from sandbox.words import safe_name

MARK = "skill.json"  # the file that makes a folder one of these


class Draft:
    """`folder` is the hidden one until the block ends, then the one that it became."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_record(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, default=str, allow_nan=False)
        with _writing(self.folder / MARK) as path:
            path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def skill_folder(name: str, out: Path | None) -> Iterator[Draft]:
    """A draft to write to; it becomes `out`, or `runs/NAME` (-2, -3 ... where that is taken).

    An older folder of the command at `out` is replaced; anything else there is refused with
    RunFolderError.
    """
    place = RUNS / safe_name(name) if out is None else out.resolve()
    if out is not None:
        _refuse_what_is_none(place)
    hidden = place.parent / f".{place.name}.partial-{os.getpid()}"
    with tidied(partial(shutil.rmtree, hidden, ignore_errors=True)):
        with _writing(place.parent):
            _sweep(place)
            hidden.mkdir(parents=True)
        draft = Draft(hidden)
        try:
            yield draft
            with held(), _writing(place):
                draft.folder = _put_down(hidden, place, replace=out is not None)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _refuse_what_is_none(place: Path) -> None:
    with _writing(place):
        theirs = place.exists() and not (place.is_dir() and not any(place.iterdir()))
        if place.is_mount() or (theirs and not (place / MARK).is_file()):
            raise RunFolderError(
                f"{place} exists and is not a folder of sandbox.skill: choose another --out"
            )


def _sweep(place: Path) -> None:
    """Take away drafts of this place whose process has died."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.partial-*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)


def _put_down(draft: Path, place: Path, *, replace: bool) -> Path:
    if replace:
        if place.exists():
            shutil.rmtree(place)
        return draft.rename(place)
    number = 1
    while True:
        target = place if number == 1 else place.with_name(f"{place.name}-{number}")
        with suppress(OSError):
            return draft.rename(target)  # never onto a folder that holds something
        if not target.exists():
            raise RunFolderError(f"cannot write {target}")
        number += 1


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A disk that is full, or a folder that is gone, in one line."""
    try:
        yield path
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error
