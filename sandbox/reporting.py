"""The reports, in a process of their own: they read files, and the runtime does not know them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.cores import how_it_ended
from sandbox.errors import RunFolderError
from sandbox.interrupts import tidied

ROOT = Path(__file__).resolve().parent.parent  # where the reports are


class ReportProcess:
    """`python -m reports.X OPTIONS`; with `waits` it imports what it needs, and waits to begin."""

    def __init__(self, module: str, *options: str, waits: bool = False) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *options, "--parent", str(os.getpid())],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, what: str, line: str | None = None) -> None:
        """Wait for its end; raises RunFolderError that `what` could not be written, and why.

        `line` is for one that waits: it begins when it has read it.
        """
        _, errors = self._process.communicate(None if line is None else f"{line}\n")
        if self._process.returncode:
            lines = errors.strip().splitlines()
            ended = f"its process {how_it_ended(self._process.returncode)}"
            reason = lines[-1].removeprefix("error: ") if lines else ended
            raise RunFolderError(f"{what} could not be written: {reason}")

    def end(self) -> None:
        """Kill it, if it has not ended."""
        self._process.kill()
        with suppress(OSError, ValueError):
            self._process.communicate()


@contextmanager
def report_process(module: str, *options: str, waits: bool = False) -> Iterator[ReportProcess]:
    """A process that is gone when the block ends, however that ends."""
    process = ReportProcess(module, *options, waits=waits)
    with tidied(process.end):
        try:
            yield process
        finally:
            process.end()
