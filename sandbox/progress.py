"""Progress bars with rate and time left, on the error stream so that output stays clean.

Whatever takes long is handed a `Bar` to open, or a `Progress` to tell how far it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from sandbox.interrupts import tidied

Progress = Callable[[int, int], None]  # done, in all
Bar = Callable[[str, str], AbstractContextManager[Progress]]  # of a label and a unit


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.completed / task.elapsed if task.elapsed else None
        if not speed:
            return Text(f"- {self._unit}/s")
        return Text(f"{speed:,.{0 if speed >= 10 else 1}f} {self._unit}/s")


@contextmanager
def progress_bar(label: str, unit: str) -> Iterator[Progress]:
    """A callback of (done, total) that moves the bar, which is shown when it is first called."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    with live_bars(*columns) as bars:
        task = bars.add_task(label, total=None)

        def move(done: int, total: int) -> None:
            if not bars.live.is_started:
                bars.reset(task)  # its time begins now
                bars.start()
            bars.update(task, completed=done, total=total)

        yield move


@contextmanager
def live_bars(*columns: ProgressColumn) -> Iterator[RichProgress]:
    """Bars on the error stream, for the block to start; they end with it, however it ends."""
    console = Console(stderr=True)
    bars = RichProgress(*columns, console=console)
    with tidied(lambda: _put_below(console) if bars.live.is_started else None):
        try:
            yield bars
        finally:
            if bars.live.is_started:
                bars.stop()


@contextmanager
def no_bar(label: str, unit: str) -> Iterator[Progress]:
    """Shows nothing."""
    yield lambda done, total: None


def _put_below(console: Console) -> None:
    """What is printed next goes below a bar that was cut short, with the cursor shown again."""
    if console.is_terminal:
        os.write(2, b"\n\x1b[?25h")
