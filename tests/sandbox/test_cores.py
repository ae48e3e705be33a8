"""Work over the cores of a machine is the work done one after the other."""

import multiprocessing
import os
import pickle
import signal
import threading
import time

import pytest

from sandbox import cores
from sandbox.cores import over_cores, results_over_cores
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
    with pytest.raises(WorkerError, match=r"^[01]: .* ended by itself with status 1"):
        over_cores(lambda *_: os._exit(1), range(4), lambda *_: None)


def test_an_error_ends_the_work_that_still_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    begun, finished = tmp_path / "begun", tmp_path / "finished"

    def slow_or_wrong(number, _):
        if number == 1:
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


def test_a_worker_killed_by_the_system_names_its_piece_and_the_likely_reason(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)

    def die(word, _):
        if word == "three":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)

    words = ["one", "two", "three", "four", "five"]
    with pytest.raises(WorkerError) as failed:
        over_cores(die, words, lambda *_: None, name=lambda word: f"piece {word}")
    told = str(failed.value)
    assert told.startswith("piece three: the process that worked on it was killed by SIGKILL, ")
    assert "memory" in told and "--samples" in told
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_another_signal_is_named_and_not_taken_for_a_lack_of_memory(monkeypatch, name):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    with pytest.raises(WorkerError, match=rf"^[01]: .* was killed by {name}$"):
        number = getattr(signal, name)
        over_cores(lambda *_: os.kill(os.getpid(), number), range(2), lambda *_: None)


class OddError(Exception):
    """Cannot be made again from its text, as many errors of libraries."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


@pytest.mark.parametrize(
    ("error", "text"),
    [(OddError(1, 2), "OddError: 1 and 2"), (SystemExit(3), "SystemExit: 3"),
     (ValueError(lambda: None), "ValueError: <function")],
)  # fmt: skip
def test_an_error_that_cannot_be_sent_is_told_all_the_same(monkeypatch, error, text):
    monkeypatch.setattr(cores, "cores", lambda: 2)

    def fail(*_):
        raise error

    with pytest.raises(WorkerError, match=f"^[01]: {text}") as failed:
        over_cores(fail, range(2), lambda *_: None)
    assert "in fail" in str(failed.value.__cause__)  # the worker's own traceback, for --debug


def test_a_result_that_cannot_be_sent_is_an_error(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match="pickle"):
        over_cores(lambda *_: lambda: None, range(2), lambda *_: None)


def test_threads_and_children_of_a_piece_keep_nobody_waiting(monkeypatch, capfd):
    """Neither a thread that never ends, nor a child that holds on to the worker's pipe."""
    monkeypatch.setattr(cores, "cores", lambda: 2)
    children = multiprocessing.get_context("fork").RawArray("q", 7)

    def work(nth, _):
        threading.Thread(target=time.sleep, args=(60,)).start()
        print(f"printed by {nth}")
        if not (child := os.fork()):
            time.sleep(60)
            os._exit(0)
        children[nth] = child
        if nth == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return nth

    began = time.monotonic()
    try:
        assert over_cores(work, range(3), lambda *_: None) == [0, 1, 2]
        assert sorted(capfd.readouterr().out.split("\n")) == sorted(
            ["", *(f"printed by {nth}" for nth in range(3))]
        )
        with pytest.raises(WorkerError, match=r"^6: .* killed by SIGKILL"):
            over_cores(work, range(3, 7), lambda *_: None)
    finally:
        for child in children:
            if child:
                os.kill(child, signal.SIGKILL)
    assert time.monotonic() - began < 30


def test_a_result_comes_as_soon_as_it_is_done(monkeypatch, tmp_path):
    """The first piece waits until the caller has had all the others."""
    monkeypatch.setattr(cores, "cores", lambda: 2)
    had = tmp_path / "had"

    def work(nth, _):
        while nth == 0 and not had.exists():
            time.sleep(0.01)
        return 10 * nth

    results = results_over_cores(work, range(5), lambda *_: None)
    assert [next(results) for _ in range(4)] == [(nth, 10 * nth) for nth in range(1, 5)]
    had.touch()
    assert list(results) == [(0, 0)]
    assert not multiprocessing.active_children()


