"""Work over the cores of a machine is the work done one after the other."""

import multiprocessing
import os
import time

import pytest

from sandbox import cores
from sandbox.cores import over_cores
from sandbox.errors import WorkerError

STEPS = 4


def squared(number, tell):
    for step in range(1, STEPS + 1):
        tell(step, STEPS)
    return os.getpid(), number * number


@pytest.fixture(params=[1, 3])
def workers(request, monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: request.param)
    return request.param


def test_results_come_in_the_order_given_and_every_step_is_told(workers):
    told = []
    done = over_cores(squared, range(10), lambda *counts: told.append(counts))
    assert [result for _, result in done] == [number * number for number in range(10)]
    assert told[-1] == (10 * STEPS, 10 * STEPS)
    assert told == sorted(told)
    here = {pid for pid, _ in done} == {os.getpid()}
    assert here == (workers == 1)


@pytest.mark.usefixtures("workers")
def test_an_error_is_raised_here():
    def fail(number, _):
        if number == 2:
            raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        over_cores(fail, range(5), lambda *_: None)


def test_a_worker_that_dies_is_told_not_waited_for(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    with pytest.raises(WorkerError, match=r"^0: .* ended by itself with status 1"):
        over_cores(lambda *_: os._exit(1), range(4), lambda *_: None)


def test_an_error_ends_the_work_that_still_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    begun, finished = tmp_path / "begun", tmp_path / "finished"

    def slow_or_wrong(number, _):
        if number == 0:
            begun.touch()
            time.sleep(3)
            finished.touch()
        while not begun.exists():
            time.sleep(0.01)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        over_cores(slow_or_wrong, range(6), lambda *_: None)
    assert begun.exists()
    assert not finished.exists()
    assert not multiprocessing.active_children()
