"""Errors of processes of Ray's, sent as values: raised there they would be tried again, though they
would come again, and they would lose their class."""

from __future__ import annotations

import pickle

from sandbox.cores import portable
from sandbox.errors import WorkerError


def sent(error: Exception) -> str:
    """An error as text, for `received`."""
    return pickle.dumps(portable(error)).hex()


def received(text: str) -> Exception:
    """The error that another process of this run met."""
    error = pickle.loads(bytes.fromhex(text))
    return error if isinstance(error, Exception) else WorkerError(f"a process met {error}")


def last_line(text: str) -> str:
    """Of a text that may be a whole traceback."""
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"
