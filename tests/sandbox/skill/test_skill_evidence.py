"""Errors and tests on one number a date: by hand, against libraries, and on planted truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.skill.evidence import (
    confidence_set,
    diebold_mariano,
    dm_statistic,
    lags_for,
    mean_of,
    newey_west,
    overlap,
)


def test_diebold_mariano_by_hand():
    # mean 2; squares of the rest add up to 2 and neighbours' products to 0; times the correction
    # (4 + 1 - 4 + 2 * 1 / 4) / 4 = 0.375: t = 2 / sqrt(2 / 16) * sqrt(0.375) = sqrt(12)
    assert dm_statistic(np.array([1.0, 2.0, 3.0, 2.0]), 2) == pytest.approx(math.sqrt(12))


def test_one_step_ahead_it_is_the_t_of_a_mean():
    """Harvey, Leybourne and Newbold (1997): with one step the correction is (n - 1) / n."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, 50)
    t = values.mean() / (values.std(ddof=1) / math.sqrt(50))
    assert dm_statistic(values, 1) == pytest.approx(t)
    stats = pytest.importorskip("scipy.stats")
    found = diebold_mariano(np.zeros(50), values, 0)
    theirs = stats.ttest_1samp(values, 0)
    assert (found.t, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_a_variance_below_0_gets_bartlett_weights():
    swings = np.tile([1.0, -1.0], 15) + 0.1
    assert np.isfinite(dm_statistic(swings, 2))


def test_the_test_has_its_size():
    """On losses that do not differ, p below 5 % about once in twenty times, overlapping or not."""
    rng = np.random.default_rng(1)
    for steps in (1, 3):
        found = []
        for _ in range(400):
            noise = rng.normal(size=60 + steps)
            moving = np.convolve(noise, np.ones(steps), "valid")[:60]
            found.append(diebold_mariano(np.zeros(60), moving, steps - 1).p)
        assert 0.02 < np.mean(np.array(found) < 0.05) < 0.10


def test_newey_west_is_that_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    values = np.convolve(rng.normal(size=130), np.ones(4), "valid")
    for lags in (0, 1, 5):
        fit = api.OLS(values, np.ones(len(values))).fit(
            cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
        )
        assert newey_west(values, lags) == pytest.approx(float(fit.bse[0]))


@given(st.integers(0, 500), st.integers(20, 80), st.integers(0, 10))
@settings(max_examples=40, deadline=None)
def test_signs_and_scales(seed, count, overlapping):
    values = np.random.default_rng(seed).normal(0.2, 1, count)
    found, twice, minus = (mean_of(k * values, overlapping) for k in (1, 2, -1))
    assert found.t == pytest.approx(twice.t) and found.t == pytest.approx(-minus.t)
    assert (found.dates_needed is None) == (found.t <= 0)
    ours, theirs = (diebold_mariano(a, b, 0) for a, b in ((values, 0 * values),
                                                          (0 * values, values)))  # fmt: skip
    assert ours.t == pytest.approx(-theirs.t) and ours.p == pytest.approx(theirs.p)


def test_how_many_dates_would_be_needed():
    # t grows with the root of the dates: from 1.5 to 3 takes four times as many
    values = np.concatenate([np.full(50, 1.0), np.full(50, -1.0)])
    shifted = np.random.default_rng(3).permutation(values) + 0.1
    found = mean_of(shifted, 0)
    assert found.dates_needed == math.ceil(100 * (3 / found.t) ** 2)


@pytest.mark.parametrize(
    "values", [np.arange(19.0), np.full(30, 0.25), np.r_[np.arange(19.0), np.nan, np.nan]]
)
def test_nothing_is_claimed_of_few_or_equal_dates(values):
    found = mean_of(values, 0)
    assert found.mean is not None
    assert (found.error, found.t, found.dates_needed) == (None, None, None)
    test = diebold_mariano(np.zeros_like(values), values, 0)
    assert (test.t, test.p) == (None, None)
    assert test.lead == pytest.approx(np.nanmean(values))


def test_no_dates_at_all():
    nothing = np.full(5, np.nan)
    assert mean_of(nothing, 0).record() == {
        "mean": None, "error": None, "t": None, "dates": 0, "dates_needed": None,
    }  # fmt: skip
    assert diebold_mariano(nothing, nothing, 0).lead is None


def test_overlap_counts_dates_that_share_bars():
    assert [overlap(h, 5) for h in (1, 5, 6, 10, 11)] == [0, 0, 1, 1, 2]
    assert [overlap(h, 1) for h in (1, 2, 5)] == [0, 1, 4]
    assert lags_for(100, 2) == 4 and lags_for(100, 9) == 9 and lags_for(3, 9) == 2


def test_the_confidence_set_holds_the_best_and_not_the_worst():
    pytest.importorskip("arch")
    rng = np.random.default_rng(4)
    common = rng.normal(1, 0.3, 120)
    losses = {
        "good": common, "twin": common.copy(), "bad": common + 0.2 + rng.normal(0, 0.1, 120),
    }  # fmt: skip
    found = confidence_set(losses, 0)
    assert found["good"] == found["twin"] == 1.0
    assert found["bad"] < 0.05


def test_no_confidence_set_of_few_dates_or_of_one_forecast(monkeypatch):
    pytest.importorskip("arch")
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 30))
    assert confidence_set({"a": a[:19], "b": b[:19]}, 0) is None
    assert confidence_set({"a": a, "b": a}, 0) is None
    monkeypatch.setattr("sandbox.skill.evidence.has_confidence_sets", lambda: False)
    assert confidence_set({"a": a, "b": b}, 0) is None
