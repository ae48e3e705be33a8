"""The fills of one symbol, each held against its candles, the orders given and the cost model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import CLOSE, HIGH, LOW, OPEN, VOLUME
from sandbox.trading.costs import BPS, LIQUIDITY_BARS, CostModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUNDING = 1e-9  # of a price, a cost or an account's value
LOT_ROUNDING = 1e-6  # of a lot


@dataclass(frozen=True, kw_only=True)
class Bars:
    """One symbol's candles as a run saw them."""

    times: Ints  # closes, ns
    opens: Ints  # openings, ns
    values: Floats  # [n, 6] in schema order
    ends: int  # ns; when the symbol's data end, maybe after the run


@dataclass(frozen=True, kw_only=True)
class Fills:
    """Fills in the order they were booked: of all symbols, or of one."""

    times: Ints
    sizes: Floats  # below 0: sold
    prices: Floats
    references: Floats
    fees: Floats
    slippage: Floats  # money
    impact: Floats  # money
    cash_before: Floats  # the account's, by its flows

    def of(self, rows: NDArray[Any]) -> Fills:
        return Fills(**{name: column[rows] for name, column in vars(self).items()})

    def __len__(self) -> int:
        return len(self.times)


class Orders:
    """How much had been ordered of a symbol, by side and by when."""

    def __init__(self, decisions: pd.DataFrame) -> None:
        given = decisions[(decisions["kind"] != "cancel").to_numpy()]
        self._times = ns_of(given["time"])
        self._sizes = given["size"].to_numpy(np.float64)
        self._prices = given["price"].to_numpy(np.float64)
        self._at_open = (given["kind"] == "market").to_numpy()
        self._limited = given["kind"].str.contains("limit").to_numpy(dtype=bool)
        self._plain_limit = (given["kind"] == "limit").to_numpy()
        bought = (given["side"] == "buy").to_numpy()
        self._rows: dict[tuple[str, str], NDArray[Any]] = {}
        for symbol, rows in rows_of(given["symbol"]).items():
            self._rows[symbol, "buy"] = rows[bought[rows]]
            self._rows[symbol, "sell"] = rows[~bought[rows]]

    def ordered(self, symbol: str, side: str, until: Ints, *, priced_only: bool = False) -> Floats:
        """The units ordered up to each of the times, both ends included."""
        rows = self._of(symbol, side)
        sizes = self._sizes[rows] * ~self._at_open[rows] if priced_only else self._sizes[rows]
        sums = np.concatenate([[0.0], np.cumsum(sizes)])
        return sums[np.searchsorted(self._times[rows], until, side="right")]

    def has_limit(self, symbol: str, side: str, price: float) -> bool:
        """Whether an order had that limit; of a stop-limit only the stop is on record."""
        rows = self._of(symbol, side)
        limited, plain = rows[self._limited[rows]], rows[self._plain_limit[rows]]
        return len(limited) > len(plain) or bool(
            np.isclose(self._prices[plain], price, rtol=ROUNDING, atol=0).any()
        )

    def _of(self, symbol: str, side: str) -> NDArray[Any]:
        return self._rows.get((symbol, side), np.array([], dtype=np.int64))


