"""Stamps that other symbols' prices show to be read wrongly: on walks that nobody can foresee."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import feeds
from tests.feeds.flat_bars import closes, opens

DAYS = 300
PER_DAY = 288  # five minutes each
Side = Literal["open", "close"]
Walk = NDArray[np.float64]


def walk(seed: int, beside: Walk | None = None) -> Walk:
    """Log returns of five minutes; with `beside` correlated with those by 0.8."""
    own = np.random.default_rng(seed).normal(0, 0.001, DAYS * PER_DAY)
    return own if beside is None else 0.8 * beside + 0.6 * own


def table(returns: Walk, bars: int, stamp: Side) -> pd.DataFrame:
    """Candles of so many five minutes, stamped at one of their ends."""
    price = 100 * np.exp(np.insert(np.cumsum(returns), 0, 0.0))
    first, last = price[:-1:bars], price[bars::bars]
    times = pd.date_range("2023-01-01", periods=len(last), freq=f"{5 * bars}min")
    return pd.DataFrame(
        {
            "date": times if stamp == "open" else times + pd.Timedelta(minutes=5 * bars),
            "open": first, "high": np.maximum(first, last), "low": np.minimum(first, last),
            "close": last,
        }
    )  # fmt: skip


def stock(returns: Walk, at: str, every: str = "B") -> pd.DataFrame:
    """Weekdays, or all days, from 14:30 to 21:00, stamped with the date or at the close."""
    price = pd.Series(
        100 * np.exp(np.cumsum(returns)),
        pd.date_range("2023-01-01 00:05", periods=len(returns), freq="5min"),
    )
    days = pd.date_range("2023-01-01", periods=200, freq=every)
    first, last = (price[days + pd.Timedelta(clock)].to_numpy() for clock in ("14h30min", "21h"))
    return pd.DataFrame(
        {
            "date": days if at == "date" else days + pd.Timedelta(hours=21),
            "open": first, "high": np.maximum(first, last), "low": np.minimum(first, last),
            "close": last,
        }
    )  # fmt: skip


COIN = walk(1)
OTHER = walk(2, beside=COIN)
STRANGER = walk(3)
HOUR, DAY = 12, PER_DAY


@pytest.mark.parametrize("daily", [COIN, OTHER])
@pytest.mark.parametrize("bars", [1, HOUR, 4 * HOUR])
@pytest.mark.parametrize("stamp", ["open", "close"])
def test_midnights_are_dates_or_closes_as_finer_bars_show(
    daily: Walk, bars: int, stamp: Side
) -> None:
    fine = table(COIN, bars, "close")
    candles = feeds.from_frames({"FINE": fine, "DAY": table(daily, DAY, stamp)})
    if stamp == "open":
        assert opens(candles, "DAY")[0] == "2023-01-01 00:00:00"
        assert closes(candles, "DAY")[0] == "2023-01-01 23:59:59"
    else:
        assert opens(candles, "DAY")[0] == "2023-01-01 00:00:00"
        assert closes(candles, "DAY")[0] == "2023-01-02 00:00:00"
        assert "Stamps at midnight are closing times, as the prices of FINE show (DAY)." in (
            candles.timing
        )
    assert closes(candles, "FINE") == [str(time) for time in fine["date"]]


@pytest.mark.parametrize(("at", "days"), [("date", "B"), ("close", "B"), ("close", "D")])
@pytest.mark.parametrize("stamp", ["open", "close"])
def test_midnights_of_a_coin_are_read_beside_a_stock(at: str, stamp: Side, days: str) -> None:
    candles = feeds.from_frames({"S": stock(OTHER, at, days), "C": table(COIN, DAY, stamp)})
    clock = "2023-01-01 23:59:59" if stamp == "open" else "2023-01-02 00:00:00"
    assert closes(candles, "C")[0] == clock
    first = "2023-01-02" if days == "B" else "2023-01-01"
    clock = f"{first} 23:59:59" if at == "date" else f"{first} 21:00:00"
    assert closes(candles, "S")[0] == clock


def test_prices_that_tell_nothing_leave_midnights_dates() -> None:
    candles = feeds.from_frames(
        {"FINE": table(STRANGER, HOUR, "close"), "DAY": table(COIN, DAY, "close")}
    )
    assert closes(candles, "DAY")[0] == "2023-01-02 23:59:59"


@pytest.mark.parametrize("night_hours", [9, 17])
def test_a_stock_that_trades_by_night_keeps_its_dates(night_hours: int) -> None:
    # its session is over before most of the date's hours in UTC: it moves with the day before
    returns = np.roll(OTHER, 12 * night_hours)
    candles = feeds.from_frames({"S": stock(returns, "date"), "C": table(COIN, HOUR, "close")})
    assert closes(candles, "S")[0] == "2023-01-02 23:59:59"


@pytest.mark.parametrize(
    ("witness", "bars", "symbol"),
    [(table(OTHER, 1, "open"), HOUR, "finer"), (table(COIN, DAY, "open"), HOUR, "longer")],
)
@pytest.mark.parametrize("stamp", ["open", "close"])
def test_moments_are_openings_where_prices_show_it(
    witness: pd.DataFrame, bars: int, symbol: str, stamp: Side
) -> None:
    candles = feeds.from_frames({"H": table(COIN, bars, stamp), symbol: witness})
    assert opens(candles, "H")[3] == "2023-01-01 03:00:00"
    assert closes(candles, "H")[3] == "2023-01-01 04:00:00"
    said = f"Stamps are taken as opening times, as the prices of {symbol} show"
    assert any(text.startswith(said) for text in candles.timing) is (stamp == "open")


def test_a_stock_s_days_stamped_at_their_opening_are_not_known_then() -> None:
    days = stock(COIN, "date").assign(date=lambda t: t["date"] + pd.Timedelta("14h30min"))
    candles = feeds.from_frames({"S": days, "C": table(COIN, HOUR, "close")})
    assert opens(candles, "S")[0] == "2023-01-02 14:30:00"
    assert closes(candles, "S")[0] == "2023-01-03 14:30:00"
    at_close = feeds.from_frames({"S": stock(COIN, "close"), "C": table(COIN, HOUR, "close")})
    assert closes(at_close, "S")[0] == "2023-01-02 21:00:00"


def test_what_is_declared_is_not_doubted() -> None:
    tables = {"FINE": table(COIN, HOUR, "close"), "DAY": table(COIN, DAY, "close")}
    candles = feeds.from_frames(tables, stamps="open")
    assert closes(candles, "DAY")[0] == "2023-01-02 23:59:59"


def test_midnights_after_the_days_of_a_working_week_are_closes() -> None:
    days = pd.bdate_range("2024-01-01", periods=40) + pd.Timedelta(days=1)
    flat = pd.DataFrame({"date": days, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    candles = feeds.from_frames({"A": flat})
    assert closes(candles)[:5] == [f"2024-01-0{day} 00:00:00" for day in (2, 3, 4, 5, 6)]
    assert candles.timing == (
        "Stamps at midnight are closing times: Saturdays have them and Mondays do not.",
    )
