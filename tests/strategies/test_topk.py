"""The top-k rule on forecasts written by hand."""

from types import SimpleNamespace

import pytest

from strategies.topk import TopK

SYMBOLS = "ABCDE"


class Scores:
    """Week by week, the expected return of each symbol."""

    def __init__(self, weeks):
        self.weeks = weeks

    def forecast(self, data):
        score = self.weeks[(data.asof.isocalendar().week - 1)].get(data.symbol)
        if not data.has_bar or score is None:
            return None
        return SimpleNamespace(expected_return=lambda: score)


@pytest.fixture
def holdings(candles, trade):
    """What is held at the end of each week of a flat market."""

    def run(weeks, **params):
        frames = {s: candles([(10, 10, 10, 10)] * 5 * len(weeks), "2024-01-01") for s in SYMBOLS}
        book = trade(frames, TopK, signal=Scores(weeks), params=params)
        signed = book.trades["size"].where(book.trades["side"] == "buy", -book.trades["size"])
        moves = signed.groupby([book.trades["time"], book.trades["symbol"]]).sum().unstack()
        held = moves.fillna(0).cumsum().reindex(frames["A"].index, method="ffill").iloc[4::5]
        assert set(book.trades["time"].dt.day_name()) == {"Tuesday"}  # decided at Monday's close
        return ["".join(symbol for symbol in held if row[symbol]) for _, row in held.iterrows()]

    return run


RISING = {"A": 0.05, "B": 0.04, "C": 0.03, "D": 0.02, "E": 0.01}
FALLING = {"A": 0.01, "B": 0.02, "C": 0.03, "D": 0.04, "E": 0.05}


def test_it_holds_the_best_and_drops_one_name_a_week(holdings):
    # in the second week A and B have fallen out of D E C: A is worse and goes, E comes first
    assert holdings([RISING, FALLING, FALLING]) == ["ABC", "BCE", "CDE"]


def test_more_names_may_be_dropped(holdings):
    assert holdings([RISING, FALLING], n_drop=2) == ["ABC", "CDE"]


def test_fewer_names_may_be_held(holdings):
    assert holdings([RISING, FALLING], k=1) == ["A", "E"]


def test_a_held_name_without_a_forecast_is_kept(holdings):
    assert holdings([RISING, {"D": 0.1, "E": 0.2, "B": 0.0}]) == ["ABC", "ABC"]


def test_names_are_held_in_equal_parts(candles, trade):
    frames = {s: candles([(10, 10, 10, 10)] * 3, "2024-01-01") for s in SYMBOLS}
    book = trade(frames, TopK, signal=Scores([RISING]))
    assert book.trades["size"].tolist() == [330, 330, 330]  # a third of 9900 at 10


def test_a_name_that_lists_late_is_bought_once_it_has_a_forecast(candles, trade):
    frames = {s: candles([(10, 10, 10, 10)] * 15, "2024-01-01") for s in "ABC"}
    frames["E"] = candles([(10, 10, 10, 10)] * 8, "2024-01-10")
    book = trade(frames, TopK, signal=Scores([FALLING] * 3))
    bought = book.trades[book.trades["symbol"] == "E"]["time"]
    assert f"{bought.iloc[0]:%m-%d}" == "01-16"  # the Tuesday after its first Monday
