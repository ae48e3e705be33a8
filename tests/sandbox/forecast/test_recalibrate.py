"""Scores, maps and factors: laws on arrays, and plain loops that say the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from sandbox.forecast import recalibrate
from sandbox.forecast.recalibrate import (
    KNOTS,
    LEAST_BLOCKS,
    LEAST_LEVEL,
    MIDDLE,
    MOST_LEVEL,
    Outcomes,
    map_of,
    mapped,
    sample_scores,
    scores_of,
    stretched,
    values_at,
)

NUMBER = st.floats(-5, 5, allow_nan=False)
SAMPLES = st.lists(NUMBER, min_size=2, max_size=12, unique=True)


def normal_scores(blocks=110, symbols=40, scale=1.0, shift=0.0, seed=0):
    """Blocks `[n]` and scores `[n]` of outcomes that are independent of one another."""
    drawn = np.random.default_rng(seed).normal(shift, scale, blocks * symbols)
    return np.repeat(np.arange(blocks), symbols), drawn


def outcomes_of(blocks, known_ns, scores, overlap=1.0):
    return Outcomes(blocks, blocks * 10, known_ns, scores, overlap).in_order()


def recent_map(blocks, scores, now, overlap=1.0):
    """As of a block, with half the weight after 52."""
    return map_of(blocks, scores, 0.5 ** ((now - blocks) / (52 * overlap)), overlap)


def test_scores_by_hand():
    """Three samples have the scores of 1/4, 2/4 and 3/4: -0.6745, 0 and 0.6745."""
    ordered = np.tile([-1.0, 1.0, 3.0], (6, 1))
    edge, spread = 0.6744897501960817, np.std([-1, 1, 3])
    values = np.array([-1.0, 0.0, 1.0, 3.0, -2.0, 5.0])
    by_hand = [-edge, -edge / 2, 0, edge, -edge - 1 / spread, edge + 2 / spread]
    np.testing.assert_allclose(scores_of(ordered, values), by_hand, atol=1e-12)


def test_a_value_that_equals_several_samples_is_in_their_middle():
    ordered = np.array([[0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0]])
    at = sample_scores(4)
    assert scores_of(ordered, np.array([1.0, 1.0])) == pytest.approx([0, (at[0] + at[1]) / 2])


def test_no_score_without_an_outcome_or_of_samples_that_are_all_the_same():
    ordered = np.array([[0.0, 1.0], [2.0, 2.0]])
    assert np.isnan(scores_of(ordered, np.array([np.nan, 1.0]))).all()


@given(SAMPLES, st.lists(NUMBER, min_size=1, max_size=6))
def test_what_lies_at_the_score_of_a_value_is_the_value(samples, values):
    ordered = np.sort(np.array(samples))
    if np.diff(ordered).min() < 1e-3:
        return
    rows = np.tile(ordered, (len(values), 1))
    scores = scores_of(rows, np.array(values))
    wide = np.broadcast_to(scores[:, None], rows.shape)
    np.testing.assert_allclose(values_at(rows, wide)[:, 0], values, atol=1e-6)


@given(SAMPLES)
def test_samples_stay_to_the_bit_where_nothing_is_to_be_moved(samples):
    ordered = np.sort(np.array(samples))[None]
    stay = sample_scores(len(samples))[None]
    np.testing.assert_array_equal(values_at(ordered, stay), ordered)
    np.testing.assert_array_equal(stretched(stay, np.ones((1, 2))), stay)


def test_calibrated_outcomes_are_hardly_moved():
    blocks, scores = normal_scores()
    found = recent_map(blocks, scores, 110, 1.0)
    np.testing.assert_allclose(found, KNOTS, atol=0.12)
    np.testing.assert_allclose(found[5:-5], KNOTS[5:-5], atol=0.06)


def test_outcomes_that_lay_too_far_out_widen_and_shift():
    """Scores twice as far out, and half a deviation up: the map is 0.5 + 2 q."""
    blocks, scores = normal_scores(scale=2.0, shift=0.5)
    found = recent_map(blocks, scores, 110, 1.0)
    np.testing.assert_allclose(found[3:-3], 0.5 + 2 * KNOTS[3:-3], atol=0.2)


def test_what_may_be_luck_is_not_moved():
    """Symbols that move together by one number a date: a mean of 0.1 on 25 dates is luck."""
    dates = np.random.default_rng(4).normal(0, 0.5, 25)
    dates += 0.1 - dates.mean()
    own = np.random.default_rng(5).normal(0, np.sqrt(0.75), (25, 40))
    scores = (dates[:, None] + own - own.mean(axis=1, keepdims=True)).ravel()
    found = recent_map(np.repeat(np.arange(25), 40), scores, 25)
    assert abs(found[MIDDLE]) < 0.03
    sure = recent_map(np.repeat(np.arange(25), 40), scores + 1, 25)
    assert sure[MIDDLE] == pytest.approx(1.1, abs=0.15)


def test_a_single_outcome_does_not_say_how_long_a_tail_is():
    blocks, scores = normal_scores(blocks=100, symbols=1)
    plain = recent_map(blocks, scores, 100, 1.0)
    scores[np.argmax(scores)] = 500.0
    np.testing.assert_allclose(recent_map(blocks, scores, 100, 1.0), plain, atol=0.3)


def test_maps_rise_and_do_not_depend_on_the_order_of_symbols():
    blocks, scores = normal_scores(blocks=60, symbols=7, scale=0.7, seed=2)
    found = recent_map(blocks, scores, 60, 1.5)
    assert (np.diff(found) >= 0).all()
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(len(blocks))
        np.testing.assert_array_equal(recent_map(blocks[mixed], scores[mixed], 60, 1.5), found)


def test_nothing_is_known_from_few_outcomes_or_few_dates():
    blocks, scores = normal_scores(blocks=LEAST_BLOCKS - 1, symbols=50)
    assert np.isnan(recent_map(blocks, scores, 60)).all()
    blocks, scores = normal_scores(blocks=59, symbols=1)
    assert np.isnan(recent_map(blocks, scores, 60)).all()
    blocks, scores = normal_scores(blocks=60, symbols=1)
    assert np.isfinite(recent_map(blocks, scores, 60)).all()


def test_a_map_goes_on_beyond_its_knots():
    maps = (2 * KNOTS + 1)[None]
    at = np.array([[-4.0, KNOTS[0], 0.3, 4.0]])
    np.testing.assert_allclose(mapped(maps, at), 2 * at + 1, atol=1e-12)


def test_factors_move_the_edges_of_the_band_and_leave_the_middle():
    edge = 1.6448536269514722
    moved = stretched(np.array([[-edge, -1.0, 0.5, 1.0, edge]]), np.array([[1.5, 0.8]]))
    np.testing.assert_allclose(moved, [[-1.5 * edge, -1, 0.5, 1, 0.8 * edge]])
    assert (np.diff(stretched(np.linspace(-4, 4, 99)[None], np.array([[0.1, 3.0]]))) > 0).all()


def plain_levels(scores, maps, samples, tail=0.05):
    """The rule of Gibbs and Candes on blocks `[B, N]`, all of which are known: both levels, each
    moved by half by its own outcomes and by half by those of both."""
    levels = [tail, tail]
    place = tail * (samples + 1)
    pair = sample_scores(samples)[[int(place) - 1, int(place)]]
    edge_score = -ndtri(tail)
    for own, its_map in zip(scores, maps, strict=True):
        missed = []
        for side, level in zip((-1, 1), levels, strict=True):
            factor = ndtri(np.clip(level, LEAST_LEVEL, MOST_LEVEL)) / ndtri(tail)
            slope = max(factor * edge_score - 1, 0.05) / (edge_score - 1)
            at = mapped(its_map[None], side * (1 + (-pair[None] - 1) * slope))[0]
            edge = at[0] + (place % 1) * (at[1] - at[0])
            missed.append(np.mean(own < edge if side < 0 else own > edge))
        rate = min(0.05 * np.sqrt(len(own)), 0.15)
        levels = [
            level + rate * (tail - (0.5 * each + 0.5 * np.mean(missed)))
            for level, each in zip(levels, missed, strict=True)
        ]
    return levels


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.6])
def test_factors_follow_adaptive_levels(scale):
    """The last 30 of 130 blocks have outcomes of another scale than those before."""
    blocks, scores = normal_scores(blocks=130, symbols=12, seed=7)
    scores = np.where(blocks >= 100, scale * scores, scores)
    outcomes = outcomes_of(blocks, blocks * 10 + 9, scores)
    began = {block: 10 * block for block in range(130)}
    factors = outcomes.factors(np.array([1300]), np.array([130]), began, 32)[0]
    watched = np.arange(130 - recalibrate.FACTOR_BLOCKS, 130)
    maps, which = outcomes.maps(watched * 10, watched)
    levels = plain_levels(scores.reshape(130, 12)[watched], maps[which], 32)
    by_hand = ndtri(np.clip(levels, LEAST_LEVEL, MOST_LEVEL)) / ndtri(0.05)
    np.testing.assert_allclose(factors, by_hand, atol=1e-9)
    assert {0.5: factors.max() < 0.95, 1.0: True, 1.6: factors.min() > 1.1}[scale]


def test_factors_and_maps_know_nothing_of_later_outcomes():
    blocks, scores = normal_scores(blocks=120, symbols=5, seed=3)
    known_ns = blocks * 10 + 25  # an outcome comes two blocks later
    began = {block: 10 * block for block in range(121)}
    later = known_ns > 1000
    other = np.where(later, 9.0, scores)
    at = np.array([1000]), np.array([100])
    for each in (scores, other):
        outcomes = outcomes_of(blocks, known_ns, each)
        maps, which = outcomes.maps(*at)
        found = maps[which], outcomes.factors(*at, began, 20)
        if each is scores:
            first = found
    for mine, theirs in zip(first, found, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    altered = outcomes_of(blocks, known_ns, np.where(later, scores, scores + 1))
    maps, which = altered.maps(*at)
    assert (maps[which] != first[0]).any()


def test_a_batch_of_times_is_each_time_alone(monkeypatch):
    blocks, scores = normal_scores(blocks=90, symbols=4, scale=1.3, seed=9)
    outcomes = outcomes_of(blocks, blocks * 10 + 13, scores, 1.3)
    began = {block: 10 * block for block in range(95)}
    at_ns = np.arange(0, 950, 7)
    maps, which = outcomes.maps(at_ns, at_ns // 10)
    factors = outcomes.factors(at_ns, at_ns // 10, began, 16)
    monkeypatch.setattr(recalibrate, "NUMBERS_AT_ONCE", 40)
    for nth, at in enumerate(at_ns):
        alone = np.array([at]), np.array([at // 10])
        one, _ = outcomes.maps(*alone)
        np.testing.assert_array_equal(one[0], maps[which[nth]])
        np.testing.assert_array_equal(outcomes.factors(*alone, began, 16)[0], factors[nth])


@pytest.mark.parametrize("samples", [5, 9, 19, 32, 100])
@pytest.mark.parametrize("scale", [0.8, 1.0, 2.5])
def test_the_band_holds_what_it_says(samples, scale):
    """Outcomes `scale` times as far out as the samples say, with every number of samples."""
    rng = np.random.default_rng(samples)
    blocks = np.repeat(np.arange(200), 30)
    ordered = np.sort(rng.normal(size=(len(blocks), samples)), axis=1)
    came = scale * rng.normal(size=len(blocks))
    outcomes = outcomes_of(blocks, blocks * 10 + 9, scores_of(ordered, came))
    began = {block: 10 * block for block in range(200)}
    at = np.arange(200) * 10, np.arange(200)
    maps, which = outcomes.maps(*at)
    targets = mapped(
        maps[which],
        stretched(np.tile(sample_scores(samples), (200, 1)), outcomes.factors(*at, began, samples)),
    )
    late = blocks >= 60
    moved = values_at(ordered[late], targets[blocks[late]])
    low, high = np.quantile(moved, [0.05, 0.95], axis=1, method="weibull")
    held = np.mean((came[late] >= low) & (came[late] <= high))
    assert held == pytest.approx(
        min(0.9, (samples - 1) / (samples + 1)), abs=0.015 if samples > 5 else 0.03
    )
    assert (np.diff(moved, axis=1) >= 0).all()


def test_maps_are_of_a_time_of_day():
    """Outcomes at night lie within half the samples' spread, those at noon within twice of it."""
    hour = 3_600 * 10**9
    rng = np.random.default_rng(8)
    blocks = np.repeat(np.arange(400), 10)
    asof_ns = blocks * 5 * hour  # every hour of the day comes up
    day = 2 * np.pi * (asof_ns % (24 * hour)) / (24 * hour)
    scores = rng.normal(size=len(blocks)) * 2 ** -np.cos(day)
    own = Outcomes(blocks, asof_ns, asof_ns + hour, scores, 1.0, True).in_order()
    now = 400 * 5 * hour // (24 * hour) * 24 * hour
    at_ns = now + np.array([0, 6, 12]) * hour
    maps, which = own.maps(at_ns, np.full(3, 400))
    found = maps[which][:, -4] / KNOTS[-4]
    np.testing.assert_allclose(found, [0.55, 1.0, 1.85], rtol=0.15)
    all_day, _ = replace(own, by_time_of_day=False).maps(at_ns, np.full(3, 400))
    assert np.ptp(all_day[:, -4]) < 0.1
