"""Forecasts over several processes are those of one process, whatever happens to the processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import kronos
from kronos import InputError, Kronos, KronosPredictor, KronosTokenizer
from kronos.inference import sampler as sampler_module
from sandbox import cores
from sandbox.config import Sampling
from sandbox.errors import WorkerError
from sandbox.forecast import backend as backend_module
from sandbox.forecast.backend import LocalBackend, processes_for
from sandbox.forecast.sources import KronosSource
from sandbox.forecast.windows import Windows
from sandbox.run import job
from sandbox.store.sets import ForecastStore
from tests.conftest import FakePredictor, make_checkpoint, make_market
from tests.sandbox.test_interrupts import is_gone, left_in, start, wait_for

__all__ = ["start"]  # a fixture

SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
MINI = {"d_model": 256, "n_heads": 4, "ff_dim": 512, "s1_bits": 10, "s2_bits": 10,
        "ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0}  # fmt: skip

pytestmark = pytest.mark.skipif(not cores.can_fork(), reason="processes are forked")


@pytest.fixture
def threads():
    """The test itself computes with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_batches(monkeypatch):
    """Processes for whatever there is to do; where there is one, it uses all its threads."""
    monkeypatch.setattr(backend_module, "LEAST_PER_BATCH", 3)
    monkeypatch.setattr(backend_module, "LITTLE_WORK", -1)
    monkeypatch.setattr(sampler_module, "free_cores", torch.get_num_threads)


@pytest.fixture(params=["bundled", "mini"])
def predictor(request):
    if request.param == "bundled":
        return kronos.find("bundled").predictor(device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = Kronos(**MINI, n_layers=4, token_dropout_p=0.0, learn_te=True)
        tokenizer = KronosTokenizer(
            **MINI, d_in=6, n_enc_layers=4, n_dec_layers=4, beta=0.05, gamma0=1.0, gamma=1.1,
            zeta=0.05, group_size=5,
        )  # fmt: skip
    return KronosPredictor(model.eval(), tokenizer.eval(), device="cpu")


def windows_of(count, sampling=SAMPLING, symbols="AB"):
    frames = make_market(symbols, bars=sampling.lookback + count)
    windows = Windows.of(frames, sampling, frames["A"].index)
    return windows.pick(np.arange(count))


def paths_of(backend, windows, sampling=SAMPLING, tell=None):
    """The pieces put together; each window is in one of them."""
    paths = np.full((len(windows), sampling.samples, sampling.horizon, 6), np.nan, np.float32)
    for rows, piece in backend.sample(windows, sampling, tell):
        assert np.isnan(paths[rows]).all()
        paths[rows] = piece
    assert not np.isnan(paths).any()
    return paths


@pytest.mark.usefixtures("threads", "small_batches")
@pytest.mark.parametrize("samples", [1, 16])
def test_processes_of_one_thread_forecast_as_one_process_of_two_to_the_bit(predictor, samples):
    """Also after this process has computed with several threads, which are not there in a fork."""
    sampling = Sampling(lookback=33, horizon=4, samples=samples)
    windows = windows_of(17, sampling)
    together = paths_of(LocalBackend(predictor), windows, sampling)
    assert torch.get_num_threads() == 2
    for processes in (2, 5):
        apart = paths_of(LocalBackend(predictor, processes), windows, sampling)
        assert np.array_equal(together, apart)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("threads", "small_batches")
def test_rows_of_odd_batches_are_those_of_the_whole(predictor):
    sampling = Sampling(lookback=33, horizon=4, samples=3)
    windows = windows_of(23, sampling)
    whole = paths_of(LocalBackend(predictor), windows, sampling)
    for count in (6, 7, 11):
        some = paths_of(LocalBackend(predictor, 2), windows.pick(np.arange(count)), sampling)
        assert np.array_equal(some, whole[:count])


class Dying(FakePredictor):
    """Kills its process in the middle of the batch that holds a window, while `times` are left."""

    def __init__(self, key, times, folder):
        super().__init__()
        self.key, self.times, self.folder = key, times, folder

    def sample_paths(self, *args, progress, **more):
        keys = args[3]
        if self.key in keys and len(list(self.folder.iterdir())) < self.times:
            progress(1)
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample_paths(*args, progress=progress, **more)


@pytest.fixture
def dying(tmp_path):
    """A predictor that dies at the twentieth of some windows, and what it notes that in."""

    def make(windows, times):
        folder = tmp_path / "deaths"
        folder.mkdir()
        return Dying(windows.keys()[20], times, folder), folder

    return make


@pytest.mark.usefixtures("small_batches")
def test_a_batch_whose_process_is_killed_is_computed_again_by_another(dying):
    windows = windows_of(40)
    predictor, deaths = dying(windows, times=1)
    told = []
    paths = paths_of(LocalBackend(predictor, 2), windows, tell=told.append)
    assert np.array_equal(paths, paths_of(LocalBackend(FakePredictor()), windows))
    assert len(list(deaths.iterdir())) == 1
    assert sum(told) == 40 and min(told) > 0
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("small_batches")
def test_a_batch_that_kills_its_process_twice_is_an_error_that_names_it(dying):
    windows = windows_of(40)
    predictor, deaths = dying(windows, times=9)
    with pytest.raises(WorkerError) as failed:
        paths_of(LocalBackend(predictor, 2), windows)
    text = str(failed.value)
    named = "forecasts 21 to 25 of 40 (A at 2023-02-10 to A at 2023-02-16): the process that"
    assert text.startswith(named)
    assert "killed by SIGKILL, which the system does when memory runs out" in text
    assert len(list(deaths.iterdir())) == 2
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("small_batches")
def test_an_error_in_a_process_is_raised_here_as_it_was():
    class Refusing(FakePredictor):
        def sample_paths(self, *_, **__):
            raise InputError("x has NaN or infinite values, first in series 3")

    with pytest.raises(InputError, match=r"^x has NaN or infinite values, first in series 3$"):
        paths_of(LocalBackend(Refusing(), 2), windows_of(40))
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("small_batches")
def test_progress_counts_within_pieces_and_adds_up(monkeypatch):
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 16)
    told = []
    for _ in LocalBackend(FakePredictor(), 2).sample(windows_of(41), SAMPLING, told.append):
        told.append("piece")
    pieces = [at for at, count in enumerate(told) if count == "piece"]
    counts = [count for count in told if count != "piece"]
    assert len(pieces) == 3
    assert sum(counts) == 41 and min(counts) > 0
    assert sum(count for count in told[: pieces[0]] if count != "piece") >= 16


