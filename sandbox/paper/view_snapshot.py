"""What is shown of a paper account at one moment, as plain values.

Money is in the quote currency, times are ns since 1970 (UTC), returns are simple ones as shares
(0.01 is one percent). None stands where a thing is not known yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kronos import Forecast


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A symbol's forecast in four numbers: returns of the close at the horizon."""

    low: float  # 5 % of the paths end lower
    median: float
    high: float  # 5 % of the paths end higher
    expected: float  # the mean over paths

    @classmethod
    def of(cls, forecast: Forecast) -> Outlook:
        """At the last bar forecast."""
        low, median, high = (forecast.quantile(q) for q in (0.05, 0.5, 0.95))
        return cls(low=low, median=median, high=high, expected=forecast.expected_return())


@dataclass(frozen=True, kw_only=True)
class SymbolLine:
    """One symbol: its last bar, its forecast, what is held of it."""

    symbol: str
    time_ns: int | None = None  # close of its last bar
    close: float | None = None
    change: float | None = None  # of the close since the bar before
    outlook: Outlook | None = None
    missing: str = ""  # why there is no forecast
    size: float = 0.0  # held, below 0: sold short
    value: float = 0.0  # of what is held, at the last close
    share: float = 0.0  # of the account's value


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    """An order that waits."""

    symbol: str
    side: str  # "buy" or "sell"
    size: float  # what is left of it
    kind: str  # "market", "limit", ...
    price: float | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A paper account as it is shown."""

    name: str  # of the strategy
    exchange: str
    timeframe: str
    symbols: Sequence[SymbolLine]
    orders: Sequence[OrderLine] = ()
    cash: float
    value: float
    total_return: float  # since the start
    drawdown: float  # from the highest value so far, 0 or below
    bar_ns: int | None = None  # the last bar that was traded
    bars: int = 0  # traded in all
    caught_up: int = 0  # of them after their time, since nobody was there
    horizon: int | None = None  # bars that a forecast reaches ahead
    next_close_ns: int | None = None
    countdown_secs: float | None = None  # by the wall clock, until then; below 0: it is late
    connected: bool = False
    since_ns: int | None = None  # connected or not, by the wall clock
    speed: float | None = None  # of a replay's clock; None: as fast as it can, or no replay
    waiting_for: Sequence[str] = ()  # symbols whose bar is late


def by_interest(snapshot: Snapshot) -> list[SymbolLine]:
    """What is held first, the largest before; then what has orders; then the best forecasts."""
    ordered = {order.symbol for order in snapshot.orders}

    def place(line: SymbolLine) -> tuple[bool, float, bool, float]:
        hope = line.outlook.expected if line.outlook else float("-inf")
        return not line.size, -abs(line.value), line.symbol not in ordered, -hope

    return sorted(snapshot.symbols, key=place)
