"""The sampled paths of a run's forecasts: few in memory, many in a file on disk.

Forecasts are computed and kept symbol by symbol, and asked for bar time by bar time. The file has
them in stretches, each in the order of time, so that those of a bar time are read in a few pieces,
and no more than those are in memory. It has no name: it is taken out of its folder as soon as it is
made, and its room on disk is free again once no process has it open, however they end. Processes
that are forked read the same file.
"""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sandbox.config import COLUMNS, Sampling
from sandbox.errors import StoreError
from sandbox.files import DRAFT
from sandbox.forecast.backend import piece_size
from sandbox.forecast.windows import Array
from sandbox.interrupts import held
from sandbox.memory import LESS, expect_room, room_on_disk, size_in_words
from sandbox.store.keys import KEY_BYTES

MOST_IN_MEMORY = 256 << 20  # bytes of a run's paths; more than that go to disk
STRETCH_BYTES = 128 << 20  # of the file, held in memory until they are written in their order
BYTES_PER_WRITE = 8 << 20
PART_BYTES = 64 << 20  # of paths, in a part of the store that small ones were merged to
PARTS_AT_A_TIME = 3  # in memory: a part's bytes, its paths, and those of them that are wanted
PLACE_BYTES = 8  # of a window's place in the file
BARS_AHEAD = 4  # bar times that the system is asked to read before they are needed


class Paths(Protocol):
    """The sampled paths of windows, by their place."""

    def __call__(self, nth: int) -> Array:
        """Of one window, `[S, P, 6]`."""
        ...

    def only(self, rows: Array, *, likely: bool) -> Callable[[int], Array]:
        """The same of a few windows, by their place among `rows`, and nothing of any other.

        Unless it is `likely` that some are asked for, nothing is computed before one is.
        """
        ...


class KeptPaths:
    """Paths in memory, `[W, S, P, 6]`."""

    def __init__(self, paths: Array) -> None:
        self._paths = paths

    @classmethod
    def room_for(cls, windows: int, sampling: Sampling) -> KeptPaths:
        """Of so many windows, to be `put`."""
        paths = np.empty(_shape(windows, sampling), dtype=np.float32)
        paths.fill(0)  # takes the memory, so that whoever asks what is free does not count it
        return cls(paths)

    def put(self, rows: Array, paths: Array) -> None:
        """Keep `[n, S, P, 6]` of the windows `rows`."""
        self._paths[rows] = paths

    def seal(self) -> None:
        """All are put."""

    def __call__(self, nth: int) -> Array:
        paths: Array = self._paths[nth]
        return paths

    def only(self, rows: Array, *, likely: bool) -> Callable[[int], Array]:
        return KeptPaths(self._paths[rows])  # a copy: it leads to no other


