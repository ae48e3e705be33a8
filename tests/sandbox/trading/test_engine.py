"""What a strategy sees and when, and the tables that a run leaves behind."""

from datetime import time

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from feeds import COLUMNS
from sandbox import Strategy
from sandbox.errors import SourceError, StrategyError, WindowError
from sandbox.trading.broker import Account
from sandbox.trading.clock import NEVER, Clock
from sandbox.trading.costs import CostModel
from sandbox.trading.source import FrameSource


class Watching(Strategy):
    """Takes down what it is shown at each bar."""

    def next(self):
        self.cerebro.seen.append(
            (self.now, tuple((d.symbol, len(d), d.has_bar, d.asof) for d in self.datas))
        )


@pytest.fixture
def seen(monkeypatch):
    """What `Watching` sees."""
    rows = []
    monkeypatch.setattr(bt.Cerebro, "seen", rows, raising=False)
    return rows


def utc(text):
    return pd.Timestamp(text, tz="UTC")


def test_next_runs_at_every_bar_time_of_any_symbol(market, trade, seen):
    frames = market("ABC", bars=6)
    frames["A"] = frames["A"].iloc[:2]  # ends early
    frames["B"] = frames["B"].iloc[3:]  # starts late
    frames["C"] = frames["C"].drop(frames["C"].index[[1, 4]])  # pauses
    trade(frames, Watching)
    times = frames["A"].index.union(frames["B"].index).union(frames["C"].index)
    assert [now for now, _ in seen] == list(times)
    for now, feeds in seen:
        for symbol, bars, has_bar, asof in feeds:
            known = frames[symbol].loc[:now].index
            assert (bars, has_bar) == (len(known), now in known)
            assert asof == (known[-1] if bars else None)


def test_lines_are_the_candles_up_to_now_and_hold_no_bar_more(market, trade):
    frames = market("AB", bars=30)
    frames["B"] = frames["B"].iloc[10:]

    class Looking(Strategy):
        def next(self):
            for data in self.tradable():
                known = frames[data.symbol].loc[: self.now]
                for column in ("open", "high", "low", "close", "volume", "amount"):
                    line = getattr(data, column)
                    assert list(line.array) == known[column].tolist()
                    assert line[-1] == known[column].iloc[-2 if len(known) > 1 else -1]
                    with pytest.raises(IndexError):
                        _ = line[1]
                assert data.datetime.datetime() == self.now.tz_localize(None).to_pydatetime()
                assert data.last_close == known["close"].iloc[-1]
                before = known.iloc[:-1].tail(5).to_numpy()
                assert np.array_equal(data.bars_before(5), before)

    assert len(trade(frames, Looking).equity) == 30


def test_warm_up_bars_are_seen_and_not_traded(market, trade, seen):
    frames = market("A", bars=50)
    start = frames["A"].index[30]
    trade(frames, Watching, start=start, warmup_bars=20)
    assert [now for now, _ in seen] == list(frames["A"].index[30:])
    assert seen[0][1][0][1] == 21  # bars known at the first decision


def test_a_prenext_that_calls_next_does_not_trade_before_the_start(market, trade):
    class Eager(Strategy):
        def prenext(self):
            self.next()

        def next(self):
            if not self.position:
                self.buy(size=1)

    frames = market("A", bars=50)
    book = trade(frames, Eager, start=frames["A"].index[30], warmup_bars=20)
    assert book.trades["time"].tolist() == [frames["A"].index[31]]
    assert book.equity["value"].iloc[0] == 10_000.0


def test_indicators_and_timers_work(market, trade):
    calls = []

    class Averaging(Strategy):
        def __init__(self):
            self.averages = {data: bt.ind.SMA(data.close, period=5) for data in self.datas}
            self.add_timer(when=time(9))

        def notify_timer(self, timer, when, *args, **kwargs):
            calls.append(when)

        def next(self):
            for data in self.tradable():
                known = frames[data.symbol]["close"].loc[: self.now].tail(5)
                assert self.averages[data][0] == pytest.approx(known.mean())

    frames = market("AB", bars=20)
    frames["B"] = frames["B"].iloc[6:]
    trade(frames, Averaging)
    assert len(calls) == 20


def test_a_strategy_can_end_the_run(market, trade):
    class Stopping(Strategy):
        def next(self):
            if len(self) == 5:
                self.env.runstop()

            if len(self) == 2:
                self.buy(size=3)
            assert len(self) <= 5

    frames = market("A", bars=20)
    book = trade(frames, Stopping)
    assert (book.bars_decided, len(book.equity)) == (5, 20)
    cash = book.equity["cash"].iloc[-1]  # what was held goes on being valued
    assert book.equity["value"].iloc[-1] == cash + 3 * frames["A"]["close"].iloc[-1]


