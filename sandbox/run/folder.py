"""A run folder: written beside its place under a hidden name, then renamed. Whole or absent."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from sandbox import interrupts
from sandbox.errors import RunFolderError
from sandbox.files import RUNS
from sandbox.interrupts import held, tidied
from sandbox.words import safe_name

MARK = "config.json"  # the file that makes a folder a run folder
PACKAGES = ("backtrader", "exchange_calendars", "numpy", "pandas", "quantstats", "torch")


@contextmanager
def run_folder(default_name: str, out: Path | None = None) -> Iterator[Draft]:
    """A draft to write to; it becomes the run folder when the block ends well.

    Without `out` the folder is `runs/NAME`, or `runs/NAME-2`, -3 ... where that is taken. With
    `out` an older run folder at that place is replaced, anything else in it is refused.
    """
    if out is not None and out.name in ("", ".."):
        out = out.resolve()  # a folder that is renamed needs a name
    place = out if out is not None else RUNS / safe_name(default_name)
    if out is not None:
        _refuse_what_is_no_run(out)
    hidden = place.parent / f".{place.name}.partial-{os.getpid()}"
    with tidied(partial(shutil.rmtree, hidden, ignore_errors=True)):
        draft = Draft(_make_draft(hidden, place))
        try:
            yield draft
            with held(), _writing(place):
                draft.folder = _put_down(hidden, place, replace=out is not None)
                interrupts.say(f"the run had ended, {draft.folder} is whole")
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


class Draft:
    """The files of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # the hidden one, then the run folder

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, default=str, allow_nan=False)
        with _writing(self.folder / name) as path:
            path.write_text(text + "\n", encoding="utf-8")

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        times = pd.DatetimeIndex(table["time"])
        known = times.unique()  # each is written many times
        texts = known.strftime("%Y-%m-%dT%H:%M:%SZ").to_numpy()
        shown = table.assign(time=texts[known.get_indexer(times)])
        with _writing(self.folder / name) as path:
            shown.to_csv(path, index=False, float_format="%.12g", lineterminator="\n")

    def log(self, line: str) -> None:
        with _writing(self.folder / "log.txt") as path, path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A disk that is full, or a folder that is gone, in one line."""
    try:
        yield path
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of packages that are installed; unless named, of what a run's numbers depend on."""
    return {name: installed for name in names if (installed := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _refuse_what_is_no_run(out: Path) -> None:
    with _writing(out):
        if (
            out.is_dir()
            and not out.is_mount()
            and (not any(out.iterdir()) or (out / MARK).is_file())
        ):
            return
    if out.is_mount():
        raise RunFolderError(f"{out} is a whole disk, not a folder of one: name a folder in it")
    if out.exists():
        raise RunFolderError(f"{out} exists and is not a run folder: choose another --out")


def _make_draft(draft: Path, place: Path) -> Path:
    try:
        _sweep(place)
        draft.mkdir(parents=True)
    except OSError as error:
        raise RunFolderError(f"cannot write to {place.parent}: {error.strerror}") from error
    return draft


def _sweep(place: Path) -> None:
    """Take away drafts of this place whose run was killed, and what such a run was replacing."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*-*"):
        kind, _, pid = left.name.removeprefix(f".{place.name}.").rpartition("-")
        if not pid.isdigit() or _alive(int(pid)):
            continue
        if kind == "old" and not place.exists():
            left.rename(place)
        elif kind in ("old", "partial"):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _put_down(draft: Path, place: Path, *, replace: bool) -> Path:
    if replace:
        return _replace(draft, place)
    for target in _free_names(place):
        try:
            return draft.rename(target)
        except OSError:
            if not target.exists():
                raise
    raise AssertionError("names never run out")


def _replace(draft: Path, place: Path) -> Path:
    old = place.parent / f".{place.name}.old-{os.getpid()}"
    if place.exists():
        place.rename(old)
    try:
        return draft.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _free_names(place: Path) -> Iterator[Path]:
    number = 1
    while True:
        target = place if number == 1 else place.with_name(f"{place.name}-{number}")
        if not target.exists():
            yield target
        number += 1
