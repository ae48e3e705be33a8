"""The same arithmetic as `layers.py`, rearranged once for inference.

Knows weights and tensors; nothing of candles, sampling or caches' life cycle. What is rearranged,
each step exact up to rounding:

- norm weights move into the linear layer that follows, q, k and v become one matrix product, w1 and
  w3 another, 1/√D moves into q;
- rows of q and k are permuted within a head so that the rotation is one complex product;
- the embedding of a token pair, linear in both, becomes two table look-ups; so does the query that
  the dependency layer makes of an s1.

A prefix is computed once for a series and shared by its samples (`LayerCache.attend`): the S
samples' queries meet the prefix keys as one matrix product and their own few keys separately.
Shapes: b series, S samples, R = b·S rows, W prefix bars, T new bars, H heads, D head size, d = H·D.
"""

from __future__ import annotations

from copy import copy, deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.layers import TransformerBlock
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer

LEADING_PAD = 16  # elements: keeps weight rows off one another's cache sets
BLOCK = 64  # output columns of a block where few rows are multiplied
SCORE_ELEMENTS = 1 << 20  # attention scores of a series held at once, to stay in cache
FEW_ROWS = 128  # up to here blocks of columns are faster than one whole product
SMALLEST_PRODUCT = 400  # multiplications; torch takes another kernel for batches of smaller ones


