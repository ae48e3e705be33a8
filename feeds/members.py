"""When a symbol belonged to its universe, such as an index: spans of bar times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Span: TypeAlias = tuple[int, int]  # first and last bar time of a member, both inclusive, ns UTC
Members: TypeAlias = Mapping[str, tuple[Span, ...]]  # by symbol; one that is not in it always was
NO_MEMBERS: Members = {}


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same times as spans in order of which none overlap."""
    whole: list[Span] = []
    for first, last in sorted(spans):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(whole[-1][1], last))
        else:
            whole.append((first, last))
    return tuple(whole)


def were_members(members: Members, symbol: str, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a symbol was a member at each of `[n]` bar times, ns since 1970."""
    spans = members.get(symbol)
    if spans is None:
        return np.ones(len(times_ns), dtype=bool)
    inside = np.zeros(len(times_ns), dtype=bool)
    for first, last in spans:
        inside |= (times_ns >= first) & (times_ns <= last)
    return inside
