"""Specs, files, times and names: what `feeds.load` accepts, and what it says to the rest."""

from __future__ import annotations

import datetime as dt
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds import (
    CandleError,
    Candles,
    ColumnError,
    FeedError,
    PriceError,
    SourceError,
    SpecError,
    SymbolError,
    TimeError,
)

MakeTable: TypeAlias = Callable[..., pd.DataFrame]


def one(path: Path, text: str) -> Candles:
    path.write_text(text)
    return feeds.load(f"csv:{path}")


def test_the_public_names() -> None:
    assert " ".join(sorted(feeds.__all__)) == (
        "AMOUNT CLOSE COLUMNS CandleError Candles ColumnError FeedError HIGH Hours KNOWN_SPECS LOW "
        "OPEN PriceError Sessions SourceError SpecError Stamps SymbolError TimeError VOLUME When "
        "bar_times from_frames load normalise opening_times repair times_ns validate values_of"
    )
    assert all(hasattr(feeds, name) for name in feeds.__all__)


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (SpecError, FeedError),
        (SymbolError, SpecError),
        (SourceError, FeedError),
        (CandleError, FeedError),
        (ColumnError, CandleError),
        (TimeError, CandleError),
        (PriceError, CandleError),
    ],
)
def test_error_tree(error: type[FeedError], parent: type[FeedError]) -> None:
    assert error.__bases__ == (parent,)


def test_errors_and_candles_survive_a_trip_between_processes(table: MakeTable) -> None:
    error = PriceError.at("high is 1", symbol="X", row=3, value=1.0, remedy="fix it")
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.symbol, back.row) == ("X, row 3: high is 1; fix it", "X", 3)
    candles = feeds.from_frames({"X": table()})
    assert pickle.loads(pickle.dumps(candles)).data_hash == candles.data_hash


# --- specs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["qlibs:data", "ccxt:binance", "csv:", "", "AAPL"])
def test_an_unknown_spec_is_told_all_that_are_known(spec: str) -> None:
    with pytest.raises(
        SpecError, match=f"data spec {re.escape(repr(spec))} is not known"
    ) as caught:
        feeds.load(spec)
    assert all(known in str(caught.value) for known in feeds.KNOWN_SPECS)


def test_a_misspelt_scheme_gets_a_suggestion() -> None:
    with pytest.raises(SpecError, match=r"did you mean parquet\?"):
        feeds.load("parqet:x.parquet")


def test_picks_keep_their_order_and_lose_doubles() -> None:
    candles = feeds.load("sample: nvda,AAPL,NVDA")
    assert candles.symbols == ("NVDA", "AAPL")
    assert candles.spec == "sample:NVDA,AAPL"
    assert (len(candles), list(candles), "AAPL" in candles) == (2, ["NVDA", "AAPL"], True)


def test_picks_of_the_second_sample() -> None:
    candles = feeds.load("sample:ph:ALI,BDO")
    assert (candles.symbols, candles.costs) == (("ALI", "BDO"), "ph")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("sample:APPL", r"sample: no symbol 'APPL'; did you mean AAPL\?"),
        ("sample:ph:BD", r"sample:ph: no symbol 'BD'; did you mean BDO\?"),
        ("sample:QQQQ", r"sample: no symbol 'QQQQ'; it has AAPL, AMZN, .*XOM"),
    ],
)
def test_an_unknown_pick_gets_the_nearest_name(spec: str, text: str) -> None:
    with pytest.raises(SymbolError, match=text) as caught:
        feeds.load(spec)
    assert caught.value.symbol == spec.rpartition(":")[2]


def test_an_empty_pick_is_refused() -> None:
    with pytest.raises(SpecError, match=r"an empty symbol in the list; write sample:A,B"):
        feeds.load("sample:AAPL,,NVDA")


def test_asking_candles_for_an_unknown_symbol() -> None:
    with pytest.raises(SymbolError, match=r"no symbol 'NVDIA'; did you mean NVDA\?"):
        feeds.load("sample:NVDA")["NVDIA"]


# --- windows -------------------------------------------------------------------------------------


def test_an_end_date_holds_its_whole_day() -> None:
    candles = feeds.load("sample:AAPL", start="2018-12-28", end=dt.date(2018, 12, 31))
    stamps = [f"{time:%Y-%m-%d %H:%M}" for time in candles["AAPL"].index]
    assert stamps == ["2018-12-28 21:00", "2018-12-31 21:00"]


