"""The forecast store: what a model computed once is read back, for as long as nothing changed.

A folder of sets, one for each model and way of sampling; a set is a folder of Parquet parts, one
row a forecast, which pandas and DuckDB read as they are. A forecast is found by a hash of all that
it was computed from, so changed candles never meet an old forecast. Parts are named by the hash of
their bytes, written aside and renamed: two runs can share a store, and a killed one leaves whole
parts. Knows nothing of how forecasts are computed.

`python -m sandbox.store ls | info SET | gc` shows and tidies it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sandbox.errors import StoreError
from sandbox.interrupts import tidied
from sandbox.forecast.windows import Array, Sampling, Windows

FORMAT = 1  # raised when a forecast of the same settings comes to mean something else
ID_LENGTH = 16  # hex digits of a set's name
SETTINGS, USED = "settings.json", "used"  # the time of `used` is when the set was last read
PART, DRAFT = ".parquet", ".tmp"
TRIES = 5  # at a set that the removal of old ones takes away in the meantime

_TIME = pa.timestamp("ns", tz="UTC")
SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # hash of all that the forecast was computed from
        ("symbol", pa.string()),
        ("asof", _TIME),
        ("close", pa.float64()),  # at asof
        ("index", pa.list_(_TIME)),  # when the forecast bars close, P of them
        ("samples", pa.int32()),  # S
        ("horizon", pa.int32()),  # P
        (
            "paths",
            pa.list_(pa.float32()),
        ),  # S x P x 6, the last axis open high low close volume amount
    ]
)


class DamagedPart(Exception):  # noqa: N818 - what it is, caught inside this room
    """A part that is not what was written; its text says why."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all forecasts of a set have in common."""

    model: str  # a name for people; the fingerprint decides
    fingerprint: str
    dtype: str
    sampling: Sampling

    @property
    def id(self) -> str:
        decisive = {"format": FORMAT, **asdict(self)}
        del decisive["model"]
        text = json.dumps(decisive, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]

    def record(self) -> dict[str, Any]:
        """What settings.json holds."""
        made = datetime.now(UTC).isoformat(timespec="seconds")
        return {"format": FORMAT, **asdict(self), "made": made}


class ForecastStore:
    """Sets of forecasts in a folder, which is made when the first forecast is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def open(self, settings: Settings) -> ForecastSet:
        """The set of these settings, new or not."""
        kept = ForecastSet(self.folder / settings.id, settings)
        kept.begin()
        return kept

    def folders(self) -> list[Path]:
        """The sets' folders, by name."""
        try:
            inside = sorted(self.folder.iterdir()) if self.folder.exists() else []
        except OSError as error:
            raise _unusable("read", self.folder, error) from error
        return [path for path in inside if is_set(path) and path.is_dir()]


