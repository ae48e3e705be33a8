"""A run folder: written beside its place under a hidden name, then renamed. Whole or absent."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from sandbox.files import Draft, FolderKind, whole_folder

RUN_FOLDER = FolderKind(mark="config.json", words="a run folder")
PACKAGES = ("backtrader", "exchange_calendars", "numpy", "pandas", "quantstats", "torch")


def run_folder(default_name: str, out: Path | None = None) -> AbstractContextManager[Draft]:
    """As `whole_folder`."""
    return whole_folder(RUN_FOLDER, default_name, out)
