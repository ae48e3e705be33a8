"""Independent pieces of work over the cores of this machine.

Workers are forked, so that what they work on is shared and never pickled; where a process cannot
be forked safely, the pieces are done here one after the other. What comes out is the same. A worker
has one piece at a time, so that of one that is killed it is known what it was at. None outlives the
process that forked it.

A worker may use torch with one thread. More would hang: the threads that its parent computed with
are not there after a fork.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar, Generic, TypeVar

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
    """`work` of every piece, in the order given: see `results_over_cores`."""
    results = dict(results_over_cores(work, pieces, progress, name, most=most))
    return [results[nth] for nth in range(len(pieces))]


def results_over_cores(
    work: Work[Piece, Done],
    pieces: Sequence[Piece],
    progress: Progress,
    name: Callable[[Piece], str] = str,
    *,
    most: int | None = None,
    attempts: int = 1,
) -> Iterator[tuple[int, Done]]:
    """`work` of every piece with the piece's place, as soon as it is done.

    Work says how many of its steps are done and how many it has; `progress` hears the steps done in
    all pieces, and of how many if every piece has as many. An error of a worker is raised here once
    every piece before its own is done, so that it is the one that working on one piece after the
    other meets; what else is not done is left undone. A piece whose worker dies is given to another
    one until it has had `attempts`; then WorkerError says how the last of them died. `name` is what
    a piece is called there. With `most`, there are that many workers at most, and a single one is
    forked, too. The workers end when the iterator does, or is closed.
    """
    results = _results(work, pieces, progress, name, most, attempts)
    _open.add(results)
    return results


def _results(
    work: Work[Piece, Done],
    pieces: Sequence[Piece],
    progress: Progress,
    name: Callable[[Piece], str],
    most: int | None,
    attempts: int,
) -> Generator[tuple[int, Done]]:
    workers = min(len(pieces), cores() if most is None else most)
    if workers < (2 if most is None else 1) or not can_fork():
        for nth, piece in enumerate(pieces):
            yield nth, work(piece, partial(_after, progress, nth, len(pieces)))
        return
    steps = multiprocessing.get_context("fork").RawArray("q", len(pieces) + 1)
    job = _Job(work=work, pieces=pieces, steps=steps)
    with _crew() as crew:
        yield from _HandOut(job, crew, name, attempts).results(workers, progress)


_open: weakref.WeakSet[Generator[Any]] = weakref.WeakSet()  # iterators, those that ended as well


@atexit.register
def _close_open() -> None:
    """Before modules are taken down, and before multiprocessing waits for workers to end."""
    for results in list(_open):
        with suppress(ValueError):  # at work in another thread
            results.close()


def can_fork() -> bool:
    """Whether this process, with the threads that it has, can be forked safely."""
    return sys.platform.startswith("linux") and not _Forks.kept_off


class _Forks:
    """One for the process."""

    kept_off: ClassVar[int] = 0  # blocks that run `without_forks`


@contextmanager
def without_forks() -> Iterator[None]:
    """In this block all is computed in this process: for as long as it has threads or connections
    that a forked copy of it would disturb, as gRPC's."""
    _Forks.kept_off += 1
    try:
        yield
    finally:
        _Forks.kept_off -= 1


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
    steps: Any  # done of each piece, then those that one has; a number has one writer: no locks

    def report(self, progress: Progress) -> None:
        """Steps done, and of how many if every piece has as many."""
        *done, each = self.steps
        if each:
            progress(sum(done), len(self.pieces) * each)


class _Worker(Generic[Piece, Done]):
    """A forked process, and the piece that it has."""

    def __init__(self, job: _Job[Piece, Done]) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.piece = -1  # its place; none is negative
        fork = multiprocessing.get_context("fork")
        self._process: BaseProcess = fork.Process(
            target=_serve, args=(job, theirs, os.getpid()), daemon=False
        )
        with warnings.catch_warnings():  # from 3.12 on, of threads: workers use none of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def give(self, piece: int) -> None:
        self.piece = piece
        with suppress(OSError):  # it has died, which `is_alive` finds
            self.connection.send(piece)

    @property
    def is_busy(self) -> bool:
        return self.piece >= 0

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def result(self, name: str) -> Done:
        """What it has sent, which makes it free; its error is raised with the piece's `name`."""
        try:
            if not self.connection.poll():
                raise EOFError
            error, sent = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(SECS_TO_END)
            raise _WorkerDiedError(how_it_ended(self._process.exitcode)) from None
        self.piece = -1
        if error is not None:
            if isinstance(error, str):
                error = WorkerError(f"{name}: {error}")
            raise error from _InWorker(sent)
        result: Done = sent
        return result

    def dismiss(self) -> None:
        """Where it has no work it ends, as soon as it has printed what it had to."""
        if not self.is_busy:
            with suppress(OSError):
                self.connection.send(None)

    def end(self) -> None:
        """At once where it is at work."""
        if not self.is_busy:
            self._process.join(SECS_TO_END)
        self.kill()
        self.connection.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def _crew() -> Iterator[list[_Worker[Any, Any]]]:
    """A list for workers: none is left when the block ends, nor when a signal ends it."""
    crew: list[_Worker[Any, Any]] = []

    def kill() -> None:
        for worker in crew:
            worker.kill()

    with interrupts.tidied(kill):
        try:
            yield crew
        finally:
            for worker in crew:
                worker.dismiss()
            for worker in crew:
                worker.end()


