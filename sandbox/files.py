"""Files that are whole or absent, also when the process dies or the power fails in the middle."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from sandbox.interrupts import tidied

RUNS = Path("runs")  # where commands keep what they make, unless told
DRAFT = ".tmp"  # how the names of files end that are still being written


def write_whole(path: Path, content: bytes) -> None:
    """All of it or nothing, also when the process dies in the middle; an older file gives way."""
    draft = path.with_name(f".{uuid.uuid4().hex}{DRAFT}")
    with tidied(lambda: draft.unlink(missing_ok=True)):
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """So that a rename outlives a power cut, where the system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
