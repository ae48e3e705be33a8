"""CRPS and energy against a library, bands and PIT against what they promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.skill.figures import years
from sandbox.skill.scores import (
    covered,
    fair_crps,
    fair_energy,
    honest_coverage,
    inside_bands,
    pit,
)

LEVELS = (0.5, 0.8, 0.9, 0.98)


def test_crps_and_energy_are_the_unbiased_estimates_of_scoringrules():
    theirs = pytest.importorskip("scoringrules")
    rng = np.random.default_rng(0)
    samples, outcome = rng.normal(0, 0.02, (40, 16, 4)), rng.normal(0, 0.02, (40, 4))
    crps = theirs.crps_ensemble(outcome[:, 0], samples[..., 0], estimator="fair")
    assert fair_crps(samples[..., 0], outcome[:, 0]) == pytest.approx(crps, rel=1e-9)
    energy = theirs.es_ensemble(outcome, samples, estimator="fair")
    assert fair_energy(samples, outcome) == pytest.approx(energy, rel=1e-9)


def test_energy_by_hand():
    # distances of (0,0) and (3,4) to (0,0): mean 2.5; they are 5 apart: half of that
    samples = np.array([[[0.0, 0.0], [3.0, 4.0]]])
    assert fair_energy(samples, np.zeros((1, 2))) == pytest.approx([0.0])


@given(st.integers(0, 1000), st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_energy_of_one_number_is_the_crps(seed, count):
    rng = np.random.default_rng(seed)
    samples, outcome = rng.normal(size=(5, count)), rng.normal(size=5)
    energy = fair_energy(samples[..., None], outcome[:, None])
    assert energy == pytest.approx(fair_crps(samples, outcome), abs=1e-9)


def test_energy_of_equal_samples_is_their_distance():
    samples = np.full((1, 6, 4), 0.37)
    assert fair_energy(samples, np.zeros((1, 4))) == pytest.approx([0.74], abs=1e-12)


def test_energy_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"samples must be \[N, S, D\].*got \[3, 4\] and \[3\]"):
        fair_energy(np.zeros((3, 4)), np.zeros(3))
    with pytest.raises(ValueError, match="2 samples a forecast or more, got 1"):
        fair_energy(np.zeros((3, 1, 4)), np.zeros((3, 4)))


@pytest.mark.parametrize("count", [8, 32, 199])
def test_pit_and_bands_of_perfect_forecasts_are_right(count):
    """Outcomes drawn as the samples are: the PIT is uniform, bands hold what is honest."""
    rng = np.random.default_rng(1)
    samples, outcome = rng.normal(size=(20_000, count)), rng.normal(size=20_000)
    found = pit(samples, outcome, rng.random(20_000))
    counts = np.histogram(found, bins=20, range=(0, 1))[0]
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 43.8  # 19 degrees: beyond that once in a thousand
    held = inside_bands(samples, outcome, LEVELS).mean(axis=0)
    honest = [honest_coverage(level, count) for level in LEVELS]
    assert held == pytest.approx(honest, abs=0.02 if count == 8 else 0.012)  # between ranks: nearly


def test_pit_of_bands_too_narrow_lies_at_the_ends():
    rng = np.random.default_rng(2)
    found = pit(0.3 * rng.normal(size=(5000, 32)), rng.normal(size=5000), rng.random(5000))
    shares = np.histogram(found, bins=20, range=(0, 1))[0] / 5000
    assert shares[0] > 0.2 and shares[-1] > 0.2 and shares[9:11].max() < 0.05


def test_pit_of_a_constant_series_is_uniform():
    """An outcome equal to all samples is at a random place among them."""
    noise = np.linspace(0, 0.999, 500)
    assert pit(np.zeros((500, 9)), np.zeros(500), noise) == pytest.approx(noise)


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_pit_is_a_probability_and_wider_bands_hold_more(seed):
    rng = np.random.default_rng(seed)
    samples = rng.integers(-3, 4, (20, int(rng.integers(2, 12)))).astype(float)
    outcome = rng.integers(-4, 5, 20).astype(float)
    found = pit(samples, outcome, rng.random(20))
    assert ((found >= 0) & (found < 1)).all()
    inside = inside_bands(samples, outcome, LEVELS)
    assert (np.diff(inside.astype(int), axis=1) >= 0).all()


def test_the_90_band_is_the_one_that_was_there():
    rng = np.random.default_rng(3)
    samples, outcome = rng.normal(size=(200, 30)), rng.normal(size=200)
    assert inside_bands(samples, outcome, [0.9]).mean() == covered(samples, outcome)


def test_a_band_over_any_year():
    """Two years of months: half of the first year's are inside, all of the second's."""
    asofs = pd.Series(pd.date_range("2020-01-15", periods=24, freq="30D", tz="UTC"))
    inside = pd.Series([True, False] * 6 + [True] * 12)
    least, most = years(asofs, inside)
    by_hand = [inside[max(0, n - 12) : n + 1].mean() for n in range(13, 24)]  # 13 fit in 365 days
    assert (least, most) == (pytest.approx(min(by_hand)), pytest.approx(max(by_hand)))
    assert years(asofs[:12], inside[:12]) is None
