"""Flat candles with the times that a test is about, and what became of those times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import feeds
from feeds import Candles


class Weekdays:
    """Sessions from Monday to Friday, 14:30 to 21:00 UTC, but for some holidays; on some days they
    end at 18:00."""

    name = "WEEK"

    def __init__(self, holidays: Sequence[str] = (), early: Sequence[str] = ()) -> None:
        self._holidays, self._early = pd.DatetimeIndex(holidays), pd.DatetimeIndex(early)

    def hours(self, first_ns: int, last_ns: int) -> feeds.Hours:
        days = pd.bdate_range("2023-01-02", "2025-12-31").difference(self._holidays)
        ends = np.where(days.isin(self._early), 18.0, 21.0)
        return feeds.Hours(
            days.as_unit("ns").asi8,
            (days + pd.Timedelta(hours=14.5)).as_unit("ns").asi8,
            (days + pd.to_timedelta(ends, unit="h")).as_unit("ns").asi8,
        )


def bars(index: Any) -> pd.DataFrame:
    """A flat table with those times."""
    return pd.DataFrame({"date": index, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})


def one(index: Any, **options: Any) -> Candles:
    return feeds.from_frames({"A": bars(index)}, **options)


def closes(candles: Candles, symbol: str = "A") -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M:%S}" for time in pd.DatetimeIndex(candles[symbol].index)]


def opens(candles: Candles, symbol: str = "A") -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M:%S}" for time in pd.DatetimeIndex(candles.opens[symbol])]


def span(candles: Candles, row: int) -> tuple[str, str]:
    return opens(candles)[row], closes(candles)[row]
