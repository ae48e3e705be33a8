"""`predict` and `predict_batch` draw from torch's generator unless a seed is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kronos import KronosPredictor
from kronos.prepare import normalise
from tests.kronos.conftest import Golden

BARS, STEPS = 20, 3


def batch(
    golden: Golden, predictor: KronosPredictor, copies: int = 1, **more: Any
) -> list[np.ndarray]:
    times = golden.times
    frames = [golden.frames[0].iloc[:BARS]] * copies
    options: dict[str, Any] = {"top_p": 1.0, "verbose": False} | more
    got = predictor.predict_batch(
        frames, [times[:BARS]] * copies, [times[BARS : BARS + STEPS]] * copies, STEPS, **options
    )
    return [frame.to_numpy() for frame in got]


def closes(golden: Golden, predictor: KronosPredictor, calls: int) -> np.ndarray:
    return np.array([batch(golden, predictor)[0][-1, 3] for _ in range(calls)])


def test_repeated_calls_give_a_band(tiny: Golden) -> None:
    torch.manual_seed(0)
    drawn = closes(tiny, tiny.predictor(), 40)
    assert len(np.unique(drawn)) > 20


def test_manual_seed_repeats_them(tiny: Golden) -> None:
    predictor = tiny.predictor()
    torch.manual_seed(9)
    first = closes(tiny, predictor, 5)
    torch.manual_seed(9)
    np.testing.assert_array_equal(closes(tiny, predictor, 5), first)
    torch.manual_seed(10)
    assert not np.array_equal(closes(tiny, predictor, 5), first)


def test_repeated_series_in_a_batch_differ(tiny: Golden) -> None:
    torch.manual_seed(0)
    got = batch(tiny, tiny.predictor(), copies=30)
    assert len({path.tobytes() for path in got}) > 15


def test_a_seed_repeats_and_leaves_the_generator_alone(tiny: Golden) -> None:
    predictor = tiny.predictor()
    state = torch.random.get_rng_state()
    first, second = (batch(tiny, predictor, copies=2, seed=4) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first[0], batch(tiny, predictor, seed=5)[0])


def test_greedy_needs_no_draws(tiny: Golden) -> None:
    first, second = (batch(tiny, tiny.predictor(), top_k=1) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_paths_keep_their_seed(tiny: Golden) -> None:
    predictor, times = tiny.predictor(), tiny.times
    args = tiny.frames[0].iloc[:BARS], times[:BARS], times[BARS : BARS + STEPS], STEPS
    first, second = (predictor.paths(*args, sample_count=4)[0].paths for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_frames_arrays_and_training_windows_are_normalised_alike(
    tiny: Golden, order: Any, dtype: type
) -> None:
    predictor, times = tiny.predictor(), tiny.times
    values = np.asarray(tiny.inputs["ohlcva"][0, :BARS], dtype=dtype, order=order)
    columns = tiny.case["columns"]
    frames = {
        "one block": pd.DataFrame(values, columns=columns),
        "columns of their own": pd.DataFrame({c: values[:, i] for i, c in enumerate(columns)}),
        "another order of columns": pd.DataFrame(values, columns=columns)[columns[::-1]],
    }
    stamps = tiny.inputs["stamp"][:1]
    seen: list[np.ndarray] = []
    sampler = predictor._sampler()
    draw = sampler.sample

    def noted(given: Any, *args: Any) -> np.ndarray:
        seen.append(given.x)
        return draw(given, *args)

    predictor._sampler = lambda: sampler  # type: ignore[method-assign]
    sampler.sample = noted  # type: ignore[method-assign]
    key = [1]
    predictor.sample_paths(
        values[None], stamps[:, :BARS], stamps[:, BARS : BARS + STEPS], key, sample_count=2
    )
    for frame in frames.values():
        predictor.paths(
            frame, times[:BARS], times[BARS : BARS + STEPS], STEPS, sample_count=2, seed=0
        )
        predictor.predict(
            frame, times[:BARS], times[BARS : BARS + STEPS], STEPS, verbose=False, seed=0
        )
    window = np.concatenate((values, values[:4] * 2))
    for layout in (np.asarray(window, order=order), np.stack([window, window])[1]):
        seen.append(normalise(layout, BARS, 5).values[None, :BARS])
    for x in seen[1:]:
        np.testing.assert_array_equal(x, seen[0])
