"""Naive signals: their scores by hand, their spread, and that draws depend on nothing else."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.config import Sampling
from sandbox.errors import ConfigError
from sandbox.forecast.naive import LEAST_SCORE, NAIVE, NaiveSource, naive_closes
from sandbox.forecast.windows import Windows
from tests.conftest import make_frame, make_market

SAMPLING = Sampling(lookback=20, horizon=4, samples=6, seed=3)
FRAMES = make_market("ABC", bars=60)
INDEX = FRAMES["A"].index


def forecast(name, frames, symbol, asof, sampling=SAMPLING, asofs=None):
    book = NaiveSource(name).book(frames, sampling, INDEX if asofs is None else asofs)
    return book.at(symbol, asof)


def past_returns(symbol, asof):
    closes = FRAMES[symbol]["close"].loc[:asof].to_numpy()[-SAMPLING.lookback :]
    return closes, closes[1:] / closes[:-1] - 1


SCORES = {
    "momentum": lambda closes, returns: 4 * returns.mean(),
    "reversal": lambda closes, _: -(closes[-1] / closes[-5] - 1),
    "volatility": lambda _, returns: 2 * returns.std(),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("symbol", ["A", "C"])
def test_the_expected_return_is_the_score_and_grows_evenly(name, symbol):
    got = forecast(name, FRAMES, symbol, INDEX[40])
    score = SCORES[name](*past_returns(symbol, INDEX[40]))
    for h in (1, 2, 3, 4):
        assert got.expected_return(h) == pytest.approx(score * h / 4, abs=2e-7)
    assert got.uncertainty() > 0.01


def test_random_scores_are_normal_with_the_symbols_own_deviation():
    market = make_market([f"S{n}" for n in range(40)], bars=60)
    windows = Windows.of(market, SAMPLING, INDEX)
    closes = naive_closes("random", windows, SAMPLING)
    past = windows.columns("close")
    deviation = (past[:, 1:] / past[:, :-1] - 1).std(axis=1)
    scores = (closes[:, :, -1].mean(axis=1) / past[:, -1] - 1) / (2 * deviation)
    assert len(scores) == 1640
    assert abs(scores.mean()) < 0.1
    assert scores.std() == pytest.approx(1, abs=0.07)
    assert np.mean(np.abs(scores) < 1.96) == pytest.approx(0.95, abs=0.025)


def test_a_random_walk_steps_as_its_own_past_did():
    got = forecast("random-walk", FRAMES, "B", INDEX[50])
    closes, _ = past_returns("B", INDEX[50])
    steps = np.diff(np.log(closes))
    paths = np.concatenate([np.full((6, 1), closes[-1]), got.paths[:, :, 3]], axis=1)
    drawn = np.diff(np.log(paths), axis=1)
    off = np.abs(drawn[..., None] - steps).min(axis=-1)
    assert off.max() < 1e-6
    assert len(np.unique(drawn.round(6))) > 10  # with replacement out of 19


def test_a_random_walk_has_its_past_drift_and_spread():
    sampling = Sampling(lookback=20, horizon=5, samples=2000)
    windows = Windows.of({"A": FRAMES["A"]}, sampling, INDEX[[40]])
    growth = np.log(naive_closes("random-walk", windows, sampling)[0, :, -1] / windows.closes()[0])
    steps = np.diff(np.log(windows.columns("close")[0]))
    error = steps.std() * np.sqrt(5 / 2000)
    assert growth.mean() == pytest.approx(5 * steps.mean(), abs=4 * error)
    assert growth.std() == pytest.approx(np.sqrt(5) * steps.std(), rel=0.08)


@pytest.mark.parametrize("name", NAIVE)
def test_a_forecast_alone_is_the_forecast_among_others(name):
    asof = INDEX[33]
    among = forecast(name, FRAMES, "B", asof)
    alone = forecast(name, {"B": FRAMES["B"].loc[:asof]}, "B", asof, asofs=pd.DatetimeIndex([asof]))
    reordered = forecast(name, dict(reversed(FRAMES.items())), "B", asof, asofs=INDEX[::-1])
    assert np.array_equal(among.paths, alone.paths)
    assert np.array_equal(among.paths, reordered.paths)
    assert among.index.equals(alone.index)


@pytest.mark.parametrize("name", NAIVE)
def test_the_future_and_what_lies_before_the_lookback_change_nothing(name):
    altered = FRAMES["A"].copy()
    altered.iloc[34:] *= 2
    altered.iloc[:14] *= 3  # the lookback of 20 bars begins at bar 14
    one = forecast(name, FRAMES, "A", INDEX[33])
    assert np.array_equal(one.paths, forecast(name, {"A": altered}, "A", INDEX[33]).paths)


@pytest.mark.parametrize("name", NAIVE)
def test_another_seed_draws_other_paths_and_more_samples_keep_the_first_draws(name):
    windows = Windows.of(FRAMES, SAMPLING, INDEX[[30]])
    one = naive_closes(name, windows, SAMPLING)
    other = naive_closes(name, windows, Sampling(lookback=20, horizon=4, samples=6, seed=4))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, naive_closes(name, windows, SAMPLING))
    if name == "random-walk":
        more = Sampling(lookback=20, horizon=4, samples=9, seed=3)
        assert np.array_equal(naive_closes(name, windows, more)[:, :6], one)


def test_symbols_and_days_draw_their_own():
    same = dict.fromkeys("AB", FRAMES["A"])
    one, other = (forecast("random-walk", same, symbol, INDEX[40]).paths for symbol in "AB")
    assert not np.array_equal(one, other)


@given(
    st.lists(st.floats(0.01, 1e6), min_size=5, max_size=5),
    st.sampled_from(NAIVE),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_prices_stay_positive_and_candles_hold_together(closes, name, horizon, samples):
    frame = make_frame([[close] * 4 for close in closes], "2024-01-01")
    sampling = Sampling(lookback=5, horizon=horizon, samples=samples)
    got = forecast(name, {"A": frame}, "A", frame.index[-1], sampling, asofs=frame.index)
    assert got.paths.shape == (samples, horizon, 6)
    prices = got.paths[..., :4]
    assert (prices > 0).all()
    assert np.isfinite(got.paths).all()
    body = prices[..., [0, 3]]
    assert (prices[..., 1] == body.max(-1)).all()
    assert (prices[..., 2] == body.min(-1)).all()
    assert np.array_equal(got.paths[:, 1:, 0], got.paths[:, :-1, 3])


def test_a_price_that_multiplied_is_not_expected_to_fall_below_zero():
    frame = make_frame([[close] * 4 for close in (1, 1, 1, 1, 50)], "2024-01-01")
    sampling = Sampling(lookback=5, horizon=2, samples=3)
    got = forecast("reversal", {"A": frame}, "A", frame.index[-1], sampling, asofs=frame.index)
    assert got.expected_return() == pytest.approx(LEAST_SCORE)


def test_volume_is_the_lookbacks_mean():
    frame = FRAMES["A"].assign(volume=np.arange(60.0))
    got = forecast("momentum", {"A": frame}, "A", INDEX[40])
    assert (got.paths[..., 4] == 30.5).all()  # bars 21 to 40
    mean_price = got.paths[..., :4].astype(float)[..., [0, 3]].mean(-1)
    assert np.allclose(got.paths[..., 5], 30.5 * mean_price)


def test_blocks_that_go_are_computed_again_the_same(monkeypatch):
    monkeypatch.setattr("sandbox.forecast.naive.CACHE_BYTES", 0)
    monkeypatch.setattr("sandbox.forecast.naive.WINDOWS_PER_BLOCK", 2)
    book = NaiveSource("random").book(FRAMES, SAMPLING, INDEX)
    first = book.at("A", INDEX[20]).paths
    for asof in INDEX[21:]:
        book.at("B", asof)
    assert len(book._paths._blocks) == 6
    assert np.array_equal(book.at("A", INDEX[20]).paths, first)


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(
        ConfigError, match=r"--signal 'momentun' \(did you mean 'momentum'\?\): a naive signal is"
    ):
        NaiveSource("momentun")
