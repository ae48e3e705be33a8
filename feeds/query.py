"""Data specs that end in parameters, as an address does: `NAME?key=value&key=value`."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from .errors import SpecError
from .words import nearest


def parameters(spec: str, rest: str, allowed: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What stands before the `?` of `rest`, and its parameters by name.

    spec: as the user wrote it, for the error. Raises `SpecError` for a parameter that is not
    `allowed`, with the nearest one.
    """
    name, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for key in given:
        if key not in allowed:
            near = nearest(key, allowed)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(allowed)}"
            raise SpecError(f"{spec}: no parameter {key!r}; {hint}", value=key)
    return name, given
