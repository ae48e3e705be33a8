"""Laws of the bootstrap: nothing for nothing, always the same, about as wide as it should be."""

import numpy as np
import pandas as pd
import pytest

from reports.luck import FEWEST_DAYS, SharpeResamples, block_days


def returns(days, seed=0, drifts=(0.0005, 0.0005), common=0.01, own=0.004):
    """Two portfolios that share most of what moves them."""
    generator = np.random.default_rng(seed)
    market = generator.normal(0, common, days)
    index = pd.bdate_range("2020-01-01", periods=days)
    return pd.DataFrame(
        {
            name: market + generator.normal(drift, own, days)
            for name, drift in zip("ab", drifts, strict=True)
        },
        index,
    )


def difference(frame, **options):
    return SharpeResamples(frame, 252, **options).difference("a", "b")


def test_identical_series_differ_by_nothing():
    frame = returns(300)
    found = difference(frame.assign(b=frame["a"]))
    assert (found.sharpe_difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.share_above_zero == 0.0


def test_the_point_is_the_difference_of_the_two_ratios():
    frame = returns(300)
    sharpe = np.sqrt(252) * frame.mean() / frame.std(ddof=1)
    assert difference(frame).sharpe_difference == pytest.approx(sharpe["a"] - sharpe["b"])


def test_the_same_every_time_and_mirrored_when_turned_round():
    frame = returns(300)
    once, again = difference(frame), difference(frame)
    assert (once.low, once.high) == (again.low, again.high)
    turned = SharpeResamples(frame, 252).difference("b", "a")
    assert (turned.low, turned.high) == pytest.approx((-once.high, -once.low))


@pytest.mark.parametrize("days", [60, 250])
def test_shorter_series_have_wider_intervals(days):
    def width(length):
        found = [difference(returns(length, seed)) for seed in range(5)]
        return np.mean([each.high - each.low for each in found])

    assert width(days) > 1.5 * width(4 * days)


def test_resampling_the_same_days_for_both_makes_the_interval_narrow():
    paired = difference(returns(500))
    frame = returns(500)
    frame["b"] = np.roll(frame["b"].to_numpy(), 250)
    unpaired = difference(frame)
    assert paired.high - paired.low < 0.7 * (unpaired.high - unpaired.low)


def test_the_interval_covers_a_known_difference_about_nine_times_in_ten():
    spread = np.hypot(0.01, 0.004)
    true = np.sqrt(252) * (0.0009 - 0.0003) / spread
    runs = [
        difference(returns(500, seed, drifts=(0.0009, 0.0003)), resamples=400)
        for seed in range(200)
    ]
    covered = np.mean([run.low <= true <= run.high for run in runs])
    assert 0.82 <= covered <= 0.96  # blocks of a short series come out a little narrow


def test_sums_by_blocks_equal_resampling_row_by_row():
    frame = returns(100)
    table, days, block = frame.to_numpy(), len(frame), block_days(len(frame))
    starts = np.random.default_rng(0).integers(days, size=(7, days // block + 1))
    rows = (starts[:, :, None] + np.arange(block)) % days
    samples = table[rows.reshape(7, -1)[:, :days]]
    sharpes = np.sqrt(252) * samples.mean(axis=1) / samples.std(axis=1, ddof=1)
    found = difference(frame, resamples=7)
    assert found.draws == pytest.approx(sharpes[:, 0] - sharpes[:, 1])


@pytest.mark.parametrize(("days", "block"), [(1, 2), (20, 5), (250, 13), (1258, 21), (9999, 21)])
def test_blocks_grow_with_the_series_up_to_a_month(days, block):
    assert block_days(days) == block


def test_what_has_no_ratio_or_too_few_days_has_no_difference():
    assert difference(returns(300).assign(b=0.0)) is None
    assert difference(returns(FEWEST_DAYS - 1)) is None
    assert difference(returns(FEWEST_DAYS)) is not None


def test_the_interval_of_a_pick_among_several_is_wider():
    found = difference(returns(300))
    low, high = found.bounds(5)
    assert low < found.low < found.high < high
