"""The registry of tries beside run folders, read: what was tried on which data, and forgotten.

Its format is that of `sandbox/tries/lines.py`: JSON lines, each with the SHA-256 of what it holds.
Nothing is written. What is damaged is left out and said.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reports.files import one_line
from reports.formats import counted

VERSION = 1

_LINE = re.compile(rb'\{"sha256":"([0-9a-f]{64})","entry":(\{.*\})\}', re.DOTALL)


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """A try: one strategy portfolio of some run, or a model with settings that was scored."""

    thing: str  # a hash of what was tried, whatever the data and the window
    name: str
    folder: str  # of the run that last made it, seen from the registry
    spec: str
    data_hash: str
    days: np.ndarray  # [days] int32, since 1970-01-01, ascending
    returns: np.ndarray | None  # [days] float, net; None: `sandbox.skill` scored its forecasts


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """Tries that no longer count, by a mark of that day (UTC)."""

    day: str
    tracks: Sequence[Track]


@dataclass(kw_only=True)
class TriesFile:
    """What a registry says."""

    tracks: dict[str, Track] = field(default_factory=dict)  # by key
    forgotten: list[Forgotten] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # what to know before believing a count


def read_tries(path: Path) -> TriesFile:
    """The registry at `path`; an empty one where there is none."""
    name = path.name
    try:
        content = _settled(path) if path.exists() else b""
    except OSError as error:
        return _nothing(f"{name} cannot be read: {one_line(error)}.")
    if not content:
        return TriesFile()
    head, *rest = content.split(b"\n")
    entry = _entry(head)
    if entry is None or entry.get("kind") != "registry":
        return _nothing(
            f"{name} cannot be read: its first line is damaged, or not that of a registry of tries."
        )
    if entry.get("version") != VERSION:
        return _nothing(
            f"{name} cannot be read: it is of version {entry.get('version')}, and {VERSION} is "
            "read here."
        )
    found = TriesFile(warnings=[_of_set_aside(old) for old in entry.get("set_aside", ())])
    damaged = sum(not _taken(line, found) for line in rest if line)
    if damaged:
        found.warnings.append(
            f"{counted(damaged, 'line')} of {name} {'is' if damaged == 1 else 'are'} damaged and "
            "left out: more may have been tried."
        )
    return found


def _settled(path: Path) -> bytes:
    """The file's bytes; where its last line has no end, once nobody is writing it any more."""
    content = path.read_bytes()
    while content and not content.endswith(b"\n"):
        time.sleep(0.05)
        before, content = content, path.read_bytes()
        if content == before:
            break
    return content


def _nothing(why: str) -> TriesFile:
    return TriesFile(warnings=[f"{why} Only the tries of this run are counted."])


def _of_set_aside(old: dict[str, str]) -> str:
    return (
        f"{old['file']} was set aside on {old['when'][:10]}, since it could not be read "
        f"({old['why']}): what it counted is not counted here."
    )


def _entry(line: bytes) -> dict[str, Any] | None:
    found = _LINE.fullmatch(line)
    if found is None or hashlib.sha256(found[2]).hexdigest().encode() != found[1]:
        return None
    try:
        entry: dict[str, Any] = json.loads(found[2])
    except ValueError:
        return None
    return entry


def _taken(line: bytes, found: TriesFile) -> bool:
    """Whether the line could be used."""
    entry = _entry(line)
    try:
        if entry is None:
            return False
        if entry["kind"] in ("run", "skill"):
            found.tracks |= _tracks(entry) if entry["kind"] == "run" else _scored(entry)
            return True
        if entry["kind"] == "forgotten":
            gone = [found.tracks.pop(key) for key in entry["keys"] if key in found.tracks]
            found.forgotten.append(Forgotten(day=entry["when"][:10], tracks=gone))
            return True
    except (KeyError, TypeError, ValueError):
        pass
    return False


def _tracks(entry: dict[str, Any]) -> dict[str, Track]:
    days = _numbers(entry["days"], "<i4")
    returns = [_numbers(each["returns"], "<f4") for each in entry["tries"]]
    if any(len(own) != len(days) for own in returns):
        raise ValueError("returns of other days")
    each_with = zip(entry["tries"], returns, strict=True)
    return {each["key"]: _track(entry, each, days, own) for each, own in each_with}


def _scored(entry: dict[str, Any]) -> dict[str, Track]:
    first, last = (np.datetime64(entry[name][:10], "D") for name in ("first_bar", "last_bar"))
    days = np.arange(first, last + 1).astype(np.int32)
    return {each["key"]: _track(entry, each, days, None) for each in entry["tries"]}


def _track(
    entry: dict[str, Any], each: dict[str, Any], days: np.ndarray, returns: np.ndarray | None
) -> Track:
    return Track(
        thing=each["thing"], name=each["name"], folder=entry["folder"], spec=entry["spec"],
        data_hash=entry["data_hash"], days=days, returns=returns,
    )  # fmt: skip


def _numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), kind)
