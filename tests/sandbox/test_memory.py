"""Too many forecasts are refused before they are computed, with what would fit."""

import errno
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from sandbox import memory
from sandbox.cli import guarded
from sandbox.config import Sampling
from sandbox.errors import MemoryShortError
from sandbox.forecast import paths as paths_module
from sandbox.forecast import windows
from sandbox.forecast.naive import NaiveSource
from sandbox.forecast.sources import KronosSource
from sandbox.memory import available_bytes, expect_room, room_on_disk
from sandbox.run import job
from sandbox.run.__main__ import main
from sandbox.store.sets import ForecastStore

TOPK = str(job.ROOT / "strategies" / "topk.py")
KB, MB, GB = 1024, 10**6, 10**9


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes files of a system: /proc and /sys/fs/cgroup by another name."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    limits = dict.fromkeys((resource.RLIMIT_AS, resource.RLIMIT_DATA), resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], -1))

    def write(files, **rlimits):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        limits.update({getattr(resource, name): most for name, most in rlimits.items()})

    write({"proc/meminfo": "MemTotal: 900 kB\nMemAvailable:   700 kB\nSwapFree: 100 kB\n\n"})
    return write


def test_the_machine_s_free_memory_and_swap_are_available(system):
    assert available_bytes() == 800 * KB


def test_a_group_s_limit_counts_whatever_its_depth_and_its_cache_can_go(system):
    inner, outer = "groups/outer/inner/memory", "groups/outer/memory"
    system({
        "proc/self/cgroup": "0::/outer/inner\n",
        f"{inner}.max": "max\n", f"{inner}.current": "1000\n",
        f"{outer}.max": "5000\n", f"{outer}.current": "4000\n",
        f"{outer}.stat": "anon 3000\ninactive_file 700\nactive_file 300\n",
    })  # fmt: skip
    assert available_bytes() == 1_700


def test_groups_of_the_first_version_are_read_as_well(system):
    group = "groups/memory/box/memory"
    system({
        "proc/self/cgroup": "5:cpu:/elsewhere\n4:memory:/box\n0::/\n",
        f"{group}.limit_in_bytes": "5000\n", f"{group}.usage_in_bytes": "4500\n",
        f"{group}.stat": "total_inactive_file 100\n",
    })  # fmt: skip
    assert available_bytes() == 600


def test_a_container_sees_its_own_group_as_the_root(system):
    system({
        "proc/self/cgroup": "0::/../../a/path/outside\n",
        "groups/memory.max": "5000\n", "groups/memory.current": "4500\n",
    })  # fmt: skip
    assert available_bytes() == 500


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_process_s_own_limits_count(system, limit):
    system({"proc/self/status": "VmSize:\t 50 kB\nVmData:\t 50 kB\n"}, **{limit: 60 * KB})
    assert available_bytes() == 10 * KB


def test_a_group_over_its_limit_has_nothing_left(system):
    system({
        "proc/self/cgroup": "0::/\n", "groups/memory.max": "10\n", "groups/memory.current": "99\n",
    })  # fmt: skip
    assert available_bytes() == 0


def test_where_the_system_says_nothing_nothing_is_refused(tmp_path, monkeypatch):
    for name in ("PROC", "CGROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    assert available_bytes() is None
    expect_room(10**9, 10**9, "")


def test_what_fits_exactly_is_not_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_000)
    expect_room(10, 100, "")
    with pytest.raises(
        MemoryShortError, match=r"^11 forecasts \(x\) need .* 10 fit; a smaller --s"
    ):
        expect_room(11, 100, "x")


def test_what_does_not_grow_is_counted_once(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_000)
    expect_room(10, 90, "", besides=100)
    with pytest.raises(MemoryShortError, match=r"^11 forecasts .* need 0\.0 MB .* 10 fit; "):
        expect_room(11, 90, "x", besides=100)
    with pytest.raises(MemoryShortError, match=" 0 fit; "):
        expect_room(1, 90, "x", besides=2_000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_folder_that_is_memory_has_no_more_room_than_memory(system, tmp_path):
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    assert room_on_disk(tmp_path) > 800 * KB
    others = "24 1 0:1 / /proc rw shared:5 - proc proc rw\nnonsense\n"
    for kind, room in (("ext4", None), ("tmpfs", 800 * KB)):
        mount = f"30 1 {number} / {tmp_path} rw shared:1 - {kind} {kind} rw\n"
        system({"proc/self/mountinfo": others + mount})
        assert room is None or room_on_disk(tmp_path) == room
        assert room is not None or room_on_disk(tmp_path) > 800 * KB


class NoPredictor:
    """A checkpoint that must not be asked."""

    name, fingerprint = "none", "0"

    def predictor(self, **_):
        raise AssertionError("asked to compute forecasts that do not fit")


def test_forecasts_are_refused_before_anything_is_allocated(market, monkeypatch):
    sampling = Sampling(lookback=10, horizon=100, samples=1_000)
    frames = market(("A", "B"), bars=60)
    each = 4 * 1_000 * 100 * 6  # float32 paths
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * each)
    source = KronosSource(NoPredictor(), store=None)
    with pytest.raises(MemoryShortError) as refused:
        source.book(frames, sampling, frames["A"].index)
    told = str(refused.value)
    assert told.startswith("102 forecasts (1,000 paths of 100 bars each, in memory as there is no ")
    assert "--store) need 244.8 MB of memory, and 240.0 MB are free: 100 fit; " in told
    for option in ("--samples", "--horizon", "--start", "rebalance", "symbols"):
        assert option in told
    monkeypatch.setattr(memory, "available_bytes", lambda: 103 * each)
    with pytest.raises(AssertionError, match="asked to compute"):
        source.book(frames, sampling, frames["A"].index)


