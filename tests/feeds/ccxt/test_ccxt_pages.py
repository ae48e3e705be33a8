"""A page of candles, checked; and JSON that is whole, or counts for nothing."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds.ccxt.exchange import strict_json
from feeds.ccxt.pages import NS_PER_MS, Ask, amounts, read_page
from feeds.errors import PageError

FIRST_MS = 1_700_000_040_000
ASK = Ask(FIRST_MS * NS_PER_MS, 100, anchored=True)


def row(nth: int = 0, **changes: Any) -> list[Any]:
    values = {"time": FIRST_MS + nth * 60_000, "open": 100.0, "high": 103.0, "low": 99.0}
    values |= {"close": 102.0, "volume": 10.0}
    return list((values | changes).values())


def test_a_page_in_order() -> None:
    page = read_page([row(), row(1)], ASK)
    first = page.rows[0]
    assert first.opened_ns == FIRST_MS * NS_PER_MS
    assert first[1:] == (100.0, 103.0, 99.0, 102.0, 10.0, 10.0 * 101.0)
    assert isinstance(first.opened_ns, int)
    assert all(type(value) is float for value in first[1:])
    assert not page.full


def test_disorder_is_put_right_and_doubles_are_taken_once() -> None:
    page = read_page([row(2), row(0), row(1), row(0), row(2)], ASK)
    assert [(one.opened_ns // NS_PER_MS - FIRST_MS) // 60_000 for one in page.rows] == [0, 1, 2]


def test_a_long_page_may_have_been_cut() -> None:
    assert read_page([row(nth) for nth in range(100)], ASK).full
    assert read_page([row(nth) for nth in range(50)], ASK).full
    assert not read_page([row(nth) for nth in range(49)], ASK).full


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, "NoneType, not a list"),
        ({"code": -1}, "dict, not a list"),
        ("[]", "str, not a list"),
        ([], "it is empty, and should begin with the candle of 2023-11-14 22:14:00"),
        ([[9, None, None, None, None, None]], "a value that is no finite number"),
        ([[None] * 6], "a value that is no finite number"),
        ([9, None], "a row is not six numbers"),
        ([[FIRST_MS, 1.0, 2.0]], "a row is not six numbers"),
        ([row(), [1, 2]], "a row is not six numbers"),
        ([row(), {"t": 1}], "a row is not six numbers"),
        ([row(close="x")], "a row is not six numbers"),
        ([row(close=math.nan)], "a value that is no finite number"),
        ([row(volume=math.inf)], "a value that is no finite number"),
        ([row(volume=None)], "a value that is no finite number"),
        ([row(time=-5)], "an open time that is none"),
        ([row(time=FIRST_MS + 0.5)], "an open time that is none"),
        ([row(), row(time=1e17)], "an open time that is none"),
        ([row(low=0.0)], "a price that is not above 0"),
        ([row(high=101.0)], "a high below its open or close"),
        ([row(low=101.0)], "a low above its open or close"),
        ([row(volume=-1.0)], "a volume below 0"),
        ([row(), row(1), row(1, close=102.5)], "two candles of 2023-11-14 22:15:00 that differ"),
        ([row(1)], "it begins at 2023-11-14 22:15:00, and should with the candle of 2023-11-14"),
        ([row(-1), row()], "it begins at 2023-11-14 22:13:00, before the 2023-11-14 22:14:00"),
    ],
)  # fmt: skip
def test_what_no_exchange_means_is_refused(raw: object, text: str) -> None:
    with pytest.raises(PageError, match=re.escape(text)):
        read_page(raw, ASK)


def test_an_empty_page_is_one_where_no_anchor_is_wanted() -> None:
    assert read_page([], ASK._replace(anchored=False)).rows == ()


def test_amounts_are_to_the_bit_those_of_a_table_without_them() -> None:
    chance = np.random.default_rng(3)
    close = np.exp(chance.normal(0, 3, 2000))
    open_ = close * np.exp(chance.normal(0, 0.1, 2000))
    table = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=2000, freq="min"),
            "open": open_,
            "high": np.maximum(open_, close) * 1.01,
            "low": np.minimum(open_, close) * 0.99,
            "close": close,
            "volume": chance.uniform(0, 1e6, 2000),
        }
    )
    ours = amounts(table[["open", "high", "low", "close", "volume"]].to_numpy())
    assert ours.tolist() == feeds.normalise(table, "X")["amount"].tolist()


@pytest.mark.parametrize(
    "body", ["", "  ", "null", "[[1,2", '{"a":', "[NaN]", "[Infinity]", "[1]]"]
)
def test_json_that_is_not_whole_is_refused(body: str) -> None:
    with pytest.raises(PageError, match="the answer is"):
        strict_json(body)


def test_whole_json_is_read_and_other_text_is_left_alone() -> None:
    assert strict_json('[[1, "2.5"]]') == [[1, "2.5"]]
    assert strict_json("OK") is None