class DiskPaths:
    """Paths in a file without a name, which is there for as long as this is.

    What is read is a copy of its own and leads to no other. All windows have to be put, and `seal`
    called, before one is read. Pickled, it is all the paths in memory.
    """

    def __init__(self, folders: Iterable[Path], asof_ns: Array, sampling: Sampling) -> None:
        """Of windows as of `asof_ns` `[W]`, in the first of the folders that has room. Raises
        StoreError where none has."""
        self._asof_ns = asof_ns
        self._sampling = sampling
        self._folder, self._file = _file_in(folders, len(asof_ns), sampling)
        weakref.finalize(self, os.close, self._file)
        self._places = np.empty(len(asof_ns), dtype=np.int64)  # of windows, in the file
        self._written = 0  # windows
        stretch = max(1, min(len(asof_ns), STRETCH_BYTES // sampling.path_bytes))
        self._rows = np.empty(stretch, dtype=np.int64)
        self._waiting = np.empty(_shape(stretch, sampling), dtype=np.float32)
        self._count = 0  # of those that wait to be written

    def put(self, rows: Array, paths: Array) -> None:
        """Keep `[n, S, P, 6]` of the windows `rows`. Raises StoreError where the disk is full."""
        at = 0
        while at < len(rows):
            taken = min(len(rows) - at, len(self._rows) - self._count)
            here, there = slice(self._count, self._count + taken), slice(at, at + taken)
            self._rows[here], self._waiting[here] = rows[there], paths[there]
            self._count += taken
            at += taken
            if self._count == len(self._rows):
                self._write()

    def seal(self) -> None:
        """All are put."""
        self._write()
        self._waiting, self._rows = self._waiting[:0].copy(), self._rows[:0].copy()

    def __call__(self, nth: int) -> Array:
        paths: Array = self._read(np.array([nth]))[0]
        return paths

    def only(self, rows: Array, *, likely: bool) -> Callable[[int], Array]:
        return KeptPaths(self._read(rows))

    def __reduce__(self) -> tuple[Any, ...]:
        count, sampling = len(self._places), self._sampling
        expect_room(count, 2 * sampling.path_bytes, sampling.shape_in_words)
        return KeptPaths, (self._read(np.arange(count)),)

    def _write(self) -> None:
        rows = self._rows[: self._count]
        in_time = np.lexsort((rows, self._asof_ns[rows]))
        self._places[rows[in_time]] = np.arange(self._written, self._written + len(rows))
        at_a_time = max(1, BYTES_PER_WRITE // self._sampling.path_bytes)
        try:
            for at in range(0, len(rows), at_a_time):
                _write_all(self._file, self._waiting[in_time[at : at + at_a_time]])
        except OSError as error:
            reason = f"{self._folder} cannot be written ({error.strerror})"
            raise _no_room([reason], len(self._asof_ns), self._sampling) from error
        self._written += len(rows)
        self._count = 0

    def _read(self, rows: Array) -> Array:
        """`[n, S, P, 6]`."""
        places = self._places[rows]
        in_file = np.argsort(places)
        paths = np.empty(_shape(len(rows), self._sampling), dtype=np.float32)
        try:
            for here, place in _pieces(places[in_file]):
                _read_all(self._file, paths[here], place * self._sampling.path_bytes)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"forecasts that wait on disk at {self._folder} cannot be read ({reason})"
            ) from error
        in_order = np.empty_like(paths)
        in_order[in_file] = paths
        return in_order


def room_for_paths(asof_ns: Array, sampling: Sampling, store: Path) -> KeptPaths | DiskPaths:
    """Where the paths of windows as of `asof_ns` `[W]` are to be put: few in memory, many on the
    disk of the store's folder, or where the system keeps files for a while if that has no room.

    Raises MemoryShortError where memory does not hold what is in it, StoreError where no disk has
    room.
    """
    count = len(asof_ns)
    if count * sampling.path_bytes <= MOST_IN_MEMORY:
        expect_room(count, KEY_BYTES + sampling.path_bytes, sampling.shape_in_words)
        return KeptPaths.room_for(count, sampling)
    expect_room(
        count, KEY_BYTES + PLACE_BYTES, f"{sampling.shape_in_words}, kept on disk",
        besides=STRETCH_BYTES + bytes_at_a_time(sampling),
    )  # fmt: skip
    return DiskPaths(_disks(store), asof_ns, sampling)


def bytes_at_a_time(sampling: Sampling) -> int:
    """Of paths on their way to the store and back."""
    return PARTS_AT_A_TIME * max(PART_BYTES, piece_size(sampling) * sampling.path_bytes)


def _disks(store: Path) -> Iterator[Path]:
    yield store
    with suppress(OSError):  # the system has no such place
        yield Path(tempfile.gettempdir())


def _shape(windows: int, sampling: Sampling) -> tuple[int, int, int, int]:
    return windows, sampling.samples, sampling.horizon, COLUMNS


def _pieces(places: Array) -> Iterator[tuple[slice, int]]:
    """Of places in order, those that follow one another, and the first place of each."""
    breaks = (np.flatnonzero(np.diff(places) != 1) + 1).tolist()
    for first, end in zip([0, *breaks], [*breaks, len(places)], strict=True):
        if end > first:
            yield slice(first, end), int(places[first])


def _file_in(folders: Iterable[Path], windows: int, sampling: Sampling) -> tuple[Path, int]:
    """A new file in the first folder with room for the paths of so many windows."""
    needed = windows * sampling.path_bytes
    reasons = []
    for folder in folders:
        try:
            if (free := room_on_disk(folder)) < needed:
                reasons.append(f"{folder} has {size_in_words(free)} free")
                continue
            return folder, _nameless_file(folder)
        except OSError as error:
            reasons.append(f"{folder} cannot be written ({error.strerror})")
    raise _no_room(reasons, windows, sampling)


def _nameless_file(folder: Path) -> int:
    with (
        held(),  # no signal comes between making it and taking it out of its folder
        tempfile.TemporaryFile(dir=folder, prefix=".", suffix=DRAFT, buffering=0) as file,
    ):
        return os.dup(file.fileno())


def _no_room(reasons: Sequence[str], windows: int, sampling: Sampling) -> StoreError:
    needed = size_in_words(windows * sampling.path_bytes)
    return StoreError(
        f"{windows:,} forecasts ({sampling.shape_in_words}) need {needed} of disk until the run "
        f"ends, and {', '.join(reasons)}: free some, choose another --store folder, or set TMPDIR "
        f"to one with room; {LESS}"
    )


def _write_all(file: int, content: Array) -> None:
    left = content.data.cast("B")
    while left:
        left = left[os.write(file, left) :]


def _read_all(file: int, into: Array, at: int) -> None:
    """Fill an array with what is `at` a place of the file, in bytes."""
    left = into.data.cast("B")
    ahead = at + len(left), BARS_AHEAD * len(left)
    while left:
        read = _read_at(file, left, at)
        if not read:
            raise OSError("the file is too short")
        left, at = left[read:], at + read
    if sys.platform == "linux":
        os.posix_fadvise(file, *ahead, os.POSIX_FADV_WILLNEED)


def _read_at(file: int, into: memoryview, at: int) -> int:
    if sys.platform == "win32":  # nothing is forked there that would move the same file
        os.lseek(file, at, os.SEEK_SET)
        content = os.read(file, len(into))
        into[: len(content)] = content
        return len(content)
    return os.preadv(file, [into], at)
