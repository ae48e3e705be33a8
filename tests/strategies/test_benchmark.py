"""Buying everything in equal parts."""

from strategies.benchmark import EqualWeightHold

FLAT = (10, 10, 10, 10)


def fills(book):
    columns = ["symbol", "side", "size"]
    return [(f"{row.time:%d}", *row[columns]) for _, row in book.trades.iterrows()]


def test_it_buys_once_and_holds(candles, trade):
    frames = {name: candles([FLAT, FLAT, (20, 20, 20, 20), FLAT], "2024-01-01") for name in "AB"}
    assert fills(trade(frames, EqualWeightHold)) == [
        ("02", "A", "buy", 495),
        ("02", "B", "buy", 495),
    ]


def test_a_late_lister_splits_the_portfolio_once_more(candles, trade):
    frames = {"A": candles([FLAT] * 5, "2024-01-01"), "B": candles([FLAT] * 3, "2024-01-03")}
    assert fills(trade(frames, EqualWeightHold)) == [
        ("02", "A", "buy", 990), ("04", "A", "sell", 495), ("04", "B", "buy", 495),
    ]  # fmt: skip


def test_a_symbol_that_stops_trading_is_held_on(candles, trade):
    frames = {"A": candles([FLAT] * 5, "2024-01-01"), "B": candles([FLAT] * 2, "2024-01-01")}
    assert len(fills(trade(frames, EqualWeightHold))) == 2
