"""Candles hold an opening for each bar, say which bars differ, and show plain numbers."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds import Candles, SpecError, TimeError
from tests.feeds.flat_bars import bars, one


def test_openings_stay_beside_their_bars() -> None:
    candles = feeds.load("sample")
    cut = candles.between("2018-01-03", "2018-02-01").pick(["NVDA", "AAPL"])
    assert list(cut.opens) == ["NVDA", "AAPL"]
    for symbol, frame in cut.frames.items():
        local = pd.DatetimeIndex(cut.opens[symbol], tz="UTC").tz_convert("America/New_York")
        assert set(local.strftime("%H:%M")) == {"09:30"}
        assert list(local.date) == list(pd.DatetimeIndex(frame.index).date)


def test_the_philippine_sample_opens_at_half_past_nine() -> None:
    candles = feeds.load("sample:ph:BDO")
    local = pd.DatetimeIndex(candles.opens["BDO"], tz="UTC").tz_convert("Asia/Manila")
    assert set(local.strftime("%H:%M")) == {"09:30"}


@pytest.mark.parametrize("spec", ["sample", "sample:ph", "sample:AAPL"])
def test_the_times_of_the_samples_are_not_to_be_declared(spec: str) -> None:
    with pytest.raises(SpecError, match=r"^stamps='open' \(--stamps open\): .* is known; leave it"):
        feeds.load(spec, stamps="open")
    assert feeds.load(spec).timing == ()


def test_candles_made_by_hand_get_openings_by_spacing() -> None:
    frame = feeds.load("sample:AAPL")["AAPL"]
    candles = Candles({"X": frame}, spec="mine")
    assert np.array_equal(candles.opens["X"], feeds.opening_times(pd.DatetimeIndex(frame.index)))
    with pytest.raises(TimeError, match=r"X \(mine\): its opening times are int64 of shape \(3,\)"):
        Candles({"X": frame}, spec="mine", opens={"X": candles.opens["X"][:3]})
    with pytest.raises(TimeError, match=r"row 1 .* must not be before the bar above closes"):
        Candles({"X": frame}, spec="mine", opens={"X": candles.opens["X"] - 10**15})


def test_the_hash_sees_openings_that_spacing_does_not_tell() -> None:
    frame = feeds.load("sample:AAPL")["AAPL"]
    told = feeds.opening_times(pd.DatetimeIndex(frame.index))
    plain = Candles({"X": frame}, spec="mine")
    assert Candles({"X": frame}, spec="mine", opens={"X": told}).data_hash == plain.data_hash
    later = Candles({"X": frame}, spec="mine", opens={"X": told + 1})
    assert later.data_hash != plain.data_hash
    assert later.pick(["X"]).data_hash == later.data_hash


def test_bars_of_several_lengths_are_named() -> None:
    hours = pd.date_range("2024-01-01", periods=200, freq="h")
    days = pd.bdate_range("2024-01-01", periods=60) + pd.Timedelta(hours=21)
    tables = {letter: bars(hours) for letter in "ABCDEFG"} | {"Z": bars(days)}
    candles = feeds.from_frames(tables, stamps="close")
    assert candles.timing == (
        "Bars are of several lengths: 1 h (7 symbols: A, B, C, D, E and 2 more), 1 day (Z): an "
        "order fills only in a bar that opens at or after its decision.",
    )


def test_stocks_that_close_at_different_hours_are_named() -> None:
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC")
    york = days.tz_localize(None).tz_localize("America/New_York") + pd.Timedelta(hours=16)
    tables = {"A": bars(york), "B": bars(york), "P": bars(days + pd.Timedelta(hours=7.5))}
    candles = feeds.from_frames(tables, stamps="close")
    assert candles.timing == (
        "Bars are of several sessions: closing at 21:00 UTC (2 symbols: A, B), closing at 07:30 "
        "UTC (P): an order fills only in a bar that opens at or after its decision.",
    )


# --- numbers in messages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dates", "text"),
    [
        ([20240101, 0, 20240103], "A, row 1: the time 0 cannot be read; write YYYY-MM-DD"),
        ([20240101, 20241301, 20240103], "A, row 1: the time 20241301 cannot be read"),
        ([20240101.0, 5.5, 20240103.0], "A, row 1: the time 5.5 cannot be read"),
        ([1704067200_000, 3, 4], "A, row 1: the time 3 cannot be read"),
        ([True, False, True], "A, row 0: the time True cannot be read"),
        (pd.to_datetime(["1500-01-01", "2024-01-01", "2024-01-02"]).as_unit("s"),
         "A, row 0: the time 1500-01-01 00:00:00 cannot be read"),
        ([20240101, "soon", 20240103], "A, row 1: the time 'soon' cannot be read"),
    ],
)  # fmt: skip
def test_a_number_is_shown_as_a_reader_knows_it(dates: object, text: str) -> None:
    with pytest.raises(TimeError, match=re.escape(text)) as bad:
        one(dates)
    assert "np." not in str(bad.value) and not isinstance(bad.value.value, np.generic)


def test_a_bad_price_beside_whole_dates_is_shown_plainly() -> None:
    text = "date,open,high,low,close\n20240101,1,1,1,1\n20240102,1,1,0,1\n"
    table = pd.read_csv(io.StringIO(text))
    with pytest.raises(feeds.PriceError, match="low is 0; a price must be above 0") as bad:
        feeds.from_frames({"A": table})
    assert "np." not in str(bad.value)
    flags = bars([20240101, 20240102])
    flags["low"] = pd.Series([np.datetime64("2024-01-01"), 1.0], dtype=object)
    with pytest.raises(feeds.PriceError, match=r"low is .*; it must be a number") as bad:
        feeds.from_frames({"A": flags})
    assert "np." not in str(bad.value)
