"""The papers' own numbers, and laws: what noise must look like, and what skill must."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from purgedcv import (
    deflated_sharpe_ratio,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
)

from reports.overfitting import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    moments,
    overfitting,
)

CDF = NormalDist().cdf


def noise(days, tries, seed=0):
    return np.random.default_rng(seed).normal(0, 0.01, (days, tries))


def test_the_numerical_example_of_the_deflated_sharpe_ratio():
    """Bailey and Lopez de Prado (2014): a Sharpe ratio of 2.5 a year over 1,250 days of 250 a year,
    skewness -3, kurtosis 10, a variance of 1/2 over tries (annual)."""
    found = Moments(days=1250, sharpe=2.5 / sqrt(250), skewness=-3, kurtosis=10)
    variance = 1 / (2 * 250)
    assert sqrt(variance) * expected_maximum(100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(found, 100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(found, 46, variance) == pytest.approx(0.9505, abs=5e-5)
    normal = Moments(days=1250, sharpe=2.5 / sqrt(250), skewness=0, kurtosis=3)
    assert deflated_sharpe(normal, 88, variance) == pytest.approx(0.9505, abs=5e-5)


def test_the_numerical_examples_of_the_expected_maximum():
    """Bailey, Borwein, Lopez de Prado and Zhu (2014): the best of 10 has 1.57; with five years of
    data no more than 45 may be tried if the best is to be below 1 a year."""
    assert expected_maximum(10) == pytest.approx(1.57, abs=0.005)
    assert expected_maximum(45) / sqrt(5) == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("tries", [2, 5, 20, 200])
def test_the_expected_maximum_is_the_mean_of_best_ones(tries):
    drawn = np.random.default_rng(1).normal(size=(20_000, tries)).max(axis=1).mean()
    assert expected_maximum(tries) == pytest.approx(drawn, abs=0.05)


def test_one_try_has_nothing_taken_off():
    assert expected_maximum(1) == 0
    found = moments(noise(500, 1)[:, 0] + 0.001)
    assert deflated_sharpe(found, 1, 0.3) == deflated_sharpe(found, 1, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_formula_is_that_of_a_kept_library(seed):
    returns = np.random.default_rng(seed).standard_t(5, 1000) * 0.01 + 0.0005
    found = moments(returns)
    assert deflated_sharpe(found, 1, 0.0) == pytest.approx(
        probabilistic_sharpe_ratio(returns, 0.0), abs=2e-3
    )
    for tries, variance in ((10, 0.001), (300, 0.0004)):
        expected = deflated_sharpe_ratio(returns, tries, variance)
        assert deflated_sharpe(found, tries, variance) == pytest.approx(expected, abs=2e-3)


def test_returns_that_never_move_have_no_moments():
    assert moments(np.zeros(100)) is None
    assert moments(np.full(100, 0.01)) is None
    assert moments(np.array([0.01])) is None


def test_a_spread_that_is_no_variance_has_no_ratio():
    extreme = Moments(days=100, sharpe=2.0, skewness=5.0, kurtosis=2.0)
    assert deflated_sharpe(extreme, 10, 0.01) is None


@pytest.mark.parametrize("tries", [1, 5, 40])
def test_on_noise_the_best_is_believed_as_seldom_as_it_should_be(tries):
    """The best of N passes 0.95 where its excess over the expected maximum passes 1.645 deviations:
    never more often than in 5 % of cases. Above a half it is as often as the best of N normal draws
    is above their expected maximum."""
    studies, days = 1500, 250
    returns = noise(days, studies * tries, seed=tries).reshape(days, studies, tries)
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    deflated = []
    for study in range(studies):
        best = int(sharpes[study].argmax())
        variance = sharpes[study].var(ddof=1) if tries >= 10 else 1 / days
        found = moments(returns[:, study, best])
        deflated.append(deflated_sharpe(found, tries, variance))
    for level, deviations in ((0.95, 1.645), (0.5, 0.0)):
        share = np.mean(np.array(deflated) > level)
        expected = 1 - CDF(expected_maximum(tries) + deviations) ** tries
        assert share == pytest.approx(expected, abs=0.05 if level == 0.5 else 0.02)
    assert np.mean(np.array(deflated) > 0.95) < 0.065


def test_what_is_truly_better_is_believed():
    returns = noise(1250, 40, seed=5)
    returns[:, 7] += 0.0016  # a Sharpe ratio of 2.5 a year
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    found = moments(returns[:, 7])
    assert deflated_sharpe(found, 40, sharpes.var(ddof=1)) > 0.95


@pytest.mark.parametrize(("blocks", "tries", "days"), [(8, 10, 80), (6, 7, 100), (4, 2, 33)])
def test_overfitting_is_that_of_a_kept_library(blocks, tries, days):
    returns = noise(days, tries, seed=blocks)
    expected = probability_of_backtest_overfitting(returns.T, n_splits=blocks)
    found = overfitting(returns, blocks)
    assert found.splits == expected.n_combos
    assert found.probability == pytest.approx(expected.pbo)
    mean_in, mean_out = expected.is_oos_performance.mean(axis=0)
    assert (found.sharpe_in, found.sharpe_out) == pytest.approx((mean_in, mean_out))


def test_sixteen_blocks_are_halved_in_12870_ways():
    assert overfitting(noise(160, 3)).splits == 12_870


def test_on_noise_it_is_about_a_half():
    found = [overfitting(noise(320, 20, seed), blocks=10) for seed in range(40)]
    assert np.mean([each.probability for each in found]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([each.sharpe_out for each in found]) == pytest.approx(0.0, abs=0.02)
    assert min(each.sharpe_in for each in found) > 0.05


def test_where_one_is_truly_better_it_is_about_none():
    returns = noise(1250, 20)
    returns[:, 3] += 0.002
    found = overfitting(returns)
    assert found.probability < 0.01
    assert found.sharpe_out == pytest.approx(found.sharpe_in, abs=0.03)


def test_where_all_end_level_the_best_half_is_paid_for_by_the_other():
    """The null case of Bailey, Borwein, Lopez de Prado and Zhu (2017): no try has a mean at all,
    so that what is best in one half is worst in the other, and the probability is 1."""
    returns = noise(320, 30)
    returns -= returns.mean(axis=0)
    assert overfitting(returns).probability > 0.99


def test_many_tries_are_taken_a_part_at_a_time(monkeypatch):
    returns = noise(160, 12)
    whole = overfitting(returns)
    monkeypatch.setattr("reports.overfitting.MOST_AT_ONCE", 12 * 100)
    parts = overfitting(returns)
    assert (parts.probability, parts.splits) == (whole.probability, whole.splits)
    assert parts.sharpe_out == pytest.approx(whole.sharpe_out)


def test_tries_that_stand_still_do_no_harm():
    returns = noise(160, 12)
    returns[:, 4] = 0
    returns[:80, 5] = 0
    assert 0 <= overfitting(returns).probability <= 1
