"""Candles that a paper account recorded: what an exchange gave, as it was traded.

The account's file is an SQLite database that is read only here, also while it is being written.
Its tables `meta`, `candles`, `bars` and `forecasts` are described in `sandbox/paper/schema.py`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .bars import COLUMNS, frame_of
from .candles import Candles
from .errors import SourceError
from .steps import Steps

TABLES = frozenset({"meta", "candles", "bars", "forecasts"})


def load_recorded(path: str) -> Candles:
    """The candles of an account, warm-up and traded ones, in the account's own order of symbols.

    Raises SourceError for a file that is missing, is no account or is damaged.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise SourceError(f"paper:{path}: there is no such file", source=path, value=path)
    with reading(file) as account:
        terms, exchange = (meta_of(account, key, file) for key in ("account", "exchange"))
        frames, opens = {}, {}
        for symbol in terms["symbols"]:
            rows = _rows(account, symbol)
            if len(rows):
                frames[symbol], opens[symbol] = (
                    frame_of(rows[:, 0], rows[:, 2:]),
                    rows[:, 1].astype(np.int64),
                )
        ended = {
            symbol: time_ns
            for time_ns, symbols in account.execute(
                "SELECT time_ns, ended FROM bars WHERE ended != '[]' ORDER BY time_ns"
            )
            for symbol in json.loads(symbols)
        }
        missing: dict[str, list[int]] = {}
        for symbol, asof_ns in account.execute(
            "SELECT symbol, asof_ns FROM forecasts WHERE paths IS NULL ORDER BY asof_ns"
        ):
            missing.setdefault(symbol, []).append(asof_ns)
        steps = {name: Steps(**exchange["markets"][name]["steps"]) for name in frames}
        costs, calendar = exchange["costs"], exchange["calendar"]
        started_ns = int(terms["started_ns"])
    return Candles(
        frames=frames,
        spec=f"paper:{path}",
        costs=costs,
        calendar=calendar,
        opens=opens,
        steps=steps,
        ended=ended,
        started_ns=started_ns,
        unforecast={symbol: frozenset(times) for symbol, times in missing.items()},
    )


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """An account's file, opened for reading alone; raises SourceError for one that is none."""
    try:
        with closing(sqlite3.connect(_address(file), uri=True)) as account:
            account.execute("BEGIN")  # all that is read is of one moment
            tables = {name for (name,) in account.execute("SELECT name FROM sqlite_master")}
            if not tables >= TABLES:
                raise SourceError(
                    f"{file} is no paper account: it lacks {', '.join(sorted(TABLES - tables))}",
                    source=str(file),
                )
            yield account
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise SourceError(
            f"{file} cannot be read as a paper account: {error}", source=str(file)
        ) from error
    except KeyError as error:
        raise SourceError(
            f"{file} is damaged: its table meta lacks {error}", source=str(file)
        ) from error


def _address(file: Path) -> str:
    """SQLite makes files beside one that it reads. Where it may not, and there is no log of
    somebody who writes, it is told that the file stays as it is."""
    real = file.resolve()
    stays = not (os.access(real.parent, os.W_OK) or Path(f"{real}-wal").exists())
    return f"{real.as_uri()}?mode=ro{'&immutable=1' if stays else ''}"


def meta_of(account: sqlite3.Connection, key: str, file: Path) -> Any:
    """A part of what is fixed in an account; raises SourceError where it has none such."""
    row = account.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise SourceError(f"{file} is damaged: it has no {key!r} in its table meta")
    return json.loads(row[0])


def _rows(account: sqlite3.Connection, symbol: str) -> np.ndarray:
    """`[bars, 8]` of objects: when each bar closed and opened, and its six values."""
    rows = account.execute(
        f"SELECT time_ns, opened_ns, {', '.join(COLUMNS)} FROM candles WHERE symbol = ? "
        "ORDER BY time_ns",
        (symbol,),
    ).fetchall()
    return np.array(rows, dtype=object).reshape(-1, 2 + len(COLUMNS))
