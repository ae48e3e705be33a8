"""Opening an exchange: names, keys, markets, the clock, and how it is asked."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import pytest
from loopback_exchange import START_MS, candles, loopback

from feeds.ccxt import After, Timing, open_feed
from feeds.ccxt.clock import Clock
from feeds.ccxt.exchange import CREDENTIALS, Exchange, _replay
from feeds.ccxt.feed import MONTH, _check_pace
from feeds.ccxt.fetch import Patience
from feeds.ccxt.markets import DECIMAL_PLACES, TICK_SIZE, markets_of, steps_of
from feeds.errors import BusyError, ExchangeError, FeedError, SpecError, SymbolError
from feeds.steps import Steps

IMPATIENT = Timing(timeout_secs=0.5, first_pause_secs=0.01, longest_pause_secs=0.02, tries=3)
SECOND = 10**9


# --- names and options ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("binanc", r"exchange 'binanc' is not known; did you mean binance\?"),
        ("Krakn", r"did you mean kraken\?"),
        ("replay", r"write replay:PORT"),
        ("replay:http", r"write replay:PORT"),
        ("replay:99999", r"write replay:PORT"),
        ("binance:1", "exchange 'binance:1' is not known"),
        ("", "exchange '' is not known"),
    ],
)
def test_an_unknown_exchange_is_refused(name: str, text: str) -> None:
    with pytest.raises(SpecError, match=text):
        open_feed(name, ["BTC/USDT"], "1h")


def test_without_ccxt_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(FeedError, match=r"pip install 'kronos-sandbox\[paper\]'"):
        open_feed("binance", ["BTC/USDT"], "1h")


@pytest.mark.parametrize(
    ("timeframe", "text"),
    [
        ("7m", r"binance: a timeframe is not 7m; it has 1s, 1m, 3m, .*1w$"),
        (None, r"binance: a timeframe is needed; it has 1s"),
        (MONTH, "months differ in length"),
    ],
)
def test_a_timeframe_that_it_lacks_is_refused_before_anything_is_asked(
    timeframe: str | None, text: str
) -> None:
    with pytest.raises(SpecError, match=text):
        open_feed("binance", ["BTC/USDT"], timeframe)


def test_a_replay_has_one_timeframe() -> None:
    with loopback({"AAA": candles(-10, 10)}) as exchange:
        with pytest.raises(SpecError, match="it replays bars of 1m, not of 1h"):
            open_feed(f"replay:{exchange.port}", None, "1h")
        with open_feed(f"replay:{exchange.port}", None, "1m") as feed:
            assert (feed.timeframe, feed.length_ns, feed.speed) == ("1m", 60 * SECOND, 240.0)
            assert feed.is_replay


def test_no_network_is_one_error() -> None:
    with loopback({"AAA": candles(-10, 10)}) as exchange:
        port = exchange.port
    with pytest.raises(ExchangeError, match=r"asked 3 times: is the network there"):
        open_feed(f"replay:{port}", timing=IMPATIENT)


def test_markets_that_are_too_many_for_its_pace_are_refused() -> None:
    with loopback({"AAA": candles(-10, 10), "BBB": candles(-10, 10)}) as exchange:
        slow = Exchange(f"replay:{exchange.port}")
        slow.client.enableRateLimit, slow.client.rateLimit = True, 20_000
        with pytest.raises(ExchangeError, match="2 markets take 40 s of every 1m: take fewer"):
            _check_pace(slow, 2, "1m", 60 * SECOND)
        _check_pace(slow, 2, "1h", 3600 * SECOND)


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binance", "kraken", "coinbase", "hyperliquid", "replay:9"])
def test_no_key_is_set_whatever_the_environment_holds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in CREDENTIALS:
        monkeypatch.setenv(key, "a-key")
        monkeypatch.setenv(f"{name.upper()}_{key.upper()}", "a-key")
    client = Exchange(name).client
    assert [getattr(client, key, None) for key in CREDENTIALS] == [None] * len(CREDENTIALS)
    assert client.has["fetchCurrencies"] is False


def test_every_address_of_a_replay_is_on_this_machine() -> None:
    def each(value: Any) -> list[str]:
        return [value] if isinstance(value, str) else [u for v in value.values() for u in each(v)]

    urls = Exchange("replay:4321").client.urls["api"]
    assert all(url.split("/")[2] == "127.0.0.1:4321" for url in each(urls))
    assert urls["public"] == "http://127.0.0.1:4321/api/v3"
    assert urls["ws"]["spot"] == "ws://127.0.0.1:4321/stream/ws"


# --- markets -------------------------------------------------------------------------------------


def test_markets_are_found_by_either_name() -> None:
    with loopback({"AAA": candles(-10, 10), "BBB": candles(-10, 10)}) as exchange:
        with open_feed(f"replay:{exchange.port}", ["BBB/USDT", "AAA", "AAA/USDT"]) as feed:
            first, second = feed.markets
            assert (first.symbol, first.name, second.name) == ("BBB/USDT", "BBB", "AAA")
            assert (first.costs, first.calendar, first.active) == ("us", None, True)
            assert first.steps == Steps(size=0.001, price=0.01, min_size=0.002, min_notional=5.0)
        with pytest.raises(SymbolError, match=r"no symbol 'AAB'; did you mean AAA\?"):
            open_feed(f"replay:{exchange.port}", ["AAB"])
        with open_feed(f"replay:{exchange.port}") as feed:
            assert [market.name for market in feed.markets] == ["AAA", "BBB"]


def test_a_real_exchange_must_be_asked_for_symbols() -> None:
    found = {"BTC/USDT": {"active": False, "precision": {}, "limits": {}, "info": []}}
    (market,) = markets_of("kraken", found, ["BTC/USDT"], TICK_SIZE)
    assert (market.name, market.costs, market.active) == ("BTC/USDT", "crypto", False)
    with pytest.raises(SpecError, match="kraken: name its symbols, such as BTC/USDT"):
        markets_of("kraken", found, None, TICK_SIZE)
    with pytest.raises(SymbolError, match=r"did you mean BTC/USDT\?"):
        markets_of("kraken", found, ["BTCUSDT"], TICK_SIZE)


@pytest.mark.parametrize(
    ("mode", "amount", "size"),
    [(TICK_SIZE, 1e-5, 1e-5), (DECIMAL_PLACES, 8, 1e-8), (DECIMAL_PLACES, -2, 100.0), (3, 5, 0.0)],
)
def test_steps_by_how_precision_is_told(mode: int, amount: float, size: float) -> None:
    market = {
        "precision": {"amount": amount, "price": None},
        "limits": {"amount": {"min": 0.1}, "cost": {"min": None}},
    }
    assert steps_of(market, mode) == Steps(size=size, min_size=0.1)


# --- how it is asked -----------------------------------------------------------------------------


def test_it_waits_as_long_as_it_is_told_to() -> None:
    async def ask(port: int) -> float:
        exchange = Exchange(f"replay:{port}", IMPATIENT)
        try:
            with pytest.raises(BusyError) as caught:
                await exchange.read_clock()
            assert caught.value.after_s == 0.3
            began = time.monotonic()
            await exchange.read_clock()
            return time.monotonic() - began
        finally:
            await exchange.close()

    with loopback({"AAA": candles(-10, 10)}) as exchange:
        exchange.fail("time", "429")
        assert asyncio.run(ask(exchange.port)) > 0.25


def test_where_it_does_not_tell_the_time_its_headers_do() -> None:
    async def ask(port: int) -> int:
        exchange = Exchange(f"replay:{port}")
        exchange._has_time, exchange.clock = False, Clock(by_header=True)
        try:
            await exchange.read_clock()
            assert not exchange.clock.known
            await exchange.markets()
            return exchange.clock.now_ns
        finally:
            await exchange.close()

    with loopback({"AAA": candles(-10, 10)}, speed=None) as exchange:
        exchange.jump(1.5)
        now_ns = asyncio.run(ask(exchange.port))
        assert exchange.asked["time"] == 0
    assert 0 <= now_ns - (START_MS + 90_000) * 10**6 < 5 * SECOND


def test_an_exchange_that_is_no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of a replay, taken for that of an exchange: its own clock, symbols by name."""
    with loopback({"AAA": candles(-100, 10), "BBB": candles(-100, 10)}, speed=1.0) as exchange:
        monkeypatch.setattr(
            "feeds.ccxt.exchange._client_of",
            lambda name, timing: (False, _replay(exchange.port, timing)),
        )
        with open_feed("binance", ["AAA/USDT"], "1m") as feed:
            assert (feed.is_replay, feed.speed, feed.exchange) == (False, 1.0, "binance")
            warmup = feed.warmup(30)
            assert len(warmup.candles["AAA"]) == 30
            with feed.live(After(warmup.frontier_ns, {"AAA": warmup.candles["AAA"][-1]})) as live:
                assert live.next(0.3) is None
                status = live.status()
                assert status.frontier_ns < status.next_close_ns
                assert abs(status.clock_ns - exchange.now_ms * 1e6) < 5 * SECOND


