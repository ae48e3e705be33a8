"""Sizes from expected returns and spreads: on tables to reckon by hand, and as laws."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandbox.errors import ConfigError
from strategies.uncertainty import POWER, UncertaintySized, sized

FLAT = (10, 10, 10, 10)
NO_LIMIT = {"power": 1, "max_weight": 1.0, "target_vol": 100.0, "correlation": 0.5}
WEEK = 7 / 365.25  # years


def around(mean, half_width):
    """Two samples: the 5-95 % band between them is 0.9 of their distance, 1.8 half widths."""
    return [[mean - half_width] * 5, [mean + half_width] * 5]


@pytest.fixture
def targets(candles, trade, foretold):
    """The weights ordered at the first close of a flat market, from fills at the same price."""

    def run(forecasts, **params):
        frames = {s: candles([FLAT] * 5, "2024-01-01") for s in forecasts}
        book = trade(frames, UncertaintySized, signal=foretold([forecasts]), params=params)
        return {row.symbol: row.size * 10 / 9900 for row in book.trades.itertuples()}

    return run


def test_weights_go_by_return_over_width(targets):
    forecasts = {"A": around(0.02, 0.01), "B": around(0.02, 0.03), "C": around(-0.01, 0.01)}
    # A: 2 / 1, B: 2 / 3, and C falls
    assert targets(forecasts, max_weight=1, target_vol_pct=500) == pytest.approx(
        {"A": 0.75, "B": 0.25}, abs=1e-3
    )


def test_weights_go_by_return_over_variance(targets):
    forecasts = {"A": around(0.02, 0.01), "B": around(0.02, 0.03)}
    # A: 2 / 1, B: 2 / 9
    assert targets(forecasts, spread="variance", max_weight=1, target_vol_pct=500) == pytest.approx(
        {"A": 0.9, "B": 0.1}, abs=1e-3
    )


def test_what_the_cap_cuts_off_stays_cash(targets):
    forecasts = {"A": around(0.02, 0.01), "B": around(0.02, 0.03)}
    weights = targets(forecasts, max_weight=0.35, target_vol_pct=500)
    assert weights == pytest.approx({"A": 0.35, "B": 0.25}, abs=1e-3)


def test_the_target_volatility_is_what_the_paths_imply(targets):
    # paths of +-1 % about 2 % in a week: 0.01 / sqrt(7 / 365.25) = 7.2 % a year, all in one name
    vol = 0.01 / sqrt(WEEK)
    weights = targets({"A": around(0.02, 0.01)}, spread="variance", max_weight=1, target_vol_pct=5)
    assert weights == pytest.approx({"A": 0.05 / vol}, abs=1e-3)


@pytest.mark.parametrize("bars_ahead", [1, 4, 5, 10])
@pytest.mark.parametrize("weekday", range(5))
def test_a_year_has_as_many_bars_whatever_weekend_the_horizon_spans(
    candles, trade, forecast, bars_ahead, weekday
):
    seen = []

    class Asking(UncertaintySized):
        def next(self):
            paths = [[0.0] * bars_ahead, [0.02] * bars_ahead]
            seen.append(self.volatility(self.data, forecast(paths, asof=self.data.asof)))

    frame = candles([FLAT] * 300, "2023-01-02")
    start = frame.index[290 + weekday]
    trade({"A": frame}, Asking, start=start, end=start, params={"spread": "variance"})
    assert seen == [pytest.approx(0.01 * sqrt(365.25 * 5 / 7 / bars_ahead), rel=0.01)]


def test_a_market_that_shuts_overnight_has_fewer_bars_a_year(candles, trade, forecast):
    seen = []

    class Asking(UncertaintySized):
        def next(self):
            paths = forecast([[0.0] * 2, [0.02] * 2], asof=self.data.asof)
            hours = pd.DatetimeIndex([self.data.asof + pd.Timedelta(hours=h) for h in (1, 2)])
            seen.append(self.volatility(self.data, replace(paths, index=hours)))

    days = pd.bdate_range("2023-01-02", periods=60, tz="UTC")
    times = [day + pd.Timedelta(hours=hour) for day in days for hour in range(14, 21)]
    frame = candles([FLAT] * len(times), [f"{time:%Y-%m-%d}" for time in times])
    frame.index = pd.DatetimeIndex(times)
    start = times[-4]
    trade({"A": frame}, Asking, start=start, end=start, params={"spread": "variance"})
    # about 7 bars a day on 5 days a week; by the clock alone there would be 8766
    assert seen == [pytest.approx(0.01 * sqrt(365.25 * 7 * 5 / 7 / 2), rel=0.1)]


def test_a_forecast_that_is_no_number_leaves_the_name_alone(candles, trade, foretold, fills):
    frames = {s: candles([FLAT] * 10, "2024-01-01") for s in "AB"}
    weeks = [{"A": around(0.02, 0.01)}, {"A": float("nan"), "B": around(0.02, 0.01)}]
    params = {"max_weight": 0.5, "target_vol_pct": 500}
    book = trade(frames, UncertaintySized, signal=foretold(weeks), params=params)
    assert [fill[:3] for fill in fills(book)] == [("02", "A", "buy"), ("09", "B", "buy")]


def test_the_width_is_that_of_a_normal_distribution(forecast, targets):
    normal = np.random.default_rng(0).normal(0.0, 1.0, (20_000, 1))
    standard = (normal - normal.mean()) / normal.std()
    paths = np.repeat(0.02 + 0.01 * standard, 5, axis=1)
    by_width, by_variance = (
        targets({"A": paths}, spread=spread, max_weight=1, target_vol_pct=5)["A"]
        for spread in POWER
    )
    assert by_width == pytest.approx(by_variance, rel=0.02)


def test_nothing_rises_so_all_is_cash(candles, trade, foretold, fills):
    frames = {"A": candles([FLAT] * 10, "2024-01-01")}
    weeks = [{"A": around(0.02, 0.01)}, {"A": around(-0.02, 0.01)}]
    book = trade(frames, UncertaintySized, signal=foretold(weeks), params={"max_weight": 0.5})
    assert [(day, side) for day, _, side, _ in fills(book)] == [("02", "buy"), ("09", "sell")]
    assert book.equity["cash"].iloc[-1] == 10_000


@pytest.mark.parametrize("spread", POWER)
@pytest.mark.parametrize("paths", [0.02, [[0.013] * 5] * 7])
def test_paths_without_spread_give_no_weight(targets, spread, paths):
    forecasts = {"A": paths, "B": around(0.02, 0.01)}
    weights = targets(forecasts, spread=spread, max_weight=1, target_vol_pct=500)
    assert weights == {"B": 1.0}


def test_a_held_name_without_a_forecast_is_left_alone(candles, trade, foretold, fills):
    frames = {s: candles([FLAT] * 10, "2024-01-01") for s in "AB"}
    weeks = [{"A": around(0.02, 0.01)}, {"B": around(0.02, 0.01)}]
    params = {"max_weight": 1, "target_vol_pct": 500}
    book = trade(frames, UncertaintySized, signal=foretold(weeks), params=params)
    assert fills(book) == [("02", "A", "buy", 990)]  # and no money is left for B


def test_a_symbol_without_a_bar_is_not_traded(candles, trade, foretold, fills):
    frames = {s: candles([FLAT] * 10, "2024-01-01") for s in "AB"}
    monday = frames["A"].index[5]
    frames["A"] = frames["A"].drop(monday)
    both = {"A": around(0.02, 0.01), "B": around(0.02, 0.01)}
    falling = dict.fromkeys("AB", around(-0.02, 0.01))
    book = trade(frames, UncertaintySized, signal=foretold([both, falling]))
    assert [fill[:3] for fill in fills(book)] == [
        ("02", "A", "buy"), ("02", "B", "buy"), ("09", "B", "sell")
    ]  # fmt: skip


GAIN = st.floats(-0.2, 0.2).map(lambda x: round(x, 4))
VOL = st.floats(0.01, 2).map(lambda x: round(x, 4))
NAMES = st.lists(st.tuples(GAIN, VOL), min_size=1, max_size=6)
LIMITS = st.fixed_dictionaries(
    {
        "power": st.sampled_from([1, 2]),
        "max_weight": st.floats(0.05, 1),
        "target_vol": st.floats(0.01, 1),
        "correlation": st.floats(0, 1),
    }
)


def weights_of(names, limits):
    gains = {nth: gain for nth, (gain, _) in enumerate(names) if gain > 0}
    vols = {nth: vol for nth, (_, vol) in enumerate(names)}
    return sized(gains, vols, **limits)


def volatility(weights, names, correlation):
    """By the whole covariance matrix."""
    risk = np.array([weights.get(nth, 0.0) * vol for nth, (_, vol) in enumerate(names)])
    matrix = np.full((len(risk), len(risk)), correlation)
    np.fill_diagonal(matrix, 1.0)
    return float(np.sqrt(risk @ matrix @ risk))


@given(NAMES, LIMITS)
def test_weights_keep_to_their_bounds(names, limits):
    weights = weights_of(names, limits)
    assert set(weights) == {nth for nth, (gain, _) in enumerate(names) if gain > 0}
    assert all(0 <= weight <= limits["max_weight"] + 1e-12 for weight in weights.values())
    assert sum(weights.values()) <= 1 + 1e-12
    vol = volatility(weights, names, limits["correlation"])
    assert vol <= limits["target_vol"] * (1 + 1e-9)
    free = weights_of(names, limits | {"target_vol": 1e9})
    if weights and volatility(free, names, limits["correlation"]) > limits["target_vol"]:
        assert vol == pytest.approx(limits["target_vol"])  # reached where it binds
    else:
        assert weights == free


@given(NAMES, LIMITS, st.floats(0, 0.2))
def test_a_higher_expected_return_never_lowers_the_name_s_own_weight(names, limits, more):
    gain, vol = names[0]
    raised = [(gain + more, vol), *names[1:]]
    before, after = weights_of(names, limits), weights_of(raised, limits)
    assert after.get(0, 0) >= before.get(0, 0) * (1 - 1e-9)


@given(NAMES, LIMITS, st.floats(1, 10))
def test_a_wider_spread_never_raises_the_name_s_own_weight(names, limits, wider):
    gain, vol = names[0]
    before, after = weights_of(names, limits), weights_of([(gain, vol * wider), *names[1:]], limits)
    assert after.get(0, 0) <= before.get(0, 0) * (1 + 1e-9)


@given(NAMES, LIMITS, st.floats(0.1, 10))
def test_only_the_ratios_of_expected_returns_count(names, limits, factor):
    assume(all(abs(gain) > 1e-3 for gain, _ in names))
    scaled = [(gain * factor, vol) for gain, vol in names]
    assert weights_of(scaled, limits) == pytest.approx(weights_of(names, limits))


def test_equal_names_share_equally():
    assert weights_of([(0.02, 0.2)] * 4, NO_LIMIT) == dict.fromkeys(range(4), 0.25)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"spread": "varience"}, "spread=varience of UncertaintySized: one of width, variance is "
                                 "needed; did you mean 'variance'?"),
        ({"max_weight": 1.5}, "max_weight=1.5 of UncertaintySized: from 0 to 1"),
        ({"target_vol_pct": float("nan")}, "target_vol_pct=nan of UncertaintySized: at least 0"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused(targets, params, message):
    with pytest.raises(ConfigError) as error:
        targets({"A": around(0.02, 0.01)}, **params)
    assert str(error.value) == message
