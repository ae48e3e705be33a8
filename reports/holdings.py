"""What each symbol brought a portfolio, what it cost, and what is held at the end.

Positions are signed: below 0 they are short. A fill moves cash by its size times its price and by
its commission; slippage and impact are in the price already. What a position has cost is an
average: a fill that adds to it adds what was paid, one that takes from it takes its share, and the
difference to what it brought is the realised gain; one that goes through 0 closes the old position
and opens a new one. The gains of all symbols add up to the final value less the starting cash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.folder import PARTS, Run
from reports.formats import counted

DUST = 1e-9  # of the sizes traded: what is left of a position after rounding


@dataclass
class Position:
    """One symbol's position, as its fills make it. Money in the quote currency."""

    size: float = 0.0  # signed
    cost: float = 0.0  # paid for what is held; below 0: received for what is short
    realised: float = 0.0  # after costs
    traded_size: float = 0.0  # of all fills together

    def fill(self, size: float, price: float, commission: float) -> None:
        """`size` is signed: below 0 it sells."""
        paid = size * price + commission  # below 0: received
        self.traded_size += abs(size)
        left = self.size + size
        if abs(left) <= DUST * self.traded_size:
            left = 0.0
        if self.size * size >= 0:
            self._add(size, paid)
        elif left * self.size >= 0:
            self._take(left, paid)
        else:  # it closes the old position with a part, and opens one on the other side
            closing = -self.size / size
            self._take(0.0, paid * closing)
            self._add(left, paid * (1 - closing))

    def _add(self, size: float, paid: float) -> None:
        self.size += size
        self.cost += paid

    def _take(self, left: float, paid: float) -> None:
        """So much of the position is left."""
        released = self.cost * (1 - left / self.size)
        self.realised -= paid + released
        self.size = left
        self.cost -= released


@dataclass(frozen=True, kw_only=True)
class SymbolResult:
    """A portfolio's dealings in one symbol over the whole run. Money in the quote currency."""

    symbol: str
    fills: int
    realised: float  # gain on what was closed, after costs
    unrealised: float  # gain on what is still held, at the last close
    commission: float
    slippage: float
    impact: float
    traded: float  # money that changed hands
    size: float  # held at the end, signed
    cost: float  # paid for it
    value: float  # of it at the last close, signed
    weight: float  # of it, as a share of the portfolio's value

    @property
    def gain(self) -> float:
        return self.realised + self.unrealised

    @property
    def costs(self) -> float:
        return self.commission + self.slippage + self.impact


def results_by_symbol(run: Run, name: str) -> list[SymbolResult]:
    """Every symbol that the portfolio dealt in, in the order of its first fill."""
    fills = run.trades[run.trades["strategy"] == name]
    positions = _positions(fills)
    money = fills[[*PARTS]].assign(traded=(fills["size"] * fills["price"]).abs(), fills=1)
    sums = money.groupby(fills["symbol"], sort=False).sum().to_dict("index")
    weights = last_weights(run, name)
    final_value = float(run.value[name].iloc[-1])
    return [
        _result(symbol, positions[symbol], sums[symbol], weights.get(symbol, 0.0), final_value)
        for symbol in positions
    ]


def _positions(fills: pd.DataFrame) -> dict[str, Position]:
    sign = np.where(fills["side"] == "sell", -1.0, 1.0)
    sizes = (sign * fills["size"].abs()).tolist()
    columns = (fills["symbol"], sizes, fills["price"].tolist(), fills["commission"].tolist())
    positions: dict[str, Position] = {}
    for symbol, size, price, commission in zip(*columns, strict=True):
        positions.setdefault(symbol, Position()).fill(size, price, commission)
    return positions


def last_weights(run: Run, name: str) -> dict[str, float]:
    """Signed shares of the portfolio's value at the last bar, by symbol held."""
    weights = run.weights
    last = weights[(weights["strategy"] == name) & (weights["time"] == run.times[-1])]
    return dict(zip(last["symbol"], last["weight"].tolist(), strict=True))


def _result(
    symbol: str, position: Position, sums: dict[Any, Any], weight: float, final_value: float
) -> SymbolResult:
    value = weight * final_value
    return SymbolResult(
        symbol=symbol,
        fills=int(sums["fills"]),
        realised=position.realised,
        unrealised=value - position.cost,
        commission=sums["commission"],
        slippage=sums["slippage"],
        impact=sums["impact"],
        traded=sums["traded"],
        size=position.size,
        cost=position.cost,
        value=value,
        weight=weight,
    )


def weights_by_symbol(run: Run, name: str, most: int) -> pd.DataFrame:
    """Signed shares of the value `[bars, symbols]`: the `most` largest on average, and the rest.

    The rest are added up in a column of their own, or in two where some are long and some short.
    """
    mine = run.weights[run.weights["strategy"] == name]
    table = mine.pivot_table(index="time", columns="symbol", values="weight", aggfunc="sum")
    table = table.reindex(run.times).fillna(0.0)
    order = table.abs().mean().sort_values(ascending=False, kind="stable").index
    if len(order) <= most + 1:  # one more takes the place of the rest
        return table[order]
    shown = table[order[:most]].copy()
    rest = table[order[most:]]
    for label, part in (("", rest.clip(lower=0)), (", short", rest.clip(upper=0))):
        if part.to_numpy().any():
            shown[f"{counted(rest.shape[1], 'other symbol')}{label}"] = part.sum(axis=1)
    return shown
