"""Independent pieces of work over the cores of this machine, in the order they were given.

Workers are forked, so that what they work on is shared and never pickled; where a process cannot
be forked safely, the pieces are done here one after the other. What comes out is the same. A worker
has one piece at a time, so that of one that is killed it is known what it was at. None outlives the
process that forked it.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from sandbox import interrupts
from sandbox.errors import WorkerError
from sandbox.memory import LESS
from sandbox.progress import Progress

Piece = TypeVar("Piece")
Done = TypeVar("Done")
Work = Callable[[Piece, Progress], Done]

SECS_BETWEEN_LOOKS = 0.1
SECS_TO_END = 1.0  # of a worker that has nothing left to do, but perhaps threads of its own
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


def over_cores(
    work: Work[Piece, Done],
    pieces: Sequence[Piece],
    progress: Progress,
    name: Callable[[Piece], str] = str,
    most: int | None = None,
) -> list[Done]:
    """`work` of every piece. It tells of its own steps, and every piece has as many.

    An error of a worker is raised here, and what the others have not done is left undone. `name`
    is what a piece is called where its worker dies. With `most`, there are that many workers at
    most, and a single one is forked, too.
    """
    workers = min(len(pieces), cores() if most is None else most)
    here = workers < (2 if most is None else 1)
    if here or not sys.platform.startswith("linux"):
        return [
            work(piece, partial(_after, progress, nth, len(pieces)))
            for nth, piece in enumerate(pieces)
        ]
    steps = multiprocessing.get_context("fork").RawArray("q", workers + 1)
    job = _Job(work=work, pieces=pieces, steps=steps)
    with _crew(job, workers) as crew:
        return _handed_out(job, crew, progress, name)


def cores() -> int:
    """Those this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def how_it_ended(exit_code: int | None) -> str:
    """A process that ended too early, in words."""
    if exit_code is None or exit_code >= 0:
        return (
            f"ended by itself with status {exit_code}, without saying why: something in it calls "
            "os._exit"
        )
    try:
        killed = f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        killed = f"was killed by signal {-exit_code}"
    if exit_code == -signal.SIGKILL:
        return (
            f"{killed}, which the system does when memory runs out: {LESS}, and so do fewer cores "
            "at a time (taskset -c 0 before the command)"
        )
    return killed


def end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, however that ends (Linux only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it was asked for
        os._exit(1)


def _after(progress: Progress, nth: int, pieces: int, done: int, steps: int) -> None:
    progress(nth * steps + done, pieces * steps)


@dataclass(frozen=True, kw_only=True)
class _Job(Generic[Piece, Done]):
    """What all workers share."""

    work: Work[Piece, Done]
    pieces: Sequence[Piece]
    steps: Any  # done by each worker, then those of one piece; a number has one writer: no locks


class _Worker(Generic[Piece, Done]):
    """A forked process, and the piece that it has."""

    def __init__(self, job: _Job[Piece, Done], place: int) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.piece = -1
        fork = multiprocessing.get_context("fork")
        self._process: BaseProcess = fork.Process(
            target=_serve, args=(job, place, theirs, os.getpid()), daemon=False
        )
        with warnings.catch_warnings():  # from 3.12 on, of threads: workers use none of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def give(self, piece: int) -> None:
        self.piece = piece
        with suppress(OSError):  # it has died, which `is_alive` finds
            self.connection.send(piece)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def exit_code(self) -> int | None:
        self._process.join(SECS_TO_END)
        return self._process.exitcode

    def end(self) -> None:
        """At once where it is at work, else as soon as it has printed what it had to."""
        if self.piece < 0:
            with suppress(OSError):
                self.connection.send(None)
            self._process.join(SECS_TO_END)
        self.kill()
        self.connection.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def _crew(job: _Job[Piece, Done], workers: int) -> Iterator[list[_Worker[Piece, Done]]]:
    """Workers without work; none is left when the block ends, nor when a signal ends it."""
    crew: list[_Worker[Piece, Done]] = []

    def kill() -> None:
        for worker in crew:
            worker.kill()

    with interrupts.tidied(kill):
        try:
            for place in range(workers):
                crew.append(_Worker(job, place))
            yield crew
        finally:
            for worker in crew:
                worker.end()


def _handed_out(
    job: _Job[Piece, Done],
    crew: Sequence[_Worker[Piece, Done]],
    progress: Progress,
    name: Callable[[Piece], str],
) -> list[Done]:
    """The results, once every piece has been given to a worker that was free."""
    results: dict[int, Done] = {}
    left = iter(range(len(job.pieces)))
    busy = {worker.connection: worker for worker in crew}
    for worker in crew:
        worker.give(next(left))
    while busy:
        ready = wait(list(busy), SECS_BETWEEN_LOOKS)
        dead = [at for at, worker in busy.items() if at not in ready and not worker.is_alive()]
        for connection in [at for at in busy if at in ready or at in dead]:
            worker = busy[connection]
            results[worker.piece] = _result(worker, name(job.pieces[worker.piece]))
            worker.piece = -1
            piece = next(left, None)
            if piece is None:
                del busy[connection]
            else:
                worker.give(piece)
        *done, each = job.steps
        if each:
            progress(sum(done), len(job.pieces) * each)
    return [results[nth] for nth in range(len(job.pieces))]


def _result(worker: _Worker[Piece, Done], piece: str) -> Done:
    """What a worker has sent; raises its error, or says how it died."""
    try:
        if not worker.connection.poll():
            raise EOFError
        error, told = worker.connection.recv()
    except (EOFError, OSError):
        raise WorkerError(
            f"{piece}: the process that worked on it {how_it_ended(worker.exit_code())}"
        ) from None
    if error is not None:
        if isinstance(error, str):
            error = WorkerError(f"{piece}: {error}")
        raise error from _InWorker(told)
    result: Done = told
    return result


class _InWorker(Exception):  # noqa: N818 - not an error of its own: the traceback of one
    """Where in its worker an error was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve(job: _Job[Any, Any], place: int, connection: Connection, parent: int) -> None:
    """A worker's life: pieces in, results or errors out, until it is sent None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    for number in set(interrupts.SIGNALS) - {signal.SIGINT}:
        signal.signal(number, signal.SIG_DFL)
    end_with(parent)
    gc.freeze()  # searching what is shared for garbage would copy it

    def tell(_: int, steps: int) -> None:
        job.steps[-1] = steps
        job.steps[place] += 1

    while (nth := connection.recv()) is not None:
        try:
            sent = pickle.dumps((None, job.work(job.pieces[nth], tell)))
        except BaseException as error:
            sent = pickle.dumps((_portable(error), traceback.format_exc()))
        connection.send_bytes(sent)


def _portable(error: BaseException) -> Exception | str:
    """The error, or its text where it cannot be sent and raised in another process."""
    with suppress(Exception):
        back = pickle.loads(pickle.dumps(error))
        if isinstance(back, Exception) and str(back) == str(error):
            return back
    return f"{type(error).__name__}: {error}"
