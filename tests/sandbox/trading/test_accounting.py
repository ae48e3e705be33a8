"""The books add up: on random markets, orders and costs, from the tables of a run alone."""

import io

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import Strategy
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel, cost_model
from tests.conftest import make_frame, make_market, make_run

CASH = 10_000.0


class Fickle(Strategy):
    """Orders of every kind at random, on symbols that trade and on symbols that do not."""

    params = (("seed", 0),)

    def __init__(self):
        self.random = np.random.default_rng(self.p.seed)

    def next(self):
        begun = [data for data in self.datas if len(data)]
        for _ in range(self.random.integers(0, 4)):
            data = begun[self.random.integers(len(begun))]
            self.do(self.random.integers(0, 8), data, data.close[0])

    def do(self, what, data, close):
        size = float(self.random.exponential(0.3) * self.broker.getvalue() / close)
        near = close * (1 + self.random.normal(0, 0.02))
        held = self.getposition(data).size
        if what == 0:
            picks = [one for one in self.tradable() if self.random.random() < 0.5]
            self.order_target_weights(dict.fromkeys(picks, 1 / max(1, len(picks))))
        elif what == 1:
            self.buy(data, size=size)
        elif what == 2:
            self.sell(data, size=size if self.random.random() < 0.5 else held or size)
        elif what == 3:
            self.buy(data, size=size, exectype=bt.Order.Limit, price=near)
        elif what == 4:
            self.sell(data, size=size, exectype=bt.Order.Stop, price=near)
        elif what == 5:
            exectype = bt.Order.StopLimit
            self.buy(data, size=size, exectype=exectype, price=near, plimit=near * 1.01)
        elif what == 6:
            self.sell(data, size=size, exectype=bt.Order.Close)
        elif self.broker.pending:
            self.cancel(self.broker.pending[0])


def bounded(low, high):
    return st.one_of(st.just(0.0), st.floats(low, high))


costs_drawn = st.builds(
    CostModel,
    commission_bps=bounded(0, 300),
    min_commission=bounded(0, 100),
    sell_tax_bps=bounded(0, 300),
    slippage_bps=bounded(0, 300),
    impact=bounded(0, 20),
    volume_cap_pct=st.one_of(st.none(), st.floats(0.5, 100)),
    price_limit_pct=st.one_of(st.none(), st.floats(1, 10)),
    lot_size=st.sampled_from([1.0, 1.0, 10.0, 1e-6, 0.1]),
)


