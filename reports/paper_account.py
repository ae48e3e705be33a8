"""A paper account's file, read while another process writes it.

Nothing here ever writes: the file is opened with `mode=ro`, and a reading is one short transaction,
so that it never stands in the way of the account. Times are ns since 1970, UTC.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.files import ReportError, one_line

VERSION = 1  # of the accounts that can be read
COLUMNS = 6  # of a path: open, high, low, close, volume, amount
CLOSE = 3
END_NS = 2**63 - 1  # later than any time
PATIENCE_SECS = 5.0  # for a file that is being recovered after its writer was killed
FILLS = "SELECT id, time_ns, symbol, side, size, price, commission + slippage + impact FROM fills"
TABLES = frozenset(
    ("meta", "candles", "bars", "forecasts", "events", "fills", "equity", "positions", "orders",
     "status")
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What an account trades, and how; fixed when it began."""

    strategy: str
    exchange: str
    timeframe: str
    length_ns: int  # of a bar
    symbols: tuple[str, ...]
    signal: str
    model: str
    seen_until: str
    horizon: int
    samples: int
    cash: float  # at the start
    started_ns: int  # bars that close later are traded


class Candle(NamedTuple):
    time_ns: int
    open: float
    high: float
    low: float
    close: float


class Fill(NamedTuple):
    id: int
    time_ns: int
    symbol: str
    side: str
    size: float
    price: float
    costs: float  # commission, slippage and impact


class Event(NamedTuple):
    id: int
    wall_ns: int
    time_ns: int | None
    kind: str
    symbol: str | None
    text: str


class Position(NamedTuple):
    symbol: str
    size: float
    price: float
    close: float


class Order(NamedTuple):
    time_ns: int
    symbol: str
    side: str
    size: float
    kind: str
    price: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """closes: `[S, P]` of the sampled paths; None where there is no forecast, and then why."""

    asof_ns: int
    close: float | None  # at asof
    future_ns: tuple[int, ...]  # [P]
    closes: NDArray[np.float64] | None
    missing: str | None


