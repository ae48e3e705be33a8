"""Edges at which a comparison, a cap or a kind of order decides, and one step beside them."""

import math

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.config import Sampling
from sandbox.errors import ConfigError
from sandbox.forecast.naive import naive_closes
from sandbox.forecast.windows import Windows
from sandbox.trading.ledger import EQUITY_COLUMNS, Ledger
from sandbox.trading.params import check_params
from tests.sandbox.trading.acting import account, acting, buy, days_of, sell

ROUNDING = 1e-9  # of a price limit in per cent, what is nothing but rounding
HOUR_NS = 3_600 * 10**9


def flat(candles, *closes):
    """Bars that stand still, at these prices."""
    return candles([(close,) * 4 for close in closes], "2024-01-01")


@pytest.mark.parametrize(
    ("limit_pct", "filled_on"),
    [
        (25.0, "01-03"),  # an open 25 % up is at the limit: locked
        (25.0 * (1 + 0.9 * ROUNDING), "01-03"),  # and so it is where only rounding lies between
        (25.0 / (1 - ROUNDING), "01-03"),  # at the very edge of what counts as rounding
        (25.0 * (1 + 10 * ROUNDING), "01-02"),
    ],
)
def test_a_price_exactly_at_the_limit_is_locked(candles, trade, limit_pct, filled_on):
    frame = flat(candles, 100, 125, 125, 125)
    book = trade({"A": frame}, acting({1: buy(10)}), account(price_limit_pct=limit_pct))
    assert days_of(book) == [filled_on]


def test_the_edge_of_rounding_is_hit_to_the_bit():
    """Else the third case above would not be at the edge."""
    assert 25.0 / (1 - ROUNDING) * (1 - ROUNDING) == 100 * (125.0 / 100.0 - 1)


@pytest.mark.parametrize(("cash", "second_fee"), [(100.0, 5.0), (8.0, 3.0)])
def test_a_minimum_fee_takes_from_the_cash_what_the_sale_does_not_bring(
    candles, trade, cash, second_fee
):
    """A sale for 2 with a fee of 5: all of it where the cash has it, else all the cash there is."""
    frame = flat(candles, 2, 2, 2, 2)
    book = trade({"A": frame}, acting({1: buy(1), 2: sell(1)}), account(cash, min_commission=5.0))
    assert book.trades["commission"].tolist() == [5.0, second_fee]
    assert book.equity["cash"].iloc[-1] == cash - 5.0 - second_fee


@pytest.mark.parametrize(
    ("kind", "bought"),
    [(bt.Order.Market, True), (bt.Order.Close, True), (bt.Order.Limit, True),
     (bt.Order.Stop, False)],
)  # fmt: skip
def test_buys_may_count_on_sells_that_are_sure_or_at_a_limit(candles, trade, kind, bought):
    """All the cash is in A; a buy of B at the next close is taken where the sale of A pays."""

    def switch(strategy):
        price = {bt.Order.Limit: 90, bt.Order.Stop: 100}.get(kind)
        strategy.sell(strategy.datas[0], size=100, exectype=kind, price=price)
        strategy.buy(strategy.datas[1], size=100, exectype=bt.Order.Close)

    frames = {"A": flat(candles, *[100] * 5), "B": flat(candles, *[100] * 5)}
    book = trade(frames, acting({1: buy(100), 3: switch}))
    assert [*book.trades["symbol"]] == ["A", "A", "B"][: 2 + bought]


def hourly(hours):
    index = pd.DatetimeIndex([pd.Timestamp("2024-01-01", tz="UTC")] * len(hours))
    index += pd.to_timedelta(hours, unit="h")
    columns = ["open", "high", "low", "close", "volume", "amount"]
    return pd.DataFrame(1.0, index, columns)


@pytest.mark.parametrize("first", ["whole", "gapped"])
def test_a_symbol_with_gaps_goes_on_as_its_own_bars_do(first):
    """Beside one without gaps, whose stretches end at the same times."""
    frames = {"whole": hourly(range(24)), "gapped": hourly(range(1, 24, 2))}
    frames = dict(sorted(frames.items(), key=lambda item: item[0] != first))
    sampling = Sampling(lookback=5, horizon=3)
    windows = Windows.of(frames, sampling, frames["gapped"].index)
    spacing = {"whole": HOUR_NS, "gapped": 2 * HOUR_NS}
    assert {*windows.symbols} == {*spacing}
    for symbol, asof_ns, future_ns in zip(
        windows.symbols, windows.asof_ns, windows.future_ns, strict=True
    ):
        assert np.diff([asof_ns, *future_ns]).tolist() == [spacing[symbol]] * 3


class Bounded(Strategy):
    """Parameters with bounds that are allowed themselves."""

    params = (("share", 0.5), ("names", 2))
    allowed = (("share", (0.0, 1.0)), ("names", (1, math.inf)))


@pytest.mark.parametrize(("share", "names"), [(0.0, 1), (1.0, 10**9)])
def test_the_bounds_of_a_parameter_are_allowed(share, names):
    check_params(Bounded, {"rebalance": "week", "share": share, "names": names})


@pytest.mark.parametrize(
    ("wrong", "needed"),
    [
        ({"share": 1.01}, "share=1.01 of Bounded: from 0 to 1"),
        ({"share": -0.01}, "share=-0.01 of Bounded: from 0 to 1"),
        ({"names": 0}, "names=0 of Bounded: at least 1"),
        ({"rebalance": "zzz"}, "rebalance=zzz of Bounded: one of bar, day, week, month is needed"),
    ],
)
def test_a_parameter_beside_its_bounds_names_them(wrong, needed):
    params = {"rebalance": "week", "share": 0.5, "names": 2} | wrong
    with pytest.raises(ConfigError) as refused:
        check_params(Bounded, params)
    assert str(refused.value) == needed


def test_books_without_a_close_are_an_empty_table():
    equity = Ledger("none", 1.0).equity()
    assert (len(equity), tuple(equity)) == (0, EQUITY_COLUMNS)


def test_reversal_over_more_bars_than_there_are_looks_at_the_first(candles):
    frame = flat(candles, 100, 101, 102, 103)
    sampling = Sampling(lookback=4, horizon=6, samples=8)
    closes = naive_closes("reversal", Windows.of({"A": frame}, sampling, frame.index), sampling)
    assert closes[0, :, -1].mean() / 103 == pytest.approx(1 - 0.03)
