"""Fills on tables small enough to price by hand."""

import backtrader as bt
import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.broker import Account

BARS = [  # open, high, low, close
    (100, 102, 99, 101),
    (102, 104, 101, 103),
    (104, 106, 103, 105),
    (106, 108, 105, 107),
    (108, 110, 107, 109),
]
COSTLY = Account(cash=10_000.0, commission_bps=20.0, slippage_bps=10.0)


class BuyThenSell(Strategy):
    """Buys 10 on the first bar, sells them on the third."""

    def next(self):
        if len(self.data) == 1:
            self.buy(size=10)
        if len(self.data) == 3:
            self.sell(size=10)


def test_market_orders_fill_at_the_next_open_with_slippage_and_commission(candles, trade):
    book = trade({"A": candles(BARS, "2024-01-01")}, BuyThenSell, COSTLY)
    bought, sold = book.trades.to_dict("records")

    assert (bought["side"], bought["size"]) == ("buy", 10)
    assert bought["time"] == pd.Timestamp("2024-01-02 21:00", tz="UTC")  # the second bar
    assert bought["reference_price"] == 102.0
    assert bought["price"] == pytest.approx(102.102)  # 102 * 1.001
    assert bought["slippage"] == pytest.approx(1.02)  # 10 * 0.102
    assert bought["commission"] == pytest.approx(2.04204)  # 1021.02 * 0.002

    assert (sold["side"], sold["size"]) == ("sell", 10)
    assert sold["price"] == pytest.approx(105.894)  # 106 * 0.999
    assert sold["slippage"] == pytest.approx(1.06)
    assert sold["commission"] == pytest.approx(2.11788)  # 1058.94 * 0.002

    # 10000 - 1021.02 - 2.04204 + 1058.94 - 2.11788
    assert book.equity["cash"].iloc[-1] == pytest.approx(10_033.76008)
    # and 2.04204 + 2.11788 + 1.02 + 1.06 of costs come on top of it before costs
    assert book.equity["gross_value"].iloc[-1] == pytest.approx(10_040.0)


def test_a_buy_at_an_open_that_is_the_high_slips_all_the_same(candles, trade):
    frame = candles([(100, 100, 100, 100), (100, 100, 95, 96)], "2024-01-01")
    book = trade({"A": frame}, BuyThenSell, COSTLY)
    assert book.trades["price"].tolist() == pytest.approx([100.1])


def test_a_limit_order_is_never_filled_beyond_its_limit(candles, trade):
    class Limits(Strategy):
        def next(self):
            if len(self.data) == 1:
                self.buy(size=1, exectype=bt.Order.Limit, price=102.05)

    book = trade({"A": candles(BARS, "2024-01-01")}, Limits, COSTLY)
    assert book.trades["price"].tolist() == pytest.approx([102.05])  # not 102.102
    assert book.trades["slippage"].tolist() == pytest.approx([0.05])


def test_a_buy_that_gaps_beyond_the_cash_is_cut_not_refused(candles, trade):
    class AllIn(Strategy):
        def next(self):
            if len(self.data) == 1:
                self.order_target_weights({self.data: 1.0})

    frame = candles([(100, 100, 100, 100), (125, 125, 125, 125), (1, 1, 1, 1)], "2024-01-01")
    book = trade({"A": frame}, AllIn)
    # 99 shares were wanted at 100; 10000 pays for 80 at 125, and the other 19 are let go
    assert book.trades["size"].tolist() == [80]
    assert book.refused == 0


def test_an_order_beyond_the_cash_is_refused_and_counted(candles, trade):
    class TooMuch(Strategy):
        def next(self):
            if len(self.data) == 1:
                self.buy(size=1000)

    book = trade({"A": candles(BARS, "2024-01-01")}, TooMuch)
    assert (book.refused, len(book.trades)) == (1, 0)


def test_an_order_waits_for_a_symbol_that_has_no_bar(candles, trade):
    class BuyBoth(Strategy):
        def next(self):
            if len(self) == 1:
                for data in self.datas:
                    self.buy(data, size=1)

    days = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
    halted = candles([BARS[0], BARS[3], BARS[4]], [days[0], days[3], days[4]])
    book = trade({"A": candles(BARS, days), "B": halted}, BuyBoth)
    fills = book.trades.set_index("symbol")
    assert f"{fills.loc['A', 'time']:%m-%d}" == "01-02"
    assert f"{fills.loc['B', 'time']:%m-%d}" == "01-04"
    assert fills.loc["B", "price"] == 106.0


def test_value_is_cash_and_what_the_shares_close_at_on_every_bar(market, trade):
    class Shuffle(Strategy):
        def next(self):
            if len(self) % 3 == 0:  # one name, then two, by turns
                ranked = sorted(self.tradable(), key=lambda data: data.close[0])
                self.order_target_weights(dict.fromkeys(ranked[: 1 + len(self) % 2], 0.45))

    frames = market("ABCD", bars=60)
    frames["B"] = frames["B"].iloc[20:]
    frames["C"] = frames["C"].drop(frames["C"].index[[30, 31, 40]])
    book = trade(frames, Shuffle, COSTLY)
    assert len(book.trades) > 20

    closes = pd.DataFrame({symbol: frame["close"] for symbol, frame in frames.items()}).ffill()
    signed = book.trades["size"].where(book.trades["side"] == "buy", -book.trades["size"])
    moves = signed.groupby([book.trades["time"], book.trades["symbol"]]).sum().unstack()
    sizes = moves.reindex(closes.index).fillna(0).cumsum()
    paid = book.trades["commission"] + signed * book.trades["price"]
    cash = 10_000 - paid.groupby(book.trades["time"]).sum().reindex(closes.index).fillna(0).cumsum()
    assert book.equity["cash"].tolist() == pytest.approx(cash.tolist())
    value = cash + (sizes * closes).sum(axis=1)
    assert book.equity["value"].tolist() == pytest.approx(value.tolist())
