"""Driftless prices as candles of any length, and strategies of random orders to trade them with.

The prices are one geometric random walk per instrument, sampled every few minutes, whose expected
price never changes. Candles of several lengths are cut from the same walk, with highs and lows of
the continuous path between the samples (each step's extremes are drawn from the law of a Brownian
bridge), so that whatever a strategy does, its expected gain is 0, less what fills assume against
it. The walk goes on over nights and weekends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from sandbox import Strategy
from sandbox.trading.broker import Account
from sandbox.trading.engine import Backtest, Setup, run_backtest
from sandbox.trading.source import FrameSource

STEPS_PER_HOUR = 12
HOUR_SIGMA = 0.01  # of the log price
CASH = 10_000.0
START = pd.Timestamp("2024-01-01", tz="UTC")
HOUR_NS = 3_600 * 10**9

Market = tuple[dict[str, pd.DataFrame], dict[str, np.ndarray]]  # candles, opening times in ns


class Walk:
    """The path of one instrument over some hours."""

    def __init__(self, generator: np.random.Generator, hours: int, common: Walk | None = None):
        steps = hours * STEPS_PER_HOUR
        sigma = HOUR_SIGMA / np.sqrt(STEPS_PER_HOUR)
        moves = generator.normal(0, sigma, steps)
        if common is not None:  # nine tenths of the variance are the other instrument's
            shared = np.diff(common.log) + 0.5 * sigma**2
            moves = np.sqrt(0.9) * shared + np.sqrt(0.1) * moves
        self.log: np.ndarray = np.concatenate([[0.0], np.cumsum(moves - 0.5 * sigma**2)])
        low, high = np.minimum(self.log[:-1], self.log[1:]), np.maximum(self.log[:-1], self.log[1:])
        spread = (high - low) ** 2
        self.high, self.low = (
            sign * (sign * (low + high) + np.sqrt(spread - 2 * sigma**2 * np.log(draw))) / 2
            for sign, draw in ((1, generator.random(steps)), (-1, generator.random(steps)))
        )

    def candles(self, opens_hour: np.ndarray, closes_hour: np.ndarray) -> pd.DataFrame:
        """Bars between the given hours after the start, `[n]` each."""
        begin = np.rint(opens_hour * STEPS_PER_HOUR).astype(int)
        end = np.rint(closes_hour * STEPS_PER_HOUR).astype(int)
        rows = [
            (self.log[a], self.high[a:b].max(), self.low[a:b].min(), self.log[b])
            for a, b in zip(begin, end, strict=True)
        ]
        frame = pd.DataFrame(100 * np.exp(rows), columns=["open", "high", "low", "close"])
        frame["volume"], frame["amount"] = 1e9, 1e11
        times = START.value + (closes_hour * HOUR_NS).astype(np.int64)
        return frame.set_index(pd.DatetimeIndex(times, tz="UTC"))


def bars_of(length: float, hours: int, first: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Opening and closing hours of bars of one length that follow one another."""
    edges = np.arange(first, hours + 1e-9, length)
    return edges[:-1], edges[1:]


