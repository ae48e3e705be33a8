"""Asks a process of pyqlib for a directory's instruments and features, and says how far it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from ..errors import SourceError
from .wanted import Wanted

SCRIPT = Path(__file__).with_name("process.py")
FIELDS = ("open", "high", "low", "close", "volume", "amount", "vwap")
EXTRA = "pip install 'kronos-sandbox[qlib]'"
SHOWN_AFTER_SECS, SHOWN_EACH_SECS = 2.0, 1.0
ERROR_SHOWN = 300  # characters


class Answer(NamedTuple):
    """What pyqlib says of a directory."""

    members: Mapping[str, list[tuple[pd.Timestamp, pd.Timestamp]]]  # first and last stamp, no zone
    table: pd.DataFrame  # symbol, stamp (without a zone) and `FIELDS`; NaN where there is none


def read(wanted: Wanted, spec: str) -> Answer:
    """Raises SourceError where pyqlib is not installed or cannot read the directory."""
    with tempfile.TemporaryDirectory(prefix="qlib-") as out:
        folder = Path(out)
        _run(wanted, folder, spec)
        members = _members(folder, spec)
        with pa.OSFile(str(folder / "features.arrow")) as file:
            table = pa.ipc.open_file(file).read_all().to_pandas()
    return Answer(members, table)


def _run(wanted: Wanted, out: Path, spec: str) -> None:
    ask = {
        "folder": str(wanted.folder), "instruments": wanted.instruments, "freq": wanted.freq,
        "fields": FIELDS, "out": str(out),
    }  # fmt: skip
    command = [sys.executable, "-P", "-W", "ignore", str(SCRIPT), json.dumps(ask)]
    with (
        (out / "stderr.txt").open("wb") as errors,
        subprocess.Popen(
            command, cwd=out, env=_environment(os.environ), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            _show(process.stdout)
        except BaseException:  # Ctrl-C
            process.kill()
            raise
    if process.returncode:
        lines = (out / "stderr.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
        raise SourceError(
            f"{spec}: the process of pyqlib ended with status {process.returncode}: "
            f"{last[:ERROR_SHOWN]}",
            source=str(wanted.folder),
        )


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """That of this process, without what changes pyqlib's settings or has it tell others."""
    kept = {name: value for name, value in given.items() if not name.startswith("QLIB_")}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def _show(lines: Iterable[str]) -> None:
    """A line on the error stream about what takes long."""
    shown_at, shown = time.monotonic() + SHOWN_AFTER_SECS - SHOWN_EACH_SECS, False
    first: tuple[float, int] | None = None  # the time left is told from then on: imports are over
    for line in lines:
        done, total = map(int, line.split())
        now = time.monotonic()
        first = first or (now, done)
        if now - shown_at < SHOWN_EACH_SECS or (done == total and not shown):
            continue
        secs, read = now - first[0], done - first[1]
        left = f", {(total - done) * secs / read:.0f} s left" if read else ""
        text = f"\rqlib: {done:,} of {total:,} instruments read{left}"
        print(f"{text:<60}", end="", file=sys.stderr, flush=True)
        shown_at, shown = now, True
    if shown:
        print(file=sys.stderr)


def _members(
    folder: Path, spec: str
) -> dict[str, list[tuple[pd.Timestamp, pd.Timestamp]]]:  # fmt: skip
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    if "missing" in answer:
        what = "pyqlib" if answer["missing"] == "qlib" else f"pyqlib's {answer['missing']}"
        raise SourceError(f"{spec}: {what} is not installed; get it with {EXTRA}", source=spec)
    if "error" in answer:
        raise SourceError(
            f"{spec}: pyqlib cannot read it ({answer['error'][:ERROR_SHOWN]}); check the directory",
            source=spec,
        )
    return {
        symbol: [(pd.Timestamp(first), pd.Timestamp(last)) for first, last in spans]
        for symbol, spans in answer["members"].items()
    }
