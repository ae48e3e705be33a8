"""Laws of validation and repair: every fault is refused where it stands; what is mended passes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feeds
from feeds import CandleError, ColumnError, PriceError, SourceError, TimeError

MakeTable: TypeAlias = Callable[..., pd.DataFrame]
LAWS = settings(max_examples=100, deadline=None)
UTC_DAYS = pd.date_range("2024-01-01", periods=40, tz="UTC", unit="ns")

# A fault: column, what goes there (from the row's own values), what the refusal says.
Fault: TypeAlias = tuple[str, Callable[[dict[str, float]], float], str]
FAULTS: list[Fault] = [
    *[(c, lambda row: math.nan, f"{c} is nan; it must be a finite number") for c in feeds.COLUMNS],
    *[(c, lambda row: math.inf, f"{c} is inf; it must be a finite number") for c in feeds.COLUMNS],
    *[(c, lambda row: 0.0, f"{c} is 0; a price must be above 0") for c in feeds.COLUMNS[:4]],
    *[(c, lambda row: -1.0, f"{c} is -1; a price must be above 0") for c in feeds.COLUMNS[:4]],
    ("high", lambda row: row["close"] - 0.5, "it must be at least max(open, close) of open 1"),
    ("high", lambda row: row["open"] - 0.5, "it must be at least max(open, close) of open 1"),
    ("low", lambda row: row["close"] + 0.5, "it must be at most min(open, close) of open 1"),
    ("low", lambda row: row["open"] + 0.5, "it must be at most min(open, close) of open 1"),
    ("volume", lambda row: -3.0, "volume is -3; it must be 0 or more"),
    ("amount", lambda row: -3.0, "amount is -3; it must be 0 or more"),
]


def good(table: MakeTable, bars: int) -> pd.DataFrame:
    return feeds.normalise(table(bars=bars), "ABC")


def faulty(frame: pd.DataFrame, row: int, fault: Fault) -> pd.DataFrame:
    column, value, _ = fault
    spoilt = frame.copy()
    values = {str(name): float(cell) for name, cell in frame.iloc[row].items()}
    spoilt.iloc[row, list(frame.columns).index(column)] = value(values)
    return spoilt


@LAWS
@given(data=st.data(), bars=st.integers(1, 30), fault=st.sampled_from(FAULTS))
def test_every_bad_value_is_refused_at_its_first_row(
    table: MakeTable, data: st.DataObject, bars: int, fault: Fault
) -> None:
    rows = data.draw(st.lists(st.integers(0, bars - 1), min_size=1, max_size=3))
    frame = good(table, bars)
    for row in rows:
        frame = faulty(frame, row, fault)
    first = min(rows)
    with pytest.raises(PriceError) as caught:
        feeds.validate(frame, "ABC", source="x.csv")
    error, text = caught.value, str(caught.value)
    day = f"{frame.index[first]:%Y-%m-%d}"
    assert text.startswith(f"ABC (x.csv), row {first} ({day} 00:00:00 UTC): {fault[0]} is ")
    assert fault[2] in text
    assert text.endswith("; correct the source, or load it with repair=True (--repair)")
    assert (error.symbol, error.source, error.row) == ("ABC", "x.csv", first)
    assert error.time == frame.index[first]
    np.testing.assert_equal(error.value, frame[fault[0]].iloc[first])


@LAWS
@given(data=st.data(), bars=st.integers(2, 30))
def test_times_that_do_not_rise_are_refused(
    table: MakeTable, data: st.DataObject, bars: int
) -> None:
    row = data.draw(st.integers(1, bars - 1))
    back = data.draw(st.integers(1, row))
    frame = good(table, bars)
    times = frame.index.to_list()
    times[row] = times[row - back]
    frame.index = pd.DatetimeIndex(times, name="time")
    says = "is that of the row before" if back == 1 else "is before that of the row above"
    with pytest.raises(
        TimeError, match=rf"^ABC, row {row} \(2024.*UTC\): the time {says}"
    ) as caught:
        feeds.validate(frame, "ABC")
    assert (caught.value.row, caught.value.value) == (row, times[row])
    mended, said = feeds.repair(frame, "ABC")
    feeds.validate(mended, "ABC")
    assert len(mended) == bars - 1 and said
    # Of the two rows of one time, the later one was kept.
    assert mended.loc[times[row], "volume"] == frame["volume"].iloc[row]


CELLS = st.one_of(
    st.floats(1, 3), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 2.0])
)


@st.composite
def any_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of the right shape with anything in them."""
    bars = draw(st.integers(1, 6))
    cells = draw(st.lists(st.lists(CELLS, min_size=6, max_size=6), min_size=bars, max_size=bars))
    days = draw(st.lists(st.integers(0, 8), min_size=bars, max_size=bars))
    if draw(st.booleans()):
        days = sorted(days)
    stamps = [UTC_DAYS[day] for day in days]
    if draw(st.booleans()):
        stamps[0] = pd.NaT  # type: ignore[call-overload]
    index = pd.DatetimeIndex(stamps, tz="UTC", name="time").as_unit("ns")
    return pd.DataFrame(cells, index=index, columns=list(feeds.COLUMNS), dtype=np.float64)


def row_is_good(row: dict[str, float]) -> bool:
    """The contract of one row, said the slow way."""
    if not all(math.isfinite(value) for value in row.values()):
        return False
    if min(row[name] for name in ("open", "high", "low", "close")) <= 0:
        return False
    inside = row["low"] <= row["open"] <= row["high"] and row["low"] <= row["close"] <= row["high"]
    return inside and row["volume"] >= 0 and row["amount"] >= 0


