"""The tables of an account's file, an SQLite database.

The truth is what came from outside: `meta`, `bars`, `candles`, `forecasts`, `events`. The other
tables are what the engine makes of it, written in the same transaction as the bar they belong to,
for whoever reads the file; the account compares them when it is opened, and needs them for nothing
else. Times are ns since 1970, UTC.
"""

from __future__ import annotations

VERSION = 1
TABLES = frozenset(
    {"meta", "candles", "bars", "forecasts", "events"}
    | {"fills", "decisions", "equity", "positions", "orders", "status"}
)

SCHEMA = """
CREATE TABLE meta (           -- 'account' and 'exchange': JSON; see sandbox.paper.terms
    key TEXT PRIMARY KEY, value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE candles (        -- those of the warm-up, too
    symbol TEXT NOT NULL, time_ns INTEGER NOT NULL, opened_ns INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL NOT NULL, amount REAL NOT NULL,
    PRIMARY KEY (symbol, time_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE bars (           -- the bar times that were traded
    time_ns INTEGER PRIMARY KEY,
    ended TEXT NOT NULL,      -- JSON list: symbols known since then to have ended
    digest TEXT NOT NULL,     -- of everything that the engine holds after it
    caught_up INTEGER NOT NULL  -- 1: traded after its time, since nobody was there
) STRICT;
CREATE TABLE forecasts (      -- those that the strategy could see; of a naive signal the missing
    symbol TEXT NOT NULL, asof_ns INTEGER NOT NULL,
    future_ns BLOB,           -- [P] int64, little-endian; NULL where there is no forecast
    paths BLOB,               -- [S, P, 6] float32, little-endian; NULL where there is no forecast
    missing TEXT,             -- why there is none: it failed, or came too late
    PRIMARY KEY (asof_ns, symbol)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (         -- what happened besides, in words
    id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, time_ns INTEGER,  -- of the bar, if any
    kind TEXT NOT NULL, symbol TEXT, text TEXT NOT NULL
) STRICT;
CREATE TABLE fills (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    size REAL NOT NULL, price REAL NOT NULL, reference_price REAL NOT NULL,
    commission REAL NOT NULL, slippage REAL NOT NULL, impact REAL NOT NULL
) STRICT;
CREATE TABLE decisions (      -- orders and cancellations as the strategy gave them
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    size REAL NOT NULL, kind TEXT NOT NULL, price REAL  -- NULL where the kind has none
) STRICT;
CREATE TABLE equity (
    time_ns INTEGER PRIMARY KEY, cash REAL NOT NULL, value REAL NOT NULL, gross_value REAL NOT NULL
) STRICT;
CREATE TABLE positions (      -- now
    symbol TEXT PRIMARY KEY, size REAL NOT NULL, price REAL NOT NULL,  -- paid on average
    close REAL NOT NULL       -- the latest
) STRICT, WITHOUT ROWID;
CREATE TABLE orders (         -- waiting now
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL,  -- when it was given
    symbol TEXT NOT NULL, side TEXT NOT NULL, size REAL NOT NULL,  -- what is left of it
    kind TEXT NOT NULL, price REAL
) STRICT;
CREATE TABLE status (         -- one row: how the connection is, rewritten every few seconds
    id INTEGER PRIMARY KEY CHECK (id = 1), wall_ns INTEGER NOT NULL, value TEXT NOT NULL  -- JSON
) STRICT;
"""
