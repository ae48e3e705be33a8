"""The forecasts of a walk-forward: each as of a bar of a fold's test part, by that fold's weights.

A walk-forward's folder holds `walk_forward.json` and a checkpoint for each of its folds; nothing
here knows how they were trained. `--model walkforward:NAME` reads `runs/NAME`, or the folder NAME.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import kronos
from feeds.members import NO_MEMBERS, Members
from kronos import Checkpoint, Forecast
from sandbox.config import NO_STORE, BackendOptions, ModelOptions, Sampling
from sandbox.errors import ConfigError, WindowError
from sandbox.files import RUNS
from sandbox.forecast.book import BarForecasts, Forecasts, SignalSource
from sandbox.forecast.model import Weights, expect_context, load_checkpoint
from sandbox.forecast.sources import Filled, KronosSource
from sandbox.forecast.windows import Array, Calendar, Windows
from sandbox.progress import Progress

PREFIX = "walkforward:"
FEWEST_SAMPLES = 2  # that can be calibrated
PLAN, FOLDS = "walk_forward.json", "folds"


@dataclass(frozen=True, kw_only=True)
class TestPart:
    """When a fold's weights forecast, from `start_ns` on, before `end_ns`; UTC."""

    start_ns: int
    end_ns: int
    checkpoint: Checkpoint


