"""The state of one tile of series while their samples are drawn, bar by bar.

Knows ids, time embeddings and caches; nothing of candles, prices or how a token is chosen. A tile
has b series of one length and S samples each, R = b·S rows, series-major. Call order:
`prefill`, then for each bar `s1_logits`, `s2_logits`, `advance`; `advance` after the last bar is
not needed.

While the bars fit the context, keys and values are cached: the prefix once a series, new bars once
a sample. When they no longer fit, the window slides and every position's own context has changed,
so cached keys are stale: each step then runs the whole window again, as the published code does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kronos.inference.fused import (
    SCORE_ELEMENTS,
    FusedKronos,
    FusedTokenizer,
    LayerCache,
    extend_block,
    pad_rows,
    prefill_block,
    sample_group,
)

PREFILL_TOKENS = 2048  # whole-sequence passes are cut to about this many bars, to stay in cache


class TileDecoder:
    """Next-bar logits of every row of a tile, cached where that is right.

    s1, s2: history ids `[b, L]`; stamps: `[b, L + P, 5]` for history and horizon; samples: S.
    """

    def __init__(
        self,
        model: FusedKronos,
        s1: Tensor,
        s2: Tensor,
        stamps: Tensor,
        samples: int,
        quantum: int,
    ) -> None:
        self.model, self.samples, self.quantum = model, samples, quantum
        self.b, self.length = s1.shape
        self.rows = self.b * samples
        self.horizon = stamps.shape[1] - self.length
        self.time = model.time_embedding(stamps)  # [b, L + P, d]
        self.s1, self.s2 = s1, s2
        self.new_s1: list[Tensor] = []  # [R] each
        self.new_s2: list[Tensor] = []

    @property
    def slid(self) -> bool:
        """Whether the window has begun to slide."""
        return bool(self.new_s1) and self.length + len(self.new_s1) > self.model.max_context

    def prefill(self) -> None:
        """Run the histories, the last `max_context` bars of each."""
        width = min(self.length, self.model.max_context)
        capacity = max(0, min(self.horizon - 1, self.model.max_context - width))
        self.filled = 0
        self.cached = [
            self._cache(blk.n_heads, blk.head_dim, width, capacity) for blk in self.model.blocks
        ]
        self.cross = self._cache(self.model.cross_heads, self.model.cross_dim, width, capacity)
        time = self.time[:, self.length - width : self.length]
        states = self._run(self.s1[:, -width:], self.s2[:, -width:], time, self.cached, self.cross)
        self.width = width
        self.states = self._spread(states)

    def _cache(self, heads: int, head_dim: int, width: int, capacity: int) -> LayerCache:
        size = (self.b, self.samples, heads, width, capacity, head_dim)
        return LayerCache(*size, self.time, self.quantum)

    def _spread(self, states: Tensor) -> Tensor:
        """`[b, d]` → `[R, d]` padded to whole quanta."""
        return pad_rows(states.repeat_interleave(self.samples, 0), self.quantum)

    def _run(
        self,
        s1: Tensor,
        s2: Tensor,
        time: Tensor,
        caches: list[LayerCache] | None,
        cross: LayerCache,
    ) -> Tensor:
        """Whole windows, ids `[n, W]`, filling the caches; the last hidden states `[n, d]`."""
        n, width = s1.shape
        chunk = max(1, PREFILL_TOKENS // width)
        last = s1.new_empty((n, self.model.d), dtype=self.model.dtype)
        for start in range(0, n, chunk):
            at = slice(start, min(start + chunk, n))
            x = self.model.embed(s1[at], s2[at], time[at])
            count = x.shape[0]
            x = pad_rows(x.flatten(0, 1), self.quantum)
            for i, block in enumerate(self.model.blocks):
                cache = caches[i] if caches is not None else None
                x = prefill_block(block, x, (count, width), self.model.cis[:width], cache, at)
            x = self.model.normed(x)
            kv = self.model.cross_keys(x)  # whole quanta: padding goes after the product
            k, v = (y[: count * width].unflatten(0, (count, width)) for y in kv)
            cross.prefix_k[at], cross.prefix_v[at] = k.transpose(1, 2), v.transpose(1, 2)
            last[at] = x[: count * width].view(count, width, -1)[:, -1]
        return last

    def s1_logits(self) -> Tensor:
        """`[R, V1]` fp32."""
        return self.model.s1_logits(self.states)[: self.rows]

    def s2_logits(self, s1: Tensor) -> Tensor:
        """Chosen s1 `[R]` → `[R, V2]` fp32."""
        b, s = (self.rows, 1) if self.slid else (self.b, self.samples)
        query = self.model.query_table[s1].view(b, s, 1, self.model.cross_heads, -1)
        filled = 0 if self.slid else self.filled
        out = self.cross.attend(query, filled, self.states.shape[0])
        return self.model.s2_logits(self.states, out)[: self.rows]

    def advance(self, s1: Tensor, s2: Tensor) -> None:
        """Append the chosen bar, ids `[R]` each, to every row."""
        self.new_s1.append(s1)
        self.new_s2.append(s2)
        if self.slid:
            self._slide()
        else:
            self._extend(s1, s2)

    def _extend(self, s1: Tensor, s2: Tensor) -> None:
        model, at = self.model, self.length + len(self.new_s1) - 1
        time = self.time[:, at].repeat_interleave(self.samples, 0)
        x = pad_rows(model.embed(s1, s2, time), self.quantum)
        position = self.width + self.filled
        lead = (self.b, self.samples, 1)
        for block, cache in zip(model.blocks, self.cached, strict=True):
            cis = model.cis[position : position + 1]
            x = extend_block(block, x, lead, cis, cache, self.filled, None)
        self.states = model.normed(x)
        k, v = (y[: self.rows].unflatten(0, lead) for y in model.cross_keys(self.states))
        self.cross.append(k, v, self.filled)
        self.filled += 1

    def _slide(self) -> None:
        """Run the last `max_context` bars of every row again."""
        width, steps = self.model.max_context, len(self.new_s1)
        if self.cached:
            self.cached = []  # stale from here on
            size = (self.rows, 1, self.model.cross_heads, width, 0, self.model.cross_dim)
            self.cross = LayerCache(*size, self.time, quantum=1)  # one query a cache, always

        def window(old: Tensor, new: list[Tensor]) -> Tensor:
            whole = torch.cat((old.repeat_interleave(self.samples, 0), torch.stack(new, 1)), 1)
            return whole[:, -width:]

        s1, s2 = window(self.s1, self.new_s1), window(self.s2, self.new_s2)
        end = self.length + steps
        time = self.time[:, end - width : end].repeat_interleave(self.samples, 0)
        self.states = pad_rows(self._run(s1, s2, time, None, self.cross), self.quantum)


def decode_suffix(
    tokenizer: FusedTokenizer,
    prefix: tuple[Tensor, Tensor],
    new: tuple[Tensor, Tensor],
    samples: int,
    quantum: int,
) -> Tensor:
    """Candles of the sampled bars: prefix ids `[b, W]`, new ids `[R, P]` → `[R, P, 6]` fp32.

    The decoder is causal: it runs the prefix once a series and the new bars once a sample.
    """
    b, width = prefix[0].shape
    horizon = new[0].shape[1]
    group = min(samples, sample_group(_heads(tokenizer), horizon, width + horizon))
    per_series = group * horizon * (width + horizon) * _heads(tokenizer)
    chunk = max(1, min(SCORE_ELEMENTS // per_series, PREFILL_TOKENS // max(width, 1)))
    parts = []
    for start in range(0, b, chunk):
        end = min(start + chunk, b)
        at, rows = slice(start, end), slice(start * samples, end * samples)
        caches = _decoder_prefix(tokenizer, prefix[0][at], prefix[1][at], samples, horizon, quantum)
        z = tokenizer.embed_codes(new[0][rows], new[1][rows], quantum)
        mask = z.new_full((horizon, horizon), -math.inf).triu(1)
        cis = tokenizer.cis(width, width + horizon)
        for block, cache in zip(tokenizer.decoder, caches, strict=True):
            z = extend_block(block, z, (end - start, samples, horizon), cis, cache, 0, mask)
        candles = tokenizer.head(z)[: (end - start) * samples * horizon]
        parts.append(candles.view(-1, horizon, candles.shape[-1]))
    return torch.cat(parts)


def _heads(tokenizer: FusedTokenizer) -> int:
    return tokenizer.decoder[0].n_heads if tokenizer.decoder else 1


def _decoder_prefix(
    tokenizer: FusedTokenizer, s1: Tensor, s2: Tensor, samples: int, horizon: int, quantum: int
) -> list[LayerCache]:
    """Keys and values of the decoder's blocks for histories `[b, W]`; W may be 0."""
    b, width = s1.shape
    z = tokenizer.embed_codes(s1, s2, quantum)
    caches = []
    for i, block in enumerate(tokenizer.decoder):
        size = (b, samples, block.n_heads, width, horizon, block.head_dim)
        cache = LayerCache(*size, z, quantum)
        last = i == len(tokenizer.decoder) - 1
        if width:
            z = prefill_block(
                block, z, (b, width), tokenizer.cis(0, width), cache, slice(0, b), last
            )
        caches.append(cache)
    return caches