@pytest.mark.usefixtures("small_batches")
def test_pieces_are_the_same_however_the_batches_came_out(monkeypatch):
    """What is kept together does not depend on which process was faster."""
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 16)
    for processes in (1, 2, 3):
        pieces = LocalBackend(FakePredictor(), processes).sample(windows_of(41), SAMPLING, None)
        rows = sorted(tuple(rows) for rows, _ in pieces)
        assert rows == [tuple(range(16)), tuple(range(16, 32)), tuple(range(32, 41))]


@pytest.mark.usefixtures("small_batches")
def test_what_was_finished_before_processes_died_is_kept(dying, tmp_path, monkeypatch):
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 8)
    frames = make_market("AB", bars=29)
    asofs = frames["A"].index
    windows = Windows.of(frames, SAMPLING, asofs)
    predictor, _ = dying(windows, times=9)
    store = ForecastStore(tmp_path / "store")

    def book(backend):
        source = KronosSource(make_checkpoint(), store=store, backend=backend)
        return source.book(frames, SAMPLING, asofs)

    with pytest.raises(WorkerError, match="killed by SIGKILL"):
        book(LocalBackend(predictor, 2))
    whole = book(LocalBackend(FakePredictor(), 2))
    assert len(whole) == 40
    assert (whole.computed, whole.reused) in {(24, 16), (16, 24), (8, 32)}
    warm = book(None)
    assert (warm.computed, warm.reused) == (0, 40)


@pytest.mark.parametrize(
    ("count", "free", "processes"),
    [(1, None, 1), (3, None, 3), (400, None, 4), (400, 3 * backend_module.PROCESS_BYTES, 2),
     (400, backend_module.PROCESS_BYTES, 1), (400, 0, 1)],
)  # fmt: skip
@pytest.mark.usefixtures("small_batches")
def test_processes_are_as_many_as_there_are_windows_and_memory_for(
    monkeypatch, count, free, processes
):
    """The paths to come count as memory in use."""
    monkeypatch.setattr(backend_module, "available_bytes", lambda: free)
    assert LocalBackend(FakePredictor(), 4)._worth(windows_of(count), SAMPLING) == processes