def frozen(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy that no later change of `weight` reaches."""
    return weight.detach().to(dtype, copy=True)


class Operand:
    """A linear layer's weight as the right operand of a matrix product, for many rows or few.

    On a CPU few rows are multiplied block by block of columns, each block laid out in one piece,
    which spares packing the whole weight for them and reads memory in order; each element is the
    same sum in the same order either way. The price is a second copy of the weight.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        out, inner = weight.shape
        if dtype == torch.float32:
            buffer = weight.new_zeros(inner, out + LEADING_PAD)
            self.whole = buffer[:, :out]
            self.whole.copy_(weight.T)
        else:  # narrow types' products on a CPU want the weight's own layout
            self.whole = weight.to(dtype).clone().T
        self.blocks = None
        if out % BLOCK == 0 and weight.device.type == "cpu" and dtype == torch.float32:
            self.blocks = self.whole.unflatten(1, (-1, BLOCK)).transpose(0, 1).contiguous()
        self.bias = weight.new_zeros(out, dtype=dtype) if bias is None else frozen(bias, dtype)
        self.out = out

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """`x [n, in]` → `x @ weight + residual` `[n, out]`; the bias where residual is None."""
        rows = x.shape[0]
        if self.blocks is None or rows > FEW_ROWS:
            return torch.addmm(self.bias if residual is None else residual, x, self.whole)
        count = self.blocks.shape[0]
        if residual is None:
            start = self.bias.view(count, 1, BLOCK)
        else:
            start = residual.view(rows, count, BLOCK).transpose(0, 1)
        out = torch.baddbmm(start, x.expand(count, *x.shape), self.blocks)  # [blocks, n, BLOCK]
        return out.transpose(0, 1).reshape(rows, self.out)


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x²) + eps)` over the last dimension, in fp32."""
    x32 = x.float()
    norm = torch.linalg.vector_norm(x32, dim=-1, keepdim=True)
    scale = (norm * norm).mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return (x32 * scale).to(x.dtype)


def pad_rows(x: Tensor, quantum: int) -> Tensor:
    """`[n, d]` with zero rows added up to a multiple of `quantum`.

    A matrix product of few rows takes other kernels than one of many, which round differently;
    with whole quanta a row's result does not depend on how many rows stand beside it.
    """
    missing = -x.shape[0] % quantum
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def sample_group(heads: int, new_bars: int, keys: int) -> int:
    """How many samples' attention scores of one series are held at once."""
    return max(1, SCORE_ELEMENTS // (heads * new_bars * keys))


def attention_dtype(like: Tensor) -> torch.dtype:
    """What attention over a cache runs in, for states such as `like`."""
    return torch.float32 if like.device.type == "cpu" else like.dtype


class LayerCache:
    """Keys and values of one layer: a prefix a series, and what each sample added.

    prefix_k, prefix_v `[b, H, W, D]`; own_k, own_v `[b, H, S, capacity, D]`. A sample's result does
    not depend on S: its own keys are met in a product of their own, and the queries that share the
    prefix are padded to whole quanta of rows, as in `pad_rows` (1: no padding, where their number
    is always the same). On a CPU attention runs in fp32: which kernel narrow types take depends on
    the whole batch there.
    """

    def __init__(
        self,
        b: int,
        samples: int,
        heads: int,
        width: int,
        capacity: int,
        head_dim: int,
        like: Tensor,
        quantum: int,
    ) -> None:
        self.quantum, self.dtype = quantum, attention_dtype(like)

        def pair(*shape: int) -> tuple[Tensor, Tensor]:
            return like.new_empty(shape, dtype=self.dtype), like.new_empty(shape, dtype=self.dtype)

        self.prefix_k, self.prefix_v = pair(b, heads, width, head_dim)
        self.own_k, self.own_v = pair(b, heads, samples, capacity, head_dim)

    def append(self, k: Tensor, v: Tensor, filled: int) -> None:
        """Write new bars' keys and values, `[b, S, T, H, D]` each, behind the `filled` ones."""
        end = filled + k.shape[2]
        self.own_k[:, :, :, filled:end] = k.permute(0, 3, 1, 2, 4)
        self.own_v[:, :, :, filled:end] = v.permute(0, 3, 1, 2, 4)

    def attend(self, q: Tensor, filled: int, rows: int, mask: Tensor | None = None) -> Tensor:
        """Softmax attention of `q [b, S, T, H, D]`, already scaled, over the prefix and the first
        `filled` own bars; `mask [T, filled]` is added to the own scores. Gives `[rows, d]`, rows
        beyond b·S·T zero."""
        b, s, t, h, d = q.shape
        flat = q.permute(0, 3, 1, 2, 4).to(self.dtype).contiguous()  # [b, H, S, T, D]
        some = sample_group(h, t, self.prefix_k.shape[2] + filled)
        parts = [
            self._attend_some(part, slice(i, i + some), filled, mask)
            for i, part in zip(range(0, s, some), flat.split(some, 2), strict=True)
        ]
        out = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
        out = out.permute(0, 2, 3, 1, 4).to(q.dtype)
        if rows == b * s * t:
            return out.reshape(rows, h * d)
        padded = q.new_zeros(rows, h * d)
        padded[: b * s * t].view(out.shape).copy_(out)
        return padded

    def _padding(self, queries: int, head_dim: int) -> int:
        """Rows to add to `queries` for whole quanta, and for products of the usual kernel."""
        if self.quantum == 1:
            return 0
        least = -(-SMALLEST_PRODUCT // (head_dim * max(1, self.prefix_k.shape[2])))
        rows = max(queries, least)
        return rows + -rows % self.quantum - queries

    def _attend_some(self, q: Tensor, at: slice, filled: int, mask: Tensor | None) -> Tensor:
        """`q [b, H, S, T, D]` of the samples `at` over prefix and own bars together: the same."""
        b, h, s, t, d = q.shape
        width, rows = self.prefix_k.shape[2], s * t
        missing = self._padding(rows, d)
        flat = q.reshape(b, h, rows, d)
        flat = F.pad(flat, (0, 0, 0, missing)) if missing else flat
        scores = flat @ self.prefix_k.transpose(-1, -2)  # [b, H, S·T (padded), W]
        if not filled:
            return (scores.softmax(-1) @ self.prefix_v)[:, :, :rows].reshape(q.shape)
        # Reshaped before they are transposed: a copy of part of them would be laid out otherwise.
        own_k, own_v = (
            y[:, :, at, :filled].reshape(-1, filled, d) for y in (self.own_k, self.own_v)
        )
        own = torch.bmm(q.reshape(-1, t, d), own_k.transpose(1, 2))  # [b·H·S, T, filled]
        own = own.add_(mask) if mask is not None else own
        own = own.view(b, h, rows, filled)
        own = F.pad(own, (0, 0, 0, missing)) if missing else own
        p = torch.cat((scores, own), -1).softmax(-1)
        out = (p[..., :width] @ self.prefix_v)[:, :, :rows].reshape(-1, t, d)
        weights = p[:, :, :rows, width:].reshape(-1, t, filled)
        return out.add_(torch.bmm(weights, own_v)).view(q.shape)


def rotations(inv_freq: Tensor, length: int) -> Tensor:
    """Rotations of positions by frequencies `[D/2]` as complex numbers, `[length, D/2]`."""
    angles = torch.outer(torch.arange(length, device=inv_freq.device).float(), inv_freq)
    return torch.polar(torch.ones_like(angles), angles)


def turn(x: Tensor, cis: Tensor) -> Tensor:
    """Rotate `x [..., T, 2, H, D]` (pairs interleaved) by `cis [T, D/2]`."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * cis[:, None, None, :]).flatten(-2).to(x.dtype)


def _interleave(weight: Tensor, n_heads: int) -> Tensor:
    """Permute a projection's output rows from half-split to interleaved pairs within each head."""
    halves = weight.unflatten(0, (n_heads, 2, -1))  # [H, 2, D/2, ...]
    return halves.transpose(1, 2).flatten(0, 2)


class FusedBlock:
    """A transformer block's weights for inference, and its three parts."""

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

    def qkv(self, x: Tensor, lead: tuple[int, ...], cis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows `x [≥ n, d]` → q, k, v, each `lead + [H, D]`; the last of `lead` is time, whose
        rotations are `cis [T, D/2]`. Rows beyond `lead` are padding."""
        h = self.qkv_operand(rms_norm(x, self.eps1))
        n = 1
        for size in lead:
            n *= size
        h = h[:n].view(*lead, 3, self.n_heads, self.head_dim)
        qk = turn(h[..., :2, :, :], cis)
        return qk[..., 0, :, :], qk[..., 1, :, :], h[..., 2, :, :]

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the projected attention and the feed-forward part: `[n, d]` → `[n, d]`."""
        x = self.out_operand(attended, x).add_(self.out_bias)
        gate, up = self.gate_up_operand(rms_norm(x, self.eps2)).chunk(2, -1)
        return self.down_operand(F.silu(gate).mul_(up), x)


def prefill_block(
    block: FusedBlock,
    x: Tensor,
    lead: tuple[int, int],
    cis: Tensor,
    cache: LayerCache | None,
    at: slice,
    last: bool = False,
) -> Tensor:
    """Run whole sequences, `lead = (series, W)`, through a block; keys and values go to `cache`
    at series `at`. With `last` only those are wanted and `x` comes back as it was."""
    q, k, v = (y.transpose(1, 2) for y in block.qkv(x, lead, cis))  # [n, H, W, D]
    if cache is not None:
        cache.prefix_k[at], cache.prefix_v[at] = k, v
    if last:
        return x
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    attended = out.transpose(1, 2).reshape(-1, block.d)
    missing = x.shape[0] - attended.shape[0]
    return block.finish(x, F.pad(attended, (0, 0, 0, missing)) if missing else attended)


def extend_block(
    block: FusedBlock,
    x: Tensor,
    lead: tuple[int, int, int],
    cis: Tensor,
    cache: LayerCache,
    filled: int,
    mask: Tensor | None,
) -> Tensor:
    """Run `T` new bars of every sample, `lead = (b, S, T)`, behind the `filled` own bars."""
    q, k, v = block.qkv(x, lead, cis)
    cache.append(k, v, filled)
    return block.finish(x, cache.attend(q, filled + lead[2], x.shape[0], mask))


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
        self.cis = rotations(blocks[0].self_attn.rotary.inv_freq, max_context)
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

    def time_embedding(self, stamps: Tensor) -> Tensor:
        """Stamps `[b, T, 5]` → `[b, T, d]`."""
        return self.calendar(stamps).to(self.dtype)

    def embed(self, s1: Tensor, s2: Tensor, time: Tensor) -> Tensor:
        """Ids `[...]` and time embedding `[..., d]` → `[..., d]`."""
        return self.table1[s1] + self.table2[s2] + time

    def normed(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.eps) * self.norm_weight

    def cross_keys(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states `[n, d]` → keys and values of the dependency layer, `[n, H, D]` each."""
        k, v = self.cross_operand(states).view(-1, 2, self.cross_heads, self.cross_dim).unbind(1)
        return k, v

    def s1_logits(self, states: Tensor) -> Tensor:
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
        turned = [b.self_attn.rotary.inv_freq for b in blocks if isinstance(b, TransformerBlock)]
        self._inv_freq = turned[0].clone() if turned else None
        self.max_length, self._cis = 0, torch.empty(0)
        self.grow(max_length)

    def grow(self, length: int) -> None:
        """Make rotations for at least `length` positions."""
        if length > self.max_length and self._inv_freq is not None:
            self._cis = rotations(self._inv_freq, length)
            self.max_length = length

    def cis(self, start: int, end: int) -> Tensor:
        """Rotations of positions `start … end-1`, `[end - start, D/2]`."""
        self.grow(end)
        return self._cis[start:end]

    def encode(self, x: Tensor, quantum: int) -> tuple[Tensor, Tensor]:
        """Normalised candles `[n, L, 6]` fp32 → s1, s2 ids `[n, L]`.

        Embedding and quantisation run in fp32; the blocks in the inference dtype.
        """
        n, length, _ = x.shape
        z = pad_rows(x.reshape(n * length, -1), quantum)
        z = self.module.embed(z).to(self.dtype)
        for block in self.encoder:
            z = prefill_block(block, z, (n, length), self.cis(0, length), None, slice(0))
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