@dataclass(frozen=True, kw_only=True)
class WalkForward:
    """The weights of all folds, in the order of their test parts.

    seen_until: of the base. What a fold has seen besides ends before its test part.
    """

    name: str  # as in `--model`
    parts: tuple[TestPart, ...]
    seen_until: dt.date | None

    @property
    def max_context(self) -> int:
        return min(part.checkpoint.max_context for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the folds' weights and when each is used."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(f"{part.start_ns} {part.end_ns} {part.checkpoint.fingerprint}\n".encode())
        return digest.hexdigest()

    def at(self, asof: pd.Timestamp) -> Checkpoint:
        """The weights that forecast as of then; raises WindowError outside of all test parts."""
        place = self._places(np.array([asof.value]))[0]
        if place < 0:
            raise WindowError(f"{asof:%Y-%m-%d} is in no test part of {self._in_words()}")
        return self.parts[place].checkpoint

    def split(self, asof_ns: Array) -> list[tuple[TestPart, Array]]:
        """Which of some times `[W]` are in each part, for those that have some.

        Raises WindowError where the day of one is before the first part or after the last.
        """
        places = self._places(asof_ns)
        for time_ns in np.unique(asof_ns[places < 0]):
            asof = pd.Timestamp(time_ns, tz="UTC")
            if asof.normalize() < self._first_day or asof.normalize() > self._last_day:
                raise WindowError(
                    f"forecasts are asked for as of {asof:%Y-%m-%d}, and {self._in_words()}: set "
                    "--start and --end"
                )
        rows = [(part, np.flatnonzero(places == nth)) for nth, part in enumerate(self.parts)]
        return [(part, inside) for part, inside in rows if len(inside)]

    def covers(self, asof_ns: Array) -> Array:
        """Which of some times `[W]` are in a test part."""
        inside: Array = self._places(asof_ns) >= 0
        return inside

    def _places(self, asof_ns: Array) -> Array:
        """The number of each one's part, -1 outside of all."""
        starts = np.array([part.start_ns for part in self.parts])
        ends = np.array([part.end_ns for part in self.parts])
        places = np.searchsorted(starts, asof_ns, side="right") - 1
        return np.where((places >= 0) & (asof_ns < ends[places]), places, -1)

    @property
    def _first_day(self) -> pd.Timestamp:
        return pd.Timestamp(self.parts[0].start_ns, tz="UTC").normalize()

    @property
    def _last_day(self) -> pd.Timestamp:
        return pd.Timestamp(self.parts[-1].end_ns - 1, tz="UTC").normalize()

    def _in_words(self) -> str:
        return f"{self.name} forecasts {self._first_day:%Y-%m-%d} to {self._last_day:%Y-%m-%d}"


def registry_folder(place: Path) -> Path:
    """Where a run in that place is counted: beside it, or beside the walk-forward that it is of."""
    parent = place.absolute().parent
    return parent.parent if (parent / PLAN).is_file() else parent


def source_of(
    model: ModelOptions, lookback: int, backend: BackendOptions, calendar: Calendar | None
) -> tuple[KronosSource | WalkForwardSource, Weights]:
    """What forecasts with the model of a name, and which weights those are.

    Raises ConfigError for a lookback that the model does not see, or a walk-forward that is none.
    """
    if model.model.startswith(PREFIX):
        walk = find_walk_forward(model.model)
        expect_context(walk, lookback, "--lookback")
        return WalkForwardSource(walk, model, backend, calendar), walk
    checkpoint = load_checkpoint(model.model, lookback)
    return KronosSource.of(checkpoint, model, backend, calendar), checkpoint


def as_asked(
    raw: KronosSource | WalkForwardSource, model: ModelOptions, sampling: Sampling
) -> SignalSource:
    """The source, calibrated where the options say so; raises ConfigError where nothing could be
    calibrated."""
    if not model.calibrate:
        return raw
    if sampling.samples < FEWEST_SAMPLES:
        raise ConfigError(
            f"--samples {sampling.samples} with --calibrate: a distribution needs {FEWEST_SAMPLES}"
        )
    from sandbox.forecast.calibrated import CalibratedSource  # brings scipy

    return CalibratedSource(raw, remembers=model.store == NO_STORE)


def checkpoint_at(name: str, lookback: int, asof: pd.Timestamp) -> Checkpoint:
    """The weights that forecast as of then: of a walk-forward those of the fold that tests it."""
    if not name.startswith(PREFIX):
        return load_checkpoint(name, lookback)
    walk = find_walk_forward(name)
    expect_context(walk, lookback, "--lookback")
    return walk.at(asof)


def find_walk_forward(name: str) -> WalkForward:
    """By its name with the prefix; raises ConfigError where a fold is missing or it is none."""
    folder = _folder(name.removeprefix(PREFIX))
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        tests = {int(fold["number"]): fold["test"] for fold in plan["folds"]}
        seen = plan["base"]["seen_until"]
        seen_until = None if seen is None else dt.date.fromisoformat(seen)
        spans = {nth: [_ns(text) for text in test] for nth, test in sorted(tests.items())}
    except FileNotFoundError:
        raise ConfigError(
            f"--model {name}: there is no walk-forward in {folder}; make one with `python -m "
            "ray_jobs.walk_forward`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--model {name}: {folder / PLAN} cannot be read: {error}") from error
    return WalkForward(
        name=name, seen_until=seen_until,
        parts=tuple(
            TestPart(start_ns=start, end_ns=end, checkpoint=_checkpoint(name, folder, number))
            for number, (start, end) in spans.items()
        ),
    )  # fmt: skip


def fold_folder(folder: Path, number: int) -> Path:
    """Where the checkpoint of a fold is, counted from 1, in a walk-forward's folder."""
    return folder / FOLDS / f"{number:02d}"


def _folder(name: str) -> Path:
    if not name:
        raise ConfigError(f"--model {PREFIX}: name a walk-forward, as {PREFIX}NAME")
    in_runs = RUNS / name
    return in_runs if (in_runs / PLAN).exists() or not Path(name).is_dir() else Path(name)


def _checkpoint(name: str, folder: Path, number: int) -> Checkpoint:
    place = fold_folder(folder, number)
    if not (place / "card.json").exists():
        raise ConfigError(
            f"--model {name}: fold {number} is not finished; run its `python -m "
            "ray_jobs.walk_forward` again, which goes on from there"
        )
    return kronos.find(str(place))


def _ns(text: str) -> int:
    return int(pd.Timestamp(text, tz="UTC").as_unit("ns").value)


class WalkForwardSource:
    """A signal that asks, for each asof, the weights of the fold that it is in the test part of."""

    name = "kronos"

    def __init__(
        self,
        walk: WalkForward,
        model: ModelOptions,
        backend: BackendOptions,
        calendar: Calendar | None,
    ) -> None:
        self._walk = walk
        self.calendar = calendar
        self._store = Path(model.store)
        self._sources = {
            part.start_ns: KronosSource.of(part.checkpoint, model, backend, calendar)
            for part in walk.parts
        }

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> StitchedBook:
        """Raises WindowError for asofs outside of the folds' test parts."""
        windows = Windows.of(frames, sampling, asofs, self.calendar, members)
        return self.book_of(windows, sampling, progress)

    def book_of(
        self, windows: Windows, sampling: Sampling, progress: Progress | None = None
    ) -> StitchedBook:
        """As `book`, of windows that are cut already."""
        books = [
            (part, self._sources[part.start_ns].book_of(own, sampling, told))
            for part, own, told in self._shares(windows, progress)
        ]
        return StitchedBook(windows, books)

    def covers(self, asof_ns: Array) -> Array:
        """Which of some times `[W]` are in the test part of a fold."""
        return self._walk.covers(asof_ns)

    def fill_store(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> Filled:
        """As `KronosSource.fill_store`; the folder is the one that has a set for every fold."""
        windows = Windows.of(frames, sampling, asofs, self.calendar, members)
        filled = [
            self._sources[part.start_ns].fill_store_of(own, sampling, told)
            for part, own, told in self._shares(windows, progress)
        ]
        return Filled(
            computed=sum(each.computed for each in filled),
            reused=sum(each.reused for each in filled),
            notes=tuple(note for each in filled for note in each.notes),
            folder=self._store,
        )

    def _shares(
        self, windows: Windows, progress: Progress | None
    ) -> Iterator[tuple[TestPart, Windows, Progress | None]]:
        """Each part's windows, and what it tells of its progress, as a share of all."""
        before = 0
        for part, rows in self._walk.split(windows.asof_ns):
            told = progress and partial(_of_all, progress, before, len(windows))
            yield part, windows.pick(rows), told
            before += len(rows)


def _of_all(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


class StitchedBook:
    """The forecasts of several folds, as one book."""

    def __init__(self, windows: Windows, books: Sequence[tuple[TestPart, Forecasts]]) -> None:
        self.windows = windows
        self._books = tuple(books)
        self.computed = sum(book.computed for _, book in books)
        self.reused = sum(book.reused for _, book in books)
        self.notes = tuple(dict.fromkeys(note for _, book in books for note in book.notes))

    def __len__(self) -> int:
        return sum(len(book) for _, book in self._books)

    def as_of(self, asof_ns: int, *, likely: bool = True) -> BarForecasts | None:
        book = self._of(asof_ns)
        return None if book is None else book.as_of(asof_ns, likely=likely)

    def at(self, symbol: str, asof: pd.Timestamp) -> Forecast | None:
        book = self._of(asof.value)
        return None if book is None else book.at(symbol, asof)

    def _of(self, asof_ns: int) -> Forecasts | None:
        inside = (book for part, book in self._books if part.start_ns <= asof_ns < part.end_ns)
        return next(inside, None)
