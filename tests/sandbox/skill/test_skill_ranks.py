"""The order of symbols: against plain correlations, and what planted factors explain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.skill.ranks import (
    correlations,
    daily_ranks,
    fifth_spreads,
    ranked,
    turnovers,
    unexplained,
)
from sandbox.skill.scores import rank_correlation


@given(st.integers(0, 1000), st.integers(8, 15))
@settings(max_examples=40, deadline=None)
def test_rank_ic_of_a_grid_is_that_of_each_date(seed, symbols):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 9, (4, symbols)).astype(float)
    outcome = rng.integers(0, 9, (4, symbols)).astype(float)
    missing = rng.random((4, symbols)) < 0.1
    score[missing] = outcome[missing] = np.nan
    found = correlations(ranked(score), ranked(outcome))
    for row in range(4):
        on = ~missing[row]
        expected = rank_correlation(score[row, on], outcome[row, on])
        assert found[row] == pytest.approx(expected, nan_ok=True)


def test_who_knows_the_order_has_a_rank_ic_of_1():
    outcome = np.random.default_rng(0).normal(size=(6, 20))
    found = daily_ranks(outcome**3, outcome, np.zeros((6, 20, 3)))
    assert found.rank_ic == pytest.approx(np.ones(6))
    assert found.own_rank_ic == pytest.approx(np.ones(6), abs=0.2)
    assert (found.spread > 1.5).all()


def test_a_repackaged_factor_has_nothing_left():
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(300, 30, 3))
    outcome = factors[..., 1] + rng.normal(size=(300, 30))
    score = 5 * factors[..., 1] + 0.5 * rng.normal(size=(300, 30))
    found = daily_ranks(score, outcome, factors)
    assert found.ic.mean() > 0.6
    assert abs(found.own_ic.mean()) < 0.03


def test_what_is_no_factor_is_left():
    rng = np.random.default_rng(2)
    factors, own = rng.normal(size=(200, 30, 3)), rng.normal(size=(200, 30))
    outcome = own + factors[..., 0] + rng.normal(size=(200, 30))
    found = daily_ranks(own + factors[..., 0], outcome, factors)
    assert found.own_ic.mean() == pytest.approx(0.7, abs=0.05)


def test_residuals_lie_across_the_factors():
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(5, 15, 3))
    factors[:, :, 2] = 4.0  # tells nothing apart
    score = rng.normal(size=(5, 15))
    left, _ = unexplained(score, score, factors)
    assert np.abs((left[..., None] * factors).sum(axis=1)).max() < 1e-9
    degrees = 1 - 3 / 15  # a constant and two factors are taken out of fifteen
    assert (left**2).sum() < (score**2).sum() * (degrees + 0.2)


def test_a_score_that_factors_make_up_whole_has_no_order():
    factors = np.random.default_rng(4).normal(size=(3, 12, 3))
    outcome = np.random.default_rng(5).normal(size=(3, 12))
    found = daily_ranks(2 * factors[..., 0] - 1, outcome, factors)
    assert np.isnan(found.own_ic).all() and np.isfinite(found.ic).all()


def test_spread_and_turnover_by_hand():
    score = np.array([np.arange(10.0), np.arange(10.0)[::-1], np.arange(10.0)[::-1]])
    outcome = np.tile(np.arange(10.0) ** 2, (3, 1))
    # the highest two of ten: 64 and 81; the lowest two: 0 and 1
    assert fifth_spreads(score, outcome) == pytest.approx([72, -72, -72])
    assert turnovers(score) == pytest.approx([np.nan, 1, 0], nan_ok=True)


def test_nothing_is_said_of_few_symbols_or_equal_scores():
    few = np.random.default_rng(6).normal(size=(4, 9))
    found = daily_ranks(few, few, np.zeros((4, 9, 3)))
    for name in ("ic", "rank_ic", "spread", "turnover", "own_ic", "own_rank_ic"):
        assert np.isnan(getattr(found, name)).all()
    equal = daily_ranks(np.ones((4, 12)), np.random.default_rng(7).normal(size=(4, 12)),
                        np.zeros((4, 12, 3)))  # fmt: skip
    assert np.isnan(equal.rank_ic).all() and np.isnan(equal.spread).all()
