"""The state of one tile of series while their samples are drawn, bar by bar.

Knows ids, time embeddings and caches; nothing of candles, prices or how a token is chosen. A tile
has b series of one length and S samples each: R = b·S rows, one series after the other.
Call order: `prefill`, then for each bar `s1_logits`, `s2_logits`, `advance`. `reset` starts anew
after the histories.

While the bars fit the context, keys and values are cached: the prefix once a series, new bars once
a sample. When they no longer fit (`overflowed`), the window slides and every position's own context
has changed, so cached keys are stale: each step then runs the whole window again, as the published
code does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kronos.inference.cache import SCORE_ELEMENTS, CacheSize, LayerCache, samples_at_once
from kronos.inference.fused import FusedKronos, FusedTokenizer
from kronos.inference.operand import pad_rows

PREFILL_TOKENS = 2048  # whole-sequence passes are cut to about this many bars, to stay in cache


class TileDecoder:
    """Next-bar logits of every row of a tile, cached where that is right.

    s1, s2: history ids `[b, L]`; stamps: `[b, L + P, 5]` for history and horizon; samples: S;
    quantum: rows are padded to multiples of it. Caches and room for the sampled ids are made here.
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
        self.step = 0  # bars sampled so far
        self.sampled_s1, self.sampled_s2 = (s1.new_zeros(self.rows, self.horizon) for _ in range(2))
        self.width = min(self.length, model.max_context)  # bars of the prefix
        capacity = max(0, min(self.horizon - 1, model.max_context - self.width))
        sizes = [(block.n_heads, block.head_dim) for block in model.blocks]
        self.caches = [self._cache(*size, capacity) for size in sizes]
        self.cross = self._cache(model.cross_heads, model.cross_dim, capacity)
        self.window_cross = self._window_cache()
        self.prefix_states = self.time.new_zeros(self.b, model.d)  # of its last bar
        self.states = self._repeated(self.prefix_states)  # what the next logits are made of

    @property
    def overflowed(self) -> bool:
        """Whether history and sampled bars no longer fit the context."""
        return self.step > 0 and self.length + self.step > self.model.max_context

    def _cache(self, heads: int, head_dim: int, capacity: int) -> LayerCache:
        size = CacheSize(self.b, self.samples, heads, head_dim, self.width, capacity)
        return LayerCache(size, self.time, self.quantum)

    def _window_cache(self) -> LayerCache | None:
        """Keys of the dependency layer for a window of every row; None where it never slides."""
        model, context = self.model, self.model.max_context
        if self.length + self.horizon - 1 <= context:
            return None
        size = CacheSize(self.rows, 1, model.cross_heads, model.cross_dim, context, 0)
        return LayerCache(size, self.time, quantum=1)  # one query a cache, always

    def prefill(self) -> None:
        """Run the histories, the last `max_context` bars of each."""
        bars = slice(self.length - self.width, self.length)
        ids = self.s1[:, bars], self.s2[:, bars]
        self.prefix_states = self._run(*ids, self.time[:, bars], self.caches, self.cross)
        self.reset()

    def reset(self) -> None:
        """Forget the sampled bars; the histories are not run again."""
        self.step = 0
        for cache in (*self.caches, self.cross):
            cache.reset()
        self.states = self._repeated(self.prefix_states)

    def _repeated(self, states: Tensor) -> Tensor:
        """One state a series, `[b, d]` → one a row, `[R, d]` padded to whole quanta."""
        return pad_rows(states.repeat_interleave(self.samples, 0), self.quantum)

    def s1_logits(self) -> Tensor:
        """`[R, V1]` fp32."""
        return self.model.s1_logits(self.states)[: self.rows]

    def s2_logits(self, s1: Tensor) -> Tensor:
        """Chosen s1 `[R]` → `[R, V2]` fp32."""
        cross = self._current_cross()
        size = cross.size
        query = self.model.query_table[s1].view(size.series, size.samples, 1, size.heads, -1)
        attended = cross.attend(query, self.states.shape[0])
        return self.model.s2_logits(self.states, attended)[: self.rows]

    def _current_cross(self) -> LayerCache:
        return self.window_cross if self.overflowed and self.window_cross else self.cross

    def advance(self, s1: Tensor, s2: Tensor) -> None:
        """Add the chosen bar, ids `[R]` each, to every row; IndexError after the last one.

        The model runs on it unless it is the last: nothing comes after that.
        """
        if self.step == self.horizon:
            raise IndexError(f"all {self.horizon} bars are sampled already")
        self.sampled_s1[:, self.step], self.sampled_s2[:, self.step] = s1, s2
        self.step += 1
        if self.step == self.horizon:
            return
        if self.overflowed:
            self._run_window()
        else:
            self._extend(s1, s2)

    def sampled(self) -> tuple[Tensor, Tensor]:
        """The bars sampled so far, ids `[R, step]` each; `reset` and `advance` write over them."""
        return self.sampled_s1[:, : self.step], self.sampled_s2[:, : self.step]

    def _extend(self, s1: Tensor, s2: Tensor) -> None:
        """Run the bar just added, after the caches."""
        model, bar = self.model, self.length + self.step - 1
        time = self.time[:, bar].repeat_interleave(self.samples, 0)
        x = pad_rows(model.embed(s1, s2, time), self.quantum)
        position = self.width + self.cross.filled
        rotations = model.rotations[position : position + 1]
        shape = (self.b, self.samples, 1)
        for block, cache in zip(model.blocks, self.caches, strict=True):
            x = block.extend(x, shape, rotations, cache)
        self.states = model.normed(x)
        k, v = (y[: self.rows].unflatten(0, shape) for y in model.cross_keys(self.states))
        self.cross.append(k, v)

    def _run_window(self) -> None:
        """Run the last `max_context` bars of every row again."""
        width, end = self.model.max_context, self.length + self.step
        s1, s2 = (
            torch.cat((history.repeat_interleave(self.samples, 0), sampled), 1)[:, -width:]
            for history, sampled in zip((self.s1, self.s2), self.sampled(), strict=True)
        )
        time = self.time[:, end - width : end].repeat_interleave(self.samples, 0)
        no_caches = [None] * len(self.caches)
        states = self._run(s1, s2, time, no_caches, self._current_cross())
        self.states = pad_rows(states, self.quantum)

    def _run(
        self,
        s1: Tensor,
        s2: Tensor,
        time: Tensor,
        caches: Sequence[LayerCache | None],
        cross: LayerCache,
    ) -> Tensor:
        """Whole windows, ids `[n, W]`, filling the caches; the last hidden states `[n, d]`."""
        n, width = s1.shape
        chunk = max(1, PREFILL_TOKENS // width)
        last = s1.new_empty((n, self.model.d), dtype=self.model.dtype)
        for start in range(0, n, chunk):
            part = slice(start, min(start + chunk, n))
            x = self.model.embed(s1[part], s2[part], time[part])
            shape = x.shape[0], width
            x = pad_rows(x.flatten(0, 1), self.quantum)
            for block, cache in zip(self.model.blocks, caches, strict=True):
                x = block.prefill(x, shape, self.model.rotations[:width], cache, part)
            x = self.model.normed(x)
            kv = self.model.cross_keys(x)  # whole quanta: padding goes after the product
            k, v = (y[: shape[0] * width].unflatten(0, shape).transpose(1, 2) for y in kv)
            cross.store_prefix(k, v, part)
            last[part] = x[: shape[0] * width].view(*shape, -1)[:, -1]
        return last


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
    heads = tokenizer.decoder_heads
    group = min(samples, samples_at_once(heads, horizon, width + horizon))
    per_series = group * horizon * (width + horizon) * heads
    chunk = max(1, min(SCORE_ELEMENTS // per_series, PREFILL_TOKENS // max(width, 1)))
    parts = []
    for start in range(0, b, chunk):
        end = min(start + chunk, b)
        series, rows = slice(start, end), slice(start * samples, end * samples)
        s1, s2 = (ids[series] for ids in prefix)
        caches = _decoder_caches(tokenizer, s1, s2, (samples, horizon), quantum)
        parts.append(_decode_new(tokenizer, new[0][rows], new[1][rows], caches, quantum))
    return torch.cat(parts)


def _decoder_caches(
    tokenizer: FusedTokenizer, s1: Tensor, s2: Tensor, new: tuple[int, int], quantum: int
) -> list[LayerCache]:
    """Caches of the decoder's blocks after histories `[b, W]`, W may be 0, with room for `new =
    (samples, bars)`."""
    (b, width), (samples, horizon) = s1.shape, new
    z = tokenizer.embed_codes(s1, s2, quantum)
    caches = [
        LayerCache(CacheSize(b, samples, block.n_heads, block.head_dim, width, horizon), z, quantum)
        for block in tokenizer.decoder
    ]
    if not width:
        return caches
    shape, rotations, whole = (b, width), tokenizer.rotations(0, width), slice(0, b)
    for block, cache in zip(tokenizer.decoder[:-1], caches, strict=False):
        z = block.prefill(z, shape, rotations, cache, whole)
    for block, cache in zip(tokenizer.decoder[-1:], caches[-1:], strict=True):
        block.prefill_cache(z, shape, rotations, cache, whole)
    return caches


def _decode_new(
    tokenizer: FusedTokenizer, s1: Tensor, s2: Tensor, caches: list[LayerCache], quantum: int
) -> Tensor:
    """Sampled ids `[b·S, P]` after the caches' histories → candles `[b·S, P, 6]` fp32."""
    rows, horizon = s1.shape
    z = tokenizer.embed_codes(s1, s2, quantum)
    mask = z.new_full((horizon, horizon), -math.inf).triu(1)
    for block, cache in zip(tokenizer.decoder, caches, strict=True):
        size = cache.size
        rotations = tokenizer.rotations(size.prefix, size.prefix + horizon)
        z = block.extend(z, (size.series, size.samples, horizon), rotations, cache, mask)
    return tokenizer.head(z)[: rows * horizon].view(rows, horizon, -1)
