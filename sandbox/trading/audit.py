"""The books of a finished run, added up again from the candles, the costs and the fills alone.

A strategy is handed its broker and can write to it: cash, positions, costs, ledger, candles.
Whatever it bends shows here as a figure that does not follow from the others. The arithmetic is
written a second time, over whole columns, and shares no code with the broker that is checked. A
better price within the bar, by code put in place of the broker's, is for
`sandbox.trading.originals`.

One process has no walls: code that rewrites this module too, or forges candles, fills and account
so that they agree, is not found. That takes intent, and is not done by mistake.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from feeds import CLOSE, times_ns, values_of
from sandbox.errors import StrategyError
from sandbox.trading.audit_fills import (
    ROUNDING,
    Bars,
    Fills,
    Floats,
    Ints,
    Orders,
    SymbolFills,
    ns_of,
    rows_of,
    when,
)

if TYPE_CHECKING:
    from sandbox.trading.broker import Account
    from sandbox.trading.source import FrameSource


NEVER_ENDS = 2**63 - 1  # ns


@dataclass(frozen=True, kw_only=True)
class Books:
    """What a run hands in: the ledger's tables, and what the broker says it has at the end."""

    equity: pd.DataFrame
    trades: pd.DataFrame
    weights: pd.DataFrame
    decisions: pd.DataFrame
    cash: float
    sizes: Mapping[str, float]  # by symbol


class Audit:
    """Remembers, before a strategy is started, what its books have to follow from."""

    def __init__(self, name: str, source: FrameSource, account: Account) -> None:
        self._name = name
        self._start_ns = source.start.value
        self._cash = float(account.cash)
        self._costs = replace(account.costs)  # a copy: the broker's is in a strategy's reach
        self._bars = {symbol: _bars(source, symbol) for symbol in source.symbols}
        self._checksum = self._checksum_now()

    def check(self, books: Books) -> None:
        """Raises the error that names the first figure which does not follow from the rest."""
        for complaint in self._complaints(books):
            raise StrategyError(
                f"{self._name}: the books do not add up: {complaint}. A strategy trades by its "
                "orders alone: it must not change cash, positions, costs, fills or candles"
            )

    def _complaints(self, books: Books) -> Iterator[str]:
        if self._checksum_now() != self._checksum:
            yield "the candles were changed during the run"
        fills = _fills(books.trades, self._cash)
        yield from _flow_complaints(fills)
        orders = Orders(books.decisions)
        by_symbol: dict[str, Fills] = {}
        for symbol, rows in rows_of(books.trades["symbol"]).items():
            if symbol not in self._bars:
                yield f"{symbol} was traded and is no symbol of the run"
            by_symbol[symbol] = own = fills.of(rows)
            checked = SymbolFills(symbol, self._bars[symbol], own, self._costs.of(symbol))
            yield from checked.complaints(orders)
        yield from self._row_complaints(books, fills, by_symbol)
        yield from _end_complaints(books, fills, by_symbol, self._cash)

    def _checksum_now(self) -> int:
        checksum = 0
        for bars in self._bars.values():
            values = bars.values if bars.values.flags.c_contiguous else bars.values.T
            checksum = zlib.crc32(np.ascontiguousarray(values).data, checksum)
            checksum = zlib.crc32(np.ascontiguousarray(bars.times).data, checksum)
        return checksum

    def _row_complaints(
        self, books: Books, fills: Fills, by_symbol: Mapping[str, Fills]
    ) -> Iterator[str]:
        """Cash, value, gross value and weights at every close, from the fills and the closes."""
        times = ns_of(books.equity["time"])
        closes = np.unique(np.concatenate([bars.times for bars in self._bars.values()]))
        closes = closes[closes >= self._start_ns]
        if not np.array_equal(times, closes[: len(times)]):
            yield "the equity rows are not those of the run's bar times"
        if len(fills) and not (len(times) and fills.times[-1] <= times[-1]):
            yield f"a fill at {when(int(fills.times[-1]))} is later than the last equity row"
        cash, gross_cash = _cash_rows(fills, times, self._cash)
        held = {
            symbol: _held_rows(self._bars[symbol], own, times) for symbol, own in by_symbol.items()
        }
        stocks = np.zeros(len(times))
        for row in held.values():
            stocks += row
        scale = np.maximum.accumulate(np.abs(cash) + stocks + np.abs(gross_cash) + self._cash)
        for column, expected in (
            ("cash", cash), ("value", cash + stocks), ("gross_value", gross_cash + stocks),
        ):  # fmt: skip
            yield from _unlike(
                column, times, books.equity[column].to_numpy(np.float64), expected, scale
            )
        yield from _weight_complaints(books.weights, times, held, cash + stocks)


def _bars(source: FrameSource, symbol: str) -> Bars:
    handed_out = source.handed_out[symbol]
    return Bars(
        times=times_ns(handed_out),
        opens=np.array(source.opens[symbol]),
        values=values_of(handed_out),
        ends=source.last_bar_ns.get(symbol, NEVER_ENDS),
    )