@pytest.mark.parametrize(
    ("end", "bars"),
    [
        ("2018-12-31T20:59", 0),
        ("2018-12-31T21:00", 1),
        (pd.Timestamp("2018-12-31"), 0),
        (pd.Timestamp("2018-12-31 16:00", tz="America/New_York"), 1),
        (dt.datetime(2018, 12, 31, 21, tzinfo=dt.UTC), 1),
    ],
)
def test_an_end_with_a_clock_time_is_that_instant(end: feeds.When, bars: int) -> None:
    candles = feeds.load("sample:AAPL", start="2018-12-28", end=end)
    assert len(candles["AAPL"]) == 1 + bars


def test_symbols_without_a_bar_in_the_window_are_named() -> None:
    candles = feeds.load("sample:ph", start="2021-01-01")
    assert candles.absent == ("X",)
    assert len(candles) == 71 and "X" not in candles


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ("2018", None, "start '2018' is not a date; write YYYY-MM-DD"),
        (None, "tomorrow-ish", "end 'tomorrow-ish' is not a date"),
        ("2019-01-02", "2019-01-01", "start 2019-01-02 is after end 2019-01-01"),
        (
            "2031-01-01",
            None,
            "no bar from 2031-01-01 to the end; the source has 2015-01-02 to 2024",
        ),
    ],
)
def test_a_bad_window_is_refused(start: str | None, end: str | None, text: str) -> None:
    with pytest.raises(SpecError, match=re.escape(text)):
        feeds.load("sample", start=start, end=end)


# --- files ---------------------------------------------------------------------------------------


def test_csv_and_parquet_of_equal_candles_have_one_hash(tmp_path: Path, table: MakeTable) -> None:
    frames = {"AAA": table(), "BBB": table(bars=7, open=100.125 + np.arange(7.0))}
    long = pd.concat([frame.assign(Ticker=name) for name, frame in frames.items()])
    for name, frame in frames.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        frame.to_parquet(tmp_path / f"{name}.parquet")
    long.sort_values("date", kind="stable").to_csv(tmp_path / "long.txt", index=False)
    specs = [f"csv:{tmp_path}/*.csv", f"parquet:{tmp_path}/*.parquet", f"csv:{tmp_path}/long.txt"]
    hashes = {feeds.load(spec).data_hash for spec in specs}
    hashes |= {feeds.from_frames(dict(reversed(frames.items()))).data_hash}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64


@pytest.mark.parametrize("change", ["value", "time", "symbol"])
def test_the_hash_sees_every_change(table: MakeTable, change: str) -> None:
    before = feeds.from_frames({"A": table()}).data_hash
    changed = table()
    if change == "value":
        changed["volume"] = np.nextafter(changed["volume"].to_numpy(), np.inf)
    if change == "time":
        changed.loc[4, "date"] = "2024-01-06"
    after = feeds.from_frames({"B" if change == "symbol" else "A": changed}).data_hash
    assert before != after


def test_files_that_continue_one_another_are_joined(tmp_path: Path, table: MakeTable) -> None:
    long = table(bars=6).assign(symbol="A")
    long[:3].to_csv(tmp_path / "y1.csv", index=False)
    long[3:].to_csv(tmp_path / "y2.csv", index=False)
    assert len(feeds.load(f"csv:{tmp_path}/y*.csv")["A"]) == 6


def test_symbols_stay_text(tmp_path: Path) -> None:
    candles = one(
        tmp_path / "long.csv",
        "date,symbol,open,high,low,close\n2024-01-01,000001,1,1,1,1\n2024-01-01,NA,2,2,2,2\n",
    )
    assert candles.symbols == ("000001", "NA")


def test_a_file_is_named_after_its_symbol(tmp_path: Path, table: MakeTable) -> None:
    table().to_csv(tmp_path / "BRK.B.csv.gz", index=False)
    assert feeds.load(f"csv:{tmp_path}/BRK.B.csv.gz").symbols == ("BRK.B",)


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close,Vol",
        "TIMESTAMP,o,h,l,c,v",
        "<DateTime>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
    ],
)
def test_common_names_of_columns(tmp_path: Path, header: str) -> None:
    frame = one(tmp_path / "A.csv", f"{header},Adj Close\n2024-01-01,10,14,8,12,5,7\n")["A"]
    assert frame.iloc[0].tolist() == [10, 14, 8, 12, 5, 5 * 11]
    assert tuple(frame.columns) == feeds.COLUMNS
    assert (frame.dtypes == np.float64).all()


