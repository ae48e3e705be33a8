"""The nucleus without a sort keeps the very tokens that a sort of the whole vocabulary keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kronos.inference import nucleus
from kronos.inference.nucleus import nucleus_threshold, sorted_threshold
from kronos.inference.sampling import SamplingParams, draw_tokens, token_probs


def by_sort(probs: Tensor, top_p: float) -> Tensor:
    """The least probability kept: tokens are taken in falling order while the mass before them is
    not above `top_p`."""
    ranked = probs.sort(-1, descending=True).values
    mass = ranked.cumsum(-1)
    last = (mass <= top_p).sum(-1, keepdim=True).clamp_(max=ranked.shape[-1] - 1)
    return ranked.gather(-1, last)


def probs_by_sort(logits: Tensor, params: SamplingParams) -> Tensor:
    """`token_probs` as it was with the sort."""
    logits = logits.float() / params.temperature
    if params.top_k > 0:
        least = logits.topk(min(params.top_k, logits.shape[-1]), -1).values[:, -1:]
        return logits.masked_fill(logits < least, -torch.inf).softmax(-1)
    probs = logits.softmax(-1)
    if params.top_p < 1:
        probs = probs.masked_fill(probs < by_sort(probs, params.top_p), 0.0)
        probs = probs / probs.sum(-1, keepdim=True)
    return probs


def one_hot(x: Tensor) -> Tensor:
    return torch.zeros_like(x).scatter_(1, x.argmax(-1, keepdim=True), 120.0)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {  # logits out of standard normal ones
    "normal": lambda x: x,
    "nearly flat": lambda x: x / 100,
    "flat": torch.zeros_like,
    "peaked": lambda x: x * 8,
    "one hot": one_hot,
    "one hot among normal ones": lambda x: torch.maximum(x, one_hot(x) / 10),
    "few levels, many equals": lambda x: x.mul(2).round() / 2,
    "two levels": lambda x: (x > 1).float(),
    "some impossible": lambda x: x.masked_fill(x < x.mean(1, keepdim=True), -torch.inf),
    "down to underflow": lambda x: x * 60,
    "a geometric series": lambda x: torch.arange(x.shape[1]).mul(-0.693147).expand(x.shape),
    "narrow type": lambda x: x.bfloat16(),
    "narrow type, peaked": lambda x: (x * 6).bfloat16(),
    "flat but one": lambda x: torch.eye(1, x.shape[1]).expand(x.shape) * 3,
}
VOCABULARIES = [1, 2, 3, 17, 63, 64, 65, 100, 512, 1024, 5000]
MASSES = st.one_of(
    st.floats(0.01, 0.999),
    st.integers(1, 1023).map(lambda n: n / 1024),  # sums of flat rows to the bit
    st.sampled_from([1e-30, 1e-6, 0.5, 0.9, 0.99, 0.999999, 1 - 2**-24, 1 - 2**-25, 1 - 2**-53]),
)
CASES = {
    "kind": st.sampled_from(sorted(KINDS)),
    "vocabulary": st.sampled_from(VOCABULARIES),
    "rows": st.sampled_from([1, 2, 5, 40, 64, 65, 130]),
    "top_p": MASSES,
    "seed": st.integers(0, 2**31),
}


def logits_of(kind: str, rows: int, vocabulary: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return KINDS[kind](torch.randn(rows, vocabulary, generator=generator))


@given(**CASES)
@settings(max_examples=250, deadline=None)
def test_the_same_tokens_are_kept(
    kind: str, vocabulary: int, rows: int, top_p: float, seed: int
) -> None:
    probs = logits_of(kind, rows, vocabulary, seed).float().softmax(-1)
    kept = probs >= by_sort(probs, top_p)
    for way in (nucleus_threshold, sorted_threshold, nucleus._histogram_threshold):
        assert torch.equal(probs >= way(probs, top_p), kept), way.__name__


@given(
    **CASES, temperature=st.sampled_from([0.3, 1.0, 2.5]), top_k=st.sampled_from([0, 0, 1, 7, 70])
)
@settings(max_examples=200, deadline=None)
def test_the_same_tokens_are_drawn(
    kind: str, vocabulary: int, rows: int, top_p: float, seed: int, temperature: float, top_k: int
) -> None:
    """Also with top_k, beside which top_p counts for nothing."""
    logits = logits_of(kind, rows, vocabulary, seed)
    params = SamplingParams(temperature, top_k, top_p)
    probs = token_probs(logits, params)
    want = probs_by_sort(logits, params)
    assert torch.equal(probs, want)
    u = torch.rand(rows, generator=torch.Generator().manual_seed(seed))
    cdf = want.cumsum(-1)
    target = torch.minimum(u * cdf[:, -1], cdf[:, -1] * (1 - 2**-23))
    drawn = torch.searchsorted(cdf, target.unsqueeze(-1), right=True).squeeze(-1)
    if top_k != 1:
        assert torch.equal(draw_tokens(logits, params, u), drawn)


@pytest.mark.parametrize("top_p", [0.1, 0.9])
def test_a_vocabulary_that_is_larger_than_any(top_p: float) -> None:
    for scale in (0.1, 3.0):
        logits = torch.randn(3, 300_000, generator=torch.Generator().manual_seed(1)) * scale
        probs = logits.softmax(-1)
        kept = probs >= nucleus_threshold(probs, top_p)
        assert torch.equal(kept, probs >= by_sort(probs, top_p))


def rows_sorted(probs: Tensor, top_p: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many rows the histogram leaves to the sort; that it gets them right is asserted."""
    counts: list[int] = []

    def noted(some: Tensor, mass: float) -> Tensor:
        counts.append(len(some))
        return sorted_threshold(some, mass)

    with monkeypatch.context() as patch:
        patch.setattr(nucleus, "sorted_threshold", noted)
        threshold = nucleus._histogram_threshold(probs, top_p)
    assert torch.equal(probs >= threshold, probs >= by_sort(probs, top_p))
    return sum(counts)


@pytest.mark.parametrize(("step", "kept"), [(-1, 6), (0, 6), (1, 2)])
def test_a_mass_at_a_rounding_boundary_is_summed_in_sorted_order(
    step: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.5 + 2⁻²⁵ lies between the floats 0.5 and 0.5 + 2⁻²⁴ and rounds to 0.5; a hair above it
    rounds up."""
    half_step = np.float32(2**-25)
    second = {
        -1: np.nextafter(half_step, np.float32(0)),
        0: half_step,
        1: np.nextafter(half_step, np.float32(1)),
    }[step]
    odd = torch.zeros(1, 200)
    odd[0, 0], odd[0, 150], odd[0, 5:9] = 0.5, float(second), 2.0**-26
    assert (odd >= by_sort(odd, 0.5)).sum() == kept
    plain = torch.randn(4, 200, generator=torch.Generator().manual_seed(0)).softmax(-1)
    assert rows_sorted(torch.cat((plain, odd)), 0.5, monkeypatch) == 1


def test_rows_of_no_doubt_are_not_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.6, 1.0, 4.0):
        probs = (torch.randn(200, 1024, generator=generator) * scale).softmax(-1)
        assert rows_sorted(probs, 0.9, monkeypatch) == 0


@pytest.mark.parametrize("top_p", [0.1, 0.3, 0.5, 0.9, 0.99, 1 - 2**-24])
def test_the_limits_enclose_what_rounds_to_the_mass(top_p: float) -> None:
    limits = nucleus._limits(top_p, torch.zeros(2, 1, dtype=torch.float64))
    assert (limits.float() <= top_p).tolist() == [[True, False]] * 2
