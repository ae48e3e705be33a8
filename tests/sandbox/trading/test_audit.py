"""The books are checked after every run: a bent account is an error, an honest one never is."""

from dataclasses import replace
from types import MethodType

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from feeds import times_ns
from sandbox import Strategy
from sandbox.errors import StrategyError
from sandbox.run.__main__ import main
from sandbox.trading.audit import Audit, Books
from sandbox.trading.broker import CostedBroker
from sandbox.trading.costs import CostModel, Liquidity, cost_model
from sandbox.trading.source import Candle, FrameSource
from tests.conftest import make_frame, make_market, make_run
from tests.sandbox.lookahead.lookahead_cases import source_on_the_stack
from tests.sandbox.trading.acting import account, acting, buy

COSTS = {"commission_bps": 10.0, "slippage_bps": 5.0, "volume_cap_pct": 50.0}
SMALL_CAP = COSTS | {"volume_cap_pct": 0.75}  # 7 units a bar


def runs(*acts, frames=None, costs=COSTS):
    """A run that buys at its first bar and then does something at each of the next."""

    def bought(strategy):
        strategy.buy(size=10)

    plan = {1: bought} | dict(enumerate(acts, start=3))
    market = frames or {"A": make_market("A", 12)["A"]}
    return make_run(market, acting(plan), account(**costs))


def more_cash(s):
    s.broker.cash += 100


def no_costs(s):
    s.broker._costs = CostModel()
    s.sell(size=5)


def costs_in_place(s):
    for name in ("commission_bps", "slippage_bps"):
        object.__setattr__(s.broker._costs, name, 0.0)
    s.sell(size=5)


def no_cap(s):
    s.broker._costs = replace(s.broker._costs, volume_cap_pct=None)
    s.buy(size=60)


def forgets_what_was_filled(s):
    class Nothing(dict):
        def __missing__(self, _):
            return 0.0

        def __setitem__(self, *_):
            pass

    s.broker._filled_now = Nothing()
    s.buy(size=4)
    s.buy(size=4)


def more_shares(s):
    s.broker.positions[s.data].size += 10


def sells_shares_from_nowhere(s):
    s.broker.positions[s.data].size += 10
    s.sell(size=20)


def another_ledger(s):
    s.broker._ledger = type(s.broker._ledger)("other", 1e9)
    s.sell(size=5)


def edited_fill(s):
    fills = s.broker._ledger.fills
    fills[-1] = replace(fills[-1], price=fills[-1].price * 0.9)


def edited_fill_in_place(s):
    object.__setattr__(s.broker._ledger.fills[-1], "size", 20.0)


def no_fill(s):
    s.broker._ledger.fills.clear()


def edited_rows(s):
    time, cash, value, gross = s.broker._ledger._closes[-1]
    s.broker._ledger._closes[-1] = (time, cash, value * 2, gross)


def edited_gross(s):
    s.broker._ledger._gross_cash += 100


def edited_weights(s):
    s.broker._ledger._weights[-1] *= 2


def rows_left_out(s):
    del s.broker._ledger._closes[0], s.broker._ledger._held[0]


def dear_close(s):
    s.data.last_close *= 2


def ends_early(s):
    s.data.ended = True


def later_order(s):
    s.order = s.buy(size=1)
    s.order.executed.remsize = 20


def price_of_its_own(s):
    def execute(self, order, ago=None, price=None, **_):
        CostedBroker._execute(self, order, ago, order.data.low[0])

    s.broker._execute = MethodType(execute, s.broker)
    s.buy(size=1)


def broker_of_its_own_class(s):
    class Mine(CostedBroker):
        def _buy(self, order, match):
            super()._buy(order, match._replace(price=order.data.low[0]))

    s.broker.__class__ = Mine
    s.buy(size=1)


def delivers_a_bar(s):
    s.data.deliver(Candle(0, *[2 * s.data.close[0]] * 4, 1000.0, 1000.0))


def borrows(s):
    s.broker.cash += 1e6
    s.buy(size=40)


BENT = [
    more_cash, no_costs, costs_in_place, no_cap, forgets_what_was_filled, more_shares,
    sells_shares_from_nowhere, another_ledger, edited_fill, edited_fill_in_place, no_fill,
    edited_rows, edited_gross, edited_weights, rows_left_out, dear_close,
    ends_early, later_order, price_of_its_own, broker_of_its_own_class,
    borrows, delivers_a_bar,
]  # fmt: skip


@pytest.mark.parametrize("bend", BENT, ids=lambda act: act.__name__)
def test_a_bent_account_is_an_error_that_names_the_portfolio(bend):
    with pytest.raises(StrategyError, match=r"^test: .+(do not add up|was replaced)") as told:
        runs(bend, costs=SMALL_CAP if bend in (no_cap, forgets_what_was_filled) else COSTS)
    assert "\n" not in str(told.value)


