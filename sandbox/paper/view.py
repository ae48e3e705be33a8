"""What a person sees of a paper account while it trades: a terminal, or a log and nothing else."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from sandbox.errors import ConfigError
from sandbox.interrupts import tidied
from sandbox.paper.view_frame import (
    MOST_LOG,
    LogLine,
    bar_line,
    bar_time,
    connection_line,
    frame,
    moment,
    printable,
)
from sandbox.paper.view_snapshot import OrderLine, Outlook, Snapshot, SymbolLine

__all__ = ["Level", "OrderLine", "Outlook", "Quiet", "Snapshot", "SymbolLine", "Terminal", "View"]

FRAMES_A_SECOND = 4
LOG_BYTES = 5_000_000  # of a log's file, before the next one is begun
LOG_FILES = 5  # older ones that are kept
Level = Literal["info", "warning", "error"]


class View(Protocol):
    """Where a paper account shows itself; a context manager."""

    def show(self, snapshot: Snapshot) -> None:
        """How things are now."""

    def log(self, kind: str, text: str, *, level: Level = "info", **fields: object) -> None:
        """Something happened; `fields` say the same in values."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _Seen:
    """Which snapshots bring a new bar, or another state of the connection."""

    def __init__(self) -> None:
        self._bar_ns: int | None = None
        self._connected: bool | None = None

    def is_new_bar(self, snapshot: Snapshot) -> bool:
        before, self._bar_ns = self._bar_ns, snapshot.bar_ns
        return snapshot.bar_ns is not None and snapshot.bar_ns != before

    def is_new_connection(self, snapshot: Snapshot) -> bool:
        before, self._connected = self._connected, snapshot.connected
        return snapshot.connected != before


class Terminal:
    """A picture that is drawn anew a few times a second, and whose countdown goes on by itself.

    Where the output is no terminal, or one that cannot move its cursor: one line a bar, and one for
    whatever is logged. `show` only keeps the snapshot: it costs nothing however often it is called.
    """

    def __init__(
        self, console: Console | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._console = console or Console()
        self._is_plain = not self._console.is_terminal or self._console.is_dumb_terminal
        self._now_ns = now_ns
        self._log: deque[LogLine] = deque(maxlen=MOST_LOG)
        self._shown: tuple[Snapshot, float] | None = None  # and when, in monotonic seconds
        self._seen = _Seen()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if not self._is_plain:
            live = Live(
                console=self._console,
                get_renderable=self._frame,
                refresh_per_second=FRAMES_A_SECOND,
                vertical_overflow="crop",
            )
            self._open.enter_context(tidied(self._put_below))
            self._open.enter_context(live)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def show(self, snapshot: Snapshot) -> None:
        self._shown = snapshot, time.monotonic()
        if not self._is_plain:
            return
        if self._seen.is_new_connection(snapshot):
            self._print(connection_line(snapshot))
        if self._seen.is_new_bar(snapshot):
            self._print(bar_line(snapshot))

    def log(self, kind: str, text: str, *, level: Level = "info", **fields: object) -> None:
        line = LogLine(self._now_ns(), level, kind, text)
        self._log.append(line)
        if self._is_plain:
            self._print(f"{moment(line.time_ns)}  {kind}: {text}")

    def _print(self, line: str) -> None:
        print(printable(line), file=self._console.file, flush=True)

    def _frame(self) -> RenderableType:
        if self._shown is None:
            return Text("waiting for candles")
        snapshot, at = self._shown
        width, height = self._console.size
        return frame(snapshot, list(self._log), width, height - 1, time.monotonic() - at)

    def _put_below(self) -> None:
        """What is printed next goes below the picture, with the cursor shown again."""
        with suppress(OSError, ValueError):
            os.write(self._console.file.fileno(), b"\n\x1b[?25h")


class Quiet:
    """Nothing on screen: a line of JSON for every bar and whatever is logged.

    The lines `{"time", "level", "event", "text", "fields"}` go to a file beside the account, its
    name with `.log` at the end, which is followed by another one when it has LOG_BYTES.
    """

    def __init__(self, account: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.path = account.with_name(f"{account.name}.log")
        self._now_ns = now_ns
        self._seen = _Seen()
        self._logger = logging.Logger("sandbox.paper", logging.INFO)  # not shared, not passed up

    def __enter__(self) -> Self:
        """Raises ConfigError where the file cannot be written."""
        try:
            handler = _LogFile(
                self.path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
            )
        except OSError as error:
            raise ConfigError(
                f"the log {self.path} cannot be written: {error.strerror or error}"
            ) from error
        handler.setFormatter(_JsonLine())
        self._logger.addHandler(handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handler in list(self._logger.handlers):
            self._logger.removeHandler(handler)
            with suppress(OSError):  # the disk is full: what is left of the last line is lost
                handler.close()

    def show(self, snapshot: Snapshot) -> None:
        if self._seen.is_new_connection(snapshot):
            level: Level = "info" if snapshot.connected else "warning"
            self.log("connection", connection_line(snapshot), level=level)
        if self._seen.is_new_bar(snapshot):
            self._write("bar", bar_line(snapshot), "info", _bar_fields(snapshot))

    def log(self, kind: str, text: str, *, level: Level = "info", **fields: object) -> None:
        self._write(kind, text, level, fields)

    def _write(self, kind: str, text: str, level: Level, fields: Mapping[str, object]) -> None:
        content = {
            "time": _stamp(self._now_ns()),
            "level": level,
            "event": kind,
            "text": text,
            "fields": _plain(fields),
        }
        self._logger.log(logging.getLevelNamesMapping()[level.upper()], content)


def _bar_fields(snapshot: Snapshot) -> dict[str, object]:
    return {
        "bar": bar_time(snapshot.bar_ns),
        "bar_ns": snapshot.bar_ns,
        "value": snapshot.value,
        "cash": snapshot.cash,
        "return": snapshot.total_return,
        "drawdown": snapshot.drawdown,
        "positions": {line.symbol: line.size for line in snapshot.symbols if line.size},
        "orders": len(snapshot.orders),
        "bars": snapshot.bars,
        "caught_up": snapshot.caught_up,
        "late": list(snapshot.waiting_for),
    }


class _LogFile(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A log that cannot be written stops nothing; a full disk stops the account itself."""


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(record.msg, ensure_ascii=False, allow_nan=False)


def _stamp(time_ns: int) -> str:
    """To the millisecond: `2026-05-03T14:00:00.250Z`."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"


def _plain(value: object) -> object:
    """As JSON can say it: null for a number that is none, text for what it does not know."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool):
        return value
    return int(value) if isinstance(value, Integral) else str(value)