@st.composite
def markets(draw):
    """One symbol to four that start late, end early, lack bars or have no volume."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bars = draw(st.integers(4, 40))
    frames = {}
    for symbol in "ABCD"[: draw(st.integers(1, 4))]:
        close = 50 * np.exp(np.cumsum(random.normal(0, 0.05, bars)))
        open_ = close * np.exp(random.normal(0, 0.03, bars))
        high, low = np.maximum(open_, close) * 1.01, np.minimum(open_, close) * 0.99
        volume = random.integers(0, 300, bars) * (random.random() < 0.8)
        frame = make_frame(np.column_stack([open_, high, low, close]), "2024-01-01", volume=volume)
        first, last = sorted(random.choice(bars + 1, 2, replace=False))
        kept = random.random(bars) < draw(st.sampled_from([1.0, 0.7]))
        kept[:first], kept[last:] = False, False
        kept[first] = True  # a bar at least
        frames[symbol] = frame[kept] if draw(st.booleans()) else frame
    return frames


def sizes_held(trades, times):
    """What was held of each symbol at each time, from the fills alone."""
    signed = trades["size"].where(trades["side"] == "buy", -trades["size"])
    moves = signed.groupby([trades["time"], trades["symbol"]]).sum().unstack(fill_value=0.0)
    return moves.reindex(times, fill_value=0.0).cumsum()


def cash_left(trades, prices, fees, times):
    """What is left of the cash at each time, when fills are at `prices` and pay `fees`."""
    signed = trades["size"].where(trades["side"] == "buy", -trades["size"])
    paid = (signed * prices + fees).groupby(trades["time"]).sum()
    return CASH - paid.reindex(times, fill_value=0.0).cumsum()


def is_settlement(fill, frames, times):
    """Whether a fill is the sale of a symbol whose data have ended, as it has to be."""
    frame = frames[fill.symbol]
    following = times[times.searchsorted(frame.index[-1], side="right") :]
    return (
        fill.side == "sell"
        and fill.time == following.min()
        and fill.reference_price == frame["close"].iloc[-1]
        and fill.impact == 0
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(markets(), costs_drawn, st.integers(0, 2**32 - 1))
def test_the_books_add_up(frames, costs, seed):
    book = make_run(frames, Fickle, Account(cash=CASH, costs=costs), params={"seed": seed})
    equity, times = book.equity, pd.DatetimeIndex(book.equity["time"])
    if book.trades.empty:
        assert (equity[["cash", "value", "gross_value"]] == CASH).all(axis=None)
        assert book.weights.empty
        return
    trades = pd.read_csv(io.StringIO(book.trades.to_csv(index=False)), parse_dates=["time"])
    closes = pd.DataFrame({symbol: frame["close"] for symbol, frame in frames.items()})
    closes = closes.reindex(times).ffill()

    stocks = (sizes_held(trades, times) * closes).sum(axis=1).to_numpy()
    cash = cash_left(trades, trades["price"], trades["commission"], times).to_numpy()
    gross = cash_left(trades, trades["reference_price"], 0.0, times).to_numpy() + stocks
    size = np.abs(equity["gross_value"]).max() + CASH  # rounding is relative to what was added up
    assert np.abs(equity["cash"] - cash).max() <= 1e-9 * size
    assert np.abs(equity["value"] - (cash + stocks)).max() <= 1e-9 * size
    assert np.abs(equity["gross_value"] - gross).max() <= 1e-9 * size
    assert (equity["cash"] >= -1e-9 * equity["value"]).all()

    costs_paid = trades[["commission", "slippage", "impact"]].sum(axis=1)
    paid = costs_paid.groupby(trades["time"]).sum().reindex(times, fill_value=0.0).cumsum()
    assert np.abs(equity["gross_value"] - equity["value"] - paid.to_numpy()).max() <= 1e-9 * size
    assert costs_paid.min() >= 0
    check_fills(trades, frames, times, costs)
    check_weights(book, closes)


def check_fills(trades, frames, times, costs):
    """Each in a bar that its symbol has, within the bar's volume; or a settlement."""
    settled = [
        fill.time not in frames[fill.symbol].index and is_settlement(fill, frames, times)
        for fill in trades.itertuples()
    ]
    filled = trades[~np.array(settled, dtype=bool)]
    for (time, symbol), size in filled.groupby(["time", "symbol"])["size"].sum().items():
        bar = frames[symbol].loc[time]  # a KeyError: filled without a bar
        known = (frames[symbol].loc[:time, "volume"] > 0).any()
        if costs.volume_cap_pct is not None and known:
            assert size <= bar["volume"] * costs.volume_cap_pct / 100 + 1e-9
    lots = filled["size"] / costs.lot_size
    assert np.allclose(lots, lots.round(), atol=1e-5)


def check_weights(book, closes):
    """Shares of the value at each close, of what is held; the rest is cash."""
    value = book.equity.set_index("time")["value"]
    invested = book.weights.groupby("time")["weight"].sum().reindex(value.index, fill_value=0.0)
    cash = book.equity.set_index("time")["cash"]
    assert np.allclose(invested * value, value - cash, atol=1e-9 * CASH)
    assert (book.weights["weight"] > 0).all()
    assert not book.weights.duplicated(["time", "symbol"]).any()
    assert set(book.weights["symbol"]) <= set(closes.columns)


@pytest.mark.parametrize("preset", ["us", "ph", "cn", "crypto", "none"])
def test_presets_add_up_on_a_long_run(preset):
    frames = make_market("ABCDE", bars=300)
    frames["B"] = frames["B"].iloc[50:]
    frames["C"] = frames["C"].drop(frames["C"].index[100:120])
    frames["D"] = frames["D"].iloc[:200]
    account = Account(cash=CASH * 10, costs=cost_model(preset))
    book = make_run(frames, Fickle, account, params={"seed": 3})
    assert len(book.trades) > 100
    equity = book.equity
    paid = book.trades[["commission", "slippage", "impact"]].sum().sum()
    difference = equity["gross_value"].iloc[-1] - equity["value"].iloc[-1]
    assert difference == pytest.approx(paid, rel=1e-9, abs=1e-9 * CASH)
    assert (paid > 0) == (preset != "none")


def test_the_same_run_twice_gives_the_same_tables():
    frames = make_market("ABCDE", bars=120)
    account = Account(cash=CASH * 10, costs=cost_model("us"))
    once, again = (make_run(frames, Fickle, account, params={"seed": 5}) for _ in range(2))
    for table in ("equity", "trades", "weights", "decisions"):
        first, second = getattr(once, table), getattr(again, table)
        assert len(first) > 50
        assert first.to_csv(index=False) == second.to_csv(index=False)
