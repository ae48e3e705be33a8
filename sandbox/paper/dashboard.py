"""The dashboard's process: it reads the account's file, and ends with this one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sandbox.errors import AccountError
from sandbox.interrupts import tidied
from sandbox.reporting import end, reason_of, started


@contextmanager
def dashboard(account: Path, port: int) -> Iterator[str]:
    """Its address, such as `http://127.0.0.1:8000`, once it answers there; 0 takes a free port.

    Raises AccountError where it cannot be started, such as for a port in use.
    """
    process = started(
        "reports.paper", str(account), "--port", str(port),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the account; this ends when that has
    )  # fmt: skip
    with tidied(partial(end, process)):
        try:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
            if "http://" not in first:
                _, errors = process.communicate()
                raise AccountError(f"the dashboard: {reason_of(process, errors)}")
            yield first[first.index("http://") :]
        finally:
            end(process)