def test_candles_that_are_changed_on_their_way_are_found():
    class Cheapens(Strategy):
        def next(self):
            prices = source_on_the_stack().handed_out["A"]._mgr.blocks[0].values
            prices[:4, len(self.data) :] *= 0.5
            self.buy(size=10)

    frame = make_market("A", 300)["A"]
    one_block = pd.DataFrame(frame.to_numpy(), frame.index, columns=list(frame.columns))
    with pytest.raises(StrategyError, match="the candles were changed during the run"):
        make_run({"A": one_block}, Cheapens)


def test_the_message_says_what_does_not_add_up():
    with pytest.raises(StrategyError) as told:
        runs(more_cash)
    assert str(told.value).startswith("test: the books do not add up: cash at 2023-01-04 21:00 is ")


def test_a_broker_that_is_asked_twice_fills_nothing_in_a_bar_that_was_seen():
    def asks(s):
        s.buy(size=5, exectype=bt.Order.Limit, price=s.data.low[0])
        s.broker.next()

    book = runs(asks)
    decided = book.decisions["time"].iloc[-1]
    assert not (book.trades["time"] == decided).any()


def test_cash_that_is_put_back_is_found():
    def back(s):
        s.broker.cash -= 100

    with pytest.raises(StrategyError, match="cash at"):
        runs(more_cash, back)


@pytest.mark.parametrize("setting", ["coc", "coo", "slip_perc", "shortcash", "checksubmit"])
def test_a_setting_of_the_broker_is_refused_at_once(setting):
    def sets(s):
        setattr(s.broker.p, setting, True)

    with pytest.raises(StrategyError, match="a strategy cannot set its broker"):
        runs(sets)
    assert getattr(bt.brokers.BackBroker.params(), setting) is not True or setting in (
        "shortcash", "checksubmit",
    )  # fmt: skip


