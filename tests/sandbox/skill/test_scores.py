"""Scores of forecasts, each by hand on numbers small enough to see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.skill.scores import covered, fair_crps, mean_and_t, rank_correlation, rank_ic


def test_crps_by_hand() -> None:
    # |1-2|, |3-2|, |2-2|: mean 2/3; pairs differ by 2, 1, 1: mean 4/3, half of it 2/3
    assert fair_crps(np.array([[1.0, 3.0, 2.0]]), np.array([2.0])) == pytest.approx([0.0])
    assert fair_crps(np.array([[1.0, 3.0, 2.0]]), np.array([5.0])) == pytest.approx([3 - 2 / 3])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.floats(-1, 1))
def test_crps_equals_its_double_sum(samples: list[float], outcome: float) -> None:
    x = np.array(samples)
    pairs = np.abs(x[:, None] - x[None]).sum() / (2 * len(x) * (len(x) - 1))
    expected = np.abs(x - outcome).mean() - pairs
    assert fair_crps(x[None], np.array([outcome]))[0] == pytest.approx(expected, abs=1e-12)


def test_crps_does_not_depend_on_how_many_samples_there_are() -> None:
    rng = np.random.default_rng(0)
    outcome = rng.normal(size=20000)
    few, many = (fair_crps(rng.normal(size=(20000, s)), outcome).mean() for s in (3, 40))
    # of a standard normal for itself: 1 / sqrt(pi)
    assert few == pytest.approx(1 / math.sqrt(math.pi), abs=0.02)
    assert many == pytest.approx(1 / math.sqrt(math.pi), abs=0.02)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="2 samples a forecast or more, got 1"):
        fair_crps(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(ValueError, match=r"\[N, S\] and outcomes \[N\], got \[3, 4\] and \[4\]"):
        fair_crps(np.zeros((3, 4)), np.zeros(4))
    with pytest.raises(ValueError, match=r"got \[3\] and \[3\]"):
        covered(np.zeros(3), np.zeros(3))


def test_band_covers_ninety_percent_of_exchangeable_outcomes() -> None:
    rng = np.random.default_rng(0)
    assert covered(rng.normal(size=(20000, 32)), rng.normal(size=20000)) == pytest.approx(
        0.9, abs=0.01
    )


def test_band_of_nineteen_samples_goes_from_the_first_to_the_last() -> None:
    samples = np.tile(np.arange(1.0, 20.0), (4, 1))
    assert covered(samples, np.array([0.9, 1.0, 19.0, 19.1])) == 0.5


def test_rank_correlation_by_hand() -> None:
    rising = np.arange(10.0)
    swapped = rising[[1, 0, *range(2, 10)]]
    # two ranks differ by 1: 1 - 6 (1 + 1) / (10 (100 - 1))
    assert rank_correlation(swapped, rising**3) == pytest.approx(1 - 12 / 990)
    assert rank_correlation(-rising, rising) == pytest.approx(-1)


def test_no_rank_correlation_of_few_or_of_equal_values() -> None:
    rising = np.arange(10.0)
    assert math.isnan(rank_correlation(rising[:9], rising[:9]))
    assert math.isnan(rank_correlation(np.ones(10), rising))
    assert math.isnan(rank_correlation(rising, np.ones(10)))


def test_mean_and_t_by_hand() -> None:
    # mean 0.2, deviation 0.1, error 0.1 / sqrt(3)
    assert mean_and_t([0.1, 0.2, 0.3]) == pytest.approx((0.2, 2 * math.sqrt(3)))
    mean, t = mean_and_t([0.1])
    assert (mean, math.isnan(t)) == (0.1, True)
    assert all(map(math.isnan, mean_and_t([])))


def test_rank_ic_is_a_mean_over_dates() -> None:
    dates = np.repeat(np.array(["2019-01-02", "2019-01-03"], "datetime64[D]"), 10)
    outcome = np.tile(np.arange(10.0), 2)
    score = outcome.copy()
    assert rank_ic(score, outcome, dates)["mean"] == pytest.approx(1.0)
    score[10:] *= -1
    found = rank_ic(score, outcome, dates)
    assert (found["mean"], found["t"], found["dates"]) == pytest.approx((0, 0, 2))
    with pytest.raises(ValueError, match="no date has 10 symbols"):
        rank_ic(score[:5], outcome[:5], dates[:5])
