"""The registry's format: JSON lines, each with the SHA-256 of what it holds.

`{"sha256":"HEX","entry":{...}}`: the hash is of the bytes of `entry` as they stand in the line. The
kinds of entries:

- `registry`, the first line: `version`, and `set_aside`, the older registries that could not be
  read, each with `file`, `why` and `when`;
- `run`: a `TriedRun`; days and returns are base64 of little-endian int32 and float32;
- `skill`: a `TriedSkill`, which has neither;
- `forgotten`: `when`, and the `keys` of tries of the lines above that no longer count.

A line whose hash is another is damaged. Lines are only ever added at the end; a line that a dying
process left half written is closed by the next writer, and stays there as a damaged one. A line of
a kind that a reader does not know is left out and said, as a damaged one is: so a kind can be added
without another version, and no older reader counts too few in silence.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from sandbox.tries.tried import Scored, Tried, TriedOn, TriedRun, TriedSkill

VERSION = 1

_LINE = re.compile(rb'\{"sha256":"([0-9a-f]{64})","entry":(\{.*\})\}', re.DOTALL)

Entry = dict[str, Any]


def line(entry: Mapping[str, Any]) -> bytes:
    """An entry as a line, its end included."""
    text = json.dumps(entry, separators=(",", ":"), default=str, allow_nan=False).encode()
    return b'{"sha256":"%s","entry":%s}\n' % (_sha256(text), text)


def entry_of(text: bytes) -> Entry | None:
    """What a line without its end holds; None: it is damaged."""
    found = _LINE.fullmatch(text)
    if found is None or _sha256(found[2]) != found[1]:
        return None
    try:
        entry = json.loads(found[2])
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def header(set_aside: Sequence[Mapping[str, str]] = ()) -> bytes:
    return line({"kind": "registry", "version": VERSION, "set_aside": list(set_aside)})


def forgotten_line(keys: Sequence[str], when: str) -> bytes:
    return line({"kind": "forgotten", "when": when, "keys": list(keys)})


def run_line(run: TriedRun) -> bytes:
    rest = asdict(run) | {
        "days": _packed(run.days, "<i4"),
        "benchmark": None if run.benchmark is None else _packed(run.benchmark, "<f4"),
        "tries": [asdict(each) | {"returns": _packed(each.returns, "<f4")} for each in run.tries],
    }
    return line({"kind": "run"} | rest)


def skill_line(skill: TriedOn) -> bytes:
    return line({"kind": "skill"} | asdict(skill))


def line_of(run: TriedOn) -> bytes:
    return run_line(run) if isinstance(run, TriedRun) else skill_line(run)


def skill_of(entry: Entry) -> TriedSkill:
    """Raises as `run_of`."""
    rest = _without_kind(entry)
    return TriedSkill(**rest | {"tries": tuple(Scored(**each) for each in rest["tries"])})


def run_of(entry: Entry) -> TriedRun:
    """Raises KeyError, TypeError or ValueError for an entry that lacks or garbles something."""
    rest = _without_kind(entry)
    benchmark = rest["benchmark"]
    return TriedRun(**rest | {
        "days": _unpacked(rest["days"], "<i4"),
        "benchmark": None if benchmark is None else _unpacked(benchmark, "<f4"),
        "tries": tuple(
            Tried(**each | {"returns": _unpacked(each["returns"], "<f4")})
            for each in rest["tries"]
        ),
    })  # fmt: skip


def _without_kind(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name != "kind"}


def _packed(numbers: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, kind).tobytes()).decode("ascii")


def _unpacked(text: str, kind: str) -> Any:
    return cast(Any, np.frombuffer(base64.b64decode(text, validate=True), kind))


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
