"""How many threads of torch compute: as many as have a core, and never a bit of difference."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kronos.inference import sampler as sampler_module
from kronos.inference import threads as threads_module
from kronos.inference.threads import agreeing_threads, free_cores, threads
from tests.kronos.conftest import Golden


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def counts(monkeypatch):
    """The number of threads at each draw of a token."""
    seen = []
    draw = sampler_module.draw_tokens

    def watched(*args):
        seen.append(torch.get_num_threads())
        return draw(*args)

    monkeypatch.setattr(sampler_module, "draw_tokens", watched)
    return seen


def predicted(golden: Golden, predictor):
    frame = golden.frames[0].iloc[:40]
    times = golden.times.iloc[:40]
    future = pd.Series(pd.date_range(times.iloc[-1] + pd.Timedelta("1D"), periods=5))
    return predictor.predict(frame, times, future, 5, top_p=1.0, verbose=False, seed=1)


@pytest.mark.parametrize(("free", "used"), [(1, 1), (2, 2), (3, 2), (64, 2)])
def test_no_more_threads_compute_than_cores_are_free_and_the_setting_is_as_it_was(
    tiny, counts, monkeypatch, free, used
):
    monkeypatch.setattr(sampler_module, "free_cores", lambda: free)
    predicted(tiny, tiny.predictor())
    assert set(counts) == {used}
    assert torch.get_num_threads() == 2


def test_one_thread_and_two_give_the_same_bits(tiny, monkeypatch):
    drawn = []
    for free in (1, 2):
        monkeypatch.setattr(sampler_module, "free_cores", lambda free=free: free)
        drawn.append(predicted(tiny, tiny.predictor()).to_numpy())
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ("load", "cores", "free"),
    [("1.0 1.0 1.0 1/300 5", 4, 4), ("1.0 1.0 1.0 3/300 5", 4, 2), ("9.9 9.9 9.9 40/300 5", 4, 1)],
)
def test_cores_are_free_that_no_other_process_uses(monkeypatch, tmp_path, load, cores, free):
    """This thread is one of those that run."""
    (tmp_path / "loadavg").write_text(load)
    monkeypatch.setattr(threads_module, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(threads_module, "_own_running", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert free_cores() == free


@pytest.mark.parametrize("text", [None, "", "of another form"])
def test_all_cores_are_free_where_the_system_does_not_say(monkeypatch, tmp_path, text):
    if text is not None:
        (tmp_path / "loadavg").write_text(text)
    monkeypatch.setattr(threads_module, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert free_cores() == 5


@pytest.fixture
def thousand_cores(monkeypatch):
    """More than can be taken, whatever else runs on this machine."""
    if not Path("/proc/loadavg").exists():
        pytest.skip("the system does not say what runs")
    monkeypatch.setattr(os, "cpu_count", lambda: 1000)


@pytest.mark.usefixtures("thousand_cores")
def test_other_processes_take_cores():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        time.sleep(0.3)
        assert max(free_cores() for _ in range(20)) <= 1000 - 6
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("thousand_cores")
def test_threads_of_this_process_take_none(monkeypatch, tmp_path):
    (tmp_path / "loadavg").write_text("7.0 7.0 7.0 7/300 5")  # those below, and this one
    monkeypatch.setattr(threads_module, "LOAD", tmp_path / "loadavg")
    rounds = 3_000_000  # about a second without the interpreter's lock
    busy = [
        threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", rounds))
        for _ in range(6)
    ]
    for thread in busy:
        thread.start()
    try:
        assert max(free_cores() for _ in range(20)) == 1000
    finally:
        for thread in busy:
            thread.join()


def test_the_setting_is_as_it_was_after_an_error(tiny, monkeypatch):
    predictor = tiny.predictor()

    def fail(*_):
        raise MemoryError("none left")

    monkeypatch.setattr(sampler_module, "draw_tokens", fail)
    with pytest.raises(MemoryError, match="none left"):
        predicted(tiny, predictor)
    assert torch.get_num_threads() == 2


def test_another_thread_keeps_its_own_number():
    seen, ready, go = [], threading.Event(), threading.Event()

    def work():
        seen.append(torch.get_num_threads())
        ready.set()
        go.wait(10)
        seen.append(torch.get_num_threads())

    other = threading.Thread(target=work)
    other.start()
    ready.wait(10)
    with threads(1):
        go.set()
        other.join()
    assert seen == [2, 2]


def test_a_sampler_serves_one_thread_as_well_as_those_it_was_made_for(tiny):
    predictor = tiny.predictor()
    first = predictor._sampler()
    for count, same in ((1, True), (2, True), (3, False)):
        torch.set_num_threads(count)
        assert (predictor._sampler() is first) is same


class Split:
    """An operand whose sums come out otherwise with more than `most` threads."""

    in_features = out_features = 8

    def __init__(self, most):
        self.weight = torch.eye(8)
        self._most = most

    def __call__(self, x):
        return x @ self.weight + (torch.get_num_threads() > self._most)


@pytest.mark.parametrize(
    ("most", "agreeing"),
    [(1, (1,)), (2, (2, 1)), (3, (2, 1)), (7, (4, 2, 1)), (8, (8, 4, 2, 1))],
)
def test_threads_whose_products_differ_are_not_used(most, agreeing):
    torch.set_num_threads(8)
    assert agreeing_threads([Split(most)]) == agreeing
    assert torch.get_num_threads() == 8


def test_products_of_every_size_must_agree():
    torch.set_num_threads(4)

    class Wide(Split):
        out_features = 9

    assert agreeing_threads([Split(4), Wide(2)]) == (2, 1)