def _fills(trades: pd.DataFrame, start_cash: float) -> Fills:
    number = {name: trades[name].to_numpy(np.float64) for name in trades.columns[4:]}
    sizes = np.where((trades["side"] == "buy").to_numpy(), 1.0, -1.0) * number["size"]
    flows = sizes * number["price"] + number["commission"]
    cash = np.cumsum(np.concatenate([[start_cash], -flows]))
    return Fills(
        times=ns_of(trades["time"]), sizes=sizes, prices=number["price"],
        references=number["reference_price"], fees=number["commission"],
        slippage=number["slippage"], impact=number["impact"], cash_before=cash[:-1],
    )  # fmt: skip


def _flow_complaints(fills: Fills) -> Iterator[str]:
    """Fills follow each other in time, are numbers, and were paid from cash that was there."""
    if not all(np.isfinite(column).all() for column in vars(fills).values()):
        yield "a fill has a figure that is not a number"
    if not ((fills.prices >= 0) & (fills.references > 0) & (fills.sizes != 0)).all():
        yield "a fill is of nothing or has no price"
    if (np.diff(fills.times) < 0).any():
        yield "the fills are not in the order of time"
    after = fills.cash_before - fills.sizes * fills.prices - fills.fees
    scale = np.maximum.accumulate(np.abs(fills.cash_before) + np.abs(fills.sizes * fills.prices))
    short = ~(after >= -ROUNDING * scale)
    if short.any():
        nth = int(np.argmax(short))
        yield (
            f"the fill at {when(int(fills.times[nth]))} spends {-after[nth]:,.10g} more than the "
            "cash there was"
        )


def _cash_rows(fills: Fills, times: Ints, start_cash: float) -> tuple[Floats, Floats]:
    """Cash at each close, and what it would be without costs."""
    done = np.searchsorted(fills.times, times, side="right")
    flows = -(fills.sizes * fills.prices + fills.fees)
    gross_flows = -fills.sizes * fills.references
    net, gross = (np.cumsum(np.concatenate([[start_cash], f])) for f in (flows, gross_flows))
    return net[done], gross[done]


def _held_rows(bars: Bars, fills: Fills, times: Ints) -> Floats:
    """What is held of a symbol at each close, at its latest close; 0 where nothing is."""
    sizes = np.concatenate([[0.0], np.cumsum(fills.sizes)])
    size = sizes[np.searchsorted(fills.times, times, side="right")]
    row = np.searchsorted(bars.times, times, side="right") - 1
    return size * np.where(row < 0, 0.0, bars.values[row, CLOSE])


def _unlike(
    column: str, times: Ints, booked: Floats, expected: Floats, scale: Floats
) -> Iterator[str]:
    wrong = ~(np.abs(booked - expected) <= ROUNDING * scale)
    if wrong.any():
        nth = int(np.argmax(wrong))
        yield (
            f"{column.replace('_', ' ')} at {when(int(times[nth]))} is {booked[nth]:,.10g}, by "
            f"the fills and the candles it is {expected[nth]:,.10g}"
        )


def _weight_complaints(
    weights: pd.DataFrame, times: Ints, held: Mapping[str, Floats], value: Floats
) -> Iterator[str]:
    """Every weight is what is held of its symbol by the value, and no holding lacks one."""
    by_symbol = rows_of(weights["symbol"])
    rows = np.minimum(np.searchsorted(times, ns_of(weights["time"])), max(len(times) - 1, 0))
    shares = weights["weight"].to_numpy(np.float64)
    for symbol in {**dict.fromkeys(by_symbol), **dict.fromkeys(held)}:
        booked, expected = np.zeros(len(times)), np.zeros(len(times))
        if symbol in held:
            np.divide(held[symbol], value, out=expected, where=held[symbol] != 0)
        if symbol in by_symbol:
            booked[rows[by_symbol[symbol]]] = shares[by_symbol[symbol]]
        wrong = ~(np.abs(booked - expected) <= ROUNDING * (1 + np.abs(expected)))
        if wrong.any():
            nth = int(np.argmax(wrong))
            yield (
                f"the weight of {symbol} at {when(int(times[nth]))} is {booked[nth]:.10g}, by "
                f"the fills and the candles it is {expected[nth]:.10g}"
            )


def _end_complaints(
    books: Books, fills: Fills, by_symbol: Mapping[str, Fills], start_cash: float
) -> Iterator[str]:
    """What the broker has in the end."""
    cash = start_cash - float(np.sum(fills.sizes * fills.prices + fills.fees))
    scale = start_cash + float(np.max(np.abs(fills.cash_before), initial=0.0))
    if not abs(books.cash - cash) <= ROUNDING * scale:
        yield f"cash in the end is {books.cash:,.10g}, by the fills it is {cash:,.10g}"
    for symbol in {**dict.fromkeys(by_symbol), **dict.fromkeys(books.sizes)}:
        sizes = by_symbol[symbol].sizes if symbol in by_symbol else np.array([])
        expected, has = float(np.sum(sizes)), books.sizes.get(symbol, 0.0)
        if not abs(has - expected) <= ROUNDING * (1 + float(np.sum(np.abs(sizes)))):
            yield (f"the position in {symbol} is {has:,.10g}, by the fills it is {expected:,.10g}")
