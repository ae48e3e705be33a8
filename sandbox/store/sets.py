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
import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sandbox.config import COLUMNS, Sampling
from sandbox.files import write_whole
from sandbox.store.keys import KeyPlaces
from sandbox.store.parts import (
    Array,
    DamagedPart,
    Rows,
    encoded,
    opened,
    part_column,
    part_content,
    part_keys,
    part_name,
    parts_in,
    unusable,
)

FORMAT = 1  # raised when a forecast of the same settings comes to mean something else
ID_LENGTH = 16  # hex digits of a set's name
SETTINGS, USED = "settings.json", "used"  # the time of `used` is when the set was last read
Put = Callable[[Array, Array], None]  # takes the places [n] of keys, and their paths [n, S, P, 6]

TRIES = 5  # at a set that the removal of old ones takes away in the meantime


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
        written_at = datetime.now(UTC).isoformat(timespec="seconds")
        return {"format": FORMAT, **asdict(self), "made": written_at}


class ForecastStore:
    """Sets of forecasts in a folder, which is made when the first forecast is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def open(self, settings: Settings) -> ForecastSet:
        """The set of these settings, new or not."""
        forecast_set = ForecastSet(self.folder / settings.id, settings)
        forecast_set.begin()
        return forecast_set

    def folders(self) -> list[Path]:
        """The sets' folders, by name."""
        try:
            inside = sorted(self.folder.iterdir()) if self.folder.exists() else []
        except OSError as error:
            raise unusable("read", self.folder, error) from error
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
            raise unusable("written", self.folder, reason)

    def read(self, keys: Array, put: Put | None = None) -> tuple[NDArray[np.bool_], list[str]]:
        """Which of `[W, 2]` keys are kept, `[W]`, and what to tell; `put` gets the paths of each
        of them once, a part at a time.

        A part that is damaged is left aside, its forecasts count as unknown.
        """
        known = np.zeros(len(keys), dtype=np.bool_)
        places = KeyPlaces(keys)
        notes = []
        seen: set[Path] = set()
        # parts that are merged in the meantime are found under their new name
        while not known.all() and (unseen := [p for p in parts_in(self.folder) if p not in seen]):
            seen.update(unseen)
            for path in unseen:
                try:
                    self._read_part(path, places, put, known)
                except DamagedPart as error:
                    notes.append(
                        f"Store: {path} is left aside and its forecasts are computed again: "
                        f"{error}. `python -m sandbox.store gc` removes it."
                    )
                if known.all():
                    break
        return known, notes

    def add(self, rows: Rows) -> None:
        """Keep forecasts as one part."""
        count, samples, horizon = rows.paths.shape[:3]
        wanted = count, self._settings.sampling.samples, self._settings.sampling.horizon
        if (count, samples, horizon) != wanted or len(rows.keys) != count:
            raise ValueError(
                f"paths {rows.paths.shape} of {len(rows.keys)} keys do not fit {wanted}"
            )
        content = encoded(rows)
        self._keep(part_name(content), content)

    def _keep(self, name: str | None, content: bytes) -> None:
        """Write a file, in a folder that is made again if the removal of old sets took it away."""
        try:
            for left in reversed(range(TRIES)):
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    if not (self.folder / SETTINGS).exists():
                        text = json.dumps(self._settings.record(), indent=2) + "\n"
                        write_whole(self.folder / SETTINGS, text.encode())
                    if name is not None:
                        write_whole(self.folder / name, content)
                    return
                except FileNotFoundError:
                    if not left:
                        raise
        except OSError as error:
            raise unusable("written", self.folder, error) from error

    def _read_part(
        self, path: Path, wanted: KeyPlaces, put: Put | None, known: NDArray[np.bool_]
    ) -> None:
        content = part_content(path)
        if content is None:
            return
        file = opened(content)
        keys = part_keys(file)
        rows, places = wanted.of(keys)
        new = ~known[places]
        rows, places = rows[new], places[new]
        if put is not None and len(rows):
            put(places, self._paths(file, len(keys))[rows])
        known[places] = True

    def _paths(self, file: pq.ParquetFile, count: int) -> Array:
        """Those of a part of `count` forecasts, `[count, S, P, 6]`."""
        sampling = self._settings.sampling
        shape = count, sampling.samples, sampling.horizon, COLUMNS
        flat: Array = part_column(file, "paths").combine_chunks().flatten().to_numpy()
        if flat.size != math.prod(shape):
            raise DamagedPart(f"it has {flat.size} numbers for {count} forecasts")
        return flat.reshape(shape)


def is_set(path: Path) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", path.name) is not None
