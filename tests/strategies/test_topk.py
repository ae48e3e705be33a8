"""Top-k with dropout on forecasts written by hand, on flat markets."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.errors import ConfigError
from strategies.topk import SCORES, TopK

FLAT = (10, 10, 10, 10)
SYMBOLS = "ABCDE"
RISING = {"A": 0.05, "B": 0.04, "C": 0.03, "D": 0.02, "E": 0.01}
FALLING = {"A": 0.01, "B": 0.02, "C": 0.03, "D": 0.04, "E": 0.05}


@pytest.fixture
def flat(candles):
    """A market of weeks in which nothing moves."""
    return lambda weeks: {s: candles([FLAT] * 5 * weeks, "2024-01-01") for s in SYMBOLS}


@pytest.fixture
def holdings(flat, trade, foretold):
    """What is held at the end of each week."""

    def run(weeks, **params):
        frames = flat(len(weeks))
        book = trade(frames, TopK, signal=foretold(weeks), params=params)
        assert set(book.trades["time"].dt.day_name()) <= {"Tuesday"}  # decided at Monday's close
        ends = frames["A"].index[4::5]
        held = book.weights.groupby("time")["symbol"].agg(lambda names: "".join(sorted(names)))
        return [held.get(end, "") for end in ends]

    return run


def test_it_holds_the_best_and_drops_one_name_a_week(holdings):
    # week 2: of A B C and the best new name E, A is the worst; E is bought for it
    # week 3: of B C E and D, B is the worst; D is bought. Week 4: of C D E and B, B: nothing
    assert holdings([RISING, FALLING, FALLING, FALLING]) == ["ABC", "BCE", "CDE", "CDE"]


def test_more_names_may_be_dropped(holdings):
    assert holdings([RISING, FALLING], n_drop=2) == ["ABC", "CDE"]


def test_no_name_may_be_dropped(holdings):
    assert holdings([RISING, FALLING], n_drop=0) == ["ABC", "ABC"]


def test_fewer_names_may_be_held(holdings):
    assert holdings([RISING, FALLING], k=1) == ["A", "E"]


def test_there_may_be_fewer_names_than_places(holdings):
    assert holdings([RISING, FALLING], k=9) == ["ABCDE", "ABCDE"]


def test_only_names_that_fell_out_are_dropped(holdings):
    # of A B D C E, C and E come after the third place: C is sold, and only D is bought
    worse = {"A": 0.05, "B": 0.04, "D": 0.03, "C": 0.02, "E": 0.01}
    assert holdings([RISING, worse], n_drop=2) == ["ABC", "ABD"]


def test_a_name_is_held_for_hold_thresh_bars_at_least(holdings):
    # filled on Tuesday, so held for 5 bars on the next Monday and for 10 on the one after it
    assert holdings([RISING, FALLING], hold_thresh=0) == ["ABC", "BCE"]
    assert holdings([RISING, FALLING], hold_thresh=5) == ["ABC", "BCE"]
    assert holdings([RISING, FALLING, FALLING], hold_thresh=6) == ["ABC", "ABC", "BCE"]


def test_a_held_name_without_a_forecast_is_kept(holdings):
    assert holdings([RISING, {"D": 0.1, "E": 0.2, "B": 0.0}]) == ["ABC", "ACE"]
    assert holdings([RISING, {"D": 0.1, "E": 0.2}]) == ["ABC", "ABC"]
    assert holdings([RISING, {"D": 0.1, "E": 0.2}], equalize=True) == ["ABC", "ABC"]


def test_a_name_without_a_bar_is_neither_bought_nor_sold(flat, trade, foretold, fills):
    frames = flat(2)
    monday = frames["A"].index[5]
    for symbol in "AE":  # the one to sell and the one to buy
        frames[symbol] = frames[symbol].drop(monday)
    book = trade(frames, TopK, signal=foretold([RISING, FALLING]))
    # B goes for D: of B C and D, the best new name that has a forecast, B is the worst
    assert fills(book)[3:] == [("09", "B", "sell", 330), ("09", "D", "buy", 330)]


def test_a_place_that_nobody_takes_stays_cash_until_somebody_does(flat, trade, foretold, fills):
    weeks = [{"A": 0.05, "B": 0.04}, RISING]
    assert fills(trade(flat(2), TopK, signal=foretold(weeks))) == [
        ("02", "A", "buy", 330), ("02", "B", "buy", 330), ("09", "C", "buy", 330),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("equalize", "traded"),
    [  # A doubles: 330 of it are worth 6600 of 13300, and 1/3 of 13167 are 4389, 219 of A
        # left alone, 100 of cash and 3300 for C pay for D, less the 133 that stay cash
        (False, [("09", "C", "sell", 330), ("09", "D", "buy", 326)]),
        (True, [("09", "A", "sell", 111), ("09", "C", "sell", 330),
                ("09", "B", "buy", 108), ("09", "D", "buy", 438)]),
    ],
)  # fmt: skip
def test_a_winner_is_left_alone_unless_told_to(
    flat, candles, trade, foretold, fills, equalize, traded
):
    frames = flat(2)
    frames["A"] = candles([FLAT] * 5 + [(20, 20, 20, 20)] * 5, "2024-01-01")
    signal = foretold([RISING, RISING | {"D": 0.045}])
    book = trade(frames, TopK, signal=signal, params={"equalize": equalize})
    assert fills(book)[3:] == traded


def test_names_are_bought_in_equal_parts_best_first(flat, trade, foretold, fills):
    assert fills(trade(flat(1), TopK, signal=foretold([FALLING]))) == [
        ("02", symbol, "buy", 330)
        for symbol in "EDC"  # a third of 9900 at 10
    ]


def test_a_name_that_lists_late_is_bought_once_it_has_a_forecast(candles, trade, foretold, fills):
    frames = {s: candles([FLAT] * 15, "2024-01-01") for s in "ABC"}
    frames["E"] = candles([FLAT] * 8, "2024-01-10")
    book = trade(frames, TopK, signal=foretold([FALLING] * 3))
    bought = [day for day, symbol, *_ in fills(book) if symbol == "E"]
    assert bought == ["16"]  # the Tuesday after its first Monday


def qlib(held, scores, k, n_drop):
    """TopkDropoutStrategy's rule, method_sell "bottom" and method_buy "top"."""
    last = sorted(held, key=scores.get, reverse=True)
    today = sorted(set(scores) - held, key=scores.get, reverse=True)[: n_drop + k - len(last)]
    combined = sorted([*last, *today], key=scores.get, reverse=True)
    sell = set(last) & set(combined[-n_drop:]) if n_drop else set()
    return held - sell | set(today[: len(sell) + k - len(last)])


SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW
@given(
    ranks=st.lists(st.permutations(range(5)), min_size=4, max_size=4),
    k_and_n_drop=st.sampled_from([(1, 1), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 1)]),
)
def test_it_holds_what_qlib_would(holdings, ranks, k_and_n_drop):
    k, n_drop = k_and_n_drop
    weeks = [{s: rank / 100 for s, rank in zip(SYMBOLS, week, strict=True)} for week in ranks]
    expected, held = [], set()
    for week in weeks:
        held = qlib(held, week, k, n_drop)
        expected.append("".join(sorted(held)))
    assert holdings(weeks, k=k, n_drop=n_drop) == expected


@SLOW
@given(
    weeks=st.lists(
        st.dictionaries(st.sampled_from(SYMBOLS), st.integers(-5, 5).map(lambda n: n / 100)),
        min_size=4, max_size=4,
    ),
    k=st.integers(1, 4),
    n_drop=st.integers(0, 3),
)  # fmt: skip
def test_no_more_than_k_are_held_and_no_more_than_n_drop_go(holdings, weeks, k, n_drop):
    held = [set(), *map(set, holdings(weeks, k=k, n_drop=n_drop))]
    for forecast, before, after in zip(weeks, held, held[1:], strict=False):
        assert len(after) <= k
        assert len(before - after) <= n_drop
        assert (before - after) | (after - before) <= set(forecast)
        assert len(after) == min(k, len(before | set(forecast)))  # no place is left empty


def test_scores_look_at_the_mean_path_over_the_horizon(forecast):
    paths = forecast([[0.02, -0.04, 0.00], [0.04, 0.00, 0.06], [0.00, 0.01, 0.00]])
    scores = {name: score(paths) for name, score in SCORES.items()}  # the mean path: 2 % -1 % 2 %
    spread = 0.9 * 0.06  # from 0 at the 5 % quantile of 0, 0, 6 % to 5.4 % at its 95 % quantile
    assert scores == pytest.approx(
        {"last": 0.02, "mean": 0.01, "max": 0.02, "min": -0.01, "median": 0.0,
         "return/spread": 0.02 / spread},
        abs=1e-6,
    )  # fmt: skip


def test_forecasts_without_spread_are_ranked_by_their_return(forecast):
    score = SCORES["return/spread"]
    assert score(forecast(0.02)) > score(forecast(0.01)) > score(forecast(0.0)) == 0
    assert score(forecast(0.0)) > score(forecast(-0.01))


@pytest.mark.parametrize("score", SCORES)
def test_every_score_ranks_by_the_same_rule(holdings, score):
    assert holdings([RISING, FALLING], score=score) == ["ABC", "BCE"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"score": "lst"}, "score=lst of TopK: one of last, mean, max, min, median, return/spread "
                           "is needed; did you mean 'last'?"),
        ({"k": 0}, "k=0 of TopK: at least 1"),
        ({"n_drop": -1}, "n_drop=-1 of TopK: at least 0"),
        ({"rebalance": "weeks"}, "rebalance=weeks of TopK: one of bar, day, week, month is needed; "
                                 "did you mean 'week'?"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_before_the_first_bar(
    flat, trade, foretold, params, message
):
    with pytest.raises(ConfigError) as error:
        trade(flat(1), TopK, signal=foretold([RISING]), params=params)
    assert str(error.value) == message


def test_a_forecast_that_is_no_number_neither_ranks_nor_moves_a_name(holdings):
    broken = FALLING | {"A": float("nan"), "E": [0.01, float("nan"), 0.05]}
    for score in SCORES:  # A is held and stays, E is not bought; of B C and D, B is the worst
        assert holdings([RISING, broken], score=score) == ["ABC", "ACD"]
