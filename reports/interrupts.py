"""Ctrl-C, a request to end (SIGTERM) and a lost terminal (SIGHUP) end a command with one line.

The exit status is 1, as for any command that failed. Nothing is raised: an exception in the middle
of an import or of a clean-up is easily lost or shown as a traceback. `sandbox.interrupts` does the
same for the runtime, which this room knows nothing of. Imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends

_tidies: list[Callable[[], object]] = []
_commands: list[int] = []  # the process that ends on signals; a forked one inherits the handler


def end_on_signals() -> None:
    """From now on a signal ends this process, unless it was ignored when the command started."""
    _commands[:] = [os.getpid()]
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


@contextlib.contextmanager
def tidied(tidy: Callable[[], object]) -> Iterator[None]:
    """A signal in this block has `tidy` done, the one begun last first."""
    _tidies.append(tidy)
    try:
        yield
    finally:
        _tidies.remove(tidy)


def leave(status: int) -> NoReturn:
    """End a command whose work is done: a signal can only end it sooner, with the same status."""
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, lambda *_: os._exit(status))
    sys.exit(status)


def begin_worker(parent: int) -> None:
    """A forked process leaves Ctrl-C to the one that the user started, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in set(SIGNALS) - {signal.SIGINT}:
        signal.signal(number, signal.SIG_DFL)
    end_with(parent)


def end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, however that ends (Linux only)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it was asked for
        os._exit(1)


def _end(number: int, _: FrameType | None) -> None:
    if os.getpid() in _commands:
        for ignored in SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        for tidy in reversed(_tidies):
            with contextlib.suppress(Exception):
                tidy()
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError):
                os.write(sys.__stderr__.fileno(), f"error: interrupted{by}\n".encode())
    os._exit(1)
