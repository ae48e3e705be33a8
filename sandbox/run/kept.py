"""Backtests of controls that are kept: one whose inputs have not changed is not traded again.

A researcher changes one rule and runs again: the other strategies' controls, and the benchmark,
would do what they did before. The strategies themselves are always traded. What a backtest is found
by is a hash of all that it follows from: candles, account, window, the strategy's file and
parameters, what its forecasts are made from, and the source code of this project. A strategy that
reached for something outside while it traded is not kept.

A file holds one backtest, as tables and JSON. One that cannot be read is traded again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from sandbox.files import write_whole
from sandbox.run.portfolios import COSTS_FREE, Market, Portfolio, Traded
from sandbox.run.reads import is_library, judged
from sandbox.trading.engine import Backtest
from sandbox.trading.ledger import TooDear

ROOT = Path(__file__).resolve().parents[2]
KEPT_ROLES = ("control", "benchmark", COSTS_FREE)
TABLES = ("equity", "trades", "weights", "decisions")
PACKAGES = ("backtrader", "exchange_calendars", "numpy", "pandas")
SUFFIX = ".zip"
MOST_BYTES = 256 << 20  # of all files; those not used for longest go first


class KeptBacktests:
    """Backtests in a folder, which is made when the first is kept."""

    def __init__(self, folder: Path, market: Market, forecasts: Mapping[str, str]) -> None:
        """`forecasts` says, by signal name, what the forecasts of a run are made from."""
        self._folder = folder
        self._market = _market_text(market)
        self._forecasts = forecasts
        self.reused = 0  # backtests that were read

    def read(self, portfolio: Portfolio) -> Traded | None:
        """What the portfolio would do; None where it is not known."""
        if portfolio.role not in KEPT_ROLES:
            return None
        path = self._path(portfolio)
        try:
            with zipfile.ZipFile(path) as file:
                traded = _read(file, portfolio.name)
            with suppress(OSError):  # a folder on a read-only disk can still be read
                os.utime(path)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None
        self.reused += 1
        return traded

    def keep(self, portfolio: Portfolio, traded: Traded) -> None:
        """Nothing is said where the disk is full or cannot be written: it is traded again then."""
        outside, notes = judged(traded.touches, portfolio.loaded.path.parent, ())
        if portfolio.role not in KEPT_ROLES or outside or notes:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(portfolio), _written(traded))
            _make_room(self._folder)

    def _path(self, portfolio: Portfolio) -> Path:
        loaded = portfolio.loaded
        parts = [
            self._market, source_hash(), _own_modules(), portfolio.name, portfolio.role,
            loaded.sha256, str(loaded.path.resolve()),
            json.dumps(dict(loaded.params), sort_keys=True, default=str),
            portfolio.signal or "", self._forecasts.get(portfolio.signal or "", ""),
        ]  # fmt: skip
        digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
        return self._folder / f"{digest}{SUFFIX}"


def _market_text(market: Market) -> str:
    """A hash of all that portfolios of a run share, but for their forecasts."""
    digest = hashlib.sha256(b"market-1")
    for symbol, frame in market.frames.items():  # in the order in which a strategy meets them
        digest.update(f"\x1f{symbol}\x1f{len(frame)}".encode())
        digest.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
        if market.opens is not None:
            digest.update(market.opens[symbol].tobytes())
    rest = {
        "start": market.start.isoformat(), "end": market.end.isoformat(),
        "account": asdict(market.account), "warmup_bars": market.warmup_bars,
        "ended": market.ended, "members": market.members, "as_on_paper": market.as_on_paper,
        "unforecast": {symbol: sorted(bars) for symbol, bars in market.unforecast.items()},
        "analyzers": [[asked.label, str(asked.cls), asked.params] for asked in market.analyzers],
    }  # fmt: skip
    digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
    return digest.hexdigest()


@cache
def source_hash() -> str:
    """A hash of this project's code, of Python and of the packages that backtests depend on."""
    digest = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        digest.update(f"{package} {version(package)}".encode())
    for folder in ("feeds", "kronos", "sandbox"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _own_modules() -> str:
    """A hash of modules that strategies have brought along: neither libraries nor the project's.

    Some modules name a file that is nowhere, such as `torch.ops`, whose file is "_ops.py".
    """
    paths = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if path and not is_library(path)):
        with suppress(OSError):
            content = Path(path).read_bytes()
            digest.update(f"{path}\x1f{len(content)}\x1f".encode())
            digest.update(content)
    return digest.hexdigest()


def _written(traded: Traded) -> bytes:
    backtest = traded.backtest
    rest = {
        "asked": traded.asked, "refused": backtest.refused, "bars_needed": backtest.bars_needed,
        "bars_decided": backtest.bars_decided, "analyses": backtest.analyses,
        "too_dear": backtest.too_dear, "idle_timers": backtest.idle_timers,
    }  # fmt: skip
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("rest.json", json.dumps(rest))
        for name in TABLES:
            table = io.BytesIO()
            getattr(backtest, name).to_parquet(table, index=False)
            file.writestr(name, table.getvalue())
    return content.getvalue()


def _read(file: zipfile.ZipFile, name: str) -> Traded:
    rest: dict[str, Any] = json.loads(file.read("rest.json"))
    tables: dict[str, Any] = {
        table: pd.read_parquet(io.BytesIO(file.read(table))) for table in TABLES
    }
    too_dear = rest.pop("too_dear")
    asked = int(rest.pop("asked"))
    backtest = Backtest(
        name=name,
        too_dear=TooDear(*too_dear) if too_dear else None,
        idle_timers=tuple(rest.pop("idle_timers")),
        **tables,
        **rest,
    )
    return Traded(backtest, asked, ())


def _make_room(folder: Path) -> None:
    """Remove the files that were used longest ago, until the rest is small enough."""
    files: Iterable[Path] = folder.glob(f"*{SUFFIX}")
    by_age = sorted(((path.stat().st_mtime, path) for path in files), reverse=True)
    total = 0
    for _, path in by_age:
        total += path.stat().st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)
