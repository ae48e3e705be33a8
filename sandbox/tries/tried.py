"""What a finished run says of itself to the registry: what was tried, on what, and what came of it.

A thing that can be tried is a strategy's code with its parameters, on forecasts that are made in
one way, for a cash and costs; or a model with settings, whose forecasts `sandbox.skill` scored. Its
`thing` is a hash of all that; its `key` is a hash of the thing, the candles and the window. A run
that is repeated has the same keys: it is no new try. Controls, runs without costs, the benchmark,
and the baselines and naive signals beside a model are no tries: nobody picks among them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 32  # of a hash that are kept

Days = NDArray[np.int32]  # since 1970-01-01 (UTC)
Returns = NDArray[np.float32]  # one a day, net of costs; 0.01 is 1 %


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """One strategy portfolio of a run."""

    name: str  # in the run's tables
    code: str  # SHA-256 of the strategy's file, and of what it imports that is no library
    params: Mapping[str, Any]
    thing: str
    key: str
    returns: Returns  # [days]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A model with settings whose forecasts were scored. It has no returns."""

    name: str  # in the tables of its folder
    model: str
    fingerprint: str  # of its weights
    settings: Mapping[str, Any]  # sampling, seed and whatever else forecasts follow from
    thing: str
    key: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TriedOn:
    """What was tried by one command, when, and on what."""

    when: str  # UTC, 2026-01-31T12:00:00Z
    folder: str  # the run folder, seen from the registry's
    spec: str  # of the data
    data_hash: str
    first_bar: str  # of the window, ISO 8601
    last_bar: str
    tries: tuple[Tried | Scored, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TriedSkill(TriedOn):
    """The models with settings that a finished `sandbox.skill` scored."""

    tries: tuple[Scored, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TriedRun(TriedOn):
    """A finished run's tries, and all that they share."""

    signal: str
    model: str | None  # its name; None: no model was asked
    fingerprint: str | None  # of its weights
    settings: Mapping[str, Any]  # sampling, seed and whatever else forecasts and trades follow from
    costs: Mapping[str, Any]
    days: Days  # [days], ascending
    tries: tuple[Tried, ...]
    benchmark: Returns | None  # [days]


def thing_of(what: Mapping[str, Any]) -> str:
    """The hash of a thing from all that makes it: values as JSON holds them, in any order."""
    return _digest(json.dumps(what, sort_keys=True, default=str, separators=(",", ":")))


def key_of(thing: str, data_hash: str, first_bar: str, last_bar: str) -> str:
    """The hash of a thing on some candles in a window."""
    return _digest("\x1f".join((thing, data_hash, first_bar, last_bar)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
