"""Files and folders that are whole or absent, also when the process dies in the middle."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sandbox import interrupts
from sandbox.errors import RunFolderError
from sandbox.interrupts import held, tidied
from sandbox.words import safe_name

if TYPE_CHECKING:
    import pandas as pd

RUNS = Path("runs")  # where commands keep what they make, unless told
DRAFT = ".tmp"  # how the names of files end that are still being written


def write_whole(path: Path, content: bytes) -> None:
    """All of it or nothing, also when the process dies in the middle; an older file gives way."""
    draft = path.with_name(f".{uuid.uuid4().hex}{DRAFT}")
    with tidied(lambda: draft.unlink(missing_ok=True)):
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """So that a rename outlives a power cut, where the system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class FolderKind(NamedTuple):
    """What a command leaves behind."""

    mark: str  # the file that makes a folder one of these
    words: str  # such as "a run folder"


@contextmanager
def whole_folder(kind: FolderKind, default_name: str, out: Path | None = None) -> Iterator[Draft]:
    """A draft to write to, beside its place under a hidden name; it is renamed when the block ends
    well.

    Without `out` the folder is `runs/NAME`, or `runs/NAME-2`, -3 ... where that is taken. With
    `out` an older folder of the kind at that place is replaced, anything else in it is refused.
    """
    if out is not None and out.name in ("", ".."):
        out = out.resolve()  # a folder that is renamed needs a name
    place = out if out is not None else RUNS / safe_name(default_name)
    if out is not None:
        _refuse_what_is_other(out, kind)
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
    """The files of a folder that a command writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # the hidden one, then the one that it became

    def write_json(self, name: str, content: Mapping[str, Any], indent: int | None = 2) -> None:
        text = json.dumps(content, indent=indent, default=str, allow_nan=False)
        with _writing(self.folder / name) as path:
            path.write_text(text + "\n", encoding="utf-8")

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        import pandas as pd  # late: a command's --help can do without it

        times = pd.DatetimeIndex(table["time"])
        known = times.unique()  # each is written many times
        texts = known.strftime("%Y-%m-%dT%H:%M:%SZ").to_numpy()
        shown = table.assign(time=texts[known.get_indexer(times)])
        with _writing(self.folder / name) as path:
            shown.to_csv(path, index=False, float_format="%.12g", lineterminator="\n")

    def log(self, line: str) -> None:
        with _writing(self.folder / "log.txt") as path, path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed, for the record of a folder."""
    return {name: installed for name in names if (installed := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A disk that is full, or a folder that is gone, in one line."""
    try:
        yield path
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error


def _refuse_what_is_other(out: Path, kind: FolderKind) -> None:
    with _writing(out):
        if (
            out.is_dir()
            and not out.is_mount()
            and (not any(out.iterdir()) or (out / kind.mark).is_file())
        ):
            return
    if out.is_mount():
        raise RunFolderError(f"{out} is a whole disk, not a folder of one: name a folder in it")
    if out.exists():
        raise RunFolderError(f"{out} exists and is not {kind.words}: choose another --out")


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