@LAWS
@given(frame=any_frames())
def test_validate_agrees_with_the_contract_said_row_by_row(frame: pd.DataFrame) -> None:
    times = list(frame.index)
    in_order = not any(map(pd.isna, times)) and all(
        earlier < later for earlier, later in itertools.pairwise(times)
    )
    rows = [dict(zip(feeds.COLUMNS, row, strict=True)) for row in frame.to_numpy().tolist()]
    bad = [number for number, row in enumerate(rows) if not row_is_good(row)]
    if in_order and not bad:
        feeds.validate(frame, "ABC")
        return
    with pytest.raises(CandleError, match=r"^ABC, row ") as caught:
        feeds.validate(frame, "ABC")
    if in_order:
        assert caught.value.row == bad[0]
    else:
        assert isinstance(caught.value, TimeError)


@LAWS
@given(frame=any_frames())
def test_what_repair_gives_back_is_valid(frame: pd.DataFrame) -> None:
    before = frame.copy()
    try:
        mended, said = feeds.repair(frame, "ABC")
    except SourceError as error:
        assert "ABC: no usable row is left; leave the symbol out" in str(error)
        cells = frame[np.asarray(frame.index.notna())].to_numpy()
        assert not (np.isfinite(cells).all(axis=1) & (cells[:, :4] > 0).all(axis=1)).any()
        return
    feeds.validate(mended, "ABC")
    assert bool(said) != mended.equals(frame)
    again, more = feeds.repair(mended, "ABC")
    assert more == () and again.equals(mended)
    pd.testing.assert_frame_equal(frame, before)


def test_repair_says_what_it_changed(table: MakeTable) -> None:
    frame = table(bars=8)
    frame.loc[0, "close"] = math.nan
    frame.loc[1, "open"] = 0.0
    frame.loc[2, "high"] = 1.0
    frame.loc[3, "low"] = 999.0
    frame.loc[4, "volume"] = -5.0
    frame.loc[6, "date"] = "2024-01-06"
    candles = feeds.from_frames({"ABC": frame.iloc[[7, 0, 1, 2, 3, 4, 5, 6]]}, repair=True)
    assert candles.repairs == (
        "ABC: dropped rows with a NaN or infinite value (1 row, first 2024-01-01 00:00)",
        "ABC: dropped rows with a price not above 0 (1 row, first 2024-01-02 00:00)",
        "ABC: sorted by time rows that were out of order (1 row, first 2024-01-03 00:00)",
        "ABC: dropped all but the last row of a doubled time (1 row, first 2024-01-06 00:00)",
        "ABC: widened high to hold open and close (1 row, first 2024-01-03 00:00)",
        "ABC: widened low to hold open and close (1 row, first 2024-01-04 00:00)",
        "ABC: raised a negative volume to 0 (1 row, first 2024-01-05 00:00)",
    )
    mended = candles["ABC"]
    assert [f"{time.day}" for time in mended.index] == ["3", "4", "5", "6", "8"]
    assert mended["high"].tolist() == [104, 106, 107, 109, 110]
    assert mended["low"].tolist() == [101, 103, 103, 105, 106]
    assert mended["volume"].tolist() == [1002, 1003, 0, 1006, 1007]


def test_a_missing_amount_is_counted_after_repair(table: MakeTable) -> None:
    raw = table(bars=1, open=10.0, high=1.0, low=10.0, close=20.0, volume=2.0)
    frame = feeds.from_frames({"A": raw.drop(columns="amount")}, repair=True)["A"]
    assert frame.iloc[0].tolist() == [10, 20, 10, 20, 2, 2 * (10 + 20 + 10 + 20) / 4]


def test_without_repair_nothing_is_said(table: MakeTable) -> None:
    assert feeds.from_frames({"ABC": table()}).repairs == ()
    assert feeds.from_frames({"ABC": table()}, repair=True).repairs == ()


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (lambda f: f[["open", "close"]], ColumnError, "the columns are open, close; they must be"),
        (lambda f: f.iloc[:, ::-1], ColumnError, "the columns are amount, volume, close"),
        (lambda f: f.astype({"low": "float32"}), ColumnError, "low is float32; it must be float64"),
        (lambda f: f.tz_localize(None), TimeError, "the index is datetime64[ns] named 'time'"),
        (lambda f: f.tz_convert("Asia/Manila"), TimeError, "[ns, Asia/Manila] named 'time'; it"),
        (lambda f: f.rename_axis("date"), TimeError, "named 'date'; it must be a UTC Datetime"),
        (lambda f: f.reset_index(drop=True), TimeError, "the index is int64 named None; it must"),
        (lambda f: f.iloc[:0], SourceError, "no rows; give at least one row of candles"),
    ],
)
def test_a_wrong_shape_is_refused(
    table: MakeTable,
    spoil: Callable[[pd.DataFrame], pd.DataFrame],
    error: type[feeds.FeedError],
    text: str,
) -> None:
    frame = spoil(good(table, 5))
    with pytest.raises(error, match=r"^ABC: .*" + re.escape(text)) as caught:
        feeds.validate(frame, "ABC")
    assert caught.value.symbol == "ABC"


def test_a_missing_time_is_refused(table: MakeTable) -> None:
    frame = good(table, 3)
    frame.index = frame.index.insert(1, pd.NaT)[:3].rename("time")
    with pytest.raises(TimeError, match="ABC, row 1: the time is missing; every row needs one"):
        feeds.validate(frame, "ABC")


def test_normalise_does_not_judge(table: MakeTable) -> None:
    frame = feeds.normalise(table(bars=2, high=-1.0), "ABC")
    assert frame["high"].tolist() == [-1, -1]
    assert frame.index.name == "time" and str(frame.index.dtype) == "datetime64[ns, UTC]"
