"""How names and numbers are put into messages and file names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

AT_MOST = 5  # names that a message lists


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like a misspelt one, None where none is near."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return matches[0] if matches else None


def nearest_of_any_case(name: str, names: Iterable[str], at_most: int = 3) -> list[str]:
    """The names most like a misspelt one, whatever their case; the likest first."""
    by_upper = {known.upper(): known for known in names}
    matches = difflib.get_close_matches(name.upper(), by_upper, at_most, cutoff=0.5)
    return [by_upper[upper] for upper in matches]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A hint to end an error with, empty where no name is near."""
    near = nearest(name, names)
    return f"; did you mean {near!r}?" if near else ""


def listed(names: Sequence[str], at_most: int = AT_MOST) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, thing: str) -> str:
    """`1 order`, `2,000 orders`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def safe_name(text: str) -> str:
    """A text as a file name: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:80] or "run"
