"""Live bars from exchanges on this machine, by way of the unmodified client."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from loopback_exchange import MINUTE_MS, START_MS, Loopback, candles, loopback

import feeds
from feeds import times_ns
from feeds.ccxt import After, Feed, Live, LiveBar, Row, Timing, open_feed
from feeds.errors import ExchangeError, FeedEnded, FeedError
from sandbox.replay.faults import FaultPlan
from sandbox.replay.serve import serving

QUICK = Timing(
    settle_secs=0.2, grace_secs=0.05, silence_secs=0.5, timeout_secs=1.0, first_pause_secs=0.02,
    longest_pause_secs=0.2,
)  # fmt: skip
PATIENCE = 30.0  # seconds, after which a test has failed


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def start(feed: Feed, bars: int = 20) -> tuple[Live, dict[str, list[Row]]]:
    warmup = feed.warmup(bars)
    last = {name: rows[-1] if rows else None for name, rows in warmup.candles.items()}
    return feed.live(After(warmup.frontier_ns, last)), {
        name: list(rows) for name, rows in warmup.candles.items()
    }


def read(live: Live, got: dict[str, list[Row]], until: Callable[[LiveBar], bool]) -> list[LiveBar]:
    """Bars until one of which `until` is true, their candles put to `got`."""
    bars = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        bar = live.next(0.5)
        if bar is None:
            continue
        bars.append(bar)
        for name, row in bar.candles.items():
            got[name].append(row)
        if until(bar):
            return bars
    raise AssertionError(f"nothing more came: {live.status()} {live.events()}")


def minute(bar: LiveBar) -> int:
    """When a bar closed, in minutes since the start."""
    return (bar.time_ns // 10**6 - START_MS) // MINUTE_MS


def check(exchange: Loopback, got: dict[str, list[Row]]) -> None:
    """What came is what the exchange has, each once, without a hole."""
    for name, rows in got.items():
        first, last = rows[0].opened_ns // 10**6, rows[-1].opened_ns // 10**6
        truth = [row for row in exchange.truth[name] if first <= row[0] <= last]
        assert [[row.opened_ns // 10**6, *row[1:6]] for row in rows] == truth, name


def kinds(live: Live) -> set[str]:
    return {event.kind for event in live.events()}


def test_bars_come_as_they_close_and_a_quiet_minute_is_no_hole() -> None:
    truth = {
        "AAA": candles(-50, 100),
        "BBB": candles(-50, 100, seed=2, missing=[2, 3, 4, 7]),
        "CCC": candles(-50, 100, seed=3, missing=range(0, 100, 2)),
    }
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        live, got = start(feed)
        with live:
            bars = read(live, got, lambda bar: minute(bar) >= 12)
            assert live.status().connected
        check(exchange, got)
        minutes = [minute(bar) for bar in bars]
        assert minutes == list(range(minutes[0], minutes[-1] + 1))
        assert all(len(bar.candles) < 3 for bar in bars if minute(bar) in (3, 5))
        assert {len(rows) >= 20 for rows in got.values()} == {True}
        assert all(bar.clock_ns >= bar.time_ns for bar in bars)


def test_faults_of_every_kind_change_nothing() -> None:
    truth = {"AAA": candles(-50, 200), "BBB": candles(-50, 200, seed=2, missing=[5, 6, 11])}
    faults = ["429", "500", "403", "empty", "null", "truncated", "cut", "list", "nan", "abort"]
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        exchange.young_faults, exchange.settle_ms = random.Random(1), 0.15 * 1000 * 240
        exchange.fail("klines", *faults)  # also of the warm-up
        live, got = start(feed)
        with live:
            exchange.fail("AAAUSDT", *random.Random(2).sample(faults, len(faults)))
            exchange.fail("BBBUSDT", *faults)
            exchange.fail("api/v3/time", "500", "null")
            exchange.fail("exchangeInfo", "truncated", "list")
            read(live, got, lambda bar: not exchange.faults)
            exchange.young_faults = None
            last = got["AAA"][-1].opened_ns
            read(live, got, lambda bar: bar.time_ns > last + 4 * 60 * 10**9)
            assert "retry" in kinds(live)
        check(exchange, got)


def test_no_bar_goes_out_while_a_symbol_is_not_known() -> None:
    truth = {"AAA": candles(-50, 300), "BBB": candles(-50, 300, seed=2)}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        live, got = start(feed)
        with live:
            read(live, got, lambda bar: minute(bar) >= 3)
            exchange.fail("BBBUSDT", *["500"] * 12)
            while exchange.faults:
                time.sleep(0.02)
            assert not live.caught_up() or exchange.minute() < 1
            read(live, got, lambda bar: minute(bar) >= 12)
            events = live.events()
            late = [event for event in events if event.kind == "late"]
            assert {event.symbol for event in late} == {"BBB"}
            assert "since" in late[0].text
            assert "recovered" in {event.kind for event in events}
        check(exchange, got)


@pytest.mark.parametrize("what", ["close", "abort", "garbage", "mute"])
def test_a_stream_that_breaks_is_dialled_anew_and_nothing_is_missed(what: str) -> None:
    truth = {"AAA": candles(-50, 300), "BBB": candles(-50, 300, seed=2, missing=[4, 5])}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        live, got = start(feed)
        with live:
            read(live, got, lambda bar: minute(bar) >= 2)
            assert exchange.dials == 1
            if what == "mute":
                exchange.muted = True
                time.sleep(0.7)
                exchange.muted = False
            else:
                exchange.each_socket(what)
            read(live, got, lambda bar: exchange.dials > 1 and live.status().connected)
            assert {"disconnected", "connected"} <= kinds(live)
        check(exchange, got)


def test_a_market_that_is_taken_off_ends_once_it_has_been_read() -> None:
    truth = {
        "AAA": candles(-50, 300),
        "BBB": candles(-50, 8, seed=2),
        "CCC": candles(-50, 8, seed=3),
    }
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        live, got = start(feed)
        with live:
            read(live, got, lambda bar: minute(bar) >= 9)
            exchange.fail("exchangeInfo", "null", "empty", "500")  # that proves nothing
            read(
                live,
                got,
                lambda bar: not any("exchangeInfo" in path for path, _ in exchange.faults),
            )
            exchange.off = {"BBB": "BREAK", "CCC": "gone"}
            bars = read(live, got, lambda bar: "BBB" in bar.ended or "CCC" in bar.ended)
            ended = {name for bar in bars for name in bar.ended}
            if len(ended) < 2:
                ended |= set(read(live, got, lambda bar: bool(bar.ended))[-1].ended)
            assert ended == {"BBB", "CCC"}
            assert len(got["BBB"]) == len(got["CCC"]) == 28
            exchange.off = {"AAA": "BREAK", "BBB": "BREAK", "CCC": "gone"}
            exchange.truth["AAA"] = [r for r in exchange.truth["AAA"] if r[0] <= exchange.now_ms]
            with pytest.raises(FeedEnded, match="every market has ended") as over:
                read(live, got, lambda bar: False)
            assert over.value.ended == ("AAA",)
            assert "ended" in kinds(live)
        assert got["AAA"][-1].opened_ns // 10**6 == exchange.truth["AAA"][-1][0]
        check(exchange, got)


def test_a_feed_that_is_far_behind_reads_whole_pages() -> None:
    truth = {"AAA": candles(-5000, 400), "BBB": candles(-5000, 400, seed=2, missing=[-1000, -7])}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        anchor = exchange.truth["AAA"][50]
        frontier_ns = int(anchor[0] + MINUTE_MS) * 10**6
        with feed.live(After(frontier_ns, {})) as live:
            got: dict[str, list[Row]] = {"AAA": [], "BBB": []}
            assert not live.caught_up()
            read(live, got, lambda bar: minute(bar) >= 1)
            asked = exchange.asked["klines"]
        assert asked < 60
        assert len(got["AAA"]) >= 4950
        check(exchange, got)


def test_a_reader_that_does_not_read_stops_the_feed_from_asking() -> None:
    truth = {"AAA": candles(-9000, 400)}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        frontier_ns = int(START_MS - 9000 * MINUTE_MS) * 10**6
        with feed.live(After(frontier_ns, {})) as live:
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                time.sleep(0.05)
            assert exchange.asked["klines"] < 8
            got: dict[str, list[Row]] = {"AAA": []}
            read(live, got, lambda bar: minute(bar) >= 1)
        check(exchange, got)


def test_caught_up_is_true_once_all_that_settled_was_taken() -> None:
    truth = {"AAA": candles(-50, 300), "BBB": candles(-50, 300, seed=2, missing=range(-3, 300))}
    with loopback(truth, speed=1.0) as exchange:
        exchange.jump(0.5)
        with open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
            last = {
                name: Row(int(rows[40][0]) * 10**6, *rows[40][1:], 0.0)
                for name, rows in exchange.truth.items()
            }
            frontier_ns = last["AAA"].opened_ns + MINUTE_MS * 10**6
            with feed.live(After(frontier_ns, last)) as live:
                got: dict[str, list[Row]] = {"AAA": [], "BBB": []}
                deadline = time.monotonic() + PATIENCE
                while not live.caught_up() and time.monotonic() < deadline:
                    bar = live.next(0.05)
                    for name, row in bar.candles.items() if bar else ():
                        got[name].append(row)
        assert (len(got["AAA"]), len(got["BBB"])) == (9, 6)


def test_it_goes_on_after_symbols_that_have_ended() -> None:
    truth = {"AAA": candles(-50, 300), "BBB": candles(-50, -3, seed=2)}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        warmup = feed.warmup(10)
        last = {name: rows[-1] for name, rows in warmup.candles.items()}
        with feed.live(After(warmup.frontier_ns, last, ended=("BBB",))) as live:
            bars = [live.next(PATIENCE) for _ in range(3)]
            assert all(bar is not None and not bar.ended for bar in bars)
        with pytest.raises(FeedError, match="the feed was closed"):
            while True:
                live.next(1.0)


def test_only_public_addresses_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BINANCE_API_KEY", "BINANCE_APIKEY", "CCXT_APIKEY", "apiKey", "secret", "API_KEY"):
        monkeypatch.setenv(name, "a-key-that-must-not-be-used")
    truth = {"AAA": candles(-50, 300)}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        live, got = start(feed)
        with live:
            read(live, got, lambda bar: minute(bar) >= 3)
        root = f"http://127.0.0.1:{exchange.port}/api/v3"
        public = (f"GET {root}/klines?", f"GET {root}/time", f"GET {root}/exchangeInfo")
        ours = (*public, f"WS ws://127.0.0.1:{exchange.port}/stream/ws")
        assert feed.requests
        assert all(request.startswith(ours) for request in feed.requests)
        assert not any("a-key" in request or "signature" in request for request in feed.requests)


def test_an_exchange_without_a_stream_is_polled() -> None:
    truth = {"AAA": candles(-50, 300), "BBB": candles(-50, 300, seed=2, missing=[3])}
    with loopback(truth) as exchange, open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
        feed._exchange.client.has = feed._exchange.client.has | {"watchOHLCV": False}
        live, got = start(feed)
        with live:
            read(live, got, lambda bar: minute(bar) >= 6)
            assert live.status().connected
        assert exchange.dials == 0
        check(exchange, got)


def test_history_that_the_exchange_no_longer_keeps_is_an_error() -> None:
    with loopback({"AAA": candles(-700, 50)}, speed=1.0) as exchange:
        anchor = exchange.truth["AAA"][0]
        exchange.truth["AAA"] = exchange.truth["AAA"][-50 - 199 :]
        with open_feed(f"replay:{exchange.port}", timing=QUICK) as feed:
            feed._exchange.client.features["spot"]["fetchOHLCV"]["limit"] = 100
            last = Row(int(anchor[0]) * 10**6, *anchor[1:], 0.0)
            after = After(last.opened_ns + 80 * MINUTE_MS * 10**6, {"AAA": last})
            with (
                feed.live(after) as live,
                pytest.raises(ExchangeError, match="no longer has what came after"),
            ):
                live.next(PATIENCE)


def same_as(rows: list[Row], frame: pd.DataFrame, length_ns: int) -> bool:
    """Whether rows are the last candles of a frame, without its amounts."""
    truth = frame.iloc[len(frame) - len(rows) :]
    closes = [row.opened_ns + length_ns for row in rows]
    values = np.array([row[1:6] for row in rows])
    return closes == times_ns(truth).tolist() and np.array_equal(values, truth.to_numpy()[:, :5])


@pytest.mark.parametrize(("faults", "first"), [("1:0", "2016-01-01"), ("3:0.12", "2018-01-01")])
def test_a_replay_at_full_speed_gives_its_data(faults: str, first: str) -> None:
    data = feeds.load("sample:AAPL,NVDA", start=first, end="2018-06-30")
    with (
        serving(data, faults=FaultPlan.parse(faults)) as served,
        open_feed(f"replay:{served.port}", timing=QUICK) as feed,
    ):
        live, got = start(feed, bars=30)
        with live, pytest.raises(FeedEnded):
            read(live, got, lambda bar: False)
    assert len(got["AAPL"]) > 80
    assert all(same_as(rows, data[name], feed.length_ns) for name, rows in got.items())
