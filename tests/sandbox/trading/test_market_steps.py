"""Steps of single markets: sizes, least orders and prices that an exchange takes."""

import backtrader as bt
import pytest

from feeds import SpecError
from feeds.steps import Steps
from sandbox.trading.broker import Account
from sandbox.trading.costs import CostModel, with_steps
from tests.sandbox.trading.acting import BARS, acting, buy, sell


def steps_of(cash=10_000.0, **by_symbol):
    return Account(cash=cash, costs=with_steps(CostModel(), by_symbol))


def test_each_symbol_has_the_steps_of_its_own_market():
    general = CostModel(commission_bps=10, lot_size=100)
    btc = Steps(size=1e-5, price=0.01, min_size=1e-4, min_notional=5)
    costs = with_steps(general, {"BTC": btc, "ADA": Steps(min_notional=5)})
    own, other = costs.of("BTC"), costs.of("ETH")
    assert (own.lot_size, other.lot_size, costs.of("ADA").lot_size) == (1e-5, 100, 100)
    assert own.commission_bps == other.commission_bps == 10
    assert (own.takes(1e-4, 50_000), own.takes(1e-4, 49_000)) == (True, False)
    assert (own.takes(9e-5, 1e6), other.takes(1e-9, 1)) == (False, True)
    free = costs.without_costs()
    assert (free.commission_bps, free.of("BTC").lot_size) == (0, 1e-5)
    assert with_steps(general, {}) is general is general.of("BTC")


def test_a_step_below_zero_is_refused():
    with pytest.raises(SpecError, match=r"min_size -1\.0: a market's step is 0 or more"):
        Steps(min_size=-1.0)


def test_orders_are_cut_to_the_lots_of_their_market(candles, trade):
    frames = {"A": candles(BARS, "2024-01-01"), "B": candles(BARS, "2024-01-01")}
    account = steps_of(A=Steps(size=0.5), B=Steps(size=3))

    def both(strategy):
        for data in strategy.datas:
            strategy.buy(data, size=7.8)

    book = trade(frames, acting({1: both}), account)
    assert dict(zip(book.trades["symbol"], book.trades["size"], strict=True)) == {"A": 7.5, "B": 6}


def test_an_order_below_the_least_value_is_refused_and_a_whole_position_too(candles, trade):
    frame = candles([(100, 100, 100, 100)] * 3 + [(4, 4, 4, 4)] * 3, "2024-01-01")
    account = steps_of(A=Steps(size=0.01, min_notional=5))
    plan = {1: buy(0.04), 2: buy(1.0), 4: sell(1.0)}  # 4, 100, and 4 in quote currency
    book = trade({"A": frame}, acting(plan), account)
    assert book.trades["size"].tolist() == [1.0]
    assert book.refused == 2


def test_an_order_below_the_least_size_is_refused(candles, trade):
    frame = candles([(100, 100, 100, 100)] * 3, "2024-01-01")
    book = trade({"A": frame}, acting({1: buy(0.05)}), steps_of(A=Steps(size=0.01, min_size=0.1)))
    assert (len(book.trades), book.refused) == (0, 1)


def test_what_cash_leaves_of_a_buy_must_be_worth_enough(candles, trade):
    frame = candles([(100, 100, 100, 100), (2_500, 2_500, 2_500, 2_500)], "2024-01-01")
    account = steps_of(cash=1_000, A=Steps(size=0.1, min_notional=1_200))
    book = trade({"A": frame}, acting({1: buy(10)}), account)  # 0.4 would be paid for: 1 000
    assert (len(book.trades), book.refused) == (0, 1)


def test_target_weights_leave_what_no_exchange_takes(candles, trade):
    frame = candles([(100, 100, 100, 100)] * 4, "2024-01-01")
    account = steps_of(cash=10_000, A=Steps(size=0.01, min_notional=50))
    weigh = {
        1: lambda s: s.order_target_weights({s.data: 0.5}),
        2: lambda s: s.order_target_weights({s.data: 0.504}),  # 39.6 more
        3: lambda s: s.order_target_weights({s.data: 0.6}),
    }
    book = trade({"A": frame}, acting(weigh), account)
    assert book.trades["size"].tolist() == pytest.approx([49.5, 9.9])
    assert book.refused == 0


@pytest.mark.parametrize(
    ("order", "kind", "price"),
    [
        (lambda s: s.buy(size=1, exectype=bt.Order.Limit, price=101.239), "limit", 101.2),
        (lambda s: s.sell(size=1, exectype=bt.Order.Limit, price=108.239), "limit", 108.3),
        (lambda s: s.buy(size=1, exectype=bt.Order.Stop, price=108.239), "stop", 108.3),
        (lambda s: s.sell(size=1, exectype=bt.Order.Stop, price=101.239), "stop", 101.2),
        (lambda s: s.buy(size=1, exectype=bt.Order.Limit, price=101.2), "limit", 101.2),
    ],
)
def test_prices_of_orders_go_on_the_step_away_from_the_gain(candles, trade, order, kind, price):
    frame = candles(BARS, "2024-01-01")
    book = trade({"A": frame}, acting({1: buy(1), 2: order}), steps_of(A=Steps(price=0.1)))
    assert book.decisions["kind"].tolist() == ["market", kind]
    assert book.decisions["price"].iloc[1] == pytest.approx(price)


def test_fills_of_orders_on_steps_add_up_in_the_audit(candles, trade):
    frame = candles([(100, 103, 97, 101)] * 5, "2024-01-01")
    plan = {1: lambda s: s.buy(size=2, exectype=bt.Order.Limit, price=98.27)}
    book = trade({"A": frame}, acting(plan), steps_of(A=Steps(size=0.5, price=0.5)))
    assert book.trades["price"].tolist() == [98.0]
