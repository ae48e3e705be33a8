"""Each fault of the replay exchange: what it does to ccxt's client, and that it heals."""

import asyncio
import logging

import ccxt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_client import asked, connected, rows_of, walks, whole_history

from sandbox.errors import ConfigError
from sandbox.replay.faults import AT, FRAMES, IN_A_ROW, KINDS, LONGEST_SECS, FaultPlan, Faults
from sandbox.replay.history import Range, page, seen_at
from sandbox.replay.market import Markets
from sandbox.replay.serve import serving

HOUR_NS = 3_600_000_000_000
SECOND_NS = 10**9
CANDLES = walks(["A", "B"], 60)
ROWS = rows_of(CANDLES["A"], pd.Timedelta(hours=1))
MARKETS = Markets.of(CANDLES)


def always(*kinds, rate=1.0):
    return FaultPlan(seed=3, rate=rate, kinds=kinds)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("429", ccxt.DDoSProtection),
        ("418", ccxt.DDoSProtection),
        ("5xx", (ccxt.ExchangeNotAvailable, ccxt.OperationFailed)),
        ("403", ccxt.ExchangeNotAvailable),
        ("cut", ccxt.ExchangeError),
    ],
)
def test_failures_are_errors_of_the_client_and_the_fourth_try_is_spared(kind, error):
    async def fetch(port):
        async with connected(port) as exchange:
            for _ in range(IN_A_ROW):
                with pytest.raises(error):
                    await exchange.load_markets()
            await exchange.load_markets()
            for _ in range(IN_A_ROW):
                with pytest.raises(error):
                    await exchange.fetch_ohlcv("A/USDT", "1h", limit=10)
            return await exchange.fetch_ohlcv("A/USDT", "1h", limit=10)

    with serving(CANDLES, faults=always(kind), speed=1.0) as served:
        rows = asyncio.run(fetch(served.port))
        assert served.fault_counts == {kind: 2 * IN_A_ROW}
        assert asked(served.url, "/sandbox/faults")[1] == {kind: 2 * IN_A_ROW}
    assert rows[:9] == ROWS[21:30]


def test_a_refusal_says_when_to_try_again():
    with serving(CANDLES, faults=always("429"), speed=1.0) as slow:
        status, answer, headers = asked(slow.url, "/api/v3/time")
    assert (status, answer["code"], headers["Retry-After"]) == (429, -1003, "2")
    with serving(CANDLES, faults=always("418")) as fast:
        status, _, headers = asked(fast.url, "/api/v3/time")
    assert (status, headers["Retry-After"]) == (418, "1")


def test_a_time_out_holds_an_answer_back_and_drops_it():
    async def fetch(port):
        async with connected(port) as exchange:
            with pytest.raises(ccxt.NetworkError):
                await exchange.fetch_time()

    with serving(CANDLES, faults=always("time-out"), speed=1.0) as served:
        asyncio.run(fetch(served.port))
        assert served.fault_counts["time-out"] >= 1


@pytest.mark.parametrize("kind", ["empty", "null", "truncated"])
def test_a_spoilt_body_reaches_the_client_as_no_candles_or_as_wrong_ones(kind):
    async def fetch(port):
        answers = []
        async with connected(port) as exchange:
            while not exchange.markets:
                await exchange.load_markets(True)
            for _ in range(IN_A_ROW + 1):
                answers.append(await exchange.fetch_ohlcv("A/USDT", "1h", limit=10))
        return answers

    with serving(CANDLES, faults=always(kind), speed=1.0) as served:
        *spoilt, honest = asyncio.run(fetch(served.port))
    assert honest[:9] == ROWS[21:30]
    for rows in spoilt:
        assert all(row not in ROWS for row in rows)


def test_rows_come_doubled_or_in_another_order():
    """By hand, since ccxt sorts and cuts what it returns."""
    path = "/api/v3/klines?symbol=AUSDT&interval=1h"
    opens = [row[0] for row in ROWS[:30]]
    with serving(CANDLES, faults=always("rows-doubled"), speed=1.0) as served:
        rows = [row[0] for row in asked(served.url, path)[1]][:31]
    assert rows == sorted(rows)
    assert sorted(set(rows))[:30] == opens
    assert len(rows) == 31
    with serving(CANDLES, faults=always("rows-reordered"), speed=1.0) as served:
        rows = [row[0] for row in asked(served.url, path)[1]]
        assert served.fault_counts == {"rows-reordered": 1}
    assert rows != sorted(rows)
    assert sorted(rows)[:30] == opens


def test_the_time_is_told_wrong():
    with serving(CANDLES, faults=always("skew")) as served:
        *told, honest = (asked(served.url, "/api/v3/time")[1]["serverTime"] for _ in range(4))
        now_ms = served.now_ns // 10**6
    assert honest == now_ms
    assert all(now_ms - 360_000 <= wrong < now_ms for wrong in told)  # at full speed only late