class ForecastSet:
    """Forecasts of one model and one way of sampling."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings

    @property
    def id(self) -> str:
        return self._settings.id

    def begin(self) -> None:
        """Make the folder, and note that it is in use."""
        self._keep(None, b"")
        with contextlib.suppress(OSError):  # a store on a read-only disk can still be read
            (self.folder / USED).touch()

    def expect_writable(self) -> None:
        """Raises the error that `add` would, before anything is computed in vain."""
        gone = not self.folder.exists()  # it is made again
        if not gone and not os.access(self.folder, os.W_OK | os.X_OK):
            reason = OSError(errno.EACCES, os.strerror(errno.EACCES))
            raise _unusable("written", self.folder, reason)

    def read(self, keys: Sequence[str], paths: Array) -> tuple[NDArray[np.bool_], list[str]]:
        """Fill the rows of `paths` `[W, S, P, 6]` whose keys are kept: which, and what to tell.

        A part that is damaged is left aside, its forecasts count as unknown.
        """
        known = np.zeros(len(keys), dtype=np.bool_)
        place_of = {key: place for place, key in enumerate(keys)}
        notes = []
        seen: set[Path] = set()
        # parts that are merged in the meantime are found under their new name
        while not known.all() and (unseen := [p for p in parts(self.folder) if p not in seen]):
            seen.update(unseen)
            for path in unseen:
                try:
                    self._read_part(path, place_of, paths, known)
                except DamagedPart as error:
                    notes.append(
                        f"Store: {path} is left aside and its forecasts are computed again: "
                        f"{error}. `python -m sandbox.store gc` removes it."
                    )
                if known.all():
                    break
        return known, notes

    def add(self, keys: Sequence[str], windows: Windows, paths: Array) -> None:
        """Keep the forecasts of `[W]` windows, `[W, S, P, 6]`, as one part."""
        count, samples, horizon = paths.shape[:3]
        wanted = count, self._settings.sampling.samples, self._settings.sampling.horizon
        if (count, samples, horizon) != wanted or len(keys) != count:
            raise ValueError(f"paths {paths.shape} of {len(keys)} keys do not fit {wanted}")
        content = _encoded(_table(keys, windows, paths))
        self._keep(_part_name(content), content)

    def _keep(self, name: str | None, content: bytes) -> None:
        """Write a file, in a folder that is made again if the removal of old sets took it away."""
        try:
            for left in reversed(range(TRIES)):
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    if not (self.folder / SETTINGS).exists():
                        text = json.dumps(self._settings.record(), indent=2) + "\n"
                        _write(self.folder / SETTINGS, text.encode())
                    if name is not None:
                        _write(self.folder / name, content)
                    return
                except FileNotFoundError:
                    if not left:
                        raise
        except OSError as error:
            raise _unusable("written", self.folder, error) from error

    def _read_part(
        self, path: Path, place_of: dict[str, int], paths: Array, known: NDArray[np.bool_]
    ) -> None:
        content = part_content(path)
        if content is None:
            return
        file = _opened(content)
        part_keys = _column(file, "key").to_pylist()
        pairs = [(row, place_of[key]) for row, key in enumerate(part_keys) if key in place_of]
        if not pairs:
            return
        rows, places = np.array(pairs).T
        flat = _column(file, "paths").combine_chunks().flatten().to_numpy()
        if flat.size != len(part_keys) * paths[0].size:
            raise DamagedPart(f"it has {flat.size} numbers for {len(part_keys)} forecasts")
        paths[places] = flat.reshape(len(part_keys), *paths.shape[1:])[rows]
        known[places] = True


def is_set(path: Path) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", path.name) is not None


def is_part(path: Path) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{64}}{re.escape(PART)}", path.name) is not None


def is_draft(path: Path) -> bool:
    return re.fullmatch(rf"\.[0-9a-f]{{32}}{re.escape(DRAFT)}", path.name) is not None


def parts(folder: Path) -> list[Path]:
    """By name; none where the set has just been removed."""
    try:
        return sorted(path for path in folder.iterdir() if is_part(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable("read", folder, error) from error


def part_content(path: Path) -> bytes | None:
    """A part's bytes, checked against its name; None if another run has just removed it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedPart(f"it cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != path.stem:
        raise DamagedPart("its bytes are not those that were written")
    return content


def part_table(content: bytes, columns: Sequence[str]) -> pa.Table:
    """Columns of a part."""
    return _columns(_opened(content), columns)


def write_part(folder: Path, table: pa.Table) -> Path:
    """A table of forecasts as a part of a set."""
    content = _encoded(table)
    path = folder / _part_name(content)
    try:
        _write(path, content)
    except OSError as error:
        raise _unusable("written", folder, error) from error
    return path


def _part_name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}{PART}"


def _opened(content: bytes) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise _no_forecasts(error) from error


def _columns(file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """Faster than `pq.read_table`, which is made for a data set of many files."""
    if missing := [name for name in names if name not in file.schema_arrow.names]:
        raise DamagedPart(f"it has no column {missing[0]}")
    try:
        return file.read(columns=list(names), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _no_forecasts(error) from error


def _column(file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    return _columns(file, [name])[name]


def _no_forecasts(error: Exception) -> DamagedPart:
    return DamagedPart(f"it is not a Parquet file of forecasts ({error})")


def _table(keys: Sequence[str], windows: Windows, paths: Array) -> pa.Table:
    count, samples, horizon = paths.shape[:3]
    columns = [
        pa.array(keys, pa.string()),
        pa.array(windows.symbols, pa.string()),
        pa.array(windows.asof_ns, pa.int64()).cast(_TIME),
        pa.array(windows.closes(), pa.float64()),
        _lists(windows.future_ns, pa.int64()).cast(pa.list_(_TIME)),
        pa.array(np.full(count, samples, np.int32)),
        pa.array(np.full(count, horizon, np.int32)),
        _lists(paths, pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _lists(values: Array, kind: pa.DataType) -> pa.ListArray:
    """`[W, ...]` numbers as a list for each of W rows."""
    flat = np.ascontiguousarray(values).reshape(-1)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * (flat.size // max(len(values), 1))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind))


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # sampled floats hardly repeat: a dictionary of them costs time and saves nothing
    pq.write_table(table, sink, compression="zstd", use_dictionary=["symbol"])
    return sink.getvalue().to_pybytes()


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, also when the process dies in the middle; an older file gives way."""
    draft = path.with_name(f".{uuid.uuid4().hex}{DRAFT}")
    with tidied(lambda: draft.unlink(missing_ok=True)):
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """So that a rename outlives a power cut, where the system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unusable(done: str, folder: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    return StoreError(
        f"the forecast store cannot be {done} at {folder} ({reason}): choose another --store "
        "folder, or --store none to keep nothing"
    )
