"""Watches an account's file and says what is new in it.

All reading takes place in one thread of its own, so that the server goes on while a query runs.
What a page has is written in its cursor: nothing is kept for a page here, and one that comes back
after a pause, even to a dashboard that was started anew, gets exactly what it missed.

A message is JSON; what is empty is left out:

    {"whole": true, "symbol": "BTC/USDT",   only where it takes the place of all before
     "equity": [[seconds, value, drawdown %], ...],
     "candles": [[seconds, open, high, low, close], ...],   of the page's symbol
     "marks": [[seconds, side, text], ...],                 fills of that symbol
     "forecast": {...},     its latest, `paper_view.forecast_view`
     "fills": [[text, ...], ...], "log": [[text, ...], ...],  rows to add to these tables
     "now": {...},          `books_view` and `state_view`, with "own_coverage" and "problem"
     "reload": true}        another account is in the place of the one that the page shows
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from reports.files import ReportError, one_line
from reports.paper_account import Account
from reports.paper_coverage import Coverage
from reports.paper_equity import EquityCurve
from reports.paper_view import (
    ROWS,
    books_view,
    candle_rows,
    coverage_rows,
    fill_rows,
    forecast_view,
    log_rows,
    mark_rows,
    state_view,
)

LOOK_SECS = 0.25  # between two looks at the file
COUNT_SECS = 0.15  # for coverage, in a look
MOST_CANDLES = 2000
MOST_EARLIER = 1000  # candles that are sent when a page goes further back
MOST_FILLS = 50  # in the table
MOST_MARKS = 1000  # on the chart
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far a page is: the last of everything that it was sent."""

    account: int  # a checksum of the account's terms
    equity_ns: int
    candle_ns: int
    fill: int
    event: int
    asof_ns: int

    def __str__(self) -> str:
        return "-".join(map(str, asdict(self).values()))

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """None where a text is no cursor: the page is then sent everything."""
        parts = text.split("-")
        if len(parts) != 6 or not all(part.isdecimal() and len(part) < 20 for part in parts):
            return None
        account, equity, candle, fill, event, asof = map(int, parts)
        return cls(
            account=account, equity_ns=equity, candle_ns=candle, fill=fill, event=event,
            asof_ns=asof,
        )  # fmt: skip


class _Book:
    """An open account and what was summed up of it; lives in the reading thread."""

    def __init__(self, path: Path) -> None:
        self.account = Account(path)
        self.checksum = zlib.crc32(self.account.identity.encode())
        self.curve = EquityCurve(self.account.terms.cash)
        self.coverage = Coverage(self.account.terms.symbols)
        self.now: dict[str, Any] = {}
        self._books: dict[str, Any] = {}
        self._status: tuple[int, Mapping[str, Any]] | None = None
        self._version: int | None = None
        self._last_bar_ns = 0

    def look(self, now_ns: int) -> bool:
        """Read what was written since; whether anything is new to a page."""
        version = self.account.data_version()
        is_new = version != self._version
        if is_new or not self.coverage.is_complete:
            with self.account.reading():
                if is_new:
                    self.curve.extend(self.account.equity_after(self.curve.last_ns))
                    self._last_bar_ns = self.account.last_bar_ns()
                    self._status = self.account.status()
                self.coverage.take(self.account, self._last_bar_ns, COUNT_SECS)
                self._books = books_view(self.account, self.curve, self.coverage)
        self._version = version
        now = state_view(self._status, self.account.terms.exchange, now_ns) | self._books
        is_new, self.now = is_new or now != self.now, now
        return is_new

    def whole(self, symbol: str) -> tuple[dict[str, Any], Cursor]:
        """All that a page shows of this symbol and of the account."""
        with self.account.reading():
            candles = self.account.newest_candles(symbol, 0, MOST_CANDLES)
            from_ns = candles[0].time_ns if candles else 0
            content = {"whole": True, "symbol": symbol, "equity": self.curve.thinned()}
            begin = Cursor(
                account=self.checksum, equity_ns=self.curve.last_ns, candle_ns=0, fill=0, event=0,
                asof_ns=0,
            )  # fmt: skip
            added, cursor = self._added(begin, symbol, candles, from_ns)
        return content | added, cursor

    def since(self, cursor: Cursor, symbol: str) -> tuple[dict[str, Any], Cursor]:
        """What is new since the cursor; everything where that is too much."""
        equity = self.curve.after(cursor.equity_ns)
        if equity is None or cursor.equity_ns > self.curve.last_ns:
            return self.whole(symbol)
        with self.account.reading():
            candles = self.account.newest_candles(symbol, cursor.candle_ns, MOST_CANDLES)
            added, moved = self._added(cursor, symbol, candles, 0)
        if len(candles) == MOST_CANDLES:
            return self.whole(symbol)
        return ({"equity": equity} if equity else {}) | added, moved

    def _added(
        self, cursor: Cursor, symbol: str, candles: list[Any], from_ns: int
    ) -> tuple[dict[str, Any], Cursor]:
        account = self.account
        fills = account.fills(cursor.fill, MOST_FILLS)
        marks = account.fills_of(symbol, MOST_MARKS, after_id=cursor.fill, from_ns=from_ns)
        events = account.events(cursor.event, ROWS)
        forecast = account.forecast(symbol)
        asof_ns = forecast.asof_ns if forecast else 0
        parts = {
            "candles": candle_rows(candles),
            "fills": fill_rows(fills),
            "marks": mark_rows(marks),
            "log": log_rows(events),
        }
        content: dict[str, Any] = {name: rows for name, rows in parts.items() if rows}
        if forecast and (candles or asof_ns > cursor.asof_ns):
            content["forecast"] = forecast_view(account, symbol, forecast)
        moved = Cursor(
            account=self.checksum,
            equity_ns=max(self.curve.last_ns, cursor.equity_ns),
            candle_ns=candles[-1].time_ns if candles else cursor.candle_ns,
            fill=max([cursor.fill, *(fill.id for fill in (*fills, *marks))]),
            event=events[-1].id if events else cursor.event,
            asof_ns=max(asof_ns, cursor.asof_ns),
        )
        return content, moved


