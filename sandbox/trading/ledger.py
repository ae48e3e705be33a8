"""The books of one portfolio: fills, decisions, what it was worth at every close and what it held.

There are two sets of books. The broker's own cash and positions carry all costs. The gross ones
here take every fill at its price before costs and charge no fee; money saved stays cash. The books
know symbols, sizes and prices, and neither feeds nor orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

EQUITY_COLUMNS = ("time", "strategy", "cash", "value", "gross_value")
TRADE_COLUMNS = (
    "time", "strategy", "symbol", "side", "size", "price", "reference_price",
    "commission", "slippage", "impact",
)  # fmt: skip
WEIGHT_COLUMNS = ("time", "strategy", "symbol", "weight")
DECISION_COLUMNS = ("time", "symbol", "side", "size", "kind", "price")


class Holding(NamedTuple):
    """A position at a close."""

    symbol: str
    size: float
    close: float


class Decision(NamedTuple):
    """An order as the strategy gave it, or the cancellation of one."""

    time_ns: int  # of the bar at whose close it was given
    symbol: str
    side: str  # "buy" or "sell"
    size: float
    kind: str  # "market", "limit", "stop", ...; "cancel"
    price: float  # NaN where the kind has none

    @property
    def time(self) -> pd.Timestamp:
        return pd.Timestamp(self.time_ns, tz="UTC")


class Close(NamedTuple):
    """What a portfolio is worth at a bar's close. Money is in quote currency."""

    time_ns: int
    cash: float
    value: float
    gross_value: float  # what it would be without any cost


class TooDear(NamedTuple):
    """The smallest order there is, of a symbol that was wanted, where the money did not pay it."""

    time_ns: int
    symbol: str
    lot_cost: float  # at the latest close, with commission and slippage
    money: float  # set aside for it
    cash: float  # of the whole portfolio


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """A trade that took place. Money is in quote currency."""

    time_ns: int  # the close of the bar it was filled in
    symbol: str
    size: float  # above 0: bought, below: sold
    price: float
    reference_price: float  # before slippage and impact
    commission: float  # with its minimum and the tax
    slippage: float  # money lost to it
    impact: float

    @property
    def side(self) -> str:
        return "buy" if self.size > 0 else "sell"


class Ledger:
    """Takes down what happens, in the order it happens, and hands it out as tables."""

    def __init__(self, strategy_name: str, cash: float) -> None:
        self.strategy_name = strategy_name
        self.fills: list[Fill] = []
        self.decisions: list[Decision] = []
        self.too_dear: TooDear | None = None  # the cheapest
        self._gross_cash = cash
        self._gross_sizes: dict[str, float] = {}
        self._closes: list[Close] = []
        self._held: list[int] = []  # symbols held at each close
        self._weight_symbols: list[str] = []
        self._weights: list[float] = []

    def add_fill(self, fill: Fill) -> None:
        self.fills.append(fill)
        self._gross_cash -= fill.size * fill.reference_price
        size = self._gross_sizes.get(fill.symbol, 0.0) + fill.size
        self._gross_sizes[fill.symbol] = size
        if not size:
            del self._gross_sizes[fill.symbol]

    def add_too_dear(self, wanted: TooDear) -> None:
        if self.too_dear is None or wanted.lot_cost < self.too_dear.lot_cost:
            self.too_dear = wanted

    def add_close(self, time_ns: int, cash: float, value: float, held: list[Holding]) -> Close:
        """Take down what the portfolio is worth at a close, and what it holds then."""
        gross_sizes = self._gross_sizes
        gross_value = self._gross_cash
        for symbol, size, close in held:
            gross_value += gross_sizes[symbol] * close
            self._weight_symbols.append(symbol)
            self._weights.append(size * close / value)
        self._held.append(len(held))
        worth = Close(time_ns, cash, value, gross_value)
        self._closes.append(worth)
        return worth

    def equity(self) -> pd.DataFrame:
        """One row a close."""
        times, cash, value, gross = zip(*self._closes, strict=True) if self._closes else [()] * 4
        rows = (
            _utc(times),
            self.strategy_name,
            *(np.array(c, float) for c in (cash, value, gross)),
        )
        return _table(EQUITY_COLUMNS, rows)

    def trades(self) -> pd.DataFrame:
        """One row a fill."""
        numbers = [
            np.array([getattr(fill, name) for fill in self.fills], float)
            for name in TRADE_COLUMNS[5:]
        ]
        times = _utc(fill.time_ns for fill in self.fills)
        symbols = _words(fill.symbol for fill in self.fills)
        sides = _words(fill.side for fill in self.fills)
        sizes = np.array([abs(fill.size) for fill in self.fills], float)
        return _table(TRADE_COLUMNS, (times, self.strategy_name, symbols, sides, sizes, *numbers))

    def weights(self) -> pd.DataFrame:
        """One row a close and symbol held: its share of the value."""
        times = _utc(row[0] for row in self._closes).repeat(self._held)
        symbols = _words(self._weight_symbols)
        return _table(WEIGHT_COLUMNS, (times, self.strategy_name, symbols, np.array(self._weights)))

    def decided(self) -> pd.DataFrame:
        """One row an order or cancel, as it was given."""
        given = self.decisions
        rows = (
            _utc(decision.time_ns for decision in given),
            _words(decision.symbol for decision in given),
            _words(decision.side for decision in given),
            np.array([decision.size for decision in given], float),
            _words(decision.kind for decision in given),
            np.array([decision.price for decision in given], float),
        )
        return _table(DECISION_COLUMNS, rows)


def _table(columns: Iterable[str], rows: Iterable[Any]) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(columns, rows, strict=True)))


def _words(words: Iterable[str]) -> pd.Series:
    return pd.Series(list(words), dtype="str")


def _utc(times_ns: Iterable[int]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.fromiter(times_ns, np.int64)).tz_localize("UTC")
