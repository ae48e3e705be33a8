"""The replay exchange, asked by the unmodified client of ccxt and by hand."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from email.utils import parsedate_to_datetime

import aiohttp
import ccxt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_client import asked, connected, rows_of, walks, whole_history

from feeds import Candles, load
from feeds.steps import Steps
from sandbox.errors import ConfigError
from sandbox.replay.clock import Clock, moments
from sandbox.replay.history import Range, page, seen_at
from sandbox.replay.market import TIMEFRAMES, Markets
from sandbox.replay.serve import serving

DAY, HOUR = pd.Timedelta(days=1), pd.Timedelta(hours=1)
SECOND_NS = 10**9


@pytest.fixture(scope="module")
def daily():
    return load("sample:AAPL,NVDA", start="2018-01-01")


def without(candles, symbol, times):
    """The candles of a symbol without those of some bar times."""
    kept = dict(candles.frames)
    kept[symbol] = kept[symbol].drop(times)
    return Candles(kept, spec=candles.spec, costs=candles.costs)


def test_markets_reach_the_client(daily):
    async def load_markets(port):
        async with connected(port) as exchange:
            return await exchange.load_markets()

    with serving(daily, speed=3600.0) as served:
        markets = asyncio.run(load_markets(served.port))
    assert list(markets) == ["AAPL/USDT", "NVDA/USDT"]
    aapl = markets["AAPL/USDT"]
    assert (aapl["id"], aapl["spot"], aapl["active"]) == ("AAPLUSDT", True, True)
    assert aapl["info"]["sandbox"] == {
        "symbol": "AAPL", "costs": "us", "speed": 3600.0, "timeframe": "1d", "calendar": "XNYS",
    }  # fmt: skip
    assert (aapl["precision"]["amount"], aapl["precision"]["price"]) == (1.0, 0.01)
    assert aapl["limits"]["amount"]["min"] == 1.0
    assert aapl["limits"]["cost"]["min"] is None


@pytest.mark.parametrize(
    ("costs", "size", "price"), [("crypto", 1e-6, 1e-8), ("cn", 100.0, 0.01), ("ph", 1.0, 1e-4)]
)
def test_steps_that_are_not_known_are_those_of_the_cost_preset(costs, size, price):
    async def market(port):
        async with connected(port) as exchange:
            return (await exchange.load_markets())["BTC/EUR"]

    with serving(walks(["BTC/EUR"], 20, costs=costs)) as served:
        found = asyncio.run(market(served.port))
    assert (found["id"], found["base"], found["quote"]) == ("BTCEUR", "BTC", "EUR")
    assert (found["precision"]["amount"], found["precision"]["price"]) == (size, price)
    assert found["limits"]["amount"]["min"] == size
    assert found["info"]["sandbox"]["symbol"] == "BTC/EUR"
    assert found["info"]["sandbox"]["speed"] is None


def test_known_steps_are_told_and_those_that_an_exchange_does_not_state_are_left_out():
    known = {
        "A": Steps(size=1e-5, price=0.1, min_size=2e-5, min_notional=5.0),
        "B": Steps(),
    }

    async def load_markets(port):
        async with connected(port) as exchange:
            return await exchange.load_markets()

    with serving(walks(["A", "B"], 20, steps=known)) as served:
        markets = asyncio.run(load_markets(served.port))
    a, b = markets["A/USDT"], markets["B/USDT"]
    assert (a["precision"]["amount"], a["precision"]["price"]) == (1e-5, 0.1)
    assert (a["limits"]["amount"]["min"], a["limits"]["cost"]["min"]) == (2e-5, 5.0)
    assert (b["precision"]["amount"], b["limits"]["cost"]["min"]) == (None, None)


def test_the_timeframes_are_those_of_ccxts_binance():
    exchange = ccxt.binance()
    assert set(exchange.timeframes) == set(TIMEFRAMES)
    for name, length_ns in TIMEFRAMES.items():
        assert exchange.parse_timeframe(name) * SECOND_NS == length_ns
        assert exchange.timeframes[name] == name


def test_history_comes_back_to_the_bit_page_by_page(daily):
    async def histories(port):
        async with connected(port) as exchange:
            return {
                symbol: await whole_history(exchange, f"{symbol}/USDT", "1d", 400)
                for symbol in daily
            }

    with serving(daily, start=date(2024, 12, 1), speed=1.0) as served:
        got = asyncio.run(histories(served.port))
    for symbol, rows in got.items():
        before = daily[symbol][: pd.Timestamp("2024-12-01", tz="UTC")]
        whole = [row for row in rows if row[0] + 86_400_000 <= before.index[-1].value // 10**6]
        assert whole == rows_of(before, DAY)
        assert len(rows) - len(whole) <= 1  # the running candle


def test_files_within_the_day_are_served(tmp_path):
    frame = walks(["x"], 300, "5min")["x"]
    for symbol in ("BTC-EUR", "000001.SZ"):
        frame.to_csv(tmp_path / f"{symbol}.csv")
    candles = load(f"csv:{tmp_path}/*.csv", stamps="close")

    async def rows(port):
        async with connected(port) as exchange:
            return await exchange.fetch_ohlcv("000001.SZ/USDT", "5m", limit=1000)

    with serving(candles) as served:
        got = asyncio.run(rows(served.port))
    assert got == rows_of(frame[:150], pd.Timedelta(minutes=5))


SMALL = Markets.of(without(walks(["A", "B"], 40), "B", walks(["B"], 40)["B"].index[[20, 21, 33]]))


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(SMALL.by_id)), st.integers(-100, 4000), st.integers(1, 50),
    st.none() | st.integers(-100, 4000), st.none() | st.integers(-100, 4000),
)  # fmt: skip
def test_nothing_after_the_clock_is_shown(market_id, minute, limit, start, end):
    market = SMALL.by_id[market_id]
    first_ns = int(market.opens_ns[0])
    now_ns = first_ns + minute * 60 * SECOND_NS + 1

    def ms(minute):
        return None if minute is None else first_ns // 10**6 + minute * 60_000

    wanted = Range(ms(start), ms(end), limit)
    shown = page(market, seen_at(market, now_ns), wanted)
    inside = [
        nth
        for nth, opened in enumerate(market.opens_ns // 10**6)
        if (start is None or opened >= wanted.start_ms)
        and (end is None or opened <= wanted.end_ms)
        and market.opens_ns[nth] < now_ns
    ]
    inside = inside[:limit] if start is not None else inside[-limit:]
    assert [candle.opens_ns for candle in shown] == market.opens_ns[inside].tolist()
    for nth, candle in zip(inside, shown, strict=True):
        assert candle.closed == (candle.closes_ns <= now_ns)
        o, h, l, c, v, _ = candle.values  # noqa: E741
        if candle.closed:
            assert candle.values == market.values[nth].tolist()
        else:
            assert candle is shown[-1]
            assert o == market.values[nth, 0]
            assert (
                market.values[nth, 2] <= l <= min(o, c) <= max(o, c) <= h <= market.values[nth, 1]
            )
            assert 0 <= v < market.values[nth, 4]


def test_a_candle_is_not_seen_before_the_one_before_it_has_closed():
    """Daily bars are 23 hours apart when summer time begins, and open a day before their close."""
    frame = walks(["A"], 30, "1D")["A"]
    later = pd.to_timedelta((np.arange(30) < 10).astype(int), unit="h")
    frame = frame.set_axis((frame.index + later).rename("time"), axis=0)
    market = Markets.of(Candles({"A": frame}, spec="spring")).by_id["AUSDT"]
    before = market.closes_ns[:-1]
    assert (market.opens_ns[1:] < before).any()
    assert (market.shows_ns[1:] >= before).all()
    for close in before.tolist():
        seen = seen_at(market, close)
        assert seen.running is None
        assert market.closes_ns[seen.closed - 1] == close


def test_the_clock_stands_still_until_the_first_request(daily):
    with serving(daily, speed=1e6) as served:
        stood = served.now_ns
        assert asked(served.url, "/sandbox/faults")[:2] == (200, {})
        time.sleep(0.05)
        assert served.now_ns == stood
        assert stood == daily["AAPL"].index[599].value
        asked(served.url, "/api/v3/ping")
        time.sleep(0.05)
        assert served.now_ns >= stood + 5e4 * SECOND_NS


def test_the_time_is_the_exchanges_in_json_and_in_the_header(daily):
    with serving(daily) as served:
        _, told, headers = asked(served.url, "/api/v3/time")
        assert told == {"serverTime": served.now_ns // 10**6}
        assert parsedate_to_datetime(headers["Date"]).timestamp() == served.now_ns // SECOND_NS


def test_a_clock_runs_as_fast_as_it_is_told():
    wall = iter([0, 10, 30, 30])
    clock = Clock(1000, 3.0, lambda: next(wall))
    assert clock.now_ns == 1000
    clock.begin()
    assert clock.now_ns == 1030
    assert clock.now_ns == 1090
    clock.reach(5000)  # it runs by itself
    assert clock.now_ns == 1090


@pytest.mark.parametrize("speed", [None, 1.0, 3600.0, 1e6])
def test_moments_are_in_order_and_each_bar_has_one_while_it_runs(speed):
    found = list(moments(SMALL, speed))
    times = [moment.time_ns for moment in found]
    assert times == sorted(set(times))
    assert times[0] > SMALL.start_ns
    closes = [moment.time_ns for moment in found if moment.closes]
    assert closes == SMALL.live_ns.tolist()
    for nth, moment in enumerate(found):
        assert not moment.closes or not found[nth - 1].closes


@pytest.mark.parametrize(
    ("path", "status", "code", "msg"),
    [
        ("/api/v3/klines?symbol=APPLUSDT&interval=1d", 400, -1121, "Invalid symbol."),
        ("/api/v3/klines?symbol=AAPLUSDT&interval=1h", 400, -1120, "Invalid interval."),
        ("/api/v3/klines?interval=1d", 400, -1102, "Mandatory parameter 'symbol' was not sent"),
        ("/api/v3/klines?symbol=AAPLUSDT", 400, -1102, "Mandatory parameter 'interval' was"),
        ("/api/v3/klines?symbol=AAPLUSDT&interval=1d&limit=0", 400, -1130, "'limit'"),
        ("/api/v3/klines?symbol=AAPLUSDT&interval=1d&startTime=x", 400, -1100, "'startTime'"),
        ("/api/v3/account", 404, -1, "/api/v3/account is not part of the replay exchange"),
    ],
)
def test_a_wrong_request_gets_binances_error(daily, path, status, code, msg):
    with serving(daily) as served:
        got, answer, _ = asked(served.url, path)
    assert (got, answer["code"]) == (status, code)
    assert msg in answer["msg"]


def test_the_client_understands_the_errors(daily):
    async def ask(port):
        async with connected(port) as exchange:
            await exchange.load_markets()
            with pytest.raises(ccxt.BadRequest, match="Invalid interval"):
                await exchange.fetch_ohlcv("AAPL/USDT", "1h")
            with pytest.raises(ccxt.BadSymbol, match="Invalid symbol"):
                await exchange.public_get_klines({"symbol": "APPLUSDT", "interval": "1d"})

    with serving(daily) as served:
        asyncio.run(ask(served.port))


def test_a_page_has_a_thousand_rows_at_most_and_500_unless_told(daily):
    with serving(daily, start=date(2024, 1, 1)) as served:
        path = "/api/v3/klines?symbol=AAPLUSDT&interval=1d"
        assert len(asked(served.url, path)[1]) == 500
        rows = asked(served.url, f"{path}&limit=5000&startTime=0")[1]
        assert len(rows) == 1000
        first = daily["AAPL"].iloc[0]
        assert rows[0][6] == daily["AAPL"].index[0].value // 10**6 - 1
        assert rows[0][5] == repr(float(first["volume"]))
        assert rows[0][7] == repr(float(first["amount"]))
        assert len(rows[0]) == 12


@asynccontextmanager
async def dialled(port, **more):
    url = f"http://127.0.0.1:{port}/stream/ws/0"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, **more) as ws:
        yield ws


async def frames_of(port, symbols, interval, until):
    """Frames of a stream, until `until` of them; and what subscribing was answered."""
    async with dialled(port) as ws:
        names = [f"{symbol.lower()}@kline_{interval}" for symbol in symbols]
        await ws.send_json({"method": "SUBSCRIBE", "params": names, "id": 7})
        answer = await ws.receive_json(timeout=5)
        frames = [await ws.receive_json(timeout=5) for _ in range(until)]
    return answer, frames


def test_a_stream_tells_running_candles_and_then_the_final_one():
    candles = walks(["A", "B"], 40)
    quiet = candles["B"].index[25]
    with serving(without(candles, "B", [quiet])) as served:
        answer, frames = asyncio.run(frames_of(served.port, ["AUSDT", "BUSDT"], "1h", 78))
    assert answer == {"result": None, "id": 7}
    assert {frame["e"] for frame in frames} == {"kline"}
    by_symbol = {
        symbol: [frame["k"] for frame in frames if frame["s"] == symbol]
        for symbol in ("AUSDT", "BUSDT")
    }
    assert [kline["x"] for kline in by_symbol["AUSDT"]] == [False, True] * 20
    assert [kline["x"] for kline in by_symbol["BUSDT"]] == [False, True] * 19
    for symbol in ("A", "B"):
        final = [kline for kline in by_symbol[f"{symbol}USDT"] if kline["x"]]
        got = [[k["t"], *(float(k[name]) for name in "ohlcv")] for k in final]
        live = candles[symbol][20:].drop([quiet] if symbol == "B" else [])
        assert got == rows_of(live, HOUR)


def test_streams_are_subscribed_to_listed_and_left():
    messages = [
        {"method": "SUBSCRIBE", "params": ["zusdt@kline_1h"], "id": 1},
        {"method": "SUBSCRIBE", "params": ["ausdt@kline_2h"], "id": 2},
        {"method": "LIST_SUBSCRIPTIONS", "id": 3},
        {"method": "SUBSCRIBE", "params": ["ausdt@kline_1h"], "id": 4},
        {"method": "LIST_SUBSCRIPTIONS", "id": 5},
        {"method": "UNSUBSCRIBE", "params": ["ausdt@kline_1h"], "id": 6},
        {"method": "LIST", "id": 7},
        {"method": "SING", "id": 8},
        [1],
    ]

    async def talk(port):
        answers = []
        async with dialled(port) as ws:
            for text in (*map(json.dumps, messages), "{"):
                await ws.send_str(text)
                answers.append(await ws.receive_json(timeout=5))
        return answers

    with serving(walks(["A"], 40), speed=1.0) as served:
        answers = asyncio.run(talk(served.port))
    assert answers[0]["error"]["msg"] == "Invalid request: unknown stream zusdt@kline_1h"
    assert answers[1]["error"]["msg"] == "Invalid request: unknown stream ausdt@kline_2h"
    assert answers[2] == {"result": [], "id": 3}
    assert answers[3] == {"result": None, "id": 4}
    assert answers[4] == {"result": ["ausdt@kline_1h"], "id": 5}
    assert answers[6] == {"result": [], "id": 7}
    assert all("error" in answer for answer in answers[7:])


async def watched(port, symbols, timeframe):
    """Watch until the markets have ended; all rows heard and all that can be fetched then."""
    async with connected(port) as exchange:
        await exchange.load_markets()
        names = [f"{symbol}/USDT" for symbol in symbols]
        heard = {name: {} for name in names}

        async def watch(name):
            while True:
                for row in await exchange.watch_ohlcv(name, timeframe):
                    heard[name][row[0]] = row[1:]

        watching = [asyncio.create_task(watch(name)) for name in names]
        while any(market["active"] for market in exchange.markets.values()):
            await asyncio.sleep(0.1)
            await exchange.load_markets(True)
        await asyncio.sleep(0.3)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        fetched = {name: await whole_history(exchange, name, timeframe, 1000) for name in names}
        return heard, fetched


def test_at_full_speed_a_watching_client_hears_every_bar():
    candles = walks(["A", "B", "C"], 400, "1min")
    with serving(candles) as served:
        heard, fetched = asyncio.run(watched(served.port, candles.symbols, "1m"))
        assert served.ended
    for symbol in candles:
        rows = rows_of(candles[symbol], pd.Timedelta(minutes=1))
        assert fetched[f"{symbol}/USDT"] == rows
        assert heard[f"{symbol}/USDT"] == {row[0]: row[1:] for row in rows[200:]}


def test_at_full_speed_a_polling_client_is_shown_every_bar():
    candles = walks(["A", "B"], 60)

    async def poll(port):
        lengths = {"A/USDT": [], "B/USDT": []}
        async with connected(port) as exchange:
            await exchange.load_markets()
            while min(len(rows) for rows in lengths.values()) < 500:
                for name, seen in lengths.items():
                    rows = await whole_history(exchange, name, "1h", 1000)
                    seen.append(len(rows))
                if lengths["A/USDT"][-1] == lengths["B/USDT"][-1] == 60:
                    return lengths

    with serving(candles) as served:
        lengths = asyncio.run(poll(served.port))
    for seen in lengths.values():
        assert seen == sorted(seen)
        assert set(seen) >= set(range(32, 61))


def test_at_full_speed_a_client_that_waits_for_the_time_sees_it_go_on():
    with serving(walks(["A"], 20)) as served:
        times = {asked(served.url, "/api/v3/time")[1]["serverTime"] for _ in range(60)}
    assert len(times) >= 9


def test_at_full_speed_the_clock_stands_where_nobody_waits(daily):
    """A client that fetches its history, however long, is not run away from."""

    async def warm_up(port):
        async with connected(port) as exchange:
            await exchange.load_markets()
            for name in ("AAPL/USDT", "NVDA/USDT"):
                await exchange.fetch_time()
                await whole_history(exchange, name, "1d", 100)

    with serving(daily, start=date(2024, 1, 1)) as served:
        stood = served.now_ns
        asyncio.run(warm_up(served.port))
        assert served.now_ns == stood


def test_the_clock_waits_for_a_client_that_does_not_read():
    async def deaf(served):
        async with dialled(served.port, autoping=False) as ws:
            await ws.send_json({"method": "SUBSCRIBE", "params": ["ausdt@kline_1h"], "id": 1})
            while (message := await ws.receive(timeout=5)).type != aiohttp.WSMsgType.PING:
                pass
            stood = served.now_ns
            await asyncio.sleep(0.2)
            assert served.now_ns == stood
            await ws.pong(message.data)
            while served.now_ns == stood:
                await asyncio.sleep(0.01)

    with serving(walks(["A"], 40)) as served:
        asyncio.run(deaf(served))


def test_at_a_speed_bars_close_in_time_and_the_game_ends():
    candles = walks(["A"], 40, "1min")
    with serving(candles, speed=1200.0) as served:  # 20 bars of 50 ms
        heard, fetched = asyncio.run(watched(served.port, ["A"], "1m"))
    rows = rows_of(candles["A"], pd.Timedelta(minutes=1))
    assert fetched["A/USDT"] == rows
    assert heard["A/USDT"] == {row[0]: row[1:] for row in rows[20:]}


def statuses(url):
    info = asked(url, "/api/v3/exchangeInfo")[1]
    return {market["symbol"]: market["status"] for market in info["symbols"]}


def test_a_market_breaks_when_its_data_end_and_its_history_stays():
    candles = walks(["A", "B", "C"], 30)
    gone = without(candles, "B", candles["B"].index[20:])
    gone = without(gone, "C", candles["C"].index[10:])
    path = "/api/v3/klines?symbol={}USDT&interval=1h"
    seen = set()
    with serving(gone) as served:
        while not served.ended:
            found = statuses(served.url)
            closed = int(np.searchsorted(candles["A"].index.asi8, served.now_ns, side="right"))
            seen.add((closed, found["AUSDT"], found["BUSDT"], found["CUSDT"]))
            assert len(asked(served.url, path.format("A"))[1]) >= closed
        assert set(statuses(served.url).values()) == {"BREAK"}
        assert [len(asked(served.url, path.format(name))[1]) for name in "ABC"] == [30, 20, 10]
    for closed, a, b, c in seen:
        assert (b == "BREAK") == (closed >= 21)
        assert (a, c) == ("TRADING", "BREAK")


def test_recorded_ends_are_kept():
    """An account's candles say themselves which symbols ended; the others were merely quiet."""
    candles = walks(["A", "B", "C"], 30)
    times = candles["A"].index.asi8
    cut = without(without(candles, "B", candles["B"].index[20:]), "C", candles["C"].index[25:])
    markets = Markets.of(replace(cut, ended={"B": int(times[22])}))
    ended = {market.symbol: market.ended_ns for market in markets.by_id.values()}
    assert ended == {"A": times[-1], "B": times[22], "C": times[-1]}


