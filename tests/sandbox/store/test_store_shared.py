"""One store and several processes: runs at once, killed runs, files that go while others read."""

import os
import signal as signals
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np

import kronos
from sandbox.forecast.sources import LocalBackend
from sandbox.store import sets as store_module
from sandbox.store import upkeep as store_upkeep
from sandbox.store.upkeep import leftovers, merge, remove, small_parts
from tests.conftest import FakePredictor
from tests.sandbox.store.test_store import (
    EVERY,
    ROOT,
    book_of,
    counts,
    files,
    paths_of,
    small_pieces,
    store,
)  # fmt: skip

__all__ = ["small_pieces", "store"]  # fixtures


def test_a_set_that_is_removed_under_a_run_is_made_again(store, small_pieces):
    class Unlucky(LocalBackend):
        def sample(self, windows, sampling, tell):
            for nth, piece in enumerate(super().sample(windows, sampling, tell)):
                if nth == 3:
                    remove(leftovers(store, now=time.time() + 9e5, older_than_days=1))
                    assert store.folders() == []
                yield piece

    book_of(store, backend=Unlucky(FakePredictor()))
    [folder] = store.folders()
    assert (folder / "settings.json").exists()
    assert counts(book_of(store)) == (24, EVERY - 24)


def test_parts_that_are_merged_under_a_reader_are_found(store, small_pieces, monkeypatch):
    monkeypatch.setattr(store_upkeep, "SMALL_PARTS", 2)
    cold = book_of(store)
    [group] = small_parts(store)
    content, left = store_module.part_content, [group]

    def merge_first(path):
        while left:
            assert merge(left.pop()) == len(group) == 6
        return content(path)

    monkeypatch.setattr(store_module, "part_content", merge_first)
    warm = book_of(store)
    assert (counts(warm), warm.notes) == ((0, EVERY), ())
    assert np.array_equal(paths_of(warm), paths_of(cold))


RUN = """
import sys, time
from pathlib import Path
from sandbox.forecast import backend
from sandbox.forecast.sources import KronosSource
from sandbox.store.sets import ForecastStore
from sandbox.config import Sampling
from tests.conftest import FakePredictor, make_checkpoint, make_market

backend.WINDOWS_PER_PIECE = 8
store, go, hang_after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

class Slow(backend.LocalBackend):
    def sample(self, windows, sampling, tell):
        for nth, piece in enumerate(super().sample(windows, sampling, tell)):
            if nth == hang_after:
                print("hangs", flush=True)
                time.sleep(600)
            yield piece

frames = make_market("AB", bars=30)
source = KronosSource(
    make_checkpoint(), store=ForecastStore(store), backend=Slow(FakePredictor())
)
print("ready", flush=True)
while not go.exists():
    time.sleep(0.01)
sampling = Sampling(lookback=10, horizon=3, samples=4)
book = source.book(frames, sampling, frames["A"].index)
drawn = hash(b"".join(book._paths(nth).tobytes() for nth in range(len(book))))
print(book.computed + book.reused, drawn)
"""


def start(store, go, hang_after=-1):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(store.folder), str(go), str(hang_after)],
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_runs_at_once_share_a_store(store, tmp_path):
    go = tmp_path / "go"
    runs = [start(store, go), start(store, go)]
    for run in runs:
        assert run.stdout.readline() == "ready\n", run.communicate()[1]
    go.touch()
    said = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert said[0][0].startswith(f"{EVERY} ")
    assert counts(book_of(store)) == (0, EVERY)
    assert files(store, ".tmp") == []


def test_a_run_killed_in_the_middle_is_gone_on_with(store, tmp_path):
    go = tmp_path / "go"
    go.touch()
    run = start(store, go, hang_after=3)
    assert run.stdout.readline() == "ready\n"
    assert run.stdout.readline() == "hangs\n", run.communicate()[1]
    run.send_signal(signals.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode == -signals.SIGKILL
    book = book_of(store)
    assert counts(book) == (EVERY - 24, 24)
    assert np.array_equal(paths_of(book), paths_of(book_of(None)))


WARM = """
import sys
from pathlib import Path
import kronos
from sandbox.forecast.naive import NAIVE, NaiveSource
from sandbox.forecast.sources import KronosSource
from sandbox.store.sets import ForecastStore
from sandbox.config import Sampling
from tests.conftest import make_market

frames, sampling = make_market("AB", bars=30), Sampling(lookback=10, horizon=3, samples=4)
asofs = frames["A"].index
source = KronosSource(kronos.find("bundled"), store=ForecastStore(Path(sys.argv[1])))
book = source.book(frames, sampling, asofs)
for name in NAIVE:
    len(NaiveSource(name).book(frames, sampling, asofs))
print(book.computed, book.reused, {"torch", "huggingface_hub"} & set(sys.modules))
"""


def test_a_warm_run_and_a_naive_one_import_no_torch(store):
    card = kronos.find("bundled")
    stand_in = SimpleNamespace(
        name="bundled", fingerprint=card.fingerprint, predictor=lambda **_: FakePredictor()
    )
    book_of(store, checkpoint=stand_in)
    done = subprocess.run(
        [sys.executable, "-c", WARM, str(store.folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == f"0 {EVERY} set()\n", done.stderr


def test_a_draft_that_is_renamed_while_gc_looks_is_no_error(store, monkeypatch):
    book_of(store)
    [folder] = store.folders()
    draft = folder / f".{'0' * 32}.tmp"
    draft.write_bytes(b"")

    def gone(path):
        path.unlink(missing_ok=True)
        return path == draft

    monkeypatch.setattr(store_upkeep, "is_draft", gone)
    assert leftovers(store, now=time.time() + 9e5, older_than_days=None) == []