class _HandOut(Generic[Piece, Done]):
    """Forks workers, gives each a piece when it is free, and takes the results."""

    def __init__(
        self,
        job: _Job[Piece, Done],
        crew: list[_Worker[Piece, Done]],
        name: Callable[[Piece], str],
        attempts: int,
    ) -> None:
        self._job, self._crew, self._name = job, crew, name
        self._left = deque(range(len(job.pieces)))
        self._attempts_left = [attempts] * len(job.pieces)

    def results(self, workers: int, progress: Progress) -> Iterator[tuple[int, Done]]:
        """Each piece's place and result, as it is done; the first place's error after the rest."""
        for _ in range(workers):
            self._crew.append(_Worker(self._job))
            self._give()
        failed = len(self._job.pieces)
        while busy := [worker for worker in self._crew if 0 <= worker.piece < failed]:
            for worker in self._ended(busy):
                nth = worker.piece
                try:
                    done = self._taken(worker)
                except Exception as raised:
                    if nth < failed:
                        failed, error = nth, raised
                    self._left.clear()
                    continue
                self._give()
                if done is not None:
                    self._job.report(progress)  # whoever takes it may ask what was told so far
                    yield done
            self._job.report(progress)
        if failed < len(self._job.pieces):
            raise error

    def _give(self) -> None:
        for worker in self._crew:
            if not worker.is_busy and self._left:
                worker.give(self._left.popleft())

    @staticmethod
    def _ended(busy: list[_Worker[Piece, Done]]) -> list[_Worker[Piece, Done]]:
        """Those that have sent something or died, once there is one or some time is over."""
        ready = wait([worker.connection for worker in busy], SECS_BETWEEN_LOOKS)
        return [worker for worker in busy if worker.connection in ready or not worker.is_alive()]

    def _taken(self, worker: _Worker[Piece, Done]) -> tuple[int, Done] | None:
        """What a worker has done; None where it died and its piece is to be done again."""
        nth = worker.piece
        name = self._name(self._job.pieces[nth])
        self._attempts_left[nth] -= 1
        try:
            result = worker.result(name)
        except _WorkerDiedError as died:
            if not self._attempts_left[nth]:
                raise WorkerError(f"{name}: the process that worked on it {died}") from None
            self._replace(worker)
            self._left.appendleft(nth)
            return None
        return nth, result

    def _replace(self, dead: _Worker[Piece, Done]) -> None:
        dead.kill()
        dead.connection.close()
        self._crew[self._crew.index(dead)] = _Worker(self._job)


class _WorkerDiedError(Exception):
    """How it ended, in words."""


class _InWorker(Exception):  # noqa: N818 - not an error of its own: the traceback of one
    """Where in its worker an error was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve(job: _Job[Any, Any], connection: Connection, parent: int) -> None:
    """A worker's life: pieces in, results or errors out, until it is sent None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    for number in set(interrupts.SIGNALS) - {signal.SIGINT}:
        signal.signal(number, signal.SIG_DFL)
    end_with(parent)
    gc.freeze()  # searching what is shared for garbage would copy it
    while (nth := connection.recv()) is not None:
        job.steps[nth] = 0  # where a worker died at it, some are counted
        try:
            sent = pickle.dumps((None, job.work(job.pieces[nth], partial(_count, job, nth))))
        except BaseException as error:
            sent = pickle.dumps((portable(error), traceback.format_exc()))
        connection.send_bytes(sent)


def _count(job: _Job[Any, Any], nth: int, done: int, steps: int) -> None:
    job.steps[-1] = steps
    job.steps[nth] = done


def portable(error: BaseException) -> Exception | str:
    """The error, or its kind and text where it cannot be sent and raised in another process."""
    with suppress(Exception):
        back = pickle.loads(pickle.dumps(error))
        if isinstance(back, Exception) and str(back) == str(error):
            return back
    return f"{type(error).__name__}: {error}"
