"""Progress bars with rate and time left, on the error stream so that output stays clean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    """A callback of (done, total) that moves the bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with RichProgress(*columns, console=console) as progress, tidied(lambda: _below(console)):
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _below(console: Console) -> None:
    """Where a line can follow a bar that is cut short: on a line of its own, with a cursor."""
    if console.is_terminal:
        os.write(2, b"\n\x1b[?25h")