def test_pauses_grow_up_to_a_limit_and_heed_the_exchange() -> None:
    patience = Patience(Timing(first_pause_secs=1.0, longest_pause_secs=5.0), lambda: 1.0)
    error = ExchangeError("x")
    assert [patience.pause_secs(error) for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    busy = BusyError("x")
    busy.after_s = 60.0
    assert patience.pause_secs(busy) == 60.0
    patience.served()
    assert patience.pause_secs(error) == 1.0


# --- the clock -----------------------------------------------------------------------------------


def test_a_clock_goes_on_from_what_it_was_told() -> None:
    wall = [100 * SECOND]
    clock = Clock(10.0, wall_ns=lambda: wall[0])
    assert not clock.known
    clock.told(1000 * SECOND)
    wall[0] += 2 * SECOND
    assert clock.now_ns == 1020 * SECOND
    assert clock.secs_until(1050 * SECOND) == 3.0


def test_a_time_that_is_wrong_once_does_no_harm() -> None:
    clock = Clock(1.0, wall_ns=lambda: 0)
    for told in (1000, 5000, 1000):
        clock.told(told * SECOND)
    assert clock.now_ns == 1000 * SECOND


def test_of_dates_in_headers_the_latest_counts() -> None:
    clock = Clock(1.0, by_header=True, wall_ns=lambda: 0)
    for told in (1000, 1002, 940):
        clock.told(told * SECOND)
    assert clock.now_ns == 1002 * SECOND


def test_an_answer_that_took_long_says_little() -> None:
    clock = Clock(1.0, wall_ns=lambda: 0)
    clock.told(1000 * SECOND)
    clock.told(900 * SECOND, took_ns=5 * SECOND)
    assert clock.now_ns == 1000 * SECOND


def test_a_clock_that_jumps_stands_when_it_was_told_several_times() -> None:
    wall = [0]
    clock = Clock(None, wall_ns=lambda: wall[0])
    clock.told(1000 * SECOND)
    wall[0] += 3 * SECOND
    assert (clock.now_ns, clock.stands) == (1000 * SECOND, False)
    assert clock.secs_until(9000 * SECOND) == 0.0
    for _ in range(3):
        clock.told(900 * SECOND)
    assert (clock.now_ns, clock.stands) == (1000 * SECOND, True)
    clock.saw(1060 * SECOND)
    assert (clock.now_ns, clock.stands) == (1060 * SECOND, False)


# --- the warm-up ---------------------------------------------------------------------------------


def test_a_warm_up_ends_at_one_time_and_may_be_short_of_a_late_lister() -> None:
    truth = {
        "AAA": candles(-300, 50),
        "BBB": candles(-300, 50, seed=2, missing=range(-100, -1, 2)),
        "CCC": candles(-7, 50, seed=3),
        "DDD": candles(20, 50, seed=4),
    }
    with loopback(truth, speed=1.0) as exchange, open_feed(f"replay:{exchange.port}") as feed:
        warmup = feed.warmup(120)
        assert warmup.frontier_ns <= exchange.now_ms * 10**6
        assert list(warmup.candles) == ["AAA", "BBB", "CCC", "DDD"]
        for name, rows in warmup.candles.items():
            known = [
                row[0]
                for row in exchange.truth[name]
                if (row[0] + 60_000) * 10**6 <= warmup.frontier_ns
            ]
            assert [row.opened_ns // 10**6 for row in rows] == known[-120:]
        assert [len(rows) for rows in warmup.candles.values()][:2] == [120, 120]
        assert warmup.frontier_ns >= (START_MS - 60_000) * 10**6
        assert feed.warmup(0).candles["AAA"] == []
        with pytest.raises(SpecError, match="a warm-up of -1 bars"):
            feed.warmup(-1)


def test_a_warm_up_longer_than_what_the_exchange_keeps_is_refused() -> None:
    truth = {"AAA": candles(-700, 50)}
    with loopback(truth, speed=1.0) as exchange, open_feed(f"replay:{exchange.port}") as feed:
        exchange.truth["AAA"] = exchange.truth["AAA"][-50 - 199 :]
        feed._exchange.client.features["spot"]["fetchOHLCV"]["limit"] = 200
        with pytest.raises(ExchangeError, match="only its newest 200 candles of 1m, and 300 are"):
            feed.warmup(300)
        assert len(feed.warmup(150).candles["AAA"]) == 150
