"""The decoder's state: reset, advance and the end of its room."""

from __future__ import annotations

import pytest
import torch

from kronos.inference.cache import CacheSize, LayerCache
from kronos.inference.decoding import TileDecoder
from kronos.inference.fused import FusedKronos
from kronos.inference.operand import ROW_QUANTUM
from tests.kronos.inference.test_cached_logits import random_ids, small_model

B, LENGTH, HORIZON, SAMPLES = 2, 6, 5, 3


def a_decoder(context: int) -> TileDecoder:
    generator = torch.Generator().manual_seed(0)
    s1, s2 = random_ids(generator, B, LENGTH), random_ids(generator, B, LENGTH)
    stamps = torch.ones(B, LENGTH + HORIZON, 5, dtype=torch.int64)
    model = FusedKronos(small_model(True), torch.float32, context)
    decoder = TileDecoder(model, s1, s2, stamps, SAMPLES, ROW_QUANTUM)
    decoder.prefill()
    return decoder


def sampled(decoder: TileDecoder, seed: int) -> tuple[list[torch.Tensor], list[bool]]:
    """Both logits of each bar for random choices, and whether the window had slid by then."""
    generator, logits, overflowed = torch.Generator().manual_seed(seed), [], []
    for _ in range(HORIZON):
        s1, s2 = (random_ids(generator, B * SAMPLES) for _ in range(2))
        overflowed.append(decoder.overflowed)
        logits += [decoder.s1_logits().clone(), decoder.s2_logits(s1).clone()]
        decoder.advance(s1, s2)
    return logits, overflowed


@torch.no_grad()
@pytest.mark.parametrize(
    ("context", "overflows"),
    [
        (64, [False] * 5),
        (LENGTH + HORIZON - 1, [False] * 5),
        (LENGTH + 2, [False, False, False, True, True]),
        (LENGTH, [False, True, True, True, True]),
        (3, [False, True, True, True, True]),
    ],
)
def test_after_a_reset_everything_repeats(context: int, overflows: list[bool]) -> None:
    decoder = a_decoder(context)
    first, overflowed = sampled(decoder, seed=1)
    assert overflowed == overflows
    ids = [part.clone() for part in decoder.sampled()]
    decoder.reset()
    assert decoder.step == 0
    assert decoder.sampled()[0].shape == (B * SAMPLES, 0)
    other, _ = sampled(decoder, seed=2)
    assert not torch.equal(other[-1], first[-1])
    decoder.reset()
    again, _ = sampled(decoder, seed=1)
    for one, two in zip((*first, *ids), (*again, *decoder.sampled()), strict=True):
        assert torch.equal(one, two)


@torch.no_grad()
def test_there_is_no_bar_after_the_last() -> None:
    decoder = a_decoder(64)
    sampled(decoder, seed=0)
    ids = torch.zeros(B * SAMPLES, dtype=torch.int64)
    with pytest.raises(IndexError, match="all 5 bars are sampled already"):
        decoder.advance(ids, ids)


def test_a_full_cache_takes_no_more() -> None:
    size = CacheSize(series=2, samples=3, heads=2, head_dim=4, prefix=5, capacity=2)
    cache = LayerCache(size, torch.empty(0), ROW_QUANTUM)
    bar = torch.zeros(2, 3, 1, 2, 4)
    cache.append(bar, bar)
    cache.append(bar, bar)
    with pytest.raises(IndexError, match="holds 2 bars a sample: there is no room for 1 more"):
        cache.append(bar, bar)
    cache.reset()
    cache.append(bar, bar)
    assert cache.filled == 1
