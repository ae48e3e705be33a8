"""Candles of one market kept on disk: parts in Parquet, each whole or absent.

A part is named after the span it knows, `FROM-TO.parquet` in milliseconds since 1970: all candles
that opened from FROM on and before TO, of which there may be none.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .pages import NS_PER_MS, Row

CACHE = "KRONOS_SANDBOX_CACHE"  # variable of the environment: the folder that keeps candles
MOST_PARTS = 8  # of a market, before they are made one
_NAME = re.compile(r"(\d+)-(\d+)\.parquet")


def cache_folder() -> Path:
    """Where candles are kept: `$KRONOS_SANDBOX_CACHE`, or a folder in the user's home."""
    given = os.environ.get(CACHE)
    return Path(given) if given else Path.home() / ".cache" / "kronos-sandbox" / "candles"


class Part(NamedTuple):
    """One file."""

    from_ns: int
    to_ns: int
    path: Path


class Kept:
    """What is kept of one market's candles of one timeframe."""

    def __init__(self, exchange: str, symbol: str, timeframe: str) -> None:
        names = (quote(name, safe="") for name in (exchange, timeframe, symbol))
        self._folder = cache_folder().joinpath(*names)

    def parts(self) -> list[Part]:
        """In order; one that lies within another is left out."""
        found = []
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if name := _NAME.fullmatch(path.name):
                    start, end = (int(ms) * NS_PER_MS for ms in name.groups())
                    found.append(Part(start, end, path))
        parts: list[Part] = []
        for part in sorted(found, key=lambda part: (part.from_ns, -part.to_ns)):
            if not parts or part.to_ns > parts[-1].to_ns:
                parts.append(part)
        return parts

    def read(self, part: Part) -> list[Row] | None:
        """A part's candles; None, and the part is taken away, where it cannot be read."""
        try:
            table = pq.read_table(part.path, columns=list(Row._fields))
            columns = [table.column(name).to_numpy().tolist() for name in Row._fields]
        except (OSError, ValueError, KeyError, pa.ArrowException):
            part.path.unlink(missing_ok=True)
            return None
        return list(map(Row, *columns))

    def write(self, rows: Sequence[Row], from_ns: int, to_ns: int) -> Part:
        """Keep candles that opened from `from_ns` on and before `to_ns`: all that there are.

        Raises OSError where the disk does not take them.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        values = np.array([row[1:] for row in rows], np.float64).reshape(-1, len(Row._fields) - 1)
        columns = {"opened_ns": np.array([row.opened_ns for row in rows], np.int64)}
        columns |= dict(zip(Row._fields[1:], values.T, strict=True))
        path = self._folder / f"{from_ns // NS_PER_MS}-{to_ns // NS_PER_MS}.parquet"
        draft = self._folder / f".{uuid.uuid4().hex}.tmp"
        try:
            pq.write_table(pa.table(columns), draft)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        return Part(from_ns, to_ns, path)

    def forget(self) -> None:
        """Take everything away."""
        for part in self.parts():
            part.path.unlink(missing_ok=True)

    def join(self, rows: Sequence[Row], parts: Sequence[Part]) -> None:
        """Many parts that follow one another become one: `rows` are all that they hold."""
        if len(parts) < MOST_PARTS:
            return
        whole = self.write(rows, parts[0].from_ns, parts[-1].to_ns)
        for part in parts:
            if part.path != whole.path:
                part.path.unlink(missing_ok=True)