class SymbolFills:
    """The fills of one symbol beside its candles."""

    def __init__(self, symbol: str, bars: Bars, fills: Fills, costs: CostModel) -> None:
        self._symbol, self._bars, self._fills, self._costs = symbol, bars, fills, costs
        rows = np.minimum(np.searchsorted(bars.times, fills.times), len(bars.times) - 1)
        self._in_bar: NDArray[np.bool_] = bars.times[rows] == fills.times
        self._rows = rows
        self._bought: NDArray[np.bool_] = fills.sizes > 0
        self._units = np.abs(fills.sizes)

    def complaints(self, orders: Orders) -> Iterator[str]:
        yield from self._position_complaints()
        yield from self._settlement_complaints()
        yield from self._reference_complaints()
        yield from self._order_complaints(orders)
        yield from self._cost_complaints(orders)
        yield from self._cap_complaints()
        yield from self._price_limit_complaints()

    def _say(self, wrong: NDArray[np.bool_], what: str, *columns: Floats) -> Iterator[str]:
        """The first fill that is wrong, with figures put into the words."""
        if wrong.any():
            nth = int(np.argmax(wrong))
            side = "buy" if self._bought[nth] else "sell"
            figures = [f"{column[nth]:,.10g}" for column in columns]
            time = when(int(self._fills.times[nth]))
            yield f"the {side} of {self._units[nth]:,.10g} {self._symbol} at {time} " + (
                what.format(*figures)
            )

    def _position_complaints(self) -> Iterator[str]:
        after = np.cumsum(self._fills.sizes)
        slack = LOT_ROUNDING * self._costs.lot_size + ROUNDING * np.cumsum(self._units)
        yield from self._say(~(after >= -slack), "is of more than was held")
        lots = self._units / self._costs.lot_size
        off = np.abs(lots - np.round(lots)) > np.maximum(LOT_ROUNDING, ROUNDING * lots)
        lot = np.full(len(lots), self._costs.lot_size)
        yield from self._say(off & self._bought, "is not in whole lots of {}", lot)

    def _settlement_complaints(self) -> Iterator[str]:
        """A fill without a bar is the sale of what is held of a symbol whose data have ended."""
        last_close = np.full(len(self._units), self._bars.values[-1, CLOSE])
        ended = (self._fills.times > self._bars.ends) & ~self._bought
        yield from self._say(~self._in_bar & ~ended, "is in no bar of the symbol")
        wrong = ~self._in_bar & ~_close(self._fills.references, last_close)
        yield from self._say(
            wrong, "is at {} before costs, the last close was {}",
            self._fills.references, last_close,
        )  # fmt: skip

    def _reference_complaints(self) -> Iterator[str]:
        bars, references = self._bars.values[self._rows], self._fills.references
        low, high = bars[:, LOW] * (1 - ROUNDING), bars[:, HIGH] * (1 + ROUNDING)
        inside = (references >= low) & (references <= high)
        yield from self._say(
            self._in_bar & ~inside, "is at {} before costs, outside its bar ({} to {})",
            references, bars[:, LOW], bars[:, HIGH],
        )  # fmt: skip

    def _order_complaints(self, orders: Orders) -> Iterator[str]:
        """No more is filled than had been ordered before the bar, at another price than its open
        no more than had been ordered at a price."""
        known_until = self._bars.opens[self._rows]
        opens = self._bars.values[self._rows, OPEN]
        at_open = _close(self._fills.references, opens)
        for side, of_side in (("buy", self._bought), ("sell", ~self._bought)):
            rows = np.flatnonzero(of_side & self._in_bar)
            until, units = known_until[rows], self._units[rows]
            for priced, filled in ((False, units), (True, units * ~at_open[rows])):
                sums = np.cumsum(filled)
                ordered = orders.ordered(self._symbol, side, until, priced_only=priced)
                slack = LOT_ROUNDING * self._costs.lot_size + ROUNDING * (sums + ordered)
                wrong = np.zeros(len(self._units), dtype=bool)
                wrong[rows] = ~(sums <= ordered + slack)
                if priced:
                    what = "is at {} before costs, and market orders fill at the open, {}"
                    yield from self._say(wrong, what, self._fills.references, opens)
                else:
                    yield from self._say(wrong, "is of more than was ordered before its bar")

    def _cost_complaints(self, orders: Orders) -> Iterator[str]:
        fills, costs = self._fills, self._costs
        traded = self._units * fills.references
        slip = np.full(len(traded), costs.slippage_bps * BPS)
        impact = self._impact_shares()
        beyond = ~self._bought & (slip + impact > 1)  # nobody pays to sell
        impact = np.where(beyond, np.minimum(impact, 1.0), impact)
        slip = np.where(beyond, 1 - impact, slip)
        room = np.where(self._bought, 1.0, -1.0) * (fills.prices / fills.references - 1)
        capped = room < (slip + impact) * (1 - ROUNDING) - ROUNDING
        for nth in np.flatnonzero(capped):
            side = "buy" if self._bought[nth] else "sell"
            if not orders.has_limit(self._symbol, side, float(fills.prices[nth])):
                yield from self._say(
                    np.arange(len(capped)) == nth, "cost {} a unit, by the cost model {}",
                    room * fills.references, (slip + impact) * fills.references,
                )  # fmt: skip
        impact = np.where(capped, np.minimum(impact, np.maximum(room, 0.0)), impact)
        slip = np.where(capped, room - impact, slip)
        yield from self._cost_unlike("slippage", fills.slippage, traded * slip, traded)
        yield from self._cost_unlike("impact", fills.impact, traded * impact, traded)
        sign = np.where(self._bought, 1.0, -1.0)
        priced = np.maximum(fills.references * (1 + sign * (slip + impact)), 0.0)
        yield from self._cost_unlike("price", fills.prices, priced, fills.references)
        yield from self._cost_unlike("commission", fills.fees, self._fees(), traded)

    def _fees(self) -> Floats:
        fills, costs = self._fills, self._costs
        value = self._units * fills.prices
        fees = np.maximum(costs.min_commission, value * costs.commission_bps * BPS)
        with_tax = fees + value * costs.sell_tax_bps * BPS
        return np.where(self._bought, fees, np.minimum(with_tax, value + fills.cash_before))

    def _cost_unlike(
        self, what: str, booked: Floats, expected: Floats, scale: Floats
    ) -> Iterator[str]:
        wrong = ~(np.abs(booked - expected) <= ROUNDING * (scale + np.abs(expected)))
        words = f"has a {what} of {{}}, by the cost model of the run it is {{}}"
        yield from self._say(wrong, words, booked, expected)

    def _impact_shares(self) -> Floats:
        """Of the price, by the bars before each fill's; nothing is known from fewer than three."""
        shares = np.zeros(len(self._units))
        if not self._costs.impact:
            return shares
        known = np.minimum(self._rows, LIQUIDITY_BARS)
        for bars in np.unique(known[self._in_bar & (known >= 3)]):
            fills = np.flatnonzero(self._in_bar & (known == bars))
            before = self._rows[fills, None] - bars + np.arange(bars)
            closes, volumes = (self._bars.values[before, col] for col in (CLOSE, VOLUME))
            volatility = (closes[:, 1:] / closes[:, :-1] - 1).std(axis=1, ddof=1)
            volume = volumes.mean(axis=1)
            ratio = np.divide(
                self._units[fills], volume, out=np.zeros(len(fills)), where=volume > 0
            )
            shares[fills] = self._costs.impact * volatility * np.sqrt(ratio)
        return shares

    def _cap_complaints(self) -> Iterator[str]:
        """What is filled in a bar is within its share of the bar's volume, once there was any."""
        cap_pct = self._costs.volume_cap_pct
        if cap_pct is None:
            return
        traded_yet = np.maximum.accumulate(self._bars.values[:, VOLUME]) > 0
        filled: Floats = np.bincount(
            self._rows[self._in_bar], self._units[self._in_bar], minlength=len(traded_yet)
        ).astype(np.float64)
        room = self._bars.values[:, VOLUME] * cap_pct / 100
        over = traded_yet & ~(filled <= room * (1 + ROUNDING) + LOT_ROUNDING * self._costs.lot_size)
        yield from self._say(
            self._in_bar & over[self._rows], "makes {} in its bar, the volume cap is {}",
            filled[self._rows], room[self._rows],
        )  # fmt: skip

    def _price_limit_complaints(self) -> Iterator[str]:
        limit_pct = self._costs.price_limit_pct
        if limit_pct is None:
            return
        before = self._bars.values[np.maximum(self._rows - 1, 0), CLOSE]
        change_pct = 100 * (self._fills.references / before - 1)
        against = np.where(self._bought, change_pct, -change_pct)
        locked = self._in_bar & (self._rows > 0) & (against > limit_pct * (1 + ROUNDING))
        yield from self._say(locked, "is {} % from the last close, beyond the price limit", against)


def rows_of(column: pd.Series) -> dict[str, NDArray[Any]]:
    """The rows that hold each value, in their order."""
    codes, values = pd.factorize(column)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(1, len(values)))
    return dict(zip(values, np.split(order, starts), strict=bool(len(values))))


def _close(one: Floats, other: Floats) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(one - other) <= ROUNDING * np.abs(other)
    return near


def ns_of(times: pd.Series) -> Ints:
    return pd.DatetimeIndex(times).as_unit("ns").asi8


def when(time_ns: int) -> str:
    return f"{pd.Timestamp(time_ns, tz='UTC'):%Y-%m-%d %H:%M}"
