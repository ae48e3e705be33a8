"""Ctrl-C and its like while an account trades: it stops after the bar in hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sandbox.interrupts import SIGNALS


class Stop:
    """Whether to stop, and at the wish of whom."""

    def __init__(self) -> None:
        self.by: str | None = None  # the signal's name

    def __bool__(self) -> bool:
        return self.by is not None


@contextmanager
def stopping_softly() -> Iterator[Stop]:
    """In this block the first signal asks to stop; the next one ends the process at once."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, _: FrameType | None) -> None:
        stop.by = signal.Signals(number).name
        for other, handler in before.items():
            signal.signal(other, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
