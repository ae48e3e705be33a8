"""What a registry's bytes say: which tries count, which were forgotten, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.tries.lines import VERSION, Entry, entry_of, run_of, skill_of
from sandbox.tries.tried import Scored, Tried, TriedOn
from sandbox.words import counted


class Counted(NamedTuple):
    """A try, and the run that it was made in."""

    tried: Tried | Scored
    run: TriedOn


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """Tries that were forgotten together."""

    when: str  # UTC
    tries: tuple[Counted, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A registry that was read."""

    tries: Mapping[str, Counted]  # by key, in the order they were first made; the last run of each
    forgotten: Sequence[Forgotten]
    set_aside: Sequence[Mapping[str, str]]  # older registries: file, why, when
    damaged: int  # lines that are left out
    unreadable: str  # why nothing of it can be used; "": it can


def read_contents(content: bytes) -> Contents:
    """The contents of a registry's file; an empty one is a new one."""
    head, *rest = content.split(b"\n")
    new: Entry = {"kind": "registry", "version": VERSION}
    entry = entry_of(head) if content else new
    if unreadable := _unreadable(entry):
        return Contents(tries={}, forgotten=(), set_aside=(), damaged=0, unreadable=unreadable)
    assert entry is not None
    tries: dict[str, Counted] = {}
    forgotten: list[Forgotten] = []
    damaged = sum(not _taken(text, tries, forgotten) for text in rest if text)
    return Contents(
        tries=tries, forgotten=forgotten, set_aside=entry.get("set_aside", ()), damaged=damaged,
        unreadable="",
    )  # fmt: skip


def _unreadable(head: Entry | None) -> str:
    if head is None or head.get("kind") != "registry":
        return "its first line is damaged, or not that of a registry of tries"
    version = head.get("version")
    return "" if version == VERSION else f"it is of version {version}, and {VERSION} is read here"


def _taken(text: bytes, tries: dict[str, Counted], forgotten: list[Forgotten]) -> bool:
    """Whether the line could be used; one that is damaged in itself changes nothing."""
    entry = entry_of(text)
    if entry is None:
        return False
    try:
        if entry["kind"] in ("run", "skill"):
            run: TriedOn = run_of(entry) if entry["kind"] == "run" else skill_of(entry)
            tries.update({each.key: Counted(each, run) for each in run.tries})
        elif entry["kind"] == "forgotten":
            gone = [tries.pop(key) for key in map(str, entry["keys"]) if key in tries]
            forgotten.append(Forgotten(when=str(entry["when"]), tries=tuple(gone)))
        else:
            return False
    except (KeyError, TypeError, ValueError):
        return False
    return True


def warnings_of(contents: Contents, name: str) -> list[str]:
    """What a reader has to know of a registry before believing its counts."""
    if contents.unreadable:
        return [f"{name} cannot be read: {contents.unreadable}. Nothing in it is counted."]
    said = [
        f"{old['file']} was set aside on {old['when'][:10]}, since it could not be read "
        f"({old['why']}): what it counted is not counted here."
        for old in contents.set_aside
    ]
    if contents.damaged:
        verb = "is" if contents.damaged == 1 else "are"
        said.append(
            f"{counted(contents.damaged, 'line')} of {name} {verb} damaged and left out: more may "
            "have been tried than is counted."
        )
    return said