def test_a_skewed_clock_is_off_by_a_second_here_at_most():
    faults = Faults(always("skew"), 60.0, HOUR_NS)
    skews = [faults.skew_ns() for _ in range(200)]
    assert max(map(abs, skews)) <= 60 * SECOND_NS
    assert min(skews) < 0 < max(skews)


@pytest.mark.parametrize("kind", ["late", "revised", "missing"])
def test_at_full_speed_the_newest_candle_comes_after_a_few_requests(kind):
    path = "/api/v3/klines?symbol=AUSDT&interval=1h&limit=3"
    closed = 29  # the newest at the start, from 0
    with serving(CANDLES, faults=always(kind)) as served:
        first = asked(served.url, path)[1][-1]
        info = asked(served.url, "/api/v3/time")[1]
        assert info["serverTime"] == ROWS[closed][0] + 3_600_000
    if kind == "revised":
        assert first[0] == ROWS[closed][0]
        assert [float(text) for text in first[1:6]] != ROWS[closed][1:]
    else:
        assert first[0] == ROWS[closed - 1][0]


SPEEDS = [None, 60.0, 36_000.0]


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(SPEEDS), st.integers(0, 2**31), st.booleans(),
    st.lists(st.integers(0, 2 * HOUR_NS), min_size=1, max_size=30),
)  # fmt: skip
def test_a_page_never_shows_a_later_candle_than_one_that_is_not_told_as_it_is(
    speed, seed, missing, steps
):
    faults = Faults(FaultPlan(seed=seed, rate=0.5), speed, HOUR_NS)
    market = MARKETS.by_id["AUSDT"]
    now_ns = MARKETS.start_ns
    for step in steps:
        now_ns += step
        there = seen_at(market, now_ns)
        seen, why = faults.seen(market, there, now_ns, missing=missing)
        truth = [candle.row() for candle in page(market, there, Range(limit=1000))]
        rows = [candle.row() for candle in page(market, seen, Range(limit=1000))]
        if why is None:
            assert rows == truth
        elif why == "revised":
            assert rows[:-1] == truth[: len(rows) - 1]
            assert rows[-1] != truth[len(rows) - 1]
            assert rows[-1][0] == truth[len(rows) - 1][0]
        else:
            assert rows == truth[: len(rows)]
            assert len(rows) < len(truth)
        if why is not None and speed is not None:
            nth = len(rows) - (why == "revised")
            assert now_ns - market.closes_ns[nth] < LONGEST_SECS * speed * SECOND_NS
        assert why is None or there.closed < len(market.closes_ns)


def test_after_a_while_history_tells_the_truth():
    market = MARKETS.by_id["AUSDT"]
    for speed in SPEEDS:
        faults = Faults(always("late", "revised"), speed, HOUR_NS)
        for nth in range(30, 59):
            close = int(market.closes_ns[nth])
            there = seen_at(market, close)
            _, why = faults.seen(market, there, close, missing=False)
            assert why in ("late", "revised")
            later = close + int(LONGEST_SECS * (speed or 0) * SECOND_NS)
            if speed is not None:
                later_closes = market.closes_ns[nth + 1] <= later
                if later_closes:
                    continue
            told = [faults.seen(market, there, later, missing=False)[1] for _ in range(4)]
            assert told[-1] is None
        last = int(market.closes_ns[-1])
        assert faults.seen(market, seen_at(market, last), last, missing=True)[1] is None


def draws(seed, rate=0.3):
    faults = Faults(FaultPlan(seed=seed, rate=rate), None, HOUR_NS)
    return [faults.of_request(what, "AUSDT") for what in AT for _ in range(50)] + [
        faults.of_frame("ausdt@kline_1h") for _ in range(200)
    ]


def test_the_same_seed_draws_the_same_faults_and_another_one_others():
    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_as_many_go_wrong_as_asked_for_and_of_every_kind():
    faults = Faults(FaultPlan(seed=1, rate=0.2), None, HOUR_NS)
    drawn = [faults.of_request("klines", f"{n}") for n in range(3000)]
    drawn += [faults.of_frame(f"{n}") for n in range(3000)]
    drawn += [faults.of_request("time", f"{n}") for n in range(500)]
    wrong = [kind for kind in drawn if kind is not None]
    assert 0.17 < len(wrong) / len(drawn) < 0.23
    assert set(wrong) == set(KINDS) - {"late", "revised"}  # which are drawn for candles