def test_without_a_volume_both_are_0(tmp_path: Path) -> None:
    frame = one(tmp_path / "A.csv", "date,open,high,low,close,amount\n2024-01-01,1,1,1,1,9\n")["A"]
    assert frame[["volume", "amount"]].to_numpy().tolist() == [[0, 0]]


def test_a_table_indexed_by_time_loads(tmp_path: Path, table: MakeTable) -> None:
    indexed = table().assign(date=lambda t: pd.to_datetime(t["date"])).set_index("date")
    indexed.to_parquet(tmp_path / "A.parquet")
    named = feeds.load(f"parquet:{tmp_path}/A.parquet")
    unnamed = feeds.from_frames({"A": indexed.rename_axis(None)})
    assert named.data_hash == unnamed.data_hash == feeds.from_frames({"A": table()}).data_hash


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: p.write_text(""), "empty file; give at least one row"),
        (lambda p: p.write_text("date,open,high,low,close\n"), "empty file; give at least one row"),
        (lambda p: p.mkdir(), r"that is a folder; write csv:.*/\*\.csv"),
        (lambda p: None, "no file of that name; give a path or a glob"),
        (lambda p: p.write_bytes(b"date,open\n\xff\xfe,1\n"), "cannot be read as csv"),
        (lambda p: p.write_text("date,open\n2024-01-01,1,2\n"), "cannot be read as csv .*Length"),
    ],
)
def test_an_unusable_file_is_refused(
    tmp_path: Path, make: Callable[[Path], object], text: str
) -> None:
    make(tmp_path / "A.csv")
    with pytest.raises(SourceError, match=text):
        feeds.load(f"csv:{tmp_path}/A.csv")


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "A.parquet").write_text("hello")
    with pytest.raises(SourceError, match=r"A.parquet: cannot be read as parquet"):
        feeds.load(f"parquet:{tmp_path}/A.parquet")


def test_a_missing_column_is_named_with_what_there_is(tmp_path: Path) -> None:
    text = r"A \(.*A.csv\): no column high; there are date, open, low, close; name one high \(or h"
    with pytest.raises(ColumnError, match=text):
        one(tmp_path / "A.csv", "date,open,low,close\n2024-01-01,1,1,1\n")


def test_two_columns_of_one_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="columns 'vol' and 'Volume' both mean volume; keep one"):
        one(tmp_path / "A.csv", "date,open,high,low,close,vol,Volume\n2024-01-01,1,1,1,1,2,3\n")


def test_a_row_without_a_symbol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleError, match="row 1: the symbol is missing"):
        one(
            tmp_path / "A.csv",
            "date,symbol,open,high,low,close\n2024-01-01,A,1,1,1,1\n2024-01-02,,1,1,1,1\n",
        )


def test_text_in_a_number_is_shown(tmp_path: Path) -> None:
    text = r"A \(.*\), row 0 \(2024-01-01 00:00:00 UTC\): low is 'n\.a\.'; it must be a number"
    with pytest.raises(PriceError, match=text):
        one(tmp_path / "A.csv", "date,open,high,low,close\n2024-01-01,1,1,n.a.,1\n")


