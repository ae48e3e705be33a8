"""How names and values are put into messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name most like `word`, whatever its case, or None where none is near."""
    by_lower = {name.lower(): name for name in names}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def listed(names: Sequence[str], at_most: int = 5) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def plain(value: object) -> object:
    """A cell of a table as Python's own number, where it is one."""
    return value.item() if isinstance(value, np.generic) else value


def shown(value: object) -> str:
    """A cell of a table as a reader knows it: numbers and times bare, text in quotes."""
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ")
    return str(value) if isinstance(value, int | float) else repr(value)
