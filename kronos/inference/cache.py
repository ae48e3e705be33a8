"""Keys and values of a layer, and attention over them.

Knows tensors of one layer; nothing of weights, tokens or candles. A prefix is kept once for a
series and shared by its samples; the bars that each sample added are kept beside it. The samples'
queries meet the prefix as one matrix product and their own few bars separately.
Shapes: b series, S samples, W prefix bars, T new bars, H heads, D head size, d = H·D.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SCORE_ELEMENTS = 1 << 20  # attention scores of a series held at once, to stay in cache
SMALLEST_PRODUCT = 400  # multiplications; torch takes another kernel for batches of smaller ones


def samples_at_once(heads: int, new_bars: int, keys: int) -> int:
    """How many samples' attention scores of one series are held at once."""
    return max(1, SCORE_ELEMENTS // (heads * new_bars * keys))


def attention_dtype(states: Tensor) -> torch.dtype:
    """What attention over a cache runs in, for such hidden states."""
    return torch.float32 if states.device.type == "cpu" else states.dtype


@dataclass(frozen=True)
class CacheSize:
    """How much a cache holds."""

    series: int  # b
    samples: int  # S of each series
    heads: int  # H
    head_dim: int  # D
    prefix: int  # W bars of each series
    capacity: int  # bars that each sample may add


class LayerCache:
    """Keys and values of one layer: a prefix a series, and what each sample added.

    prefix_k, prefix_v `[b, H, W, D]`; own_k, own_v `[b, H, S, capacity, D]`, of which the first
    `filled` bars hold something. Memory is taken once, on the device of `states`.

    A sample's result does not depend on S: its own keys are met in a product of their own, and the
    queries that share the prefix are padded to whole quanta of rows, as in `pad_rows` (quantum 1:
    no padding, where their number is always the same). On a CPU attention runs in fp32: which
    kernel narrow types take depends on the whole batch there.
    """

    def __init__(self, size: CacheSize, states: Tensor, quantum: int) -> None:
        self.size, self.quantum = size, quantum
        self.dtype = attention_dtype(states)
        self.filled = 0
        b, h, d = size.series, size.heads, size.head_dim

        prefix, own = (b, h, size.prefix, d), (b, h, size.samples, size.capacity, d)
        self.prefix_k, self.prefix_v, self.own_k, self.own_v = (
            states.new_empty(shape, dtype=self.dtype) for shape in (prefix, prefix, own, own)
        )

    def reset(self) -> None:
        """Forget what the samples added; the prefix stays."""
        self.filled = 0

    def store_prefix(self, k: Tensor, v: Tensor, series: slice) -> None:
        """Write the prefix of some series, `[n, H, W, D]` each."""
        self.prefix_k[series], self.prefix_v[series] = k, v

    def append(self, k: Tensor, v: Tensor) -> None:
        """Add T bars to every sample, `[b, S, T, H, D]` each; IndexError beyond the capacity."""
        end = self.filled + k.shape[2]
        if end > self.size.capacity:
            raise IndexError(
                f"the cache holds {self.size.capacity} bars a sample: there is no room for "
                f"{k.shape[2]} more after {self.filled}"
            )
        self.own_k[:, :, :, self.filled : end] = k.permute(0, 3, 1, 2, 4)
        self.own_v[:, :, :, self.filled : end] = v.permute(0, 3, 1, 2, 4)
        self.filled = end

    def attend(self, q: Tensor, rows: int, mask: Tensor | None = None) -> Tensor:
        """Softmax attention of `q [b, S, T, H, D]`, already scaled, over the prefix and what the
        samples added; `mask [T, filled]` is added to the scores of the latter. Gives `[rows, d]`,
        rows beyond b·S·T zero."""
        b, s, t, h, d = q.shape
        flat = q.permute(0, 3, 1, 2, 4).to(self.dtype).contiguous()  # [b, H, S, T, D]
        group = samples_at_once(h, t, self.size.prefix + self.filled)
        parts = [
            self._attend_group(part, slice(i, i + group), mask)
            for i, part in zip(range(0, s, group), flat.split(group, 2), strict=True)
        ]
        out = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
        out = out.permute(0, 2, 3, 1, 4).to(q.dtype)
        if rows == b * s * t:
            return out.reshape(rows, h * d)
        padded = q.new_zeros(rows, h * d)
        padded[: b * s * t].view(out.shape).copy_(out)
        return padded

    def _padding(self, queries: int) -> int:
        """Rows to add to `queries` for whole quanta, and for products of the usual kernel."""
        if self.quantum == 1:
            return 0
        least = -(-SMALLEST_PRODUCT // (self.size.head_dim * max(1, self.size.prefix)))
        rows = max(queries, least)
        return rows + -rows % self.quantum - queries

    def _attend_group(self, q: Tensor, samples: slice, mask: Tensor | None) -> Tensor:
        """`q [b, H, S, T, D]` of some samples over prefix and own bars together: the same shape."""
        b, h, s, t, d = q.shape
        rows, filled = s * t, self.filled
        missing = self._padding(rows)
        flat = q.reshape(b, h, rows, d)
        flat = F.pad(flat, (0, 0, 0, missing)) if missing else flat
        scores = flat @ self.prefix_k.transpose(-1, -2)  # [b, H, S·T (padded), W]
        if not filled:
            return (scores.softmax(-1) @ self.prefix_v)[:, :, :rows].reshape(q.shape)
        # Reshaped before they are transposed: a copy of part of them would be laid out otherwise.
        own_k, own_v = (
            y[:, :, samples, :filled].reshape(-1, filled, d) for y in (self.own_k, self.own_v)
        )
        own = torch.bmm(q.reshape(-1, t, d), own_k.transpose(1, 2))  # [b·H·S, T, filled]
        own = own.add_(mask) if mask is not None else own
        own = own.view(b, h, rows, filled)
        own = F.pad(own, (0, 0, 0, missing)) if missing else own
        p = torch.cat((scores, own), -1).softmax(-1)
        width = self.size.prefix
        out = (p[..., :width] @ self.prefix_v)[:, :, :rows].reshape(-1, t, d)
        weights = p[:, :, :rows, width:].reshape(-1, t, filled)
        return out.add_(torch.bmm(weights, own_v)).view(q.shape)
