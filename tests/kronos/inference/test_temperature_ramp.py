"""A temperature that goes from one value at the first bar ahead to another at the last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronos import InputError, KronosPredictor
from kronos.inference import plain as plain_module
from kronos.inference import sampler as sampler_module
from kronos.inference.plain import PlainSampler
from kronos.inference.sampling import SamplingParams, draw_tokens, token_probs
from tests.kronos.conftest import Golden
from tests.kronos.inference.test_contract_invariance import mid_predictor, series
from tests.kronos.inference.test_sampling import random_logits

TEMPERATURES = st.floats(0.05, 10)


def with_plain_steps(predictor: KronosPredictor) -> KronosPredictor:
    """The predictor, with the published steps in place of the fast sampler."""
    sampler = PlainSampler(predictor.model, predictor.tokenizer, predictor.max_context)
    predictor._current.get = lambda *_: sampler  # type: ignore[method-assign]
    return predictor


def paths(predictor: KronosPredictor, golden: Golden, **more: Any) -> np.ndarray:
    """Paths of 4 bars of two golden series."""
    x, length = golden.inputs["ohlcva"][:2], golden.case["lookback"] - 4
    stamps = golden.inputs["stamp"][:2]
    options = {"sample_count": 3, "seed": 7} | more
    return predictor.sample_paths(
        x[:, :length], stamps[:, :length], stamps[:, length : length + 4], [1, 2], **options
    )


@given(first=TEMPERATURES, last=TEMPERATURES, horizon=st.integers(2, 60))
def test_it_is_linear_over_bars(first: float, last: float, horizon: int) -> None:
    params = SamplingParams((first, last), 3, 0.9)
    for h in range(1, horizon + 1):
        wanted = first + (last - first) * (h - 1) / (horizon - 1)
        assert params.at(h - 1, horizon) == SamplingParams(wanted, 3, 0.9)
    assert params.at(0, horizon).temperature == first
    assert params.at(horizon - 1, horizon).temperature == pytest.approx(last)


@given(first=TEMPERATURES, last=TEMPERATURES)
def test_a_single_bar_has_the_first(first: float, last: float) -> None:
    assert SamplingParams((first, last)).at(0, 1) == SamplingParams(first)


@given(temperature=TEMPERATURES, horizon=st.integers(1, 60))
def test_equal_ends_are_the_plain_temperature(temperature: float, horizon: int) -> None:
    level, plain = SamplingParams((temperature, temperature)), SamplingParams(temperature)
    for bar in range(horizon):
        assert level.at(bar, horizon) == plain.at(bar, horizon) == plain


@pytest.mark.parametrize("way", [sampler_module, plain_module], ids=["fast", "plain"])
def test_both_tokens_of_a_bar_are_drawn_at_its_temperature(
    tiny: Golden, monkeypatch: pytest.MonkeyPatch, way: Any
) -> None:
    drawn_at = []

    def watched(logits: Any, params: SamplingParams, u: Any) -> Any:
        drawn_at.append(params.temperature)
        return draw_tokens(logits, params, u)

    monkeypatch.setattr(way, "draw_tokens", watched)
    predictor = tiny.predictor()
    if way is plain_module:
        with_plain_steps(predictor)
    paths(predictor, tiny, T=(0.5, 2.0))
    assert drawn_at == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0] * (len(drawn_at) // 8)


@pytest.mark.parametrize("max_context", [8, 64])
def test_the_fast_sampler_computes_what_the_plain_steps_do(
    golden: Golden, max_context: int
) -> None:
    fast = paths(golden.predictor(max_context=max_context), golden, T=(0.4, 1.7), top_p=0.95)
    steps = with_plain_steps(golden.predictor(max_context=max_context))
    np.testing.assert_allclose(
        paths(steps, golden, T=(0.4, 1.7), top_p=0.95), fast, rtol=2e-5
    )  # fmt: skip


@pytest.mark.parametrize("ends", [(0.4, 1.7), (1.7, 0.4)])
def test_it_changes_what_is_forecast_after_the_first_bar_alone(
    golden: Golden, ends: tuple[float, float]
) -> None:
    predictor = golden.predictor()
    ramp, level = (paths(predictor, golden, T=t, sample_count=30) for t in (ends, ends[0]))
    np.testing.assert_array_equal(ramp[:, :, 0], level[:, :, 0])
    assert not np.array_equal(ramp[:, :, 1], level[:, :, 1])


def test_equal_ends_forecast_the_same_bits(golden: Golden) -> None:
    predictor = golden.predictor()
    level = paths(predictor, golden, T=(0.7, 0.7))
    np.testing.assert_array_equal(level, paths(predictor, golden, T=0.7))
    with_plain_steps(predictor)
    np.testing.assert_array_equal(
        paths(predictor, golden, T=(0.7, 0.7)), paths(predictor, golden, T=0.7)
    )


def test_greedy_paths_ignore_it(golden: Golden) -> None:
    predictor = golden.predictor()
    greedy = paths(predictor, golden, top_k=1)
    np.testing.assert_array_equal(paths(predictor, golden, T=(0.2, 5.0), top_k=1), greedy)


@pytest.mark.parametrize(("length", "horizon"), [(1, 3), (33, 5), (62, 6)])
def test_neighbours_tiles_and_the_number_of_samples_do_not_matter(
    length: int, horizon: int
) -> None:
    predictor = mid_predictor()
    x, before, after = series(5, length, horizon)

    def run(at: list[int], samples: int = 20, max_bytes: int = 512 << 20) -> np.ndarray:
        predictor._sampler().max_bytes = max_bytes  # type: ignore[union-attr]
        return predictor.sample_paths(
            x[at], before[at], after[at], at, sample_count=samples, seed=5, T=(0.5, 1.5)
        )

    whole = run([0, 1, 2, 3, 4])
    for at in ([0], [3, 2], [4, 3, 2, 1, 0]):
        np.testing.assert_array_equal(run(at), whole[at])
    np.testing.assert_array_equal(run([0, 1, 2, 3, 4], max_bytes=1), whole)
    for few in (1, 3, 7):
        np.testing.assert_array_equal(run([0, 1, 2, 3, 4], few), whole[:, :few])


def test_frames_take_it_too(tiny: Golden) -> None:
    predictor, frame, times = tiny.predictor(), tiny.frames[0], tiny.times
    ramp, level, first = (
        predictor.paths(frame, times[:40], times[40:44], 4, T=t, sample_count=5)[0].paths
        for t in ((0.6, 0.6), 0.6, (0.6, 2.0))
    )
    np.testing.assert_array_equal(ramp, level)
    np.testing.assert_array_equal(first[:, 0], level[:, 0])
    assert not np.array_equal(first, level)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0), (1.0, np.inf)])
def test_both_ends_must_be_above_0(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="temperature T must be a finite number above 0, got"):
        SamplingParams(ends)


@pytest.mark.parametrize("ends", [(), (1.0,), (0.5, 0.7, 1.0)])
def test_a_ramp_has_two_ends(ends: Any) -> None:
    with pytest.raises(InputError, match="must be one number, or two: of the first bar and of the"):
        SamplingParams(ends)


def test_probabilities_are_of_one_bar() -> None:
    with pytest.raises(TypeError, match="is not the temperature of one bar"):
        token_probs(random_logits(1, 4, 0), SamplingParams((0.5, 1.0)))