def test_nothing_fails_without_end():
    faults = Faults(always(*FRAMES, *AT["klines"]), None, HOUR_NS)
    drawn = [faults.of_request("klines", "AUSDT") for _ in range(40)]
    assert [nth for nth, kind in enumerate(drawn) if kind is None] == list(range(3, 40, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "--faults '7': write SEED:RATE"),
        ("x:0.1", "--faults 'x:0.1': write SEED:RATE"),
        ("7:", "--faults '7:': write SEED:RATE"),
        ("7:1.5", "faults at a rate of 1.5: it must be from 0 to 1"),
        ("7:nan", "faults at a rate of nan: it must be from 0 to 1"),
    ],
)
def test_faults_that_cannot_be_are_one_clear_line(text, message):
    with pytest.raises(ConfigError, match=message):
        FaultPlan.parse(text)


def test_a_misspelt_kind_gets_the_nearest():
    with pytest.raises(ConfigError, match="kind 'trunkated': not known; did you mean 'truncated'"):
        always("trunkated")


async def watch(port, times, secs):
    """What so many watches of one symbol brought, each within so long: rows and errors."""
    heard = []
    async with connected(port) as exchange:
        await exchange.load_markets()
        for _ in range(times):
            try:
                watching = exchange.watch_ohlcv("A/USDT", "1h")
                heard.append((await asyncio.wait_for(watching, secs))[-1])
            except (ccxt.NetworkError, TimeoutError) as error:
                heard.append(error)
    return heard


def watched(*kinds, rate=1.0, times=4, secs=10.0):
    with serving(CANDLES, faults=always(*kinds, rate=rate)) as served:
        heard = asyncio.run(watch(served.port, times, secs))
        return heard, served.fault_counts


@pytest.mark.parametrize("kind", ["closed", "aborted"])
def test_a_lost_connection_is_an_error_of_the_watch_and_the_next_one_dials_again(kind):
    heard, counts = watched(kind)
    assert all(isinstance(error, ccxt.NetworkError) for error in heard[:3])
    assert isinstance(heard[3], list)
    assert counts[kind] >= 3


@pytest.mark.parametrize("kind", ["half-open", "bad-json"])
def test_a_silent_connection_tells_the_client_nothing(kind, caplog):
    caplog.set_level(logging.CRITICAL, logger="asyncio")  # ccxt's reader ends with a traceback
    heard, counts = watched(kind, times=1, secs=0.7)
    assert isinstance(heard[0], TimeoutError)
    assert set(counts) == {kind}


@pytest.mark.parametrize(
    "kind", ["frame-doubled", "frame-reordered", "frame-stale", "frame-missing"]
)
def test_wrong_frames_do_not_stop_the_stream(kind):
    heard, counts = watched(kind, rate=0.7, times=12)
    assert counts[kind] >= 3
    assert all(isinstance(row, list) for row in heard)


def test_a_dial_that_is_refused_is_an_error_of_the_watch():
    with serving(CANDLES, faults=always("5xx")) as served:

        async def dial():
            async with connected(served.port) as exchange:
                for _ in range(IN_A_ROW):
                    with pytest.raises((ccxt.ExchangeNotAvailable, ccxt.OperationFailed)):
                        await exchange.load_markets()
                await exchange.load_markets()
                with pytest.raises(ccxt.NetworkError, match="Invalid response status"):
                    await exchange.watch_ohlcv("A/USDT", "1h")

        asyncio.run(dial())


async def insist(work):
    while True:
        try:
            return await work()
        except ccxt.BaseError:
            await asyncio.sleep(0)


async def stubborn(served, symbols):
    """Ask again and again until all markets have ended, and then for their whole history."""
    async with connected(served.port) as exchange:
        while not exchange.markets:
            await insist(lambda: exchange.load_markets(True))
        known = dict(exchange.markets)
        while not served.ended:
            for symbol in symbols:
                await insist(lambda symbol=symbol: exchange.fetch_ohlcv(symbol, "1h", limit=5))
        exchange.markets, exchange.symbols = known, sorted(known)
        rows = {}
        for symbol in symbols:
            while len(rows.get(symbol, ())) != 60 or rows[symbol] != sorted(rows[symbol]):
                rows[symbol] = await insist(
                    lambda symbol=symbol: whole_history(exchange, symbol, "1h", 1000)
                )
        return rows


@pytest.mark.parametrize("speed", [None, 36_000.0])
def test_the_game_ends_even_if_everything_fails_that_can(speed):
    kinds = [kind for kind in KINDS if kind != "time-out"]  # which only takes long
    with serving(CANDLES, faults=always(*kinds), speed=speed) as served:
        rows = asyncio.run(stubborn(served, ["A/USDT", "B/USDT"]))
        assert sum(served.fault_counts.values()) > 20
    assert rows["A/USDT"] == ROWS
