"""Cached logits equal uncached ones at every step, up to the context limit and beyond it."""

from __future__ import annotations

import functools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos import Kronos, KronosTokenizer
from kronos.inference.decoding import TileDecoder, decode_suffix
from kronos.inference.fused import FusedKronos, FusedTokenizer
from kronos.inference.operand import ROW_QUANTUM

BITS = 4


@functools.cache
def small_model(learned_calendar: bool) -> Kronos:
    torch.manual_seed(1)
    return Kronos(BITS, BITS, 2, 24, 2, 40, 0.1, 0.1, 0.1, 0.1, learned_calendar).eval()


@functools.cache
def small_tokenizer(blocks: int) -> KronosTokenizer:
    torch.manual_seed(2)
    return KronosTokenizer(
        6, 24, 2, 40, 2, blocks + 1, 0.0, 0.0, 0.0, BITS, BITS, 0.05, 1.0, 1.1, 0.05, 4
    ).eval()


def random_ids(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randint(2**BITS, shape, generator=generator)


@settings(max_examples=40, deadline=None)
@given(
    b=st.integers(1, 3),
    samples=st.integers(1, 3),
    length=st.integers(1, 12),
    horizon=st.integers(1, 7),
    context=st.integers(1, 14),
    learned=st.booleans(),
    seed=st.integers(0, 2**31),
)
@torch.no_grad()
def test_every_step_equals_the_whole_window(
    b: int, samples: int, length: int, horizon: int, context: int, learned: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = small_model(learned)
    s1, s2 = random_ids(generator, b, length), random_ids(generator, b, length)
    stamps = torch.stack(
        [torch.randint(n, (b, length + horizon), generator=generator) for n in (60, 24, 7, 32, 13)],
        -1,
    )
    rows = b * samples
    tile = TileDecoder(
        FusedKronos(model, torch.float32, context), s1, s2, stamps, samples, ROW_QUANTUM
    )
    tile.prefill()
    full1, full2 = s1.repeat_interleave(samples, 0), s2.repeat_interleave(samples, 0)
    full_stamps = stamps.repeat_interleave(samples, 0)
    for _ in range(horizon):
        end = full1.shape[1]
        at = slice(max(0, end - context), end)
        logits, states = model.decode_s1(full1[:, at], full2[:, at], full_stamps[:, at])
        torch.testing.assert_close(tile.s1_logits(), logits[:, -1], rtol=1e-4, atol=2e-5)
        chosen1, chosen2 = random_ids(generator, rows), random_ids(generator, rows)
        wanted = model.decode_s2(states, chosen1.unsqueeze(1))[:, -1]
        torch.testing.assert_close(tile.s2_logits(chosen1), wanted, rtol=1e-4, atol=2e-5)
        if end - length < horizon - 1:
            tile.advance(chosen1, chosen2)
        full1 = torch.cat((full1, chosen1.unsqueeze(1)), 1)
        full2 = torch.cat((full2, chosen2.unsqueeze(1)), 1)


@settings(max_examples=40, deadline=None)
@given(
    b=st.integers(1, 3),
    samples=st.integers(1, 3),
    width=st.integers(0, 9),
    horizon=st.integers(1, 6),
    blocks=st.integers(0, 2),
    seed=st.integers(0, 2**31),
)
@torch.no_grad()
def test_a_shared_prefix_decodes_as_the_whole_sequence(
    b: int, samples: int, width: int, horizon: int, blocks: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokenizer = small_tokenizer(blocks)
    old = random_ids(generator, b, width), random_ids(generator, b, width)
    new = random_ids(generator, b * samples, horizon), random_ids(generator, b * samples, horizon)
    fused = FusedTokenizer(tokenizer, torch.float32, 16)
    got = decode_suffix(fused, old, new, samples, ROW_QUANTUM)
    whole = tuple(
        torch.cat((o.repeat_interleave(samples, 0), n), 1) for o, n in zip(old, new, strict=True)
    )
    wanted = tokenizer.decode(whole, half=True)[:, width:]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(b=st.integers(1, 4), length=st.integers(1, 20), seed=st.integers(0, 2**31))
@torch.no_grad()
def test_fused_encoding_gives_the_same_ids(b: int, length: int, seed: int) -> None:
    x = torch.randn(b, length, 6, generator=torch.Generator().manual_seed(seed))
    tokenizer = small_tokenizer(1)
    got = FusedTokenizer(tokenizer, torch.float32, 4).encode(x, ROW_QUANTUM)
    for mine, wanted in zip(got, tokenizer.encode(x, half=True), strict=True):
        assert torch.equal(mine, wanted)