def sessions_of(hours: int, open_hour: float = 14.5, close_hour: float = 21.0) -> Any:
    """Opening and closing hours of one session a day."""
    days = np.arange(hours // 24) * 24.0
    return days + open_hour, days + close_hour


def market_of(walks: Mapping[str, tuple[Walk, Any]]) -> Market:
    """Candles and opening times of symbols, each given as a walk and the hours of its bars."""
    frames = {symbol: walk.candles(*hours) for symbol, (walk, hours) in walks.items()}
    opens = {
        symbol: START.value + (hours[0] * HOUR_NS).astype(np.int64)
        for symbol, (_, hours) in walks.items()
    }
    return frames, opens


def mixed_market(seed: int, hours: int = 240) -> Market:
    """Two correlated instruments in bars of one hour, four hours, a day, and a day's session."""
    generator = np.random.default_rng(seed)
    first = Walk(generator, hours)
    second = Walk(generator, hours, first)
    return market_of(
        {
            "first-1h": (first, bars_of(1, hours)),
            "first-1d": (first, bars_of(24, hours)),
            "second-4h": (second, bars_of(4, hours)),
            "second-session": (second, sessions_of(hours)),
        }
    )


def even_market(seed: int, hours: int = 120) -> Market:
    """Two correlated instruments in bars of one hour."""
    generator = np.random.default_rng(seed)
    first = Walk(generator, hours)
    second = Walk(generator, hours, first)
    hourly = bars_of(1, hours)
    return market_of({"first-1h": (first, hourly), "second-1h": (second, hourly)})


def books_of(
    strategy: type[Strategy], market: Callable[[int], Market], walks: int, *, exact: bool = True,
    **params: Any,
) -> Iterator[Backtest]:  # fmt: skip
    """What a strategy does on independent walks, without costs; `exact`: opening times are given,
    else they are told by the spacing of the bars."""
    for seed in range(walks):
        frames, opens = market(seed)
        times = pd.DatetimeIndex(
            np.unique(np.concatenate([f.index for f in frames.values()])), tz="UTC"
        )
        strategy.draws = np.random.default_rng([seed, params.get("mix", 0)])
        source = FrameSource(frames, times[0], times[-1], opens=opens if exact else None)
        yield run_backtest(
            source,
            Setup(
                name="driftless", strategy=strategy, account=Account(cash=CASH), start=times[0],
                params=params,
            ),
        )  # fmt: skip


def t_of_returns(books: Iterable[Backtest]) -> float:
    """The t value of the mean return."""
    returns = [book.equity["value"].iloc[-1] / CASH - 1 for book in books]
    spread = np.std(returns, ddof=1)
    return float(np.mean(returns) / (spread / np.sqrt(len(returns)))) if spread else 0.0


KINDS = (
    bt.Order.Market, bt.Order.Close, bt.Order.Limit, bt.Order.Stop, bt.Order.StopLimit,
    bt.Order.StopTrail, bt.Order.StopTrailLimit,
)  # fmt: skip


class RandomOrders(Strategy):
    """Orders whose kinds, distances and sizes are drawn from a mix that `mix` numbers.

    Some of its rules look at what was seen: it may cancel what waits, or trade, only after rises.
    """

    params = (("mix", 0),)
    draws: np.random.Generator

    def __init__(self) -> None:
        mix = np.random.default_rng(self.p.mix)
        self.actions = mix.dirichlet(np.full(7, 0.4))
        self.kinds = mix.dirichlet(np.full(len(KINDS), 0.4))
        self.distance = HOUR_SIGMA * float(mix.uniform(0.1, 3.0))
        self.share = float(mix.uniform(0.1, 1.2))
        self.often = float(mix.uniform(0.1, 0.9))
        self.mirror = bool(mix.random() < 0.5)  # distances on the usual side of the price only
        self.only_after = float(mix.choice([-1.0, 0.0, 1.0]))  # the sign of the last move, or any

    def next(self) -> None:
        for data in self.tradable():
            if len(data) < 2 or self.draws.random() > self.often:
                continue
            move = data.close[0] - data.close[-1]
            if move * self.only_after >= 0:
                self.act(data)

    def act(self, data: Any) -> None:
        what = self.draws.choice(7, p=self.actions)
        if what == 0:
            self.give(data, "buy")
        elif what == 1:
            self.give(data, "sell")
        elif what == 2:
            self.give(data, "sell", oco=self.give(data, "buy"))
        elif what == 3:
            self.give(data, "sell", oco=self.give(data, "sell"))
        elif what == 4:
            self.bracket(data)
        elif what == 5:
            self.cancel_some()
        else:
            picks = [d for d in self.tradable() if self.draws.random() < 0.5]
            self.order_target_weights(dict.fromkeys(picks, 1 / max(1, len(picks))))

    def give(self, data: Any, side: str, **more: Any) -> Any:
        kind = KINDS[self.draws.choice(len(KINDS), p=self.kinds)]
        close, size = data.close[0], self.size(data, side)
        toward = 1 if (side == "buy") == (kind in (bt.Order.Stop, bt.Order.StopLimit)) else -1
        distance = abs(self.draws.normal(0, self.distance)) * (toward if self.mirror else 1)
        if not self.mirror and self.draws.random() < 0.5:
            distance = -distance
        given: dict[str, Any] = {"exectype": kind, "size": size, **more}
        if kind in (bt.Order.StopTrail, bt.Order.StopTrailLimit):
            given["trailpercent"] = abs(distance) + 1e-4
        elif kind not in (bt.Order.Market, bt.Order.Close):
            given["price"] = close * (1 + distance)
        if kind == bt.Order.StopLimit:
            given["plimit"] = given["price"] * (1 + self.draws.normal(0, self.distance / 2))
        if kind == bt.Order.StopTrailLimit:
            given["price"] = close
            given["plimit"] = close * (1 + self.draws.normal(0, self.distance / 2))
        return getattr(self, side)(data, **given)

    def size(self, data: Any, side: str) -> float:
        held = self.getposition(data).size
        if side == "sell" and held and self.draws.random() < 0.7:
            return float(held)
        return max(1.0, float(self.draws.random() * self.share * CASH // data.close[0]))

    def bracket(self, data: Any) -> None:
        close = data.close[0]
        near, stop, target = close * abs(self.draws.normal(0, self.distance, 3))
        kind = bt.Order.Market if self.draws.random() < 0.5 else bt.Order.Limit
        if self.draws.random() < 0.8:
            self.buy_bracket(
                data=data, size=self.size(data, "buy"), exectype=kind, price=close - near,
                stopprice=close - near - stop, limitprice=close - near + target,
            )  # fmt: skip
        else:
            self.sell_bracket(
                data=data, size=self.size(data, "sell"), exectype=kind, price=close + near,
                stopprice=close + near + stop, limitprice=close + near - target,
            )  # fmt: skip

    def cancel_some(self) -> None:
        for order in list(self.broker.pending):
            if self.draws.random() < 0.5:
                self.cancel(order)
