"""Paths on disk are the paths in memory; they take no memory, and leave nothing behind."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sandbox.config import Sampling
from sandbox.cores import over_cores
from sandbox.errors import MemoryShortError, StoreError
from sandbox.forecast import backend as backend_module
from sandbox.forecast import paths as paths_module
from sandbox.forecast.backend import LocalBackend
from sandbox.forecast.paths import DiskPaths, KeptPaths
from sandbox.forecast.sources import KronosSource
from sandbox.store.sets import ForecastStore
from sandbox.store.upkeep import is_draft, leftovers
from tests.conftest import FakePredictor, make_checkpoint, make_market

ROOT = Path(__file__).resolve().parents[3]
SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
EACH = SAMPLING.path_bytes
FRAMES = make_market("ABC", bars=30)
INDEX = FRAMES["A"].index
EVERY = 3 * 21


@pytest.fixture
def store(tmp_path):
    return ForecastStore(tmp_path / "store")


@pytest.fixture
def on_disk(monkeypatch):
    """However few; written every ten windows, kept every eight."""
    monkeypatch.setattr(paths_module, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(paths_module, "STRETCH_BYTES", 10 * EACH)
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 8)


def book_of(store, frames=FRAMES, asofs=INDEX, sampling=SAMPLING, **options):
    source = KronosSource(make_checkpoint(), **{"store": store} | options)
    return source.book(frames, sampling, asofs)


def paths_of(book):
    """By place, one at a time."""
    return np.stack([book._paths(nth) for nth in range(len(book))])


def shown(book):
    """What strategies are shown, bar time by bar time."""
    return {
        (asof_ns, symbol): forecast.paths
        for asof_ns in INDEX.as_unit("ns").asi8.tolist()
        if (forecasts := book.as_of(asof_ns)) is not None
        for symbol in FRAMES
        if (forecast := forecasts.of(symbol)) is not None
    }


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[at], other[at]) for at in one)


def disk_paths(folder, asof_ns):
    return DiskPaths([folder], np.asarray(asof_ns), SAMPLING)


@pytest.mark.parametrize("bytes_each_write", [1, 3 * EACH, 1 << 20])
@pytest.mark.parametrize("stretch", [1, 7, 10, 1000])
def test_what_was_put_is_read_in_any_order(tmp_path, monkeypatch, stretch, bytes_each_write):
    monkeypatch.setattr(paths_module, "STRETCH_BYTES", stretch * EACH)
    monkeypatch.setattr(paths_module, "BYTES_PER_WRITE", bytes_each_write)
    generator = np.random.default_rng(stretch)
    wanted = generator.random((60, 4, 3, 6), dtype=np.float32)
    paths = disk_paths(tmp_path, np.tile(np.arange(20), 3))
    for rows in np.array_split(generator.permutation(60), [1, 4, 30]):
        paths.put(rows, wanted[rows])
    paths.seal()
    for rows in (np.arange(5, 60, 20), np.array([7, 3, 59, 3]), np.arange(60)):
        few = paths.only(rows, likely=True)
        assert all(np.array_equal(few(at), wanted[row]) for at, row in enumerate(rows))
    assert all(np.array_equal(paths(row), wanted[row]) for row in range(60))
    assert np.array_equal(paths.only(np.arange(0), likely=True)._paths, wanted[:0])


@pytest.mark.usefixtures("on_disk")
def test_all_ways_give_the_same_forecasts(store):
    without = shown(book_of(None))
    assert len(without) == EVERY
    book_of(store, asofs=INDEX[:18])
    half = book_of(store)
    assert (half.computed, half.reused) == (3 * 12, 3 * 9)
    warm = book_of(store)
    assert (warm.computed, warm.reused) == (0, EVERY)
    cold = book_of(ForecastStore(store.folder / "other"))
    assert cold.computed == EVERY
    victim = sorted(store.folder.rglob("*.parquet"))[1]
    victim.write_bytes(victim.read_bytes()[:-50])
    mended = book_of(store)
    assert mended.computed > 0 and len(mended.notes) == 1
    for book in (half, warm, cold, mended):
        assert type(book._paths) is DiskPaths
        assert same(shown(book), without)
        assert np.array_equal(paths_of(book), paths_of(book_of(None)))


def test_few_are_in_memory_and_many_on_disk(store, monkeypatch):
    for most, kind in ((EVERY * EACH, KeptPaths), (EVERY * EACH - 1, DiskPaths)):
        monkeypatch.setattr(paths_module, "MOST_IN_MEMORY", most)
        assert type(book_of(store)._paths) is kind
        assert type(book_of(None)._paths) is KeptPaths


@pytest.mark.usefixtures("on_disk")
def test_a_bar_s_forecasts_are_a_copy_of_their_own(store):
    """Nothing that hangs on them is a file or memory that holds others."""
    book = book_of(store)
    forecasts = book.as_of(INDEX[20].value)
    paths = forecasts.of("A").paths
    kept = forecasts._paths._paths
    assert kept.base is None and kept.shape == (3, 4, 3, 6)
    wanted = paths.copy()
    paths[:] = 0.0  # a strategy may: it is its own
    assert np.array_equal(book.as_of(INDEX[20].value).of("A").paths, wanted)


@pytest.mark.usefixtures("on_disk")
def test_processes_that_are_forked_read_the_same_file_at_once(store):
    book = book_of(store)
    wanted = shown(book_of(None))

    def alike(_, progress):
        return all(same(shown(book), wanted) for _ in range(10))

    assert over_cores(alike, range(4), lambda *_: None, most=4) == [True] * 4


@pytest.mark.usefixtures("on_disk")
def test_a_set_that_is_removed_under_a_run_is_not_missed(store):
    class Unlucky(LocalBackend):
        def sample(self, windows, sampling, tell):
            for nth, piece in enumerate(super().sample(windows, sampling, tell)):
                if nth == 3:
                    for path in sorted(store.folder.rglob("*"), reverse=True):
                        path.rmdir() if path.is_dir() else path.unlink()
                yield piece

    book = book_of(store, backend=Unlucky(FakePredictor()))
    assert same(shown(book), shown(book_of(None)))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc")
@pytest.mark.usefixtures("on_disk")
def test_the_file_has_no_name_and_goes_with_the_book(store):
    def open_files():
        files = Path("/proc/self/fd").iterdir()
        return {str(file.readlink()) for file in files if file.is_symlink()}

    book_of(store)
    before, had = open_files(), sorted(store.folder.rglob("*"))
    book = book_of(store)
    [file] = open_files() - before
    assert str(store.folder) in file and file.endswith("(deleted)")
    assert sorted(store.folder.rglob("*")) == had
    del book
    assert open_files() == before


RUN = """
import sys, time
from tests.sandbox.forecast import test_paths as t
t.paths_module.MOST_IN_MEMORY = 0
book = t.book_of(t.ForecastStore(t.Path(sys.argv[1])))
print(type(book._paths).__name__, flush=True)
time.sleep(600)
"""


def test_a_run_that_is_killed_leaves_no_file(store, tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(store.folder)], cwd=ROOT, stdout=subprocess.PIPE,
        text=True, env=os.environ | {"TMPDIR": str(tmp), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with run:
        assert run.stdout.readline() == "DiskPaths\n"
        run.send_signal(signal.SIGKILL)
    left = {path.name for path in store.folder.rglob("*") if path.suffix != ".parquet"}
    assert left == {store.folders()[0].name, "settings.json", "used"}
    assert not list(tmp.iterdir())


def test_a_file_that_kept_its_name_is_a_draft_to_tidy(store):
    """Of a kill between its making and its removal, on a disk that has no files without names."""
    book_of(store)
    [folder] = store.folders()
    for name, draft in ((".ab_01xyz.tmp", True), ("ab_01xyz.tmp", False), (".ab.tmp", False)):
        (folder / name).write_bytes(b"")
        assert is_draft(folder / name) is draft
        os.utime(folder / name, (1, 1))
    [left] = leftovers(store, now=1e10, older_than_days=None)
    assert left.path.name == ".ab_01xyz.tmp"


@pytest.mark.usefixtures("on_disk")
def test_another_disk_is_used_where_the_store_s_has_no_room(store, tmp_path, monkeypatch):
    book_of(store)
    other = tmp_path / "tmp"
    other.mkdir()
    monkeypatch.setattr(paths_module.tempfile, "gettempdir", lambda: str(other))
    rooms = {other: EVERY * EACH}
    monkeypatch.setattr(paths_module, "room_on_disk", lambda folder: rooms.get(folder, 0))
    assert book_of(store)._paths._folder == other
    rooms[other] -= 1
    with pytest.raises(StoreError) as refused:
        book_of(store)
    told = str(refused.value)
    assert told.startswith(
        "63 forecasts (4 paths of 3 bars each) need 0.0 MB of disk until the run"
    )
    assert f"{store.folders()[0]} has 0.0 MB free, {other} has 0.0 MB free: free some, " in told
    assert "TMPDIR" in told and "--samples" in told and "\n" not in told


@pytest.mark.usefixtures("on_disk")
def test_another_disk_is_used_where_the_store_can_only_be_read(store, tmp_path, monkeypatch):
    book_of(store)
    make = paths_module.tempfile.TemporaryFile

    def refuse(dir, **options):
        if store.folder in dir.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return make(dir=dir, **options)

    monkeypatch.setattr(paths_module.tempfile, "TemporaryFile", refuse)
    book = book_of(store)
    assert book._paths._folder not in [store.folder, *store.folders()]
    assert same(shown(book), shown(book_of(None)))
    monkeypatch.setattr(paths_module.tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    with pytest.raises(
        StoreError, match=r"cannot be written \(Read-only file system\), .*none cann"
    ):
        book_of(store)


@pytest.mark.usefixtures("on_disk")
def test_a_disk_that_gets_full_is_one_line_and_what_was_computed_is_kept(store, monkeypatch):
    write, left = os.write, [30 * EACH]

    def fills(file, content):
        """The last that fits is cut short, as the system does it."""
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(file, content[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr(paths_module.os, "write", fills)
    with pytest.raises(
        StoreError, match=r"cannot be written \(No space left on device\): free"
    ) as full:
        book_of(store)
    assert "63 forecasts" in str(full.value) and "\n" not in str(full.value)
    monkeypatch.undo()
    book = book_of(store)
    assert book.reused >= 32
    assert same(shown(book), shown(book_of(None)))


@pytest.mark.usefixtures("on_disk")
def test_a_file_that_cannot_be_read_is_one_line(store, monkeypatch):
    book = book_of(store)
    monkeypatch.setattr(paths_module, "_read_at", lambda *_: 0)
    with pytest.raises(
        StoreError, match=r"wait on disk at .* cannot be read \(the file is too short"
    ):
        book.as_of(INDEX[20].value)


@pytest.mark.usefixtures("on_disk")
def test_pickled_they_are_in_memory_if_that_has_room(store, monkeypatch):
    book = book_of(store)
    other = pickle.loads(pickle.dumps(book))
    assert type(other._paths) is KeptPaths
    assert same(shown(other), shown(book))
    monkeypatch.setattr("sandbox.memory.available_bytes", lambda: 2 * EVERY * EACH - 1)
    with pytest.raises(MemoryShortError, match=r"^63 forecasts"):
        pickle.dumps(book)


LONG = Sampling(lookback=10, horizon=16, samples=64)  # 25 kB of paths


def peak(store, bars):
    """The most memory that arrays and objects took at a time, in a run's use of a book."""
    frames = make_market("ABCD", bars=bars)
    tracemalloc.start()
    try:
        book = book_of(store, frames, frames["A"].index, LONG)
        for asof_ns in book.windows.asof_ns[: bars - 9].tolist():
            forecasts = book.as_of(asof_ns)
            assert all(forecasts.of(symbol).paths.shape == (64, 16, 6) for symbol in frames)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_memory_does_not_grow_with_bars(store, monkeypatch, state):
    monkeypatch.setattr(paths_module, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(paths_module, "STRETCH_BYTES", 40 * LONG.path_bytes)
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 20)
    peaks = []
    for bars in (110, 210, 410):
        if state == "warm":
            frames = make_market("ABCD", bars=bars)
            KronosSource(make_checkpoint(), store=store).fill_store(frames, LONG, frames["A"].index)
        peaks.append(peak(store, bars))
    paths_grew = 4 * 300 * LONG.path_bytes
    assert peaks[-1] < paths_grew / 3
    assert peaks[-1] - peaks[0] < paths_grew / 30  # candles, keys and places
