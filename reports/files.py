"""Files of this room are replaced in one step, and what is wrong is told in one line."""

from __future__ import annotations

import os
from pathlib import Path

from reports.interrupts import tidied


class ReportError(Exception):
    """An input cannot be read, or a page cannot be written; the text is one line."""


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader never finds half of it."""
    draft = draft_path(path, os.getpid())
    with tidied(lambda: draft.unlink(missing_ok=True)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ReportError(f"{path} cannot be written: {error.strerror or error}") from error


def draft_path(path: Path, pid: int | None) -> Path:
    """Where that process writes a file that it then puts in its place."""
    return path.with_name(f".{path.name}.{pid}")


def one_line(error: Exception) -> str:
    """What an error of a file or its content says."""
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return " ".join(str(getattr(error, "strerror", None) or error).split())
