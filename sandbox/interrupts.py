"""Ctrl-C, a request to end (SIGTERM) and a lost terminal (SIGHUP) end a command with one line.

A command calls `end_on_signals` before it imports anything that takes time. From then on a signal
ends the process whatever it is doing: what is half done is put away (`tidied`), one line is
printed and the exit status is 1, as for any run that failed. Nothing is raised, since an exception
in the middle of an import or of a clean-up is easily lost or shown as a traceback. Programs that
call `main` from Python of their own do not call `end_on_signals` and keep their own handlers.

A signal that was ignored when the command started (nohup, a background job) stays ignored. Imports
nothing that takes time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ClassVar, NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
STATUS = 1  # of an interrupted command


class _State:
    """One for the process: a signal handler is handed nothing of its own."""

    pid = -1  # of the process that ends on signals; a forked one inherits the handler
    rest = ""  # of the line, after "interrupted"
    tidies: ClassVar[list[Callable[[], object]]] = []
    holds = 0
    waiting: int | None = None  # a signal that came while held
    ending = False
    tidy = False  # all is put away and the line is printed


def end_on_signals() -> None:
    """From now on a signal ends this process with one line and exit status 1."""
    _State.pid = os.getpid()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def say(rest: str) -> None:
    """What the line says after "interrupted", such as what has been kept."""
    _State.rest = rest


def line(number: int = signal.SIGINT) -> str:
    """What is told of a signal; that of Ctrl-C need not be named."""
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return f"interrupted{by}" + (f": {_State.rest}" if _State.rest else "")


@contextlib.contextmanager
def tidied(tidy: Callable[[], object]) -> Iterator[None]:
    """A signal in this block has `tidy` done, the one begun last first."""
    _State.tidies.append(tidy)
    try:
        yield
    finally:
        _State.tidies.remove(tidy)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal in this block counts when it ends; for a few steps that belong together."""
    _State.holds += 1
    try:
        yield
    finally:
        _State.holds -= 1
        if _State.waiting is not None and not _State.holds:
            _end(_State.waiting, None)


def leave(status: int) -> NoReturn:
    """End a command whose work is done: a signal can only end it sooner, with the same status."""
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, lambda *_: os._exit(status))
    sys.exit(status)


def _end(number: int, _: FrameType | None) -> None:
    if os.getpid() != _State.pid:
        os._exit(STATUS)
    if _State.holds:
        _State.waiting = number
    elif _State.tidy:
        os._exit(STATUS)  # whoever reads the output does not go on reading
    elif not _State.ending:
        _State.ending = True
        for tidy in reversed(_State.tidies):
            with contextlib.suppress(Exception):
                tidy()
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError):
                os.write(sys.__stderr__.fileno(), f"error: {line(number)}\n".encode())
        _State.tidy = True
        if sys.__stdout__ is not None:
            with contextlib.suppress(Exception):
                sys.__stdout__.flush()
        os._exit(STATUS)
