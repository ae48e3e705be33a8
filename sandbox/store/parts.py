"""Parts of a forecast store: Parquet files of forecasts, one row each, named by their bytes' hash.

pandas and DuckDB read them as they are. A part whose bytes are not those of its name is damaged.
Knows nothing of how forecasts are computed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sandbox.errors import StoreError
from sandbox.files import DRAFT, write_whole
from sandbox.store.keys import key_texts, keys_from_texts

Array = NDArray[Any]

PART = ".parquet"

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
class Rows:
    """`W` forecasts, as the columns of a part."""

    keys: Array  # [W, 2] uint64, hashes of all that each was computed from
    symbols: Sequence[str]  # [W]
    asof_ns: Array  # [W]
    closes: Array  # [W], at asof
    future_ns: Array  # [W, P], when the forecast bars close
    paths: Array  # [W, S, P, 6]


def is_part(path: Path) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{64}}{re.escape(PART)}", path.name) is not None


def is_draft(path: Path) -> bool:
    """A file that was to become a part, or one of Python's `tempfile` that was to have no name."""
    drafts = rf"\.([0-9a-f]{{32}}|[0-9a-z_]{{8}}){re.escape(DRAFT)}"
    return re.fullmatch(drafts, path.name) is not None


def parts_in(folder: Path) -> list[Path]:
    """By name; none where the set has just been removed."""
    try:
        return sorted(path for path in folder.iterdir() if is_part(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unusable("read", folder, error) from error


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
    return _columns(opened(content), columns)


def write_part(folder: Path, table: pa.Table) -> Path:
    """A table of forecasts as a part of a set."""
    content = _encoded(table)
    path = folder / part_name(content)
    try:
        write_whole(path, content)
    except OSError as error:
        raise unusable("written", folder, error) from error
    return path


def part_name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}{PART}"


def opened(content: bytes) -> pq.ParquetFile:
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


def part_column(file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    return _columns(file, [name])[name]


def part_keys(file: pq.ParquetFile) -> Array:
    """`[W, 2]` uint64."""
    try:
        return keys_from_texts(part_column(file, "key").to_pylist())
    except (TypeError, ValueError) as error:
        raise DamagedPart(f"its keys are no hashes ({error})") from error


def _no_forecasts(error: Exception) -> DamagedPart:
    return DamagedPart(f"it is not a Parquet file of forecasts ({error})")


def encoded(rows: Rows) -> bytes:
    """Forecasts as the bytes of a part."""
    count, samples, horizon = rows.paths.shape[:3]
    columns = [
        pa.array(key_texts(rows.keys), pa.string()),
        pa.array(rows.symbols, pa.string()),
        pa.array(rows.asof_ns, pa.int64()).cast(_TIME),
        pa.array(rows.closes, pa.float64()),
        _lists(rows.future_ns, pa.int64()).cast(pa.list_(_TIME)),
        pa.array(np.full(count, samples, np.int32)),
        pa.array(np.full(count, horizon, np.int32)),
        _lists(rows.paths, pa.float32()),
    ]
    return _encoded(pa.Table.from_arrays(columns, schema=SCHEMA))


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


def unusable(done: str, folder: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    return StoreError(
        f"the forecast store cannot be {done} at {folder} ({reason}): choose another --store "
        "folder, or --store none to keep nothing"
    )