def test_workers_end_with_the_iterator_that_is_closed(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    results = results_over_cores(lambda nth, _: time.sleep(60 * nth), range(2), lambda *_: None)
    assert next(results) == (0, None)
    assert len(multiprocessing.active_children()) == 2
    began = time.monotonic()
    results.close()
    assert not multiprocessing.active_children()
    assert time.monotonic() - began < 10


@pytest.fixture
def dies_at_three(tmp_path):
    """Work of four steps that kills its process after two at piece 3, as often as it is told."""

    def make(times):
        def work(nth, tell):
            for step in range(1, STEPS + 1):
                if (nth, step) == (3, 3) and len(list(tmp_path.iterdir())) < times:
                    (tmp_path / str(os.getpid())).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                tell(step, STEPS)
            return nth

        return work

    return make


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_piece_whose_worker_died_is_given_to_another_one(tmp_path, dies_at_three, workers):
    told = []
    work = dies_at_three(times=2)
    results = results_over_cores(
        work, range(6), lambda *counts: told.append(counts), most=workers, attempts=3
    )
    assert sorted(results) == [(nth, nth) for nth in range(6)]
    assert len(list(tmp_path.iterdir())) == 2  # two processes
    assert told[-1] == (6 * STEPS, 6 * STEPS)
    assert max(told) == told[-1]  # what was done twice is counted once
    assert not multiprocessing.active_children()


def test_a_piece_that_has_had_its_attempts_is_an_error(tmp_path, dies_at_three):
    work = dies_at_three(times=9)
    results = results_over_cores(
        work, range(6), lambda *_: None, lambda nth: f"piece {nth}", most=2, attempts=2
    )
    done = []
    with pytest.raises(WorkerError, match=r"^piece 3: the process .* was killed by SIGKILL"):
        done.extend(nth for nth, _ in results)
    assert len(list(tmp_path.iterdir())) == 2
    assert not multiprocessing.active_children()


def test_what_is_done_is_had_before_an_error_that_came_at_the_same_time(monkeypatch):
    """Both pieces are there when the caller looks."""
    monkeypatch.setattr(cores, "cores", lambda: 2)

    def work(nth, _):
        if nth == 2:
            raise ValueError("two")
        return nth

    results = results_over_cores(work, range(3), lambda *_: None)
    done = [next(results)]
    time.sleep(0.5)
    with pytest.raises(ValueError, match="two"):
        done.extend(results)
    assert sorted(done) == [(0, 0), (1, 1)]


def test_of_several_errors_the_first_piece_s_is_raised_however_late_it_comes(monkeypatch, tmp_path):
    """As where there is one core; what comes after it may have been done or not."""
    monkeypatch.setattr(cores, "cores", lambda: 3)
    raised = tmp_path / "raised"

    def work(nth, _):
        if nth == 0:
            return nth
        if nth == 1:
            while not raised.exists():
                time.sleep(0.01)
            time.sleep(0.3)
        else:
            raised.touch()
        raise ValueError(f"piece {nth}")

    results = results_over_cores(work, range(9), lambda *_: None)
    done = []
    with pytest.raises(ValueError, match="piece 1"):
        done.extend(results)
    assert done == [(0, 0)]
    assert not multiprocessing.active_children()


def test_a_piece_before_an_error_is_done_again_where_its_worker_dies(tmp_path):
    raised, died = tmp_path / "raised", tmp_path / "died"

    def work(nth, _):
        if nth == 1:
            raised.touch()
            raise ValueError("piece 1")
        while not raised.exists():
            time.sleep(0.01)
        if not died.exists():
            died.touch()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        return nth

    results = results_over_cores(work, range(4), lambda *_: None, most=2, attempts=2)
    done = []
    with pytest.raises(ValueError, match="piece 1"):
        done.extend(results)
    assert done == [(0, 0)]


def test_a_worker_that_uses_torch_with_one_thread_does_not_wait_for_those_of_its_parent():
    torch = pytest.importorskip("torch")
    matrix = torch.rand(300, 300)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wanted = float((matrix @ matrix).exp().sum())

        def work(*_):
            torch.set_num_threads(1)
            return float((matrix @ matrix).exp().sum())

        assert over_cores(work, range(8), lambda *_: None, most=4) == pytest.approx([wanted] * 8)
    finally:
        torch.set_num_threads(threads)