class Watch:
    """Raises ReportError where the file is no account. `version` grows with all that is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._book = _Book(path)
        self._book.look(time.time_ns())
        self.terms = self._book.account.terms
        self.version = 0
        self.problem = ""  # why the file cannot be read just now
        self._kept: dict[tuple[str, str], tuple[dict[str, Any], Cursor]] = {}
        self._thread = ThreadPoolExecutor(1, "account")
        self._moved = asyncio.Condition()
        self.is_closed = False

    async def run(self) -> None:
        """Look at the file until the watch is closed."""
        while not self.is_closed:
            if await self._in_thread(self._look):
                async with self._moved:
                    self.version += 1
                    self._moved.notify_all()
            await asyncio.sleep(LOOK_SECS)

    async def close(self) -> None:
        self.is_closed = True
        async with self._moved:
            self._moved.notify_all()
        self._thread.shutdown()
        self._book.account.close()

    async def moved(self, version: int, secs: float) -> bool:
        """Wait until the version is another one, or for so long; whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(secs), self._moved:
                await self._moved.wait_for(lambda: self.version != version or self.is_closed)
        return self.version != version

    async def message(self, cursor: str, symbol: str) -> tuple[dict[str, Any], str]:
        """What is new to a page with this cursor, how things are now, and its new cursor.

        This, `forecast` and `earlier` raise ReportError where the file cannot be read just now.
        """
        return await self._in_thread(lambda: self._message(cursor, symbol))

    async def forecast(self, symbol: str, asof_ns: int, step: int) -> dict[str, Any] | None:
        """The forecast of a symbol as of then (0), or the one before (-1) or after (1)."""

        def read() -> dict[str, Any] | None:
            account = self._book.account
            with account.reading():
                found = account.forecast(symbol, asof_ns, step)
                return forecast_view(account, symbol, found) if found else None

        return await self._in_thread(read)

    async def earlier(self, symbol: str, before_ns: int) -> dict[str, Any]:
        """Candles of a symbol before those that a page has, and the fills on them."""

        def read() -> dict[str, Any]:
            account = self._book.account
            with account.reading():
                bars = account.newest_candles(symbol, 0, MOST_EARLIER, before_ns=before_ns)
                from_ns = bars[0].time_ns if bars else before_ns
                fills = account.fills_of(symbol, MOST_MARKS, from_ns=from_ns, before_ns=before_ns)
            return {"candles": candle_rows(bars), "marks": mark_rows(fills)}

        return await self._in_thread(read)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, ValueError) as error:
            raise ReportError(f"{self._path} cannot be read: {one_line(error)}") from error

    def _look(self) -> bool:
        before = self.problem
        try:
            if self._book.account.is_replaced:
                self._reopen()
            is_new = self._book.look(time.time_ns())
            self.problem = ""
        except (sqlite3.Error, ReportError, ValueError) as error:
            self.problem = f"The account cannot be read: {one_line(error)}"
            is_new = False
        if is_new or self.problem != before:
            self._kept.clear()
            return True
        return False

    def _reopen(self) -> None:
        book = _Book(self._path)
        self._book.account.close()
        self._book, self.terms = book, book.account.terms

    def _message(self, cursor: str, symbol: str) -> tuple[dict[str, Any], str]:
        key = (cursor, symbol)
        if key not in self._kept:
            self._kept[key] = self._read(Cursor.read(cursor), symbol)
        content, moved = self._kept[key]
        return content | {"now": self._now(symbol)}, str(moved)

    def _read(self, cursor: Cursor | None, symbol: str) -> tuple[dict[str, Any], Cursor]:
        if cursor is None:
            return self._book.whole(symbol)
        if cursor.account != self._book.checksum:
            return {"reload": True}, cursor
        return self._book.since(cursor, symbol)

    def _now(self, symbol: str) -> Mapping[str, Any]:
        book = self._book
        own = coverage_rows(book.coverage.of(symbol), book.account.terms.horizon)
        return book.now | {"own_coverage": own, "problem": self.problem}


def as_json(content: Mapping[str, Any]) -> str:
    """On one line, as an event of a stream has to be."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
