"""A forecast is a function of weights, settings, seed, symbol, asof and its bars: to the bit."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos import Kronos, KronosPredictor, KronosTokenizer, series_key
from kronos.inference.operand import row_quantum
from kronos.inference.sampler import Sampler
from tests.kronos.conftest import load_golden


@functools.cache
def mid_predictor(dtype: str = "float32") -> KronosPredictor:
    """Large enough for blocked products, many-row products and split threads to be met."""
    torch.manual_seed(4)
    tokenizer = KronosTokenizer(6, 64, 4, 128, 3, 3, 0.0, 0.0, 0.0, 7, 7, 0.05, 1.0, 1.1, 0.05, 7)
    model = Kronos(7, 7, 2, 128, 4, 256, 0.0, 0.0, 0.0, 0.0, True)
    return KronosPredictor(model.eval(), tokenizer.eval(), "cpu", 64, dtype=dtype)


def series(count: int, length: int, horizon: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    x = np.exp(generator.normal(0, 0.02, (count, length, 6)).cumsum(1)) * 100
    stamps = generator.integers(1, 7, (count, length + horizon, 5))
    return x, stamps[:, :length], stamps[:, length:]


@pytest.mark.parametrize(
    ("length", "horizon", "samples", "dtype"),
    [
        *((n, p, s, "float32") for n, p in [(1, 3), (33, 5), (62, 6)] for s in (1, 3, 20)),
        (1, 3, 1, "bfloat16"),
        (33, 5, 3, "bfloat16"),
    ],
)
def test_neighbours_order_and_tiles_do_not_matter(
    length: int, horizon: int, samples: int, dtype: str
) -> None:
    predictor = mid_predictor(dtype)
    x, before, after = series(9, length, horizon)
    keys = [series_key(i) for i in range(9)]

    def run(at: list[int], max_bytes: int = 512 << 20) -> np.ndarray:
        predictor._sampler().max_bytes = max_bytes
        return predictor.sample_paths(
            x[at], before[at], after[at], [keys[i] for i in at], sample_count=samples, seed=5
        )

    whole = run(list(range(9)))
    for at in ([0], [8], [3, 2], [8, 6, 4, 2, 0], list(range(8, -1, -1))):
        np.testing.assert_array_equal(run(at), whole[at])
    np.testing.assert_array_equal(run(list(range(9)), max_bytes=1), whole)


@given(seed=st.integers(0, 2**64), count=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_one_of_many_is_the_one_alone(seed: int, count: int) -> None:
    x, before, after = series(count, 16, 3, seed % 1000)
    keys = list(range(count))
    whole = mid_predictor().sample_paths(x, before, after, keys, sample_count=4, seed=seed)
    i = seed % count
    alone = mid_predictor().sample_paths(
        x[i : i + 1], before[i : i + 1], after[i : i + 1], [i], sample_count=4, seed=seed
    )
    np.testing.assert_array_equal(whole[i], alone[0])


@functools.cache
def odd_predictor(dtype: str, d_model: int, heads: int) -> KronosPredictor:
    """Heads of other sizes, down to products so small that torch has a kernel of their own."""
    torch.manual_seed(5)
    tokenizer = KronosTokenizer(
        6, d_model, heads, 40, 3, 3, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4
    )
    model = Kronos(4, 4, 2, 24, 2, 40, 0.0, 0.0, 0.0, 0.0, True)
    return KronosPredictor(model.eval(), tokenizer.eval(), "cpu", 24, dtype=dtype)


PREDICTORS = {
    "middle": mid_predictor,
    "one head": lambda dtype: odd_predictor(dtype, 8, 1),
    "heads of two": lambda dtype: odd_predictor(dtype, 8, 4),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", PREDICTORS)
@pytest.mark.parametrize(("length", "horizon"), [(1, 3), (2, 9), (20, 4), (33, 5), (62, 6)])
def test_paths_of_few_samples_are_the_first_of_more(
    sizes: str, dtype: str, length: int, horizon: int
) -> None:
    """To the bit; (62, 6) slides the window, and so does (20, 4) or more for the small models."""
    predictor = PREDICTORS[sizes](dtype)
    x, before, after = series(2, length, horizon)
    many = predictor.sample_paths(x, before, after, [1, 2], sample_count=34)
    assert length == 1 or len(np.unique(many[0, :, -1, 3])) > 10
    for few in (1, 2, 3, 7, 33):
        got = predictor.sample_paths(x, before, after, [1, 2], sample_count=few)
        np.testing.assert_array_equal(got, many[:, :few], err_msg=f"S={few}")


def test_samples_that_are_computed_in_parts_are_those_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, before, after = series(2, 20, 5)
    run = functools.partial(mid_predictor().sample_paths, x, before, after, [1, 2])
    many = run(sample_count=30)
    seven_samples = 4 * 5 * 25 * 7
    monkeypatch.setattr("kronos.inference.cache.SCORE_ELEMENTS", seven_samples)
    for few in (1, 7, 8, 30):
        np.testing.assert_array_equal(run(sample_count=few), many[:, :few], err_msg=f"S={few}")


def test_seed_and_key_change_the_draws_and_the_global_generator_is_left_alone() -> None:
    x, before, after = series(1, 20, 4)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    run = functools.partial(mid_predictor().sample_paths, x, before, after, sample_count=5)
    first = run([1], seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(run([1], seed=1), first)
    assert not np.array_equal(run([1], seed=2), first)
    assert not np.array_equal(run([2], seed=1), first)


def test_series_of_different_lengths_go_together() -> None:
    golden = load_golden("tiny")
    predictor, frame, times = golden.predictor(), golden.frames[0], golden.times
    starts = [0, 20, 8]
    frames = [frame.iloc[s:] for s in starts]
    got = predictor.predict_batch(
        frames,
        [times[s:40] for s in starts],
        [times[40:44]] * 3,
        4,
        top_p=1.0,
        verbose=False,
        seed=0,
    )
    for start, together in zip(starts, got, strict=True):
        alone = predictor.predict(
            frame.iloc[start:], times[start:40], times[40:44], 4, top_p=1.0, verbose=False, seed=0
        )
        pd.testing.assert_frame_equal(alone, together)


def test_rows_of_a_product_do_not_depend_on_how_many_there_are() -> None:
    sampler = mid_predictor()._sampler()
    assert isinstance(sampler, Sampler)
    assert row_quantum([*sampler.model.operands, *sampler.tokenizer.operands]) is not None


def test_where_rows_do_depend_every_tile_is_the_same_size() -> None:
    predictor = mid_predictor()
    sampler = predictor._sampler()
    x, before, after = series(5, 16, 3)
    wanted = predictor.sample_paths(x, before, after, range(5), sample_count=100)
    sampler.fixed_tiles = True
    try:
        assert sampler.tile_series(16, 3, 100) == sampler.tile_series(30, 9, 1) == 32
        got = predictor.sample_paths(x, before, after, range(5), sample_count=100)
        few = predictor.sample_paths(x, before, after, range(5), sample_count=3)
    finally:
        sampler.fixed_tiles = False
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(few, wanted[:, :3])


def test_changed_weights_are_noticed() -> None:
    golden = load_golden("tiny")
    predictor = golden.predictor()
    frame, times = golden.frames[0], golden.times

    def close() -> np.ndarray:
        got = predictor.predict(frame, times[:40], times[40:], 8, top_k=1, top_p=1, verbose=False)
        return got["close"].to_numpy()

    before = close()
    with torch.no_grad():
        golden.model.head.proj_s1.weight.mul_(-1)
    assert not np.array_equal(close(), before)
