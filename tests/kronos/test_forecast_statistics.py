"""What is read off a forecast, on paths made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kronos import COLUMNS, Forecast, InputError
from kronos.forecast import CLOSE, HIGH, LOW, OPEN, VOLUME

TIMES = pd.date_range("2024-01-02", periods=2, freq="D", tz="UTC")


def of_paths(paths: np.ndarray) -> Forecast:
    asof = pd.Timestamp("2024-01-01", tz="UTC")
    return Forecast("ABC", asof, 100.0, TIMES[: paths.shape[1]], paths)


def of_closes(*closes: tuple[float, float]) -> Forecast:
    """Samples of two bars, all prices of a bar at its close; the close at asof is 100."""
    prices = np.repeat(np.array(closes, dtype=np.float32)[:, :, None], 4, axis=2)
    volumes = np.ones((len(closes), 2, 2), dtype=np.float32)
    return of_paths(np.concatenate((prices, volumes), axis=2))


FIVE = of_closes((99, 90), (100, 100), (101, 105), (102, 110), (103, 120))


def test_size_and_columns() -> None:
    assert (FIVE.samples, FIVE.horizon) == (5, 2)
    assert COLUMNS == ("open", "high", "low", "close", "volume", "amount")


def test_returns_are_simple_and_against_the_close_at_asof() -> None:
    np.testing.assert_allclose(FIVE.returns(1), [-0.01, 0.0, 0.01, 0.02, 0.03], atol=1e-12)
    np.testing.assert_allclose(FIVE.returns(), [-0.1, 0.0, 0.05, 0.1, 0.2], atol=1e-12)
    np.testing.assert_array_equal(FIVE.returns(2), FIVE.returns())


def test_expected_return_is_the_mean_over_samples() -> None:
    assert FIVE.expected_return(1) == pytest.approx(0.05 / 5)
    assert FIVE.expected_return() == pytest.approx(0.25 / 5)


@pytest.mark.parametrize(
    ("q", "value"), [(0.0, -0.1), (0.25, 0.0), (0.5, 0.05), (0.9, 0.16), (1.0, 0.2)]
)
def test_quantile_is_linear_between_samples(q: float, value: float) -> None:
    assert FIVE.quantile(q) == pytest.approx(value)


def test_uncertainty_is_the_width_of_the_middle_ninety_percent() -> None:
    low, high = -0.1 + 0.2 * 0.1, 0.1 + 0.8 * 0.1  # at places 0.2 and 3.8 of 0 to 4
    assert FIVE.uncertainty() == pytest.approx(high - low)
    assert of_closes((100, 104)).uncertainty() == 0


def test_prob_up_counts_closes_above_not_at_the_last() -> None:
    assert FIVE.prob_up() == 3 / 5
    assert of_closes((100, 100)).prob_up(1) == 0


def test_to_frame_has_one_row_a_sample_and_bar() -> None:
    frame = FIVE.to_frame()
    assert list(frame.columns) == list(COLUMNS)
    assert frame.index.names == ["sample", "time"]
    assert len(frame) == 10
    places = [(sample, bar) for sample in range(5) for bar in range(2)]
    assert list(frame.index) == [(sample, TIMES[bar]) for sample, bar in places]
    for row, (sample, bar) in zip(frame.to_numpy(), places, strict=True):
        np.testing.assert_array_equal(row, FIVE.paths[sample, bar])


@pytest.mark.parametrize("h", [0, 3, -1, 1.5])
def test_a_bar_that_is_not_forecast(h: int) -> None:
    with pytest.raises(InputError, match=rf"bar h must be a whole number from 1 to 2, got {h}"):
        FIVE.expected_return(h)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_that_there_is_not(q: float) -> None:
    with pytest.raises(InputError, match=rf"quantile must be in \[0, 1\], got {q}"):
        FIVE.quantile(q)


@pytest.mark.parametrize("shape", [(2, 6), (3, 1, 6), (3, 2, 5), (0, 2, 6)])
def test_paths_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    text = r"paths of ABC must be \[S, 2, 6\] with at least 1 sample and bar, got \["
    with pytest.raises(InputError, match=text):
        Forecast("ABC", TIMES[0], 100.0, TIMES, np.zeros(shape, dtype=np.float32))


def test_repair_by_hand() -> None:
    good = [10, 12, 9, 11, 5, 50]
    high_too_low = [10, 10.5, 9, 11, 5, 50]
    low_too_high = [10, 12, 10.25, 11, 5, 50]
    upside_down = [10, 9, 12, 11, 5, 50]
    sold_back = [10, 12, 9, 11, -5, -50]
    bars = [[good, high_too_low], [low_too_high, upside_down], [sold_back, good]]
    raw = of_paths(np.array(bars, dtype=np.float32))
    before = raw.paths.copy()
    fixed, share = raw.repaired()
    assert share == 4 / 6
    want = [
        [good, [10, 11, 9, 11, 5, 50]],
        [[10, 12, 10, 11, 5, 50], [10, 11, 10, 11, 5, 50]],
        [[10, 12, 9, 11, 0, 0], good],
    ]
    np.testing.assert_array_equal(fixed.paths, np.array(want, dtype=np.float32))
    np.testing.assert_array_equal(raw.paths, before)


VALUES = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, (3, 2, 6), elements=VALUES))
def test_repaired_candles_hold_together(paths: np.ndarray) -> None:
    raw = of_paths(paths)
    fixed, share = raw.repaired()
    bars = fixed.paths
    body = bars[..., [OPEN, CLOSE]]
    assert (bars[..., HIGH] >= body.max(-1)).all()
    assert (bars[..., LOW] <= body.min(-1)).all()
    assert (bars[..., VOLUME:] >= 0).all()
    np.testing.assert_array_equal(body, paths[..., [OPEN, CLOSE]])
    pairs = zip(paths.reshape(-1, 6), bars.reshape(-1, 6), strict=True)
    touched = sum(bool((a != b).any()) for a, b in pairs)
    assert share == touched / 6
    again, none = fixed.repaired()
    assert none == 0
    np.testing.assert_array_equal(again.paths, bars)
    assert (fixed.symbol, fixed.asof, fixed.close) == (raw.symbol, raw.asof, raw.close)


@given(st.lists(st.floats(0.0625, 1e4, width=32), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_are_numpys_to_the_bit(closes: list[float], q: float) -> None:
    forecast = of_closes(*((close, close) for close in closes))
    returns = forecast.returns()
    assert forecast.quantile(q) == np.quantile(returns, q)
    low, high = np.quantile(returns, (0.05, 0.95))
    assert forecast.uncertainty() == high - low
