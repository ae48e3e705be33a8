"""Laws of drawing tokens: what the seed decides, what filters keep, what the draws are keyed by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos import InputError, series_key
from kronos.inference.draws import uniforms
from kronos.inference.sampling import SamplingParams, draw_tokens, token_probs


def random_logits(rows: int, vocabulary: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


@given(seed=st.integers(-(2**70), 2**70), key=st.integers(0, 2**64 - 1))
@settings(max_examples=30, deadline=None)
def test_a_uniform_depends_on_seed_key_step_and_sample_alone(seed: int, key: int) -> None:
    small = uniforms(seed, [key], 2, 3)
    large = uniforms(seed, [key ^ 1, key], 4, 5)
    np.testing.assert_array_equal(large[1, :2, :3], small[0])
    assert not np.array_equal(large[0], large[1])
    assert small.min() >= 0
    assert small.max() < 1


def test_uniforms_are_uniform_and_do_not_repeat() -> None:
    u = uniforms(0, [series_key("A", day) for day in range(50)], 10, 20).ravel().astype(float)
    assert len(np.unique(u)) > 0.99 * len(u)
    counts, _ = np.histogram(u, 20, (0, 1))
    expected = len(u) / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # 0.1 % point of chi², 19 degrees


def test_keys_do_not_run_together() -> None:
    assert series_key("AB", "C") != series_key("A", "BC")
    assert series_key("A", 1) == series_key("A", 1)


def test_draws_have_the_probabilities_they_should() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    params = SamplingParams(0.8, 0, 1.0)
    u = torch.from_numpy(uniforms(3, [1], 1, 20_000)[0, 0, :, 0])
    drawn = draw_tokens(logits.expand(len(u), 4), params, u)
    share = torch.bincount(drawn, minlength=4) / len(u)
    torch.testing.assert_close(share, token_probs(logits, params)[0], rtol=0, atol=0.015)


def test_greedy_ignores_the_uniforms() -> None:
    logits = random_logits(5, 16, 0)
    for u in (0.0, 0.5, 0.999):
        drawn = draw_tokens(logits, SamplingParams(top_k=1), torch.full((5,), u))
        assert torch.equal(drawn, logits.argmax(-1))


@given(
    vocabulary=st.integers(2, 300),
    top_p=st.floats(0.01, 0.999),
    temperature=st.floats(0.2, 3),
    scale=st.floats(0.01, 5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_the_nucleus_is_that_of_a_full_sort(
    vocabulary: int, top_p: float, temperature: float, scale: float, seed: int
) -> None:
    logits = random_logits(3, vocabulary, seed, scale)
    got = token_probs(logits, SamplingParams(temperature, 0, top_p))
    for row, kept in zip((logits / temperature).softmax(-1), got > 0, strict=True):
        ranked = row.sort(descending=True).values
        before = ranked.cumsum(-1) - ranked
        least = ranked[before <= top_p + 1e-6].min(), ranked[before <= top_p - 1e-6].min()
        assert (row[kept].min() >= least[0]) and (row[kept].min() <= least[1])
    torch.testing.assert_close(got.sum(-1), torch.ones(3))


@given(u=st.floats(0, 1, exclude_max=True, width=32), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_a_token_outside_the_nucleus_is_never_drawn(u: float, seed: int) -> None:
    logits, params = random_logits(4, 50, seed), SamplingParams(1.0, 0, 0.5)
    drawn = draw_tokens(logits, params, torch.full((4,), u))
    assert (token_probs(logits, params).gather(1, drawn.unsqueeze(1)) > 0).all()


def test_top_k_keeps_k() -> None:
    probs = token_probs(random_logits(6, 40, 1), SamplingParams(1.0, 7, 1.0))
    assert ((probs > 0).sum(-1) == 7).all()


@pytest.mark.parametrize("t", [0, -1, float("nan"), float("inf")])
def test_a_temperature_must_be_above_0(t: float) -> None:
    with pytest.raises(InputError, match=r"temperature T must be a finite number above 0.*top_k=1"):
        SamplingParams(temperature=t)


@pytest.mark.parametrize("p", [0, -0.1, 1.1, float("nan")])
def test_top_p_must_be_a_mass(p: float) -> None:
    with pytest.raises(InputError, match=r"top_p must be in \(0, 1\], got"):
        SamplingParams(top_p=p)


@pytest.mark.parametrize("k", [-1, 2.5])
def test_top_k_must_be_a_count(k: float) -> None:
    with pytest.raises(InputError, match="top_k must be a whole number"):
        SamplingParams(top_k=k)  # type: ignore[arg-type]
