"""A page of candles as an exchange answers it, checked: a page counts whole or not at all.

Knows rows of numbers only, neither the network nor what was asked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import GoneError, PageError

NS_PER_MS = 10**6
COLUMNS_READ = 6  # open time in ms, open, high, low, close, volume
FEWEST_A_PAGE = 50  # candles that any exchange gives in a page: a longer one may have been cut
LATEST_MS = 7_258_118_400_000  # the year 2200: a later time is no time


class Row(NamedTuple):
    """One candle."""

    opened_ns: int  # when it opened, ns since 1970, UTC; it closes one timeframe later
    open: float
    high: float
    low: float
    close: float
    volume: float  # in units traded
    amount: float  # in quote currency: volume × mean of the four prices


class Ask(NamedTuple):
    """What a page was asked for."""

    since_ns: int  # candles that opened then or later
    limit: int  # at most so many
    anchored: bool  # it must begin with the candle that opened at `since_ns`


class Page(NamedTuple):
    """Candles of one answer, oldest first, each once."""

    rows: tuple[Row, ...]
    ask: Ask
    full: bool  # there may be more candles than the page could hold


def read_page(raw: object, ask: Ask) -> Page:
    """The page of an answer to `ask`: rows of (open time in ms, open, high, low, close, volume).

    Rows are put in order, and rows that came twice are taken once. Raises `PageError` for anything
    that is no list of finite, well-formed candles, for two candles of one time that differ, and for
    a page that does not begin with the anchor it was asked for.
    """
    if not isinstance(raw, list | tuple):
        raise PageError(f"the answer is {type(raw).__name__}, not a list of candles", value=raw)
    rows = _rows(_values(raw)) if raw else ()
    _check_anchor(rows, ask)
    return Page(rows, ask, full=len(raw) >= min(ask.limit, FEWEST_A_PAGE))


def _values(raw: Sequence[Any]) -> NDArray[np.float64]:
    """[rows, 6] in order of time, each time once."""
    try:
        values = np.array([row[:COLUMNS_READ] for row in raw], dtype=np.float64)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise PageError("a row is not six numbers", value=raw) from None
    if values.ndim != 2 or values.shape[1] != COLUMNS_READ:
        raise PageError("a row is not six numbers", value=raw)
    _check(values)
    order = np.argsort(values[:, 0], kind="stable")
    values = values[order]
    again = np.flatnonzero(values[1:, 0] == values[:-1, 0])
    if not len(again):
        return values
    differing = again[(values[again + 1] != values[again]).any(axis=1)]
    if len(differing):
        when = shown_ms(values[differing[0], 0])
        raise PageError(f"two candles of {when} that differ", value=values[differing[0], 0])
    return np.delete(values, again, axis=0)


def _check(values: NDArray[np.float64]) -> None:
    """Refuse rows [rows, 6] that no market prints, with the first of them."""
    times, prices, volumes = values[:, 0], values[:, 1:5], values[:, 5]
    opens, highs, lows, closes = prices.T
    with np.errstate(invalid="ignore"):
        rules = (
            (~np.isfinite(values).all(axis=1), "a value that is no finite number"),
            ((times <= 0) | (times > LATEST_MS) | (times % 1 != 0), "an open time that is none"),
            ((prices <= 0).any(axis=1), "a price that is not above 0"),
            (highs < np.maximum(opens, closes), "a high below its open or close"),
            (lows > np.minimum(opens, closes), "a low above its open or close"),
            (volumes < 0, "a volume below 0"),
        )
    for bad, problem in rules:
        if bad.any():
            row = values[int(np.argmax(bad))]
            raise PageError(f"a candle with {problem}: {row.tolist()}", value=row.tolist())


def _rows(values: NDArray[np.float64]) -> tuple[Row, ...]:
    opened_ns = (values[:, 0].astype(np.int64) * NS_PER_MS).tolist()
    columns = [*values[:, 1:].T, amounts(values[:, 1:])]
    return tuple(map(Row, opened_ns, *(column.tolist() for column in columns)))


def amounts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volume × mean of the four prices `[n]` of open high low close volume `[n, 5]`: added in
    order, so that it is to the bit what `feeds.normalise` makes of the same candles."""
    opens, highs, lows, closes, volumes = values.T
    return volumes * ((((opens + highs) + lows) + closes) / 4)


def _check_anchor(rows: Sequence[Row], ask: Ask) -> None:
    if rows and rows[0].opened_ns < ask.since_ns:
        when, wanted = shown_ns(rows[0].opened_ns), shown_ns(ask.since_ns)
        raise PageError(f"it begins at {when}, before the {wanted} it was asked for")
    if not ask.anchored:
        return
    wanted = shown_ns(ask.since_ns)
    if not rows:
        raise PageError(f"it is empty, and should begin with the candle of {wanted}")
    if rows[0].opened_ns != ask.since_ns:
        when = shown_ns(rows[0].opened_ns)
        kind = GoneError if len(rows) >= ask.limit else PageError
        raise kind(f"it begins at {when}, and should with the candle of {wanted}")


def shown_ns(time_ns: int) -> str:
    """A time as messages show it, UTC."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"


def shown_ms(time_ms: float) -> str:
    return shown_ns(int(time_ms) * NS_PER_MS)