def test_many_sampled_bars_take_memory_in_each_process(monkeypatch):
    """A model of a million weights takes 10 kB for each."""
    sampling = Sampling(lookback=10, horizon=100, samples=1_000)
    windows = windows_of(40, sampling)
    each = backend_module.PROCESS_BYTES + 10_000 * 100 * 1_000
    for processes in (1, 2, 3):
        free = 40 * sampling.path_bytes + processes * each
        monkeypatch.setattr(backend_module, "available_bytes", lambda free=free: free)
        assert LocalBackend(on("cpu"), 4)._worth(windows, sampling) == processes


def on(device, weights=10**6):
    """A predictor of a model with so many weights, which are not there."""
    weight = SimpleNamespace(device=torch.device(device), numel=lambda: weights)
    predictor = FakePredictor()
    predictor.model = SimpleNamespace(parameters=lambda: iter([weight]))
    return predictor


@pytest.mark.usefixtures("threads")
def test_a_gpu_or_a_single_core_has_no_processes(monkeypatch):
    monkeypatch.setattr(backend_module, "cores", lambda: 8)
    assert processes_for(on("cpu")) == 2  # as many as torch has threads
    assert processes_for(on("cuda:0")) == processes_for(on("mps")) == 1
    assert processes_for(FakePredictor()) == 1
    monkeypatch.setattr(backend_module, "cores", lambda: 1)
    assert processes_for(on("cpu")) == 1


def test_what_is_little_depends_on_the_model_and_is_computed_here():
    """90 bars and 5 paths of 10 are 140 bars a window."""
    sampling = Sampling(lookback=90, horizon=10, samples=5)
    for weights, most in ((10**6, 28), (10**8, 0)):
        for count in (1, most, most + 1):
            backend = LocalBackend(on("cpu", weights), 8)
            alone = backend._worth(windows_of(count, sampling), sampling) == 1
            assert alone is (count <= max(1, most))


def test_few_windows_are_computed_here():
    predictor = FakePredictor()
    windows = windows_of(30)
    paths_of(LocalBackend(predictor, 8), windows)
    assert predictor.asked == [30]


def test_many_and_long_paths_go_in_small_batches():
    sizes = [
        backend_module.batch_size(windows, Sampling(lookback=9, horizon=h, samples=s), processes)
        for windows, h, s, processes in (
            (10_000, 10, 5, 2), (200, 10, 5, 2), (100, 10, 5, 2), (5, 10, 5, 4), (3, 10, 5, 2),
            (10_000, 100, 1_000, 2), (10_000, 512, 4_096, 2),
        )
    ]  # fmt: skip
    assert sizes == [64, 25, 16, 2, 2, 13, 1]


LONG = ["--data", "sample", "--samples", "64", "--horizon", "30", "--store", "none", "--out", "x",
        "--param", "rebalance=bar", "--no-controls", "--no-benchmark"]  # fmt: skip


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(cores.cores() < 2, reason="one core")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_run_that_is_ended_takes_its_forecasting_processes_with_it(
    start, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "2")
    topk = str(job.ROOT / "strategies" / "topk.py")
    run = start("-m", "sandbox.run", topk, *LONG)
    pids = wait_for(lambda: (found := children(run.pid))[1:] and found)
    (os.killpg if name == "SIGINT" else os.kill)(run.pid, getattr(signal, name))
    _, error = run.communicate(timeout=30)
    wait_for(lambda: all(map(is_gone, pids)), secs=5)
    if name != "SIGKILL":
        assert run.returncode == 1
        [line] = [line for line in error.splitlines() if "rror" in line or "File" in line]
        assert line.startswith("error: interrupted")
        assert not (tmp_path / "x").exists() and left_in(tmp_path / "runs") == []


OPEN = """
import os
from sandbox.forecast import backend
from tests.conftest import FakePredictor
from tests.sandbox.forecast.test_backend import SAMPLING, children, windows_of
backend.WINDOWS_PER_PIECE, backend.LEAST_PER_BATCH = 3, 3
backend.LITTLE_WORK = -1
pieces = backend.LocalBackend(FakePredictor(), 2).sample(windows_of(40), SAMPLING, None)
next(pieces)
print(*children(os.getpid()), flush=True)
"""


def test_a_process_that_ends_with_pieces_still_to_come_leaves_none_behind():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OPEN)], cwd=job.ROOT, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    assert all(map(is_gone, pids))
    assert done.stderr == ""
