"""What a window may hold, and in which order windows come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.errors import TrainingError
from kronos.prepare import normalise
from kronos.training.dataset import (
    CandleSeries,
    EpochOrder,
    WindowShape,
    train_windows,
    validation_windows,
)
from tests.kronos.training.cases import BEGIN, SHAPE, SPLIT, a_series


@given(
    bars=st.integers(1, 90),
    lookback=st.integers(2, 12),
    horizon=st.integers(1, 6),
    split=st.integers(0, 100),
    stride=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_no_window_straddles_the_split(
    bars: int, lookback: int, horizon: int, split: int, stride: int
) -> None:
    series, shape = {"A": a_series(bars)}, WindowShape(lookback, horizon)
    at, end = BEGIN + np.timedelta64(split, "D"), BEGIN + np.timedelta64(80, "D")
    times = series["A"].times
    try:
        train = train_windows(series, shape, BEGIN, at, stride)
        assert all(times[start + shape.bars - 1] < at for _, start in train.index)
    except TrainingError:
        assert min(bars, split) < shape.bars
    try:
        check = validation_windows(series, shape, at, end, stride)
    except TrainingError:
        return
    for _, start in check.index:
        assert at <= times[start + lookback] <= times[start + shape.bars - 1] < end


def test_every_allowed_window_is_there() -> None:
    series = {"A": a_series(40)}
    train = train_windows(series, SHAPE, BEGIN, BEGIN + np.timedelta64(20, "D"))
    assert train.index == [("A", start) for start in range(20 - SHAPE.bars + 1)]
    check = validation_windows(series, SHAPE, BEGIN + np.timedelta64(20, "D"), SPLIT)
    assert check.index == [("A", start) for start in range(20 - 8, 40 - SHAPE.bars + 1)]


def test_normalisation_knows_the_lookback_alone() -> None:
    x = a_series(12).values
    later = x.copy()
    later[8:] *= 3
    assert np.array_equal(normalise(x, 8, 5.0).values[:8], normalise(later, 8, 5.0).values[:8])
    past = x[:8].astype(np.float64)
    by_hand = (x - past.mean(0)) / (past.std(0) + 1e-5)
    assert np.allclose(normalise(x, 8, 5.0).values, np.clip(by_hand, -5, 5), atol=2e-4)


def test_normalised_values_are_clipped() -> None:
    x = a_series(12).values
    x[10] *= 1000
    assert normalise(x, 8, 5.0).values[10].tolist() == [5.0] * 6


def test_empty_sets_are_refused_with_what_is_missing() -> None:
    series = {"A": a_series(11)}
    with pytest.raises(TrainingError, match=r"no training window fits .* 8 \+ 3 \+ 1 = 12 bars"):
        train_windows(series, SHAPE, BEGIN, SPLIT)
    with pytest.raises(TrainingError, match="no validation window fits from 2000-03-01 until"):
        validation_windows(series, SHAPE, SPLIT, np.datetime64("2001-01-01"))


def test_a_series_that_goes_back_in_time_is_refused() -> None:
    one = a_series(5)
    with pytest.raises(TrainingError, match="strictly increasing"):
        CandleSeries(one.values, one.stamps, one.times[::-1])


@given(n=st.integers(8, 60), world=st.integers(1, 4), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_workers_share_an_epoch_without_overlap(n: int, world: int, epoch: int) -> None:
    seen: list[int] = []
    lengths = set()
    for rank in range(world):
        order = EpochOrder(n, 2, 3, rank=rank, world=world)
        order.start_at(epoch)
        batches = list(order)
        lengths.add(len(batches))
        seen += [i for batch in batches for i in batch]
    assert len(seen) == len(set(seen))
    assert len(lengths) == 1


def test_order_depends_on_seed_and_epoch_and_can_be_joined_midway() -> None:
    order = EpochOrder(50, 4, seed=1)
    first = list(order)
    order.start_at(1)
    assert list(order) != first
    order.start_at(0, batch=3)
    assert list(order) == first[3:]
