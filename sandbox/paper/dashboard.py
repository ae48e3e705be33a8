"""The dashboard's process: it reads the account's file, and ends with this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.errors import AccountError
from sandbox.interrupts import tidied
from sandbox.reporting import ROOT


@contextmanager
def dashboard(account: Path, port: int) -> Iterator[str]:
    """Its address, such as `http://127.0.0.1:8000`, once it answers there; 0 takes a free port.

    Raises AccountError where it cannot be started, such as for a port in use.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "reports.paper", str(account), "--port", str(port),
         "--parent", str(os.getpid())],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the account; this ends when that has
    )  # fmt: skip

    def end() -> None:
        process.kill()
        with suppress(OSError, ValueError):
            process.communicate()

    with tidied(end):
        try:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
            if "http://" not in first:
                _, errors = process.communicate()
                lines = errors.strip().splitlines() or ["its process ended"]
                raise AccountError(f"the dashboard: {lines[-1].removeprefix('error: ')}")
            yield first[first.index("http://") :]
        finally:
            end()
