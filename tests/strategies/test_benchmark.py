"""Buying everything in equal parts, or one symbol."""

import pytest

from sandbox.errors import StrategyError
from strategies.benchmark import BuyAndHold

FLAT = (10, 10, 10, 10)


def test_it_buys_once_and_holds(candles, trade, fills):
    frames = {name: candles([FLAT, FLAT, (20, 20, 20, 20), FLAT], "2024-01-01") for name in "AB"}
    assert fills(trade(frames, BuyAndHold)) == [("02", "A", "buy", 495), ("02", "B", "buy", 495)]


def test_a_late_lister_splits_the_portfolio_once_more(candles, trade, fills):
    frames = {"A": candles([FLAT] * 5, "2024-01-01"), "B": candles([FLAT] * 3, "2024-01-03")}
    assert fills(trade(frames, BuyAndHold)) == [
        ("02", "A", "buy", 990), ("04", "A", "sell", 495), ("04", "B", "buy", 495),
    ]  # fmt: skip


def test_the_money_of_a_symbol_that_ends_goes_to_the_others(candles, trade, fills):
    frames = {"A": candles([FLAT] * 5, "2024-01-01"), "B": candles([FLAT] * 2, "2024-01-01")}
    assert fills(trade(frames, BuyAndHold)) == [
        ("02", "A", "buy", 495), ("02", "B", "buy", 495),
        ("03", "B", "sell", 495),  # at its last close, once there is a bar without it
        ("04", "A", "buy", 495),
    ]  # fmt: skip


def test_a_symbol_that_only_lacks_a_bar_is_held_on(candles, trade, fills):
    days = [f"2024-01-0{day}" for day in range(1, 6)]
    frames = {
        "A": candles([FLAT] * 5, days),
        "B": candles([FLAT] * 3, [days[0], days[1], days[4]]),
    }
    assert fills(trade(frames, BuyAndHold)) == [("02", "A", "buy", 495), ("02", "B", "buy", 495)]


def test_one_symbol_may_be_held_instead(candles, trade, fills):
    frames = {"A": candles([FLAT] * 5, "2024-01-01"), "B": candles([FLAT] * 3, "2024-01-03")}
    book = trade(frames, BuyAndHold, params={"symbol": "B"})
    assert fills(book) == [("04", "B", "buy", 990)]  # its first bar to be filled in


def test_an_unknown_symbol_is_told_with_the_nearest_one(candles, trade):
    frames = {"AAPL": candles([FLAT] * 2, "2024-01-01"), "KO": candles([FLAT] * 2, "2024-01-01")}
    message = r"^no symbol 'APPL' in this run; did you mean 'AAPL'\?$"
    with pytest.raises(StrategyError, match=message):
        trade(frames, BuyAndHold, params={"symbol": "APPL"})
