"""Independent pieces of work over the cores of this machine, in the order they were given.

Workers are forked, so that what they work on is shared and never pickled; where a process cannot
be forked safely, the pieces are done here one after the other. What comes out is the same.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from sandbox.progress import Progress

Piece = TypeVar("Piece")
Done = TypeVar("Done")
Work = Callable[[Piece, Progress], Done]

SECS_BETWEEN_LOOKS = 0.1

_forked: Any = None  # the work and its pieces, for the workers that are forked while it is set


def over_cores(
    work: Work[Piece, Done], pieces: Sequence[Piece], progress: Progress, most: int | None = None
) -> list[Done]:
    """`work` of every piece. It tells of its own steps, and every piece has as many.

    An error of a worker is raised here, and what the others have not done is left undone. With
    `most`, there are that many workers at most, and a single one is forked, too.
    """
    workers = min(len(pieces), cores() if most is None else most)
    here = workers < (2 if most is None else 1)
    if here or not sys.platform.startswith("linux"):
        return [
            work(piece, partial(_after, progress, nth, len(pieces)))
            for nth, piece in enumerate(pieces)
        ]
    return _forked_over(workers, work, pieces, progress)


def cores() -> int:
    """Those this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _after(progress: Progress, nth: int, pieces: int, done: int, steps: int) -> None:
    progress(nth * steps + done, pieces * steps)


def _forked_over(
    workers: int, work: Work[Piece, Done], pieces: Sequence[Piece], progress: Progress
) -> list[Done]:
    global _forked
    fork, others = multiprocessing.get_context("fork"), multiprocessing.active_children()
    steps_done, steps_each = fork.Value("q", 0), fork.Value("q", 0)
    _forked = (work, pieces, steps_done, steps_each)
    with ProcessPoolExecutor(workers, fork, initializer=_begin) as pool:
        try:
            with warnings.catch_warnings():  # from 3.12 on, of threads: workers use none of theirs
                warnings.simplefilter("ignore", DeprecationWarning)
                results = [pool.submit(_one, nth) for nth in range(len(pieces))]
            _wait(results, lambda: (steps_done.value, len(pieces) * steps_each.value), progress)
        except BaseException:  # Ctrl-C as well: leaving the pool would wait for every piece
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            _forked = None
        return [one.result() for one in results]


def _wait(
    results: Sequence[Future[Any]], steps: Callable[[], tuple[int, int]], progress: Progress
) -> None:
    """Until all are done; raises a worker's error as soon as there is one."""
    waiting: set[Future[Any]] = set(results)
    while waiting:
        done, waiting = wait(waiting, SECS_BETWEEN_LOOKS)
        for one in done:
            _ = one.result()
        steps_done, steps_in_all = steps()
        if steps_in_all:
            progress(steps_done, steps_in_all)


def _begin() -> None:
    """Ctrl-C ends a worker without a traceback, the parent tells; what it shares is not searched
    for garbage, which would copy it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.freeze()


def _one(nth: int) -> Any:
    work, pieces, steps_done, steps_each = _forked

    def tell(_: int, steps: int) -> None:
        steps_each.value = steps
        with steps_done.get_lock():
            steps_done.value += 1

    return work(pieces[nth], tell)
