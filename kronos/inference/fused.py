"""The same arithmetic as `kronos.layers`, rearranged once for inference.

Knows weights and tensors; nothing of candles, sampling or how long a cache lives. What is
rearranged, each step exact up to rounding:

- norm weights move into the linear layer that follows, q, k and v become one matrix product, w1 and
  w3 another, 1/√D moves into q;
- rows of q and k are permuted within a head so that the rotation is one complex product;
- the embedding of a token pair, linear in both, becomes two table look-ups; so does the query that
  the dependency layer makes of an s1.

Shapes: b series, S samples, R = b·S rows, W prefix bars, T new bars, H heads, D head size, d = H·D.
"""

from __future__ import annotations

import math
from copy import copy, deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.inference.cache import LayerCache
from kronos.inference.operand import Operand, frozen, pad_rows
from kronos.layers import TransformerBlock
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x²) + eps)` over the last dimension, in fp32."""
    x32 = x.float()
    norm = torch.linalg.vector_norm(x32, dim=-1, keepdim=True)
    scale = (norm * norm).mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return (x32 * scale).to(x.dtype)


def rotation_table(inv_freq: Tensor, length: int) -> Tensor:
    """Rotations of positions by frequencies `[D/2]` as complex numbers, `[length, D/2]`."""
    angles = torch.outer(torch.arange(length, device=inv_freq.device).float(), inv_freq)
    return torch.polar(torch.ones_like(angles), angles)


def rotate_interleaved(x: Tensor, rotations: Tensor) -> Tensor:
    """Rotate `x [..., T, 2, H, D]` (q and k, pairs interleaved) by `rotations [T, D/2]`."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotations[:, None, None, :]).flatten(-2).to(x.dtype)


def _interleave(weight: Tensor, n_heads: int) -> Tensor:
    """Permute a projection's output rows from half-split to interleaved pairs within each head."""
    halves = weight.unflatten(0, (n_heads, 2, -1))  # [H, 2, D/2, ...]
    return halves.transpose(1, 2).flatten(0, 2)


class FusedBlock:
    """A transformer block's weights for inference."""

    def __init__(self, block: TransformerBlock, dtype: torch.dtype) -> None:
        attention, norm1, norm2 = block.self_attn, block.norm1.weight, block.norm2.weight
        self.n_heads, self.head_dim = attention.n_heads, attention.head_dim
        self.d = self.n_heads * self.head_dim
        self.eps1, self.eps2 = block.norm1.eps, block.norm2.eps
        scale = self.head_dim**-0.5
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        h = self.n_heads
        w_qkv = (
            torch.cat((_interleave(q.weight, h) * scale, _interleave(k.weight, h), v.weight))
            * norm1
        )
        b_qkv = torch.cat((_interleave(q.bias, h) * scale, _interleave(k.bias, h), v.bias))
        self.qkv_operand = Operand(w_qkv, b_qkv, dtype)
        self.out_operand = Operand(attention.out_proj.weight, None, dtype)
        self.out_bias = frozen(attention.out_proj.bias, dtype)
        gate_up = torch.cat((block.ffn.w1.weight, block.ffn.w3.weight)) * norm2
        self.gate_up_operand = Operand(gate_up, None, dtype)
        self.down_operand = Operand(block.ffn.w2.weight, None, dtype)

    @property
    def operands(self) -> list[Operand]:
        return [self.qkv_operand, self.out_operand, self.gate_up_operand, self.down_operand]

    def prefill(
        self,
        x: Tensor,
        shape: tuple[int, int],
        rotations: Tensor,
        cache: LayerCache | None,
        series: slice,
    ) -> Tensor:
        """Run whole sequences, rows `x [≥ n·W, d]` of `shape = (n, W)`; where there is a cache,
        keys and values are its prefix of `series`."""
        q, k, v = self._heads_first(x, shape, rotations)
        if cache is not None:
            cache.store_prefix(k, v, series)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        attended = out.transpose(1, 2).reshape(-1, self.d)
        missing = x.shape[0] - attended.shape[0]
        return self._finish(x, F.pad(attended, (0, 0, 0, missing)) if missing else attended)

    def prefill_cache(
        self,
        x: Tensor,
        shape: tuple[int, int],
        rotations: Tensor,
        cache: LayerCache,
        series: slice,
    ) -> None:
        """As `prefill` for a last block, whose keys and values alone are wanted."""
        _, k, v = self._heads_first(x, shape, rotations)
        cache.store_prefix(k, v, series)

    def extend(
        self,
        x: Tensor,
        shape: tuple[int, int, int],
        rotations: Tensor,
        cache: LayerCache,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Run T new bars of every sample, rows `x [≥ b·S·T, d]` of `shape = (b, S, T)`, after those
        in the cache, to which they are added; `mask` as in `LayerCache.attend`."""
        q, k, v = self._qkv(x, shape, rotations)
        cache.append(k, v)
        return self._finish(x, cache.attend(q, x.shape[0], mask))

    def _qkv(
        self, x: Tensor, shape: tuple[int, ...], rotations: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows `x [≥ n, d]` → q, k, v, each `[*shape, H, D]`; the last of `shape` is time, whose
        rotations are `[T, D/2]`. Rows beyond `shape` are padding."""
        h = self.qkv_operand(rms_norm(x, self.eps1))
        h = h[: math.prod(shape)].view(*shape, 3, self.n_heads, self.head_dim)
        qk = rotate_interleaved(h[..., :2, :, :], rotations)
        return qk[..., 0, :, :], qk[..., 1, :, :], h[..., 2, :, :]

    def _heads_first(
        self, x: Tensor, shape: tuple[int, int], rotations: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of `shape = (n, W)`, each `[n, H, W, D]`."""
        q, k, v = self._qkv(x, shape, rotations)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the projected attention and the feed-forward part: `[n, d]` → `[n, d]`."""
        x = self.out_operand(attended, x).add_(self.out_bias)
        gate, up = self.gate_up_operand(rms_norm(x, self.eps2)).chunk(2, -1)
        return self.down_operand(F.silu(gate).mul_(up), x)


class FusedKronos:
    """The forecaster's weights for inference."""

    def __init__(self, model: Kronos, dtype: torch.dtype, max_context: int) -> None:
        self.dtype, self.d, self.max_context = dtype, model.d_model, max_context
        embedding, fusion = model.embedding, model.embedding.fusion_proj
        w1, w2 = fusion.weight.chunk(2, 1)
        self.table1 = (embedding.emb_s1.weight * embedding.scale @ w1.T + fusion.bias).to(dtype)
        self.table2 = (embedding.emb_s2.weight * embedding.scale @ w2.T).to(dtype)
        self.calendar = deepcopy(model.time_emb)
        blocks = [b for b in model.transformer if isinstance(b, TransformerBlock)]
        self.blocks = [FusedBlock(b, dtype) for b in blocks]
        self.rotations = rotation_table(blocks[0].self_attn.rotary.inv_freq, max_context)
        self.eps, self.norm_weight = model.norm.eps, frozen(model.norm.weight, dtype)
        cross = model.dep_layer.cross_attn
        self.cross_heads, self.cross_dim = cross.n_heads, cross.head_dim
        queries = F.linear(embedding.emb_s1.weight, cross.q_proj.weight, cross.q_proj.bias)
        self.query_table = (queries * cross.head_dim**-0.5).to(dtype)
        kv_weight = torch.cat((cross.k_proj.weight, cross.v_proj.weight))
        kv_bias = torch.cat((cross.k_proj.bias, cross.v_proj.bias))
        self.cross_operand = Operand(kv_weight, kv_bias, dtype)
        self.cross_out_operand = Operand(cross.out_proj.weight, None, dtype)
        self.cross_out_bias = frozen(cross.out_proj.bias, dtype)
        self.dep_eps = model.dep_layer.norm.eps
        s1, s2 = model.head.proj_s1, model.head.proj_s2
        self.s1_operand = Operand(s1.weight, s1.bias, dtype)
        self.s2_operand = Operand(s2.weight * model.dep_layer.norm.weight, s2.bias, dtype)

    @property
    def operands(self) -> list[Operand]:
        """The right side of every matrix product by a weight."""
        own = [self.cross_operand, self.cross_out_operand, self.s1_operand, self.s2_operand]
        return [operand for block in self.blocks for operand in block.operands] + own

    def time_embedding(self, stamps: Tensor) -> Tensor:
        """Stamps `[b, T, 5]` → `[b, T, d]`."""
        return self.calendar(stamps).to(self.dtype)

    def embed(self, s1: Tensor, s2: Tensor, time: Tensor) -> Tensor:
        """Ids `[...]` and time embedding `[..., d]` → `[..., d]`."""
        return self.table1[s1] + self.table2[s2] + time

    def normed(self, x: Tensor) -> Tensor:
        """The last block's output → hidden states, `[n, d]` each."""
        return rms_norm(x, self.eps) * self.norm_weight

    def cross_keys(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states `[n, d]` → keys and values of the dependency layer, `[n, H, D]` each."""
        k, v = self.cross_operand(states).view(-1, 2, self.cross_heads, self.cross_dim).unbind(1)
        return k, v

    def s1_logits(self, states: Tensor) -> Tensor:
        """Hidden states `[n, d]` → `[n, V1]` fp32."""
        return self.s1_operand(states).float()

    def s2_logits(self, states: Tensor, attended: Tensor) -> Tensor:
        """Hidden states and cross-attention output, `[n, d]` each → `[n, V2]` fp32."""
        x = self.cross_out_operand(attended, states).add_(self.cross_out_bias)
        return self.s2_operand(rms_norm(x, self.dep_eps)).float()


def _without_blocks(tokenizer: KronosTokenizer) -> KronosTokenizer:
    """A frozen copy of what stands around the transformer blocks."""
    bare = copy(tokenizer)
    bare._modules = {
        name: None if name in ("encoder", "decoder") else deepcopy(part)
        for name, part in tokenizer._modules.items()
    }
    return bare


class FusedTokenizer:
    """The tokenizer's weights for inference."""

    def __init__(self, tokenizer: KronosTokenizer, dtype: torch.dtype, max_length: int) -> None:
        self.module, self.dtype = _without_blocks(tokenizer), dtype

        def fuse(blocks: nn.ModuleList) -> list[FusedBlock]:
            return [FusedBlock(b, dtype) for b in blocks if isinstance(b, TransformerBlock)]

        self.encoder, self.decoder = fuse(tokenizer.encoder), fuse(tokenizer.decoder)
        self.d = tokenizer.embed.out_features
        blocks = (*tokenizer.encoder, *tokenizer.decoder)
        frequencies = [
            b.self_attn.rotary.inv_freq for b in blocks if isinstance(b, TransformerBlock)
        ]
        self._inv_freq = frequencies[0].clone() if frequencies else None
        self.max_length, self._rotations = 0, torch.empty(0)
        self.grow(max_length)

    @property
    def operands(self) -> list[Operand | nn.Linear]:
        """The right side of every matrix product by a weight that forecasts use."""
        module = self.module
        around = [module.embed, module.quant_embed, module.post_quant_embed, module.head]
        inside = [op for block in (*self.encoder, *self.decoder) for op in block.operands]
        return [*inside, *around]

    @property
    def decoder_heads(self) -> int:
        """Heads of a decoder block; 1 where there is none."""
        return self.decoder[0].n_heads if self.decoder else 1

    def grow(self, length: int) -> None:
        """Make rotations for at least `length` positions."""
        if length > self.max_length and self._inv_freq is not None:
            self._rotations = rotation_table(self._inv_freq, length)
            self.max_length = length

    def rotations(self, start: int, end: int) -> Tensor:
        """Rotations of positions `start … end-1`, `[end - start, D/2]`."""
        self.grow(end)
        return self._rotations[start:end]

    def encode(self, x: Tensor, quantum: int) -> tuple[Tensor, Tensor]:
        """Normalised candles `[n, L, 6]` fp32 → s1, s2 ids `[n, L]`.

        Embedding and quantisation run in fp32; the blocks in the inference dtype.
        """
        n, length, _ = x.shape
        z = pad_rows(x.reshape(n * length, -1), quantum)
        z = self.module.embed(z).to(self.dtype)
        for block in self.encoder:
            z = block.prefill(z, (n, length), self.rotations(0, length), None, slice(0))
        z = self.module.quant_embed(z.float())[: n * length].view(n, length, -1)
        quantizer = self.module.tokenizer
        return quantizer.split_ids(quantizer.codes(z))

    def embed_codes(self, s1: Tensor, s2: Tensor, quantum: int) -> Tensor:
        """Ids `[n, T]` → decoder input `[n·T (padded), d]`."""
        codes = self.module.codes_of(s1, s2).flatten(0, 1)
        return self.module.post_quant_embed(pad_rows(codes, quantum)).to(self.dtype)

    def head(self, z: Tensor) -> Tensor:
        """Decoder output `[n, d]` → normalised candles `[n, 6]` fp32."""
        return self.module.head(z.float())
