"""Whether anything can be earned on driftless walks, and what pessimistic fills cost there.

    python -m benchmarks.fill_law [--mixes 60] [--walks 200]

First, strategies of random orders (`RandomOrders`): the t value of each one's mean return without
costs, which no strategy should have much above 0. Then textbook orders: what a round trip loses on
average, since a bar does not show what came first in it and the worse order counts. On these walks
nothing is lost or gained in truth, so all of it is pessimism. It is given in per cent of a bar's
volatility: of 10 % at a volatility of 1 % a bar, a round trip loses 0.1 %. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import backtrader as bt
import numpy as np

from benchmarks.driftless import (
    CASH,
    HOUR_SIGMA,
    RandomOrders,
    books_of,
    even_market,
    mixed_market,
    t_of_returns,
)
from sandbox import Strategy

LIMIT, STOP = bt.Order.Limit, bt.Order.Stop


class RoundTrips(Strategy):
    """Always in the first symbol, by one kind of entry and exits at some distance of the close.

    Distances are in a bar's volatilities; 0 leaves that exit out.
    """

    params = (("entry", "market"), ("target", 0.0), ("stop", 0.0), ("bracket", False))

    def next(self) -> None:
        data = self.datas[0]
        for order in list(self.broker.pending):
            if not self.p.bracket:
                self.cancel(order)
        close, held = data.close[0], self.getposition(data).size
        below, above = (close * (1 - sign * HOUR_SIGMA * self.p.stop) for sign in (1, -1))
        target = close * (1 + HOUR_SIGMA * self.p.target)
        size = 0.9 * CASH // close
        if self.p.bracket:
            if not held and not self.broker.pending:
                self.buy_bracket(
                    data=data, size=size, exectype=bt.Order.Market, stopprice=below,
                    limitprice=target,
                )  # fmt: skip
        elif held:
            self.leave(data, held, below, target)
        elif self.p.entry == "market":
            self.buy(data, size=size)
        elif self.p.entry == "quotes":
            self.buy(data, size=size, exectype=LIMIT, price=below)
            self.sell(data, size=size, exectype=LIMIT, price=above)
        else:
            self.buy(data, size=size, exectype=LIMIT, price=below)
            self.buy(data, size=size, exectype=STOP, price=above)

    def leave(self, data: Any, held: float, below: float, target: float) -> None:
        if self.p.target:
            self.sell(data, size=held, exectype=LIMIT, price=target)
        if self.p.stop:
            self.sell(data, size=held, exectype=STOP, price=below)
        if not (self.p.target or self.p.stop):
            self.sell(data, size=held)


TEXTBOOK: Sequence[tuple[str, dict[str, Any]]] = (
    ("market in, market out", {}),
    ("a stop 1 below", {"stop": 1.0}),
    ("a target 1 above", {"target": 1.0}),
    ("a stop 0.3 below and a target 0.3 above", {"stop": 0.3, "target": 0.3}),
    ("a stop 1 below and a target 1 above", {"stop": 1.0, "target": 1.0}),
    ("a stop 2 below and a target 2 above", {"stop": 2.0, "target": 2.0}),
    ("bracket at market, stop and target 1 away", {"stop": 1.0, "target": 1.0, "bracket": True}),
    ("bracket at market, stop and target 3 away", {"stop": 3.0, "target": 3.0, "bracket": True}),
    ("buy at 0.5 below or above, whichever is met", {"entry": "both", "stop": 0.5}),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill_law", description=__doc__)
    parser.add_argument("--mixes", type=int, default=60, help="random strategies")
    parser.add_argument("--walks", type=int, default=200, help="independent walks for each")
    args = parser.parse_args()
    random_orders(args.mixes, args.walks)
    print()
    for name, params in TEXTBOOK:
        textbook(name, params, args.walks)


def random_orders(mixes: int, walks: int) -> None:
    ts = []
    for mix in range(mixes):
        market = mixed_market if mix % 2 else even_market
        ts.append(t_of_returns(books_of(RandomOrders, market, walks, mix=mix, exact=mix % 4 < 2)))
        print(f"mix {mix}: t = {ts[-1]:.2f}", flush=True)
    if ts:
        print(
            f"{mixes} strategies of random orders on {walks} walks each: t from {min(ts):.2f} to "
            f"{max(ts):.2f}, mean {np.mean(ts):.2f}"
        )


def textbook(name: str, params: dict[str, Any], walks: int) -> None:
    gains, trips = [], 0
    for book in books_of(RoundTrips, even_market, walks, **params):
        gains.append(book.equity["value"].iloc[-1] / CASH - 1)
        trips += int((book.trades["side"] == "sell").sum())
    mean, error = np.mean(gains), np.std(gains, ddof=1) / np.sqrt(walks)
    each = 100 / (0.9 * HOUR_SIGMA * trips / walks)
    print(
        f"{name}: {trips / walks:.0f} round trips a walk, {mean * each:+.1f} +- {error * each:.1f}"
    )


if __name__ == "__main__":
    main()