def test_paths_on_disk_count_as_what_is_held_of_them_at_a_time(market, monkeypatch, tmp_path):
    sampling = Sampling(lookback=10, horizon=100, samples=1_000)
    frames = market(("A", "B"), bars=100)
    monkeypatch.setattr(paths_module, "MOST_IN_MEMORY", 100 << 20)
    at_a_time = (128 + 3 * 256) << 20  # what waits to be written, and three times a piece
    source = KronosSource(NoPredictor(), store=ForecastStore(tmp_path / "store"))
    for work in (source.book, source.fill_store):
        monkeypatch.setattr(memory, "available_bytes", lambda: at_a_time // 2)
        with pytest.raises(
            MemoryShortError, match=r"^182 forecasts \(1,000 paths of 100 bars each, kept on disk\)"
        ):
            work(frames, sampling, frames["A"].index)
        monkeypatch.setattr(memory, "available_bytes", lambda: at_a_time + 182 * 200)
        with pytest.raises(AssertionError, match="asked to compute"):
            work(frames, sampling, frames["A"].index)


def test_the_times_to_come_count_as_well(market, monkeypatch):
    """They alone do not fit: no source has a use for the windows."""
    sampling = Sampling(lookback=10, horizon=500, samples=1)
    frames = market(("A",), bars=60)
    monkeypatch.setattr(memory, "available_bytes", lambda: 51 * 500 * 8)
    monkeypatch.setattr(windows, "future_times", None)  # not reached
    with pytest.raises(MemoryShortError, match=r"^51 forecasts"):
        NaiveSource("momentum").book(frames, sampling, frames["A"].index)


def test_a_naive_signal_s_cache_counts(market, monkeypatch):
    sampling = Sampling(lookback=10, horizon=10, samples=4_000)
    frames = market(("A",), bars=60)
    monkeypatch.setattr(memory, "available_bytes", lambda: 51 * 4 * 4_000 * 10 - 1)
    with pytest.raises(MemoryShortError, match=r"^51 forecasts"):
        NaiveSource("momentum").book(frames, sampling, frames["A"].index)


def test_what_a_naive_signal_never_keeps_does_not_count(market, monkeypatch):
    """It keeps two blocks of 128 windows of a symbol, however many there are."""
    sampling = Sampling(lookback=10, horizon=100, samples=1_000)
    frames = market(("A",), bars=400)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * 128 * 4 * 1_000 * 100)
    assert len(NaiveSource("momentum").book(frames, sampling, frames["A"].index)) == 391


@pytest.mark.usefixtures("fake_model")
def test_a_run_says_so_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "available_bytes", lambda: 5 * MB)
    assert main([TOPK, "--samples", "4096", "--horizon", "100"]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert (
        "forecasts (4,096 paths of 100 bars each, kept on disk) need" in line and " 0 fit; " in line
    )
    assert not list((tmp_path / "runs").iterdir())


def too_large():
    np.empty(10**15)


def killed_by_torch():
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def no_fork():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def no_words():
    raise MemoryError


@pytest.mark.parametrize("work", [too_large, killed_by_torch, no_fork, no_words])
def test_memory_that_runs_out_anywhere_is_one_line_with_what_to_do(work, capsys):
    assert guarded(work, debug=False) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: memory ran out")
    assert "--samples" in line and "--start" in line and ".py" not in line


def test_a_strategy_that_runs_out_of_memory_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "import numpy\nfrom sandbox import Strategy\nclass Big(Strategy):\n"
    (tmp_path / "big.py").write_text(f"{code}    def next(self): numpy.empty(10**15)\n")
    options = ["--start", "2021-01-04", "--end", "2021-02-26", "--signal", "momentum"]
    assert main(["big.py", *options, "--no-controls", "--no-benchmark"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: big: memory ran out (Unable to allocate")
    assert "big.py:4" in last


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and its limits")
def test_a_limit_set_by_the_shell_is_heeded(tmp_path):
    """The real model and `ulimit -v`: 12,580 forecasts of 100 bars."""

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (6 * GB, 6 * GB))

    options = ["--samples", "1000", "--horizon", "100", "--param", "rebalance=bar"]
    options += ["--store", "none"]
    run = subprocess.run(
        [sys.executable, "-m", "sandbox.run", TOPK, *options], preexec_fn=limited, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(job.ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    [line] = [line for line in run.stderr.splitlines() if line.startswith("error")]
    assert line.startswith("error: 12,580 forecasts (1,000 paths of 100 bars each, in memory as ")
    assert " fit; " in line
    assert not list((tmp_path / "runs").iterdir())