def test_what_is_replayed_and_what_is_history(daily):
    markets = Markets.of(daily)
    assert markets.first == 600
    assert Markets.of(walks(["A"], 31)).first == 15
    chosen = Markets.of(daily, date(2020, 1, 1), date(2020, 6, 30))
    assert pd.Timestamp(chosen.start_ns) == pd.Timestamp("2019-12-31 21:00")
    assert pd.Timestamp(chosen.end_ns) == pd.Timestamp("2020-06-30 20:00")
    assert len(chosen.live_ns) == 125
    everything = Markets.of(daily, date(2018, 1, 1))
    assert everything.first == 0
    assert everything.start_ns == everything.times_ns[0] - DAY.value


def test_bars_of_months_have_the_timeframe_of_a_month():
    index = pd.date_range("2020-01-31", periods=24, freq="ME", tz="UTC").as_unit("ns")
    frame = walks(["A"], 24)["A"].set_axis(index.rename("time"), axis=0)
    assert Markets.of(Candles({"A": frame}, spec="months")).timeframe.name == "1M"


@pytest.mark.parametrize(
    ("candles", "message"),
    [
        (lambda: walks(["A"], 30, "7min"), "walks: bars are 7 min apart, a timeframe that Binance"),
        (
            lambda: Candles(dict(walks(["A"], 30).frames) | dict(walks(["B"], 30, "1D").frames),
                            spec="both"),
            r"both: bars are of several lengths: 1 h \(A\); 1 day \(B\)",
        ),
        (lambda: walks(["A", "a"], 30), "symbols A, a would be one market"),
        (lambda: walks(["A/"], 30), "symbol 'A/': a market needs a base and a quote"),
        (lambda: walks(["A"], 30, first="2024-01-01T00:00:00.000001"),
         "walks: A has a bar at .* whole milliseconds"),
    ],
)  # fmt: skip
def test_data_that_no_exchange_could_have_is_refused(candles, message):
    with pytest.raises(ConfigError, match=message), serving(candles()):
        pass


def test_a_port_in_use_is_one_clear_line(daily):
    with (
        serving(daily) as served,
        pytest.raises(ConfigError, match=rf"--port {served.port}: in use by another program"),
        serving(daily, port=served.port),
    ):
        pass


def test_stopping_twice_is_as_good_as_once(daily):
    with serving(daily) as served:
        asked(served.url, "/api/v3/ping")
        served.stop()
        served.stop()
    served.stop()
