"""What is in a forecast store, what of it can go, and which small parts are better one.

Removes only what the store itself wrote, and nothing whose loss would change an answer: a forecast
that is gone is computed again.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sandbox.errors import StoreError
from sandbox.store.parts import (
    SCHEMA,
    DamagedPart,
    is_draft,
    is_part,
    part_content,
    part_table,
    parts_in,
    write_part,
)
from sandbox.store.sets import SETTINGS, USED, ForecastStore

DEAD_DRAFT_SECS = 3600  # a part is written in less than a second
SECS_PER_DAY = 86_400
SMALL_BYTES = 1 << 20  # of a part; opening one takes as long as reading so much
SMALL_PARTS = 16  # in a set, before merging them is worth the writing
MERGED_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class SetSummary:
    """One set, as far as its files can be read."""

    folder: Path
    settings: dict[str, Any]  # of settings.json; empty where it cannot be read
    forecasts: int
    symbols: tuple[str, ...]
    first_asof: str | None  # days, UTC
    last_asof: str | None
    parts: int
    damaged: int  # parts
    size_bytes: int
    used: float  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file that can go."""

    path: Path
    why: str
    size_bytes: int


def summary(folder: Path) -> SetSummary:
    """One set. Reads all its parts, but not their paths."""
    keys: set[str] = set()
    symbols: set[str] = set()
    days: list[str] = []
    damaged = 0
    paths = parts_in(folder)
    for path in paths:
        try:
            content = part_content(path)
            if content is None:
                continue
            table = part_table(content, ["key", "symbol", "asof"])
        except DamagedPart:
            damaged += 1
            continue
        keys.update(table["key"].to_pylist())
        symbols.update(pc.unique(table["symbol"]).to_pylist())
        limits = pc.min_max(table["asof"]).as_py()
        days += [f"{limits[side]:%Y-%m-%d}" for side in ("min", "max")]
    return SetSummary(
        folder=folder,
        settings=_settings(folder),
        forecasts=len(keys),
        symbols=tuple(sorted(symbols)),
        first_asof=min(days, default=None),
        last_asof=max(days, default=None),
        parts=len(paths),
        damaged=damaged,
        size_bytes=sum(map(_size, _inside(folder))),
        used=last_used(folder),
    )


def last_used(folder: Path) -> float:
    """When a run last opened the set, seconds since 1970."""
    for path in (folder / USED, folder / SETTINGS, folder):
        if (changed := _changed(path)) is not None:
            return changed
    return 0.0


def leftovers(store: ForecastStore, *, now: float, older_than_days: float | None) -> list[Leftover]:
    """What can go: drafts of dead runs, damaged and needless parts, sets long unused."""
    found: list[Leftover] = []
    for folder in store.folders():
        unused_days = (now - last_used(folder)) / SECS_PER_DAY
        if older_than_days is not None and unused_days > older_than_days:
            why = f"its set was not used for {unused_days:.0f} days"
            found += [_leftover(path, why) for path in _inside(folder) if _ours(path)]
            continue
        found += [
            _leftover(path, "draft of a run that died")
            for path in _inside(folder)
            if is_draft(path) and now - (_changed(path) or now) > DEAD_DRAFT_SECS
        ]
        found += _needless_parts(folder)
    return found


def remove(found: list[Leftover]) -> None:
    """Delete them, and the folders that this empties."""
    for leftover in found:
        _unlink(leftover.path)
    for folder in {leftover.path.parent for leftover in found}:
        with contextlib.suppress(OSError):  # not empty, or another has just removed it
            folder.rmdir()


def small_parts(store: ForecastStore) -> list[list[Path]]:
    """Parts of a set that are better one, for each set that has many such."""
    groups: list[list[Path]] = []
    for folder in store.folders():
        small = [path for path in parts_in(folder) if _size(path) < SMALL_BYTES]
        groups += [chunk for chunk in _chunks(small) if len(chunk) >= SMALL_PARTS]
    return groups


def _chunks(small: list[Path]) -> Iterator[list[Path]]:
    """In their order, each about as large as a merged part may get."""
    chunk: list[Path] = []
    size_bytes = 0
    for path in small:
        chunk.append(path)
        size_bytes += _size(path)
        if size_bytes >= MERGED_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    yield chunk


def merge(small: list[Path]) -> int:
    """Make one part of them, and say of how many; damaged ones stay.

    The small ones go only once the new one is whole, so that a kill in between loses nothing.
    """
    tables: dict[Path, pa.Table] = {}
    for path in small:
        with contextlib.suppress(DamagedPart):
            if (content := part_content(path)) is not None:
                tables[path] = part_table(content, SCHEMA.names)
    if len(tables) < 2:
        return 0
    table = pa.concat_tables(tables.values())
    keys = table["key"].to_pylist()
    first_of = {key: row for row, key in reversed(list(enumerate(keys)))}
    merged = write_part(small[0].parent, table.take(sorted(first_of.values())))
    for path in tables:
        if path != merged:
            _unlink(path)
    return len(tables)


def _needless_parts(folder: Path) -> Iterator[Leftover]:
    """Damaged ones, and those whose forecasts are all in parts that stay; small ones go first."""
    keys_of: dict[Path, list[str]] = {}
    for path in parts_in(folder):
        try:
            content = part_content(path)
            if content is not None:
                keys_of[path] = part_table(content, ["key"])["key"].to_pylist()
        except DamagedPart as error:
            yield _leftover(path, f"damaged: {error}")
    copies = Counter(key for keys in keys_of.values() for key in set(keys))
    for path, keys in sorted(keys_of.items(), key=lambda item: (len(item[1]), item[0])):
        if all(copies[key] > 1 for key in keys):
            copies.subtract(set(keys))
            yield _leftover(path, "its forecasts are in other parts")


def _leftover(path: Path, why: str) -> Leftover:
    return Leftover(path=path, why=why, size_bytes=_size(path))


def _ours(path: Path) -> bool:
    return path.name in (SETTINGS, USED) or is_part(path) or is_draft(path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed ({error.strerror})") from error


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:  # the set has just been removed
        return []


def _changed(path: Path) -> float | None:
    """When it was, seconds since 1970; None where it is not there any more."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another run has just removed it
        return 0


def _settings(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