CODE = [
    (CostModel, "quote"), (CostModel, "_fees"), (CostModel, "_impact"), (CostedBroker, "_locked"),
    (CostedBroker, "_within_volume"), (CostedBroker, "_try_exec_limit"), (Liquidity, "of"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name"), CODE)
def test_replaced_code_is_an_error(monkeypatch, cls, name):
    was = getattr(cls, name)

    def replaces(s):
        monkeypatch.setattr(cls, name, lambda *args, **more: was(*args, **more))

    with pytest.raises(StrategyError, match=rf"^test: .*{cls.__name__}.{name} was replaced"):
        runs(replaces)


def test_code_changed_in_place_is_an_error(monkeypatch):
    def replaces(s):
        monkeypatch.setattr(CostModel.quote, "__code__", CostModel.affordable.__code__)

    with pytest.raises(StrategyError, match=r"CostModel\.quote was replaced"):
        runs(replaces)


def test_fees_below_the_cost_model_are_named():
    with pytest.raises(StrategyError) as told:
        runs(no_costs)
    assert "the sell of 5 A at 2023-01-05 21:00 " in str(told.value)


# No false alarm


def random_orders(seed):
    """Orders of every kind, cancelled at random."""
    draw = np.random.default_rng(seed)
    kinds = (
        bt.Order.Market, bt.Order.Limit, bt.Order.Stop, bt.Order.Close, bt.Order.StopLimit,
        bt.Order.StopTrail, bt.Order.StopTrailLimit,
    )  # fmt: skip

    def act(s):
        for data in s.tradable():
            if draw.random() < 0.5:
                continue
            kind, close = kinds[draw.integers(len(kinds))], data.close[0]
            give = s.buy if draw.random() < 0.6 else s.sell
            more = {}
            if kind in (bt.Order.Limit, bt.Order.Stop, bt.Order.StopLimit):
                more["price"] = close * draw.uniform(0.97, 1.03)
            if kind == bt.Order.StopLimit:
                more["plimit"] = close * draw.uniform(0.97, 1.03)
            if kind in (bt.Order.StopTrail, bt.Order.StopTrailLimit):
                more["trailamount"] = close * draw.uniform(0.005, 0.03)
            if kind == bt.Order.StopTrailLimit:
                more |= {"price": close, "plimit": close * draw.uniform(0.97, 1.03)}
            order = give(data, size=float(draw.integers(1, 60)), exectype=kind, **more)
            if draw.random() < 0.2:
                s.cancel(order)

    return act


@pytest.mark.parametrize("costs", ["none", "us", "cn", "ph", "crypto"])
@pytest.mark.parametrize("seed", range(4))
def test_honest_books_add_up(costs, seed):
    frames = make_market("ABC", 60, seed)
    frames["B"] = frames["B"].iloc[:35]  # ends
    frames["C"] = frames["C"].drop(frames["C"].index[[20, 21, 40]])
    draws = random_orders(seed)
    paid = replace(account(cash=30_000.0), costs=cost_model(costs))
    book = make_run(frames, acting(dict.fromkeys(range(1, 61), draws)), paid)
    assert len(book.trades) > 10 or costs == "cn"


def test_a_sale_at_the_end_of_the_data_adds_up():
    frames = make_market("AB", 12)
    frames["A"] = frames["A"].iloc[:6]
    book = runs(frames=frames)
    assert list(book.trades["side"]) == ["buy", "sell"]


def test_a_limit_in_front_of_the_slippage_adds_up():
    bars = [(100, 101, 99, 100)] * 6
    limit = {"exectype": bt.Order.Limit, "price": 100.01}

    def act(s):
        s.buy(size=2, **limit)

    book = runs(act, frames={"A": make_frame(bars, "2024-01-01")}, costs={"slippage_bps": 50.0})
    assert book.trades["price"].iloc[-1] == 100.01


# Openings, where bars have them


def test_a_fill_in_a_bar_that_opened_before_the_order_is_found():
    frames = {"A": make_market("A", 12)["A"]}
    paid = account(**COSTS)
    book = make_run(frames, acting({3: buy(5)}), paid)
    closes = times_ns(frames["A"])
    books = Books(
        equity=book.equity, trades=book.trades, weights=book.weights, decisions=book.decisions,
        cash=float(book.equity["cash"].iloc[-1]), sizes={"A": 5.0},
    )  # fmt: skip
    start, end = frames["A"].index[[0, -1]]
    for hours, found in ((6.5, False), (24, False), (24.5, True)):
        opens = {"A": closes - int(hours * 3600e9)}
        audit = Audit("test", FrameSource(frames, start, end, opens=opens), paid)
        if found:
            with pytest.raises(StrategyError, match="more than was ordered before its bar"):
                audit.check(books)
        else:
            audit.check(books)


def test_a_run_with_a_bent_account_ends_with_one_line(tmp_path, capsys):
    (tmp_path / "rich.py").write_text(
        "from sandbox import Strategy\n"
        "class Rich(Strategy):\n"
        "    def next(self):\n"
        "        self.broker.cash += 100\n"
    )
    options = ["--data", "sample:AAPL", "--start", "2021-01-04", "--end", "2021-01-29"]
    named = [str(tmp_path / "rich.py"), "--out", str(tmp_path / "run"), "--signal", "momentum"]
    assert main([*named, *options, "--lookback", "20"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: rich: the books do not add up: cash at 2021-01-04 21:00 is ")
    assert not (tmp_path / "run").exists()


def waiting(s):
    """A limit order far away, that waits."""
    s.order = s.buy(size=1, exectype=bt.Order.Limit, price=1.0)


CHANGES = {
    "price": lambda s: setattr(s.order.created, "price", 1e3),
    "kind": lambda s: setattr(s.order, "exectype", bt.Order.Market),
    "size": lambda s: setattr(s.order.executed, "remsize", 5.0),
    "status": lambda s: s.order.cancel(),
    "decision": lambda s: setattr(s.order, "decided_ns", 0),
    "place": lambda s: s.broker.pending.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_order_that_waits_cannot_be_changed(change):
    class Changing(Strategy):
        def next(self):
            if len(self) == 1:
                waiting(self)
            if len(self) == 3:
                CHANGES[change](self)

    with pytest.raises(StrategyError, match="was changed after it was given: cancel it"):
        make_run(make_market("A", 6), Changing)


def test_orders_that_wait_are_cancelled_with_all_that_hangs_on_them():
    class Cancelling(Strategy):
        def next(self):
            close = self.data.close[0]
            if len(self) == 1:
                waiting(self)
                self.sell(size=1, exectype=bt.Order.Limit, price=2 * close, oco=self.order)
                self.bracket = self.buy_bracket(
                    size=1, price=close / 2, stopprice=close / 3, limitprice=2 * close
                )
            if len(self) == 3:
                self.cancel(self.order)
                self.cancel(self.bracket[0])

    book = make_run(make_market("A", 6), Cancelling)
    assert (len(book.trades), book.refused) == (0, 0)


def test_a_number_with_comparisons_of_its_own_is_taken_as_what_it_is():
    class Anything(float):
        def __le__(self, other):
            return True

        __ge__ = __gt__ = __lt__ = __le__

    class Bidding(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(size=1, exectype=bt.Order.Limit, price=Anything(1.0))

    assert make_run(make_market("A", 6), Bidding).trades.empty
