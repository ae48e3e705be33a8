"""A small market and strategies that act at given bars, for fills that are priced by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox import Strategy
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel
from sandbox.trading.engine import Backtest

Act = Callable[[Any], object]

BARS = [  # open, high, low, close
    (100, 102, 99, 101),
    (102, 104, 101, 103),
    (104, 106, 103, 105),
    (106, 108, 105, 107),
    (108, 110, 107, 109),
]


def account(cash: float = 10_000.0, **costs: Any) -> Account:
    return Account(cash=cash, costs=CostModel(**costs))


def acting(plan: Mapping[int, Act]) -> type[Strategy]:
    """A strategy that does `plan[n]` at its nth bar, the first being 1."""

    class Acting(Strategy):
        def next(self) -> None:
            if act := plan.get(len(self)):
                act(self)

    return Acting


def buy(size: float, **more: Any) -> Act:
    return lambda strategy: strategy.buy(size=size, **more)


def sell(size: float, **more: Any) -> Act:
    return lambda strategy: strategy.sell(size=size, **more)


def days_of(book: Backtest) -> list[str]:
    return [f"{time:%m-%d}" for time in book.trades["time"]]
