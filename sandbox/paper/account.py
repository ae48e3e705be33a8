"""A paper account on disk: what came from outside is its truth, the rest follows from it.

A file is made whole before it is there, and from then on it grows by one transaction a bar: killed
at any instant, it holds every bar up to some one, each once. One process writes it at a time, and
any number read it meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.errors import AccountError
from sandbox.files import DRAFT
from sandbox.interrupts import tidied
from sandbox.paper.derived import TABLES, rows_now, rows_of
from sandbox.paper.schema import SCHEMA
from sandbox.paper.schema import TABLES as ALL_TABLES
from sandbox.trading.engine import Position, Step
from sandbox.trading.orders import Waiting
from sandbox.trading.source import BarTime, Candle

BUSY_MS = 10_000  # how long a reader's own lock is waited for
DAMAGED = "move it away, with its -wal if there is one, to open a new account; it was left as it is"
BESIDE = ("-wal", "-journal")  # files of SQLite's that hold what is not in an account's file yet


class MadeForecast(NamedTuple):
    """A forecast as it is kept: its paths, or why there are none."""

    symbol: str
    asof_ns: int
    future_ns: bytes | None  # [P] int64, little-endian
    paths: bytes | None  # [S, P, 6] float32, little-endian
    missing: str | None  # why there is none


class Event(NamedTuple):
    """Something that happened besides bars, in words."""

    kind: str
    text: str
    symbol: str | None = None
    time_ns: int | None = None  # of the bar that it is about


class TradedBar(NamedTuple):
    """All that one bar adds to an account."""

    bar: BarTime
    caught_up: bool  # it was traded after its time
    digest: str
    step: Step
    positions: Sequence[Position]
    waiting: Sequence[Waiting]
    forecasts: Sequence[MadeForecast]
    events: Sequence[Event]


class AccountFile:
    """An open account; `opened` makes one, this process alone writes to it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    def meta(self, key: str) -> dict[str, Any]:
        """A part of what is fixed; raises AccountError where it is missing."""
        with self._reading():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            if row is None:
                raise AccountError(f"{self.path} is damaged: no {key!r} in meta; {DAMAGED}")
            value: dict[str, Any] = json.loads(row[0])
            if not isinstance(value, dict):
                raise AccountError(
                    f"{self.path} is damaged: {key!r} in meta is {row[0]}; {DAMAGED}"
                )
            return value

    def digests(self) -> dict[int, str]:
        """Of each traded bar, by its time in ns since 1970, oldest first."""
        with self._reading():
            return dict(self._db.execute("SELECT time_ns, digest FROM bars ORDER BY time_ns"))

    def forecasts(self, asof_ns: int) -> list[MadeForecast]:
        """Those as of one bar time."""
        with self._reading():
            rows = self._db.execute(
                "SELECT symbol, asof_ns, future_ns, paths, missing FROM forecasts "
                "WHERE asof_ns = ?",
                (asof_ns,),
            )
            return [MadeForecast(*row) for row in rows]

    def last_bars(self) -> dict[str, tuple[int, Candle]]:
        """Each symbol's latest: when it closed, in ns since 1970, and the candle."""
        with self._reading():
            rows = self._db.execute(
                "SELECT symbol, max(time_ns), opened_ns, open, high, low, close, volume, amount "
                "FROM candles GROUP BY symbol"
            )
            return {symbol: (time_ns, Candle(*values)) for symbol, time_ns, *values in rows}

    def ended(self) -> list[str]:
        """The symbols that are known to have ended."""
        with self._reading():
            rows = self._db.execute("SELECT ended FROM bars WHERE ended != '[]'").fetchall()
            return [symbol for (symbols,) in rows for symbol in json.loads(symbols)]

    def rows(self, table: str) -> Generator[tuple[Any, ...]]:
        """Of a table that follows from the bars, see `sandbox.paper.derived`."""
        columns, order = TABLES[table]
        with self._reading():
            yield from self._db.execute(f"SELECT {columns} FROM {table} ORDER BY {order}")

    def count(self, what: str) -> int:
        """How many bars were traded, how many of them `caught_up`, how many forecasts `missing`."""
        queries = {
            "bars": "SELECT count(*) FROM bars",
            "caught_up": "SELECT count(*) FROM bars WHERE caught_up",
            "missing": "SELECT count(*) FROM forecasts WHERE paths IS NULL",
        }
        with self._reading():
            return int(self._db.execute(queries[what]).fetchone()[0])

    def add(self, traded: TradedBar) -> None:
        """Keep a bar and all that came of it, or nothing; raises AccountError for a full disk."""
        bar, step = traded.bar, traded.step
        with self._writing(f"the bar of {_utc(bar.time_ns)}"):
            db = self._db
            db.execute(
                "INSERT INTO bars VALUES (?, ?, ?, ?)",
                (bar.time_ns, json.dumps(list(bar.ended)), traded.digest, int(traded.caught_up)),
            )
            _insert_candles(db, ((symbol, bar.time_ns, c) for symbol, c in bar.bars.items()))
            db.executemany("INSERT INTO forecasts VALUES (?, ?, ?, ?, ?)", traded.forecasts)
            _insert_events(db, traded.events)
            for table, rows in rows_of(step).items():
                self._insert(table, rows)
            for table, rows in rows_now(traded.positions, traded.waiting).items():
                db.execute(f"DELETE FROM {table}")
                self._insert(table, rows)

    def add_events(self, events: Sequence[Event]) -> None:
        """Keep what happened between bars."""
        if events:
            with self._writing("what happened"):
                _insert_events(self._db, events)

    def set_status(self, status: Mapping[str, Any]) -> None:
        """Say how things are, for whoever looks on."""
        with self._writing("its status"):
            self._db.execute(
                "INSERT OR REPLACE INTO status VALUES (1, ?, ?)",
                (time.time_ns(), json.dumps(dict(status))),
            )

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        columns, _ = TABLES[table]
        places = ", ".join("?" * (columns.count(",") + 1))
        self._db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise AccountError(f"{self.path} is damaged: {error}; {DAMAGED}") from error

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            with self._db:  # commits, or takes all of it back
                self._db.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise AccountError(
                f"{self.path}: {what} could not be written ({error}), so it is not part of the "
                "account: with room on the disk the same command goes on from there"
            ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """This process's alone while the block lasts, by whatever name the file is called; raises
    AccountError where another has it."""
    place = _beside(path, ".lock")
    handle = _lock(path, place)
    try:
        with tidied(lambda: place.unlink(missing_ok=True)):
            yield
    finally:
        place.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path, place: Path) -> int:
    """The open lock file, with the number of this process in it."""
    while True:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise AccountError(f"{place} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = ""
            with suppress(OSError):
                owner = os.pread(handle, 20, 0).decode(errors="replace").strip()
            os.close(handle)
            raise AccountError(
                f"{path} is traded by another process{f' ({owner})' if owner else ''}: "
                "end that one first, or open another account with --state FILE"
            ) from None
        with suppress(OSError):  # it went with the process that had it, before it was locked here
            if os.fstat(handle).st_ino == place.stat().st_ino:
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        os.close(handle)


def create(
    path: Path,
    meta: Mapping[str, Mapping[str, Any]],
    candles: Iterable[tuple[str, int, Candle]],
) -> None:
    """A new account with what is fixed and its warm-up, (symbol, close in ns, candle) each.

    Raises AccountError where it cannot be written, or where there is something left of an older one
    that SQLite would take for its own.
    """
    for left in (_beside(path, end) for end in BESIDE):
        if left.exists():
            raise AccountError(
                f"{path} is not there, but {left} is, with the latest bars of an account that was: "
                "move it to where that account is now, with the same end to its name, or away"
            )
    draft = _beside(path, f".{uuid.uuid4().hex}{DRAFT}", hidden=True)
    with tidied(lambda: draft.unlink(missing_ok=True)):
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as db:
                db.executescript(SCHEMA)
                db.execute("BEGIN")
                rows = [(key, json.dumps(dict(value))) for key, value in meta.items()]
                db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
                _insert_candles(db, candles)
                db.execute("COMMIT")
            os.link(draft, _beside(path, ""))  # unlike a rename it never replaces another file
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AccountError(f"{path}: the account could not be opened: {reason}") from error
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[AccountFile]:
    """An account that is there; raises AccountError for a file that is none, or is damaged."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            complaint = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if complaint != "ok":
                raise AccountError(f"{path} is damaged: {complaint}; {DAMAGED}")
            found = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            if "meta" not in found:
                raise AccountError(f"{path} is no paper account; name another file with --state")
            if lacking := ALL_TABLES - found:
                names = ", ".join(sorted(lacking))
                raise AccountError(f"{path} is damaged: it has no table {names}; {DAMAGED}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            yield AccountFile(path, db)
    except sqlite3.Error as error:
        raise AccountError(
            f"{path} cannot be read as a paper account: {error}; {DAMAGED}"
        ) from error


def _beside(path: Path, end: str, *, hidden: bool = False) -> Path:
    """A file of the account's, where the account itself is: `path` may be a link to it."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{'.' if hidden else ''}{real.name}{end}")


def _insert_candles(db: sqlite3.Connection, rows: Iterable[tuple[str, int, Candle]]) -> None:
    db.executemany(
        "INSERT INTO candles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((symbol, time_ns, *candle) for symbol, time_ns, candle in rows),
    )


def _insert_events(db: sqlite3.Connection, events: Sequence[Event]) -> None:
    now = time.time_ns()
    db.executemany(
        "INSERT INTO events (wall_ns, time_ns, kind, symbol, text) VALUES (?, ?, ?, ?, ?)",
        ((now, event.time_ns, event.kind, event.symbol, event.text) for event in events),
    )


def _utc(time_ns: int) -> str:
    seconds = time_ns // 1_000_000_000
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
