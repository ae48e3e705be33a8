"""Forecasts of replicas on Ray: those of this machine, whatever dies; else one line."""

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import kronos
from feeds import bar_times
from ray_jobs import backend as backend_module
from ray_jobs.backend import RayBackend, Replica
from sandbox.config import BackendOptions, ModelOptions, Sampling
from sandbox.errors import ConfigError, StrategyError, WorkerError
from sandbox.forecast import backend as local_module
from sandbox.forecast.backend import LocalBackend
from sandbox.forecast.windows import Windows
from tests.conftest import make_market

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("two_cpus"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of Ray's own settings
]
SAMPLING = Sampling(lookback=30, horizon=3, samples=4)


@pytest.fixture(scope="module")
def windows():
    frames = make_market("ABCD", 70)
    return Windows.of(frames, SAMPLING, bar_times(frames)[-30:])


@pytest.fixture(scope="module")
def checkpoint():
    return kronos.find("bundled")


@pytest.fixture(scope="module")
def wanted(windows, checkpoint):
    return put_together(LocalBackend(checkpoint.predictor(device="cpu"), 1), windows)


def put_together(backend, windows, tell=None):
    """All paths, each given once."""
    paths = np.full((len(windows), 4, 3, 6), np.nan, np.float32)
    for rows, piece in backend.sample(windows, SAMPLING, tell):
        assert np.isnan(paths[rows]).all()
        paths[rows] = piece
    assert not np.isnan(paths).any()
    return paths


def backend_of(checkpoint, **options):
    return RayBackend(checkpoint, ModelOptions(device="cpu"), BackendOptions(**options))


def test_forecasts_are_the_local_ones_to_the_bit(windows, checkpoint, wanted):
    told = []
    paths = put_together(backend_of(checkpoint), windows, told.append)
    np.testing.assert_array_equal(paths, wanted)
    assert sum(told) == len(windows)
    assert len(told) > 1


def test_two_threads_in_one_replica_give_the_same_bits(windows, checkpoint, wanted):
    paths = put_together(backend_of(checkpoint, replicas=1, replica_threads=2), windows)
    np.testing.assert_array_equal(paths, wanted)


def test_a_replica_that_is_killed_costs_its_piece_and_nothing_else(
    windows, checkpoint, wanted, monkeypatch
):
    monkeypatch.setattr(local_module, "WINDOWS_PER_PIECE", 16)
    killed = []

    def kill_one(_):
        if not killed:
            killed.append(next(replica_processes()).pid)
            os.kill(killed[0], signal.SIGKILL)

    np.testing.assert_array_equal(put_together(backend_of(checkpoint), windows, kill_one), wanted)
    assert killed


def replica_processes():
    for process in psutil.process_iter(["cmdline"]):
        if any("MapWorker" in word for word in process.info["cmdline"] or ()):
            yield process


def replica_that(act):
    """A replica that first does something with the numbers of its windows."""

    class Odd(Replica):
        def paths(self, rows):
            act(rows)
            return super().paths(rows)

    return Odd


def test_windows_that_kill_every_replica_end_the_run_with_one_line(
    windows, checkpoint, monkeypatch, tmp_path
):
    def die(rows):
        if 50 in rows:
            (tmp_path / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(backend_module, "Replica", replica_that(die))
    with pytest.raises(WorkerError, match=r"^a replica of the model died 3 times .* fewer --rep"):
        put_together(backend_of(checkpoint), windows)
    assert len(list(tmp_path.iterdir())) == 3


def test_an_error_of_a_replica_is_raised_here(windows, checkpoint, monkeypatch):
    def fail(_):
        raise StrategyError("as it was")

    monkeypatch.setattr(backend_module, "Replica", replica_that(fail))
    with pytest.raises(StrategyError, match=r"^as it was$"):
        put_together(backend_of(checkpoint), windows)


def test_a_replica_that_cannot_begin_is_one_line(windows, checkpoint, monkeypatch):
    class Short(Replica):
        def __init__(self, setup):
            raise MemoryError("no room for the weights")

    monkeypatch.setattr(backend_module, "Replica", Short)
    with pytest.raises(WorkerError, match=r"^a replica .* could not begin: .*no room for the wei"):
        put_together(backend_of(checkpoint), windows)


def test_replicas_that_round_otherwise_are_found(windows, checkpoint, monkeypatch):
    """One stands for several, since Ray may give all windows to the first that is ready."""

    class Other(Replica):
        def paths(self, rows):
            self._tiling = (int(rows[0]), 0)
            return super().paths(rows)

    monkeypatch.setattr(backend_module, "Replica", Other)
    with pytest.raises(WorkerError, match="round otherwise than one another"):
        put_together(backend_of(checkpoint, replicas=1), windows)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"replicas": 3}, r"^3 replicas of 1 CPUs each are asked for, and this .* has 2 CPUs"),
        ({"replica_threads": 3}, "a replica is to have 3 CPUs, and the largest machine .* has 2"),
        ({"replica_gpus": 1, "replicas": 1}, "a replica is to have 1 GPUs, .* has 0"),
    ],
)
def test_more_than_there_is_is_refused_at_once(windows, checkpoint, options, text):
    with pytest.raises(ConfigError, match=text):
        put_together(backend_of(checkpoint, **options), windows)


def test_the_weights_that_are_shipped_are_those_of_the_checkpoint(windows, wanted, tmp_path):
    """Another model than the bundled one, from a folder that is gone when a replica begins."""
    from shutil import copytree, rmtree

    folder = tmp_path / "other"
    copytree(Path(kronos.__file__).parent / "bundled", folder)
    checkpoint = kronos.find(str(folder))
    with torch.no_grad():
        next(checkpoint.model.head.parameters()).mul_(1.5)
    local = put_together(LocalBackend(checkpoint.predictor(device="cpu"), 1), windows)
    rmtree(folder)
    paths = put_together(backend_of(checkpoint), windows)
    np.testing.assert_array_equal(paths, local)
    assert (paths != wanted).any()
