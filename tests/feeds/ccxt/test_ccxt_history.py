"""`ccxt:` specs: what they accept, and downloads that are kept and go on where they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from loopback_exchange import MINUTE_MS, START_MS, Kline, Loopback, candles, loopback

import feeds
from feeds import Candles, SpecError, SymbolError
from feeds.ccxt import Timing
from feeds.ccxt.cache import CACHE, MOST_PARTS, Kept, cache_folder
from feeds.ccxt.history import load_history, parse
from feeds.ccxt.pages import Row
from feeds.errors import ExchangeError

IMPATIENT = Timing(timeout_secs=0.5, first_pause_secs=0.01, longest_pause_secs=0.02, tries=3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def stamp(minute: int) -> str:
    return pd.Timestamp((START_MS + minute * MINUTE_MS) * 10**6).isoformat()


def rest(exchange: Loopback, since: int, until: int | None = None, symbols: str = "AAA,BBB") -> str:
    """The part of a spec behind `ccxt:`; bars that close `since` minutes after the start on."""
    text = f"replay:{exchange.port}?symbols={symbols}&timeframe=1m&since={stamp(since)}"
    return text if until is None else f"{text}&until={stamp(until)}"


def check(loaded: Candles, exchange: Loopback, since: int, until: int) -> None:
    """All candles of that time, as the exchange has them."""
    for name, frame in loaded.frames.items():
        first, last = (START_MS + minute * MINUTE_MS for minute in (since, until))
        truth = [row for row in exchange.truth[name] if first <= row[0] + MINUTE_MS <= last]
        times = [row[0] + MINUTE_MS for row in truth]
        assert (pd.DatetimeIndex(frame.index).as_unit("ms").asi8 == times).all()
        columns = ["open", "high", "low", "close", "volume"]
        assert np.array_equal(frame[columns].to_numpy(), np.array([row[1:] for row in truth]))
        assert (loaded.opens[name] == [int(row[0]) * 10**6 for row in truth]).all()


# --- specs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("binance?symbols=A", "it lacks timeframe and since; write ccxt:EXCHANGE"),
        ("binance?symbols=&timeframe=1h&since=2024-01-01", "it lacks symbols"),
        ("?symbols=A&timeframe=1h&since=2024-01-01", "it lacks an exchange"),
        ("binance?symbol=A&since=2024-01-01", "no parameter 'symbol'; did you mean symbols"),
        ("binance?symbols=A,,B&timeframe=1h&since=2024-01-01", "an empty symbol in the list"),
        ("binance?symbols=A&timeframe=1h&since=yesterday", "since 'yesterday' is not a date"),
        ("binance?symbols=A&timeframe=1h&since=2024-01-01&until=x", "until 'x' is not a date"),
        ("binance?symbols=A&timeframe=1h&since=2024-02-01&until=2024-01-01", "is after until"),
        ("binance?symbols=A&timeframe=7h&since=2024-01-01", "a timeframe is not 7h; it has 1s, "),
        ("binanc?symbols=A&timeframe=1h&since=2024-01-01", "did you mean binance"),
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_understood_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        feeds.load(f"ccxt:{text}")


def test_what_a_spec_asks_for() -> None:
    text = "binance?symbols=BTC/USDT,ETH/USDT&timeframe=1h&since=2024-01-01&until=2024-01-02"
    wanted = parse(text)
    assert wanted.symbols == ("BTC/USDT", "ETH/USDT")
    assert wanted.since_ns == pd.Timestamp("2024-01-01").value
    assert wanted.until_ns == pd.Timestamp("2024-01-03").value - 1


def test_times_of_such_candles_are_known() -> None:
    with pytest.raises(SpecError, match=r"when the bars of ccxt:x.* opened and closed is known"):
        feeds.load("ccxt:x?symbols=A", stamps="open")


def test_a_spec_without_parameters_is_shown_its_form() -> None:
    with pytest.raises(SpecError, match=r"data spec 'ccxt:binance' is not known.*ccxt:EXCHANGE\?"):
        feeds.load("ccxt:binance")
    with pytest.raises(feeds.SourceError, match="there is no such file"):
        feeds.load("paper:nowhere.sqlite")


# --- downloads -----------------------------------------------------------------------------------


def test_history_is_read_once_and_later_only_what_is_new(own_cache: Path) -> None:
    truth = {
        "AAA": candles(-3000, 50),
        "BBB": candles(-3000, 50, seed=2, missing=range(-900, -800)),
    }
    with loopback(truth, speed=None) as exchange:
        loaded = feeds.load(f"ccxt:{rest(exchange, -2600)}")
        check(loaded, exchange, -2600, -1)
        assert (loaded.costs, loaded.calendar, loaded.symbols) == ("us", None, ("AAA", "BBB"))
        assert loaded.steps["AAA"].size == 0.001
        assert exchange.asked["klines"] >= 6
        assert cache_folder() == own_cache
        exchange.asked.clear()
        again = feeds.load(f"ccxt:{rest(exchange, -2600)}")
        assert again.data_hash == loaded.data_hash
        assert exchange.asked["klines"] == 2  # whether these are still the same candles
        exchange.jump(11)
        exchange.asked.clear()
        check(feeds.load(f"ccxt:{rest(exchange, -2600)}"), exchange, -2600, 10)
        assert exchange.asked["klines"] <= 8
        check(feeds.load(f"ccxt:{rest(exchange, -2900, -2000)}"), exchange, -2900, -2000)
        check(feeds.load(f"ccxt:{rest(exchange, -2950, 5)}"), exchange, -2950, 5)


def test_a_download_that_was_cut_short_goes_on_where_it_was() -> None:
    truth = {"AAA": candles(-6000, 50)}
    with loopback(truth, speed=None) as exchange:
        spec = rest(exchange, -5900, symbols="AAA")
        exchange.most_pages = 3
        with pytest.raises(ExchangeError, match=r"AAA/USDT: .*asked 3 times"):
            load_history(spec, timing=IMPATIENT)
        exchange.most_pages, before = 10**9, exchange.asked["klines"]
        check(load_history(spec, timing=IMPATIENT), exchange, -5900, -1)
        assert exchange.asked["klines"] - before <= 5  # of the six and one to see they are its own


def test_a_page_that_fails_leaves_no_hole() -> None:
    truth = {"AAA": candles(-3000, 50), "BBB": candles(-3000, 50, seed=2, missing=[-700, -5])}
    with loopback(truth, speed=None) as exchange:
        for fault in ("truncated", "null", "empty", "cut", "429", "nan", "abort", "403"):
            exchange.fail("AAAUSDT", fault)
            exchange.fail("BBBUSDT", fault)
        patient = Timing(timeout_secs=1.0, first_pause_secs=0.01, tries=20)
        check(load_history(rest(exchange, -2900), timing=patient), exchange, -2900, -1)
        assert not exchange.faults


def test_only_final_candles_are_kept() -> None:
    truth = {"AAA": candles(-30, 50)}
    with loopback(truth, speed=None) as exchange:
        exchange.jump(5.5)
        loaded = feeds.load(f"ccxt:{rest(exchange, -10, symbols='AAA')}")
        assert loaded["AAA"].index[-1] <= pd.Timestamp(stamp(5), tz="UTC")
        kept = Kept(f"replay:{exchange.port}", "AAA/USDT", "1m")
        assert [
            part for part in kept.parts() if part.to_ns > (START_MS + 5 * MINUTE_MS) * 10**6
        ] == []


def test_candles_kept_of_another_replay_are_forgotten() -> None:
    with loopback({"AAA": candles(-300, 50)}, speed=None) as exchange:
        spec = rest(exchange, -200, symbols="AAA")
        feeds.load(f"ccxt:{spec}")
        exchange.truth["AAA"] = candles(-300, 50, seed=9)
        check(feeds.load(f"ccxt:{spec}"), exchange, -200, -1)


def test_symbols_without_a_candle_then_are_absent() -> None:
    truth = {"AAA": candles(-300, 50), "BBB": candles(-20, 50)}
    with loopback(truth, speed=None) as exchange:
        loaded = feeds.load(f"ccxt:{rest(exchange, -200, -100)}")
        assert (loaded.symbols, loaded.absent) == (("AAA",), ("BBB",))
        with pytest.raises(SpecError, match="none of its symbols has a candle"):
            feeds.load(f"ccxt:{rest(exchange, -200, -100, 'BBB')}")
        with pytest.raises(SpecError, match="no bar has closed since"):
            feeds.load(f"ccxt:{rest(exchange, 40)}")
        with pytest.raises(SymbolError, match=r"no symbol 'AAB'; did you mean AAA\?"):
            feeds.load(f"ccxt:{rest(exchange, -200, symbols='AAB')}")


# --- the cache -----------------------------------------------------------------------------------


def rows_of(klines: Sequence[Kline]) -> list[Row]:
    return [Row(int(row[0]) * 10**6, *row[1:], amount=1.0) for row in klines]


def test_parts_are_whole_or_absent_and_are_made_one(own_cache: Path) -> None:
    kept = Kept("binance", "BTC/USDT:USDT", "1h")
    rows = rows_of(candles(0, 100))
    for nth in range(10):
        here = rows[nth * 10 : nth * 10 + 10]
        kept.write(here, here[0].opened_ns, here[-1].opened_ns + 10**6)
    parts = kept.parts()
    assert len(parts) == 10 > MOST_PARTS
    assert [row for part in parts for row in kept.read(part) or ()] == rows
    kept.join(rows, parts)
    (whole,) = kept.parts()
    assert kept.read(whole) == rows
    assert {path.suffix for path in own_cache.rglob("*") if path.is_file()} == {".parquet"}
    whole.path.write_bytes(b"PAR1 this is none")
    assert kept.read(whole) is None
    assert kept.parts() == []


def test_a_part_without_candles_is_known_to_be_empty() -> None:
    kept = Kept("x", "A", "1h")
    part: Any = kept.write([], 10**6, 5 * 10**6)
    assert kept.read(part) == []
