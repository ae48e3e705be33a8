"""Orders stay as they were given: only the broker fills, ends or adjusts them.

A strategy holds its orders, and could write to them: another price, another size, an end without a
cancellation. In a bar that is open that would choose after the fact. So the broker takes a picture
of every order that it lets go of, and compares it when the next bar closes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import backtrader as bt

from sandbox.errors import StrategyError


class Seals:
    """Pictures of the orders that wait."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[bt.Order, tuple[Any, ...]]] = {}

    def keep_only(self, orders: Iterable[bt.Order]) -> None:
        """Take these as they are now, and forget all others."""
        self._kept = {order.ref: (order, _state(order)) for order in orders}

    def forget(self, *refs: int) -> None:
        """The broker itself has changed these."""
        for ref in refs:
            self._kept.pop(ref, None)

    def check(self, waiting: Iterable[bt.Order]) -> None:
        """Raises the error that names an order that is not as it was, or is not there."""
        if not self._kept:
            return
        there = {id(order) for order in waiting}
        for order, state in self._kept.values():
            if id(order) not in there or _state(order) != state:
                side = "buy" if order.isbuy() else "sell"
                raise StrategyError(
                    f"the {side} of {order.data.symbol}, order {order.ref}, was changed after it "
                    "was given: cancel it with self.cancel(order) and give another"
                )


def _state(order: bt.Order) -> tuple[Any, ...]:
    created, executed = order.created, order.executed
    return (
        order.data, order.exectype, order.ordtype, order.status, order.active(), order.triggered,
        order.valid, order.decided_ns, order.parent, created.size, created.price,
        created.pricelimit, created.pclose, order.trailamount, order.trailpercent,
        executed.remsize, executed.size,
    )  # fmt: skip
