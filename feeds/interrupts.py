"""Ctrl-C, a request to end (SIGTERM) and a lost terminal (SIGHUP) end a command with one line.

`feeds` calls `end_at_once` while Python looks for a command of this package, before the imports,
and the command calls `raise_instead` once it has something to put away. A signal that was ignored
when the command started stays ignored. Imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import os
import signal

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
LINE = "error: interrupted"


def end_at_once() -> None:
    """A signal ends the process, with one line and exit status 1."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def raise_instead() -> None:
    """A signal that would end the process raises KeyboardInterrupt."""
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.default_int_handler)


def _end(*_: object) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{LINE}\n".encode())
    os._exit(1)