class Account:
    """An open file; ReportError where it is none of a paper account. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ReportError(f"{path}: there is no such file")
        try:
            self._base = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro",
                uri=True,
                timeout=PATIENCE_SECS,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise ReportError(f"{path} cannot be read: {one_line(error)}") from error
        self._inode = path.stat().st_ino
        try:
            self.terms, self.identity = self._begin()
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        self._base.close()

    @property
    def is_replaced(self) -> bool:
        """Whether another file stands at the path by now, or none."""
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read in this block is of one moment."""
        self._base.execute("BEGIN")
        try:
            yield
        finally:
            self._base.execute("ROLLBACK")

    def data_version(self) -> int:
        """Another number after whatever another process wrote."""
        return int(self._one("PRAGMA data_version"))

    def _begin(self) -> tuple[Terms, str]:
        try:
            rows = self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            lacking = TABLES - {name for (name,) in rows}
            if lacking:
                raise ReportError(
                    f"{self.path} is not a paper account: it lacks the table {min(lacking)!r}"
                )
            text = self._one("SELECT value FROM meta WHERE key = 'account'")
            if text is None:
                raise ReportError(f"{self.path} is not a paper account: its terms are missing")
            return _terms(json.loads(text)), str(text)
        except sqlite3.OperationalError as error:
            raise ReportError(f"{self.path} cannot be read: {one_line(error)}") from error
        except sqlite3.DatabaseError as error:
            raise ReportError(f"{self.path} is not a paper account: {one_line(error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ReportError(
                f"{self.path} is not a paper account that can be read: {one_line(error)}"
            ) from error

    def _one(self, query: str, *values: Any) -> Any:
        row = self._base.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._base.execute(query, values).fetchall()

    def status(self) -> tuple[int, Mapping[str, Any]] | None:
        """When the account's process last wrote how it is, by the wall clock, and what."""
        rows = self._all("SELECT wall_ns, value FROM status WHERE id = 1")
        return (rows[0][0], json.loads(rows[0][1])) if rows else None

    def last_bar_ns(self) -> int:
        """0 before the first bar."""
        return int(self._one("SELECT max(time_ns) FROM bars") or 0)

    def bars(self) -> tuple[int, int]:
        """How many were traded, and how many of them after their time."""
        (count, caught_up) = self._all("SELECT count(*), total(caught_up) FROM bars")[0]
        return int(count), int(caught_up)

    def equity_after(self, time_ns: int) -> list[tuple[int, float, float]]:
        """(time, cash, value), ascending."""
        query = "SELECT time_ns, cash, value FROM equity WHERE time_ns > ? ORDER BY time_ns"
        return self._all(query, time_ns)

    def newest_candles(
        self, symbol: str, after_ns: int, limit: int, *, before_ns: int = END_NS
    ) -> list[Candle]:
        """The newest ones between two times, both left out, ascending."""
        query = (
            "SELECT time_ns, open, high, low, close FROM candles "
            "WHERE symbol = ? AND time_ns > ? AND time_ns < ? ORDER BY time_ns DESC LIMIT ?"
        )
        rows = self._all(query, symbol, after_ns, before_ns, limit)
        return [Candle(*row) for row in reversed(rows)]

    def next_closes(self, symbol: str, after_ns: int, limit: int) -> list[tuple[int, float]]:
        """(time, close) of the first candles that are later, ascending."""
        query = (
            "SELECT time_ns, close FROM candles WHERE symbol = ? AND time_ns > ? "
            "ORDER BY time_ns LIMIT ?"
        )
        return self._all(query, symbol, after_ns, limit)

    def closes_and_paths(
        self, symbol: str, after_ns: int, until_ns: int, limit: int
    ) -> list[tuple[int, float, NDArray[np.float64] | None]]:
        """(time, close, closes `[S, P]` of the forecast as of then), ascending."""
        query = (
            "SELECT c.time_ns, c.close, f.future_ns, f.paths FROM candles c "
            "LEFT JOIN forecasts f ON f.asof_ns = c.time_ns AND f.symbol = c.symbol "
            "WHERE c.symbol = ? AND c.time_ns > ? AND c.time_ns <= ? ORDER BY c.time_ns LIMIT ?"
        )
        rows = self._all(query, symbol, after_ns, until_ns, limit)
        return [(time, close, _closes(future, paths)) for time, close, future, paths in rows]

    def fills(self, after_id: int, limit: int) -> list[Fill]:
        """The newest ones, ascending."""
        rows = self._all(f"{FILLS} WHERE id > ? ORDER BY id DESC LIMIT ?", after_id, limit)
        return [Fill(*row) for row in reversed(rows)]

    def fills_of(
        self,
        symbol: str,
        limit: int,
        *,
        after_id: int = 0,
        from_ns: int = 0,
        before_ns: int = END_NS,
    ) -> list[Fill]:
        """The newest ones of a symbol in some stretch of time, ascending."""
        query = (
            f"{FILLS} WHERE id > ? AND symbol = ? AND time_ns >= ? AND time_ns < ? "
            "ORDER BY id DESC LIMIT ?"
        )
        rows = self._all(query, after_id, symbol, from_ns, before_ns, limit)
        return [Fill(*row) for row in reversed(rows)]

    def count_fills(self) -> int:
        return int(self._one("SELECT count(*) FROM fills"))

    def events(self, after_id: int, limit: int) -> list[Event]:
        """The newest ones, ascending."""
        query = (
            "SELECT id, wall_ns, time_ns, kind, symbol, text FROM events "
            "WHERE id > ? ORDER BY id DESC LIMIT ?"
        )
        return [Event(*row) for row in reversed(self._all(query, after_id, limit))]

    def positions(self) -> list[Position]:
        rows = self._all("SELECT symbol, size, price, close FROM positions WHERE size != 0")
        return [Position(*row) for row in rows]

    def orders(self) -> list[Order]:
        query = "SELECT time_ns, symbol, side, size, kind, price FROM orders ORDER BY id"
        return [Order(*row) for row in self._all(query)]

    def forecast(self, symbol: str, beside_ns: int | None = None, step: int = 0) -> Forecast | None:
        """The latest one; or that as of `beside_ns`, or the next before (-1) or after it (+1)."""
        sign = {-1: "<", 0: "=", 1: ">"}[step] if beside_ns is not None else "<"
        query = (
            "SELECT asof_ns, future_ns, paths, missing FROM forecasts "
            f"WHERE symbol = ? AND asof_ns {sign} ? "
            f"ORDER BY asof_ns {'ASC' if step > 0 else 'DESC'} LIMIT 1"
        )
        rows = self._all(query, symbol, END_NS if beside_ns is None else beside_ns)
        return self._forecast(symbol, *rows[0]) if rows else None

    def has_forecast(self, symbol: str, asof_ns: int, step: int) -> bool:
        """Whether there is one before (-1) or after (+1)."""
        sign = "<" if step < 0 else ">"
        order = "DESC" if step < 0 else "ASC"
        query = (
            f"SELECT 1 FROM forecasts WHERE symbol = ? AND asof_ns {sign} ? "
            f"ORDER BY asof_ns {order} LIMIT 1"
        )
        return bool(self._all(query, symbol, asof_ns))

    def _forecast(
        self, symbol: str, asof_ns: int, future: bytes | None, paths: bytes | None, missing: str
    ) -> Forecast:
        query = "SELECT close FROM candles WHERE symbol = ? AND time_ns = ?"
        return Forecast(
            asof_ns=asof_ns,
            close=self._one(query, symbol, asof_ns),
            future_ns=tuple(np.frombuffer(future, "<i8").tolist()) if future else (),
            closes=_closes(future, paths),
            missing=missing,
        )


def _closes(future: bytes | None, paths: bytes | None) -> NDArray[np.float64] | None:
    """`[S, P]` of the paths `[S, P, 6]`."""
    if not future or not paths:
        return None
    shaped = np.frombuffer(paths, "<f4").reshape(-1, len(future) // 8, COLUMNS)
    return shaped[:, :, CLOSE].astype(np.float64)


def _terms(content: Mapping[str, Any]) -> Terms:
    if content["version"] != VERSION:
        raise ValueError(f"its version is {content['version']!r}, this program reads {VERSION}")
    model = content.get("model") or {}
    sampling = content.get("sampling") or {}
    return Terms(
        strategy=str(content["strategy"]["name"]),
        exchange=str(content["exchange"]),
        timeframe=str(content["timeframe"]),
        length_ns=int(content["length_ns"]),
        symbols=tuple(map(str, content["symbols"])),
        signal=str(content.get("signal") or ""),
        model=str(model.get("name") or ""),
        seen_until=str(model.get("seen_until") or ""),
        horizon=int(sampling.get("horizon") or 0),
        samples=int(sampling.get("samples") or 0),
        cash=float(content["cash"]),
        started_ns=int(content["started_ns"]),
    )