def test_decisions_are_orders_as_given_at_the_close_they_were_given(candles, trade):
    class Deciding(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(size=2)
                self.limit = self.buy(size=3, exectype=bt.Order.Limit, price=50)
            if len(self) == 2:
                self.cancel(self.limit)
                self.cancel(self.limit)  # it is gone already
                self.cancel(self.buy(size=1))  # in the bar it was given
                exectype = bt.Order.StopLimit
                self.sell(size=2, exectype=exectype, price=90, plimit=89)
                self.buy(size=10_000)  # refused at the next bar

    frame = candles([(100, 101, 99, 100)] * 4, "2024-01-01")
    book = trade({"A": frame}, Deciding)
    first, second = frame.index[:2]
    rows = book.decisions.fillna(-1.0).to_numpy().tolist()
    assert rows == [
        [first, "A", "buy", 2.0, "market", -1.0],
        [first, "A", "buy", 3.0, "limit", 50.0],
        [second, "A", "buy", 3.0, "cancel", -1.0],
        [second, "A", "buy", 1.0, "market", -1.0],
        [second, "A", "buy", 1.0, "cancel", -1.0],
        [second, "A", "sell", 2.0, "stop_limit", 90.0],
        [second, "A", "buy", 10_000.0, "market", -1.0],
    ]
    assert book.trades["size"].tolist() == [2.0]
    assert book.refused == 1


def test_weights_are_shares_of_the_value_at_each_close(candles, trade):
    class Buying(Strategy):
        def next(self):
            if len(self) == 1:
                self.buy(self.datas[0], size=10)
                self.buy(self.datas[1], size=40)
            if len(self) == 3:
                self.close(self.datas[0])

    closes = (100, 110, 120, 120)
    frames = {
        "A": candles([(100, 120, 90, close) for close in closes], "2024-01-01"),
        "B": candles([(50, 60, 40, 50)] * 4, "2024-01-01"),
    }
    book = trade(frames, Buying, Account(cash=5000.0))
    times = frames["A"].index
    assert book.weights.to_numpy().tolist() == [
        [times[1], "test", "A", pytest.approx(1100 / 5100)],
        [times[1], "test", "B", pytest.approx(2000 / 5100)],
        [times[2], "test", "A", pytest.approx(1200 / 5200)],
        [times[2], "test", "B", pytest.approx(2000 / 5200)],
        [times[3], "test", "B", pytest.approx(2000 / 5000)],
    ]


def test_tables_have_their_columns_when_nothing_happens(market, trade):
    book = trade(market("A", bars=3), Strategy)
    assert list(book.equity) == ["time", "strategy", "cash", "value", "gross_value"]
    assert book.equity["value"].tolist() == [10_000.0] * 3
    assert list(book.trades) == [
        "time", "strategy", "symbol", "side", "size", "price", "reference_price",
        "commission", "slippage", "impact",
    ]  # fmt: skip
    assert list(book.weights) == ["time", "strategy", "symbol", "weight"]
    assert list(book.decisions) == ["time", "symbol", "side", "size", "kind", "price"]
    for table in (book.equity, book.trades, book.weights, book.decisions):
        assert str(table["time"].dt.tz) == "UTC"
        assert table is book.equity or table.empty


def test_progress_is_told_bar_by_bar(market, trade):
    told = []
    frames = market("A", bars=30)
    start = frames["A"].index[10]
    trade(frames, Strategy, start=start, on_bar=lambda done, total: told.append((done, total)))
    assert told == [(nth, 20) for nth in range(1, 21)]


def test_a_window_without_candles_is_refused(market):
    with pytest.raises(WindowError, match=r"^no candles between 2030-01-01 and 2030-02-01$"):
        FrameSource(market("A", bars=5), utc("2030-01-01"), utc("2030-02-01"))


def test_brokers_answer_with_the_accounts_value(candles, trade):
    answers = []

    class Asking(Strategy):
        def next(self):
            if len(self) == 1:
                self.order_target_percent(self.data, target=0.5)
            broker = self.broker
            answers.append((broker.getcash(), broker.getvalue(), broker.getvalue([self.data])))

    frame = candles([(100, 100, 100, 100), (100, 110, 100, 110)], "2024-01-01")
    trade({"A": frame}, Asking)
    assert answers == [(10_000.0, 10_000.0, 0.0), (5000.0, 10_500.0, 5500.0)]


def test_trades_of_backtrader_carry_the_costs(candles, trade):
    closed = []

    class Closing(Strategy):
        def next(self):
            if len(self) in (1, 3):
                self.buy(size=10) if len(self) == 1 else self.close()

        def notify_trade(self, trade):
            if trade.isclosed:
                closed.append((trade.pnl, trade.commission, trade.pnlcomm))

    frame = candles([(100, 100, 100, 100)] * 3 + [(120, 120, 120, 120)], "2024-01-01")
    trade({"A": frame}, Closing, Account(cash=10_000.0, costs=CostModel(commission_bps=100)))
    # bought for 1000 and sold for 1200: 200, and 10 and 12 of commission
    assert closed == [(pytest.approx(200.0), pytest.approx(22.0), pytest.approx(178.0))]


def test_what_comes_later_changes_nothing_before(market, trade):
    class Busy(Strategy):
        def next(self):
            if len(self) % 3 == 0:
                ranked = sorted(self.tradable(), key=lambda data: data.close[0])
                self.order_target_weights(dict.fromkeys(ranked[:2], 0.45))

    costs = CostModel(slippage_bps=5, impact=1.0, volume_cap_pct=2, price_limit_pct=3)
    frames, account = market("ABCD", bars=60), Account(cash=50_000.0, costs=costs)
    cut = frames["A"].index[40]
    altered = {symbol: frame.copy() for symbol, frame in frames.items()}
    for frame in altered.values():
        frame.loc[frame.index > cut] *= 3.0
    one, other = trade(frames, Busy, account), trade(altered, Busy, account)
    for table in ("equity", "trades", "weights", "decisions"):
        before, after = (
            getattr(book, table).loc[lambda rows: rows["time"] <= cut] for book in (one, other)
        )
        pd.testing.assert_frame_equal(before, after)
    assert not one.trades.equals(other.trades)


def test_a_source_hands_out_each_candle_at_its_time():
    times = pd.date_range("2024-01-01", periods=10, tz="UTC")
    values = np.arange(60, dtype=float).reshape(10, 6) + 1
    frame = pd.DataFrame(values, times, columns=list(COLUMNS))
    shuffled = frame[frame.columns[::-1]].iloc[4:7]
    source = FrameSource({"A": frame, "B": shuffled}, times[2], times[8], warmup_bars=1)
    assert (source.symbols, source.bars_traded) == (["A", "B"], 7)
    handed_out = list(source)
    assert [time_ns for time_ns, _, _ in handed_out] == times[1:9].as_unit("ns").asi8.tolist()
    for nth, (time_ns, bars, ended) in enumerate(handed_out, start=1):
        assert list(bars) == (["A", "B"] if 4 <= nth < 7 else ["A"])
        assert all(bar[1:] == tuple(values[nth]) for bar in bars.values())
        assert all(bar.opened_ns == time_ns - 86_400 * 10**9 for bar in bars.values())
        assert ended == (["B"] if nth == 7 else [])  # at the bar time after its last


def test_a_clock_goes_forward_only():
    days = pd.date_range("2024-01-01", periods=3, tz="UTC", unit="ns")
    clock = Clock()
    assert (clock.now_ns, clock.before_ns) == (None, NEVER)
    seen = []
    for time_ns in days.asi8.tolist():
        clock.advance(time_ns)
        seen.append((clock.now, clock.before_ns))
    assert seen == [(days[0], NEVER), (days[1], days[0].value), (days[2], days[1].value)]
    assert bt.num2date(clock.days) == days[2].tz_localize(None).to_pydatetime()
    message = r"^bar time 2024-01-02 00:00:00\+00:00 after 2024-01-03 00:00:00\+00:00: a source"
    with pytest.raises(SourceError, match=message):
        clock.advance(days[1].value)


def test_the_time_is_not_known_before_the_first_bar(market, trade):
    class Early(Strategy):
        def __init__(self):
            assert not self.due
            _ = self.now

    with pytest.raises(StrategyError, match=r"^Early asked for the time before the first bar$"):
        trade(market("A", bars=5), Early)


def test_timers_decide_from_the_start_on_and_know_what_is_due(market, trade):
    told = []

    class Timed(Strategy):
        params = (("rebalance", "week"),)

        def __init__(self):
            self.add_timer(when=time(9))

        def notify_timer(self, *args, **kwargs):
            told.append((self.now, self.due))
            if not self.position:
                self.buy(size=1)

    frames = market("A", bars=20)  # from Monday on
    times = frames["A"].index
    book = trade(frames, Timed, start=times[8])
    assert told == [(now, nth in (0, 2, 7)) for nth, now in enumerate(times[8:])]
    assert book.trades["time"].tolist() == [times[9]]


def test_nextstart_is_called_on_the_first_bar_of_the_run(market, trade):
    calls = []

    class Starting(Strategy):
        def nextstart(self):
            calls.append(("nextstart", self.now))

        def next(self):
            calls.append(("next", self.now))

    frames = market("A", bars=5)
    times = frames["A"].index
    trade(frames, Starting, start=times[2])
    assert calls == [("nextstart", times[2]), ("next", times[3]), ("next", times[4])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when": bt.timer.SESSION_END},
         "add_timer(SESSION_END): that a bar is the last of its session is not known before the "
         "next one; name the closing time with when=datetime.time(...), UTC, or decide in next "
         "when self.due"),
        ({"when": time(9), "cheat": True},
         "add_timer(when=09:00, cheat=True) would decide in a bar that has closed and trade at "
         "its open, which is look-ahead: leave cheat out"),
        ({"when": bt.timer.SESSION_START, "cheat": True},
         "add_timer(SESSION_START, cheat=True) would decide in a bar that has closed and trade at "
         "its open, which is look-ahead: leave cheat out"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("whose", ["strategy", "cerebro"])
@pytest.mark.parametrize("where", ["__init__", "start"])
def test_a_timer_that_never_comes_or_looks_ahead_is_refused_when_added(
    market, trade, options, message, whose, where
):
    def add(self):
        (self if whose == "strategy" else self.cerebro).add_timer(**options)

    timed = type("Timed", (Strategy,), {where: add, "next": lambda self: None})
    with pytest.raises(StrategyError) as error:
        trade(market("A", bars=5), timed)
    assert str(error.value) == message


def test_a_timer_added_after_the_start_is_refused(market, trade):
    class Late(Strategy):
        def next(self):
            self.add_timer(when=time(9))

    with pytest.raises(StrategyError, match=r"^add_timer\(when=09:00\) after the start: add timer"):
        trade(market("A", bars=5), Late)


def test_the_start_of_a_session_is_a_timer_that_works(market, trade):
    calls = []

    class Timed(Strategy):
        def __init__(self):
            self.add_timer(when=bt.timer.SESSION_START)

        def notify_timer(self, *_, **__):
            calls.append(self.now)

        def next(self):
            pass

    frames = market("A", bars=6)
    assert trade(frames, Timed).idle_timers == ()
    assert calls == list(frames["A"].index)


def test_a_timer_that_never_came_to_its_time_is_taken_down(market, trade):
    class Timed(Strategy):
        def __init__(self):
            self.add_timer(when=time(9))
            self.add_timer(when=time(23, 30))  # bars close at 21:00

        def next(self):
            pass

    assert trade(market("A", bars=6), Timed).idle_timers == ("when=23:30",)


def test_a_strategy_that_skips_itself_is_an_error(market, trade):
    class Skipping(Strategy):
        def __init__(self):
            raise bt.errors.StrategySkipError

    with pytest.raises(StrategyError, match=r"^test skipped its own run \(StrategySkipError in"):
        trade(market("A", bars=5), Skipping)


def test_orders_given_before_a_stop_go_on_and_a_symbol_that_ends_is_still_sold(market, trade):
    class Stopping(Strategy):
        def next(self):
            if len(self) == 3:
                for data in self.datas:
                    self.buy(data, size=2)
                self.cerebro.runstop()

    frames = market("AB", bars=12)
    frames["B"] = frames["B"].iloc[:8]
    book = trade(frames, Stopping)
    assert book.bars_decided == 3
    assert book.trades[["symbol", "side", "size"]].to_numpy().tolist() == [
        ["A", "buy", 2.0], ["B", "buy", 2.0], ["B", "sell", 2.0],
    ]  # fmt: skip
    assert len(book.equity) == 12


@pytest.mark.parametrize("where", ["__init__", "start", "nextstart", "notify_timer"])
def test_a_stop_is_counted_wherever_it_is_asked_for(market, trade, where):
    body = {where: lambda self, *_, **__: self.cerebro.runstop(), "next": lambda self: None}
    if where == "notify_timer":
        body["start"] = lambda self: self.add_timer(when=time(9))
    book = trade(market("A", bars=6), type("Stopping", (Strategy,), body))
    assert book.bars_decided == (0 if where in ("__init__", "start") else 1)
    assert len(book.equity) == 6
