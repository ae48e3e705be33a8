"""Reports and the registry of tries, in processes of their own: rooms that others do not know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sandbox.cores import how_it_ended
from sandbox.errors import RunFolderError
from sandbox.interrupts import tidied

ROOT = Path(__file__).resolve().parent.parent  # where the reports and the sandbox are


def started(module: str, *options: str, **streams: Any) -> subprocess.Popen[str]:
    """`python -m MODULE OPTIONS`, which ends with this process; `streams`: as of `Popen`."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", module, *options, "--parent", str(os.getpid())],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        **streams,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill it, if it has not ended."""
    process.kill()
    with suppress(OSError, ValueError):
        process.communicate()


def reason_of(process: subprocess.Popen[str], errors: str) -> str:
    """Why a process has ended, by the last line of what it said of errors."""
    lines = errors.strip().splitlines()
    if lines:
        return lines[-1].removeprefix("error: ")
    return f"its process {how_it_ended(process.returncode)}"


class ReportProcess:
    """`python -m MODULE OPTIONS`; with `waits` it imports what it needs, and waits to begin."""

    def __init__(self, module: str, *options: str, waits: bool = False) -> None:
        self._process = started(
            module, *options,
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip

    def finish(self, what: str, line: str | None = None) -> str:
        """Wait for its end; what it printed. Raises RunFolderError that `what` could not be
        written, and why.

        `line` is for one that waits: it begins when it has read it.
        """
        said, errors = self._process.communicate(None if line is None else f"{line}\n")
        if self._process.returncode:
            reason = reason_of(self._process, errors)
            raise RunFolderError(f"{what} could not be written: {reason}")
        return said

    def end(self) -> None:
        """Kill it, if it has not ended."""
        end(self._process)


@contextmanager
def report_process(module: str, *options: str, waits: bool = False) -> Iterator[ReportProcess]:
    """A process that is gone when the block ends, however that ends."""
    process = ReportProcess(module, *options, waits=waits)
    with tidied(process.end):
        try:
            yield process
        finally:
            process.end()