def test_no_frames_at_all() -> None:
    with pytest.raises(FeedError, match="frames: no symbol has a candle"):
        feeds.from_frames({})


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dates", "hour"),
    [
        (["2024-01-01", "2024-01-02"], 0),
        (["20240101", "20240102"], 0),
        ([20240101, 20240102], 0),
        (["2024-01-01 09:00", "2024-01-02 09:00"], 9),
        (["2024-01-01T17:00:00+08:00", "2024-01-02T17:00:00+08:00"], 9),
        (["2024-01-01 09:00Z", "2024-01-02 09:00+00:00"], 9),
        ([1704067200, 1704153600], 0),
        ([1704067200_000, 1704153600_000], 0),
        ([dt.date(2024, 1, 1), dt.date(2024, 1, 2)], 0),
        (pd.date_range("2024-01-01 16:00", periods=2, tz="America/New_York"), 21),
    ],
)
def test_times_become_utc(table: MakeTable, dates: object, hour: int) -> None:
    index = feeds.normalise(table(bars=2, date=dates), "A").index
    wanted = pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC") + pd.Timedelta(hours=hour)
    pd.testing.assert_index_equal(index, wanted.as_unit("ns").rename("time"))


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-01-01 09:00+00:00", "2024-01-02 09:00+00:00", "2024-01-03 09:00+08:00"],
        ["2024-01-01 09:00", "2024-01-02 09:00", "2024-01-03 09:00Z"],
        ["2024-03-08 16:00-05:00", "2024-03-09 16:00-05:00", "2024-03-10 16:00-03:00"],
        ["2024-03-08 16:00-05:00", "2024-03-09 16:00-05:00", "2024-03-10 16:00"],
    ],
)
@pytest.mark.parametrize("repair", [False, True])
def test_mixed_zones_in_a_series_are_refused(
    table: MakeTable, dates: list[str], repair: bool
) -> None:
    text = re.escape(f"mixed time zones: {dates[2]} after {dates[0]}; write every time in UTC")
    with pytest.raises(TimeError, match=text) as caught:
        feeds.from_frames({"A": table(bars=3, date=dates)}, repair=repair)
    assert (caught.value.symbol, caught.value.row, caught.value.value) == ("A", 2, dates[2])


def test_summer_time_is_one_zone(table: MakeTable) -> None:
    dates = ["2024-03-08 16:00-05:00", "2024-03-11 16:00-04:00", "2024-11-04 16:00-05:00"]
    index = feeds.from_frames({"A": table(bars=3, date=dates)})["A"].index
    assert [f"{time:%m-%d %H:%M}" for time in index] == [
        "03-08 21:00",
        "03-11 20:00",
        "11-04 21:00",
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_columns_may_be_parted_by_semicolons_or_tabs(
    tmp_path: Path, table: MakeTable, mark: str
) -> None:
    table(bars=3).to_csv(tmp_path / "A.csv", index=False, sep=mark)
    found = feeds.load(f"csv:{tmp_path}/A.csv")["A"]
    pd.testing.assert_frame_equal(found, feeds.from_frames({"A": table(bars=3)})["A"])


def test_mixed_zones_between_files_are_refused(tmp_path: Path, table: MakeTable) -> None:
    table(bars=1).to_csv(tmp_path / "A.csv", index=False)
    table(bars=1, date="2024-01-01T00:00Z").to_csv(tmp_path / "B.csv", index=False)
    with pytest.raises(TimeError, match=r"B \(.*B.csv\).*times with a zone, while A .* without"):
        feeds.load(f"csv:{tmp_path}/?.csv")


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("03/01/2024", "the time '03/01/2024' cannot be read; write YYYY-MM-DD"),
        ("soon", "the time 'soon' cannot be read"),
        ("0001-01-01", "the time '0001-01-01' cannot be read"),
        (None, "the time is missing; write YYYY-MM-DD"),
    ],
)
def test_a_time_that_cannot_be_read(table: MakeTable, bad: str | None, text: str) -> None:
    dates = ["2024-01-01", "2024-01-02", bad]
    with pytest.raises(TimeError, match=f"A, row 2: {re.escape(text)}") as caught:
        feeds.from_frames({"A": table(bars=3, date=dates)})
    assert caught.value.value == bad
    mended = feeds.from_frames({"A": table(bars=3, date=dates)}, repair=True)
    assert mended.repairs == ("A: dropped rows without a readable time (1 row)",)


@pytest.mark.parametrize("amount", [True, False])
def test_candles_lie_in_one_block_that_readers_share(tmp_path: Path, amount: bool) -> None:
    table = feeds.load("sample:AAPL").frames["AAPL"].reset_index()
    table = table if amount else table.drop(columns="amount")
    table.assign(symbol="AAPL").to_parquet(tmp_path / "one.parquet")
    frame = feeds.load(f"parquet:{tmp_path / 'one.parquet'}", end="2020-01-01").frames["AAPL"]
    assert np.shares_memory(frame.to_numpy(dtype=np.float64), frame.to_numpy())
