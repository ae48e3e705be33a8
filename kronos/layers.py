"""Transformer parts that the tokenizer and the forecaster share.

Knows tensors of shape `[B, T, d]` and nothing of candles, tokens or sampling. Parameter names are
those of the published checkpoints. Shapes: B rows, T positions, H heads, D head size, d = H·D.

Reference: Shi et al., "Kronos: A Foundation Model for the Language of Financial Markets",
arXiv 2508.02739; RMSNorm: Zhang & Sennrich 2019; rotary positions: Su et al. 2021;
SwiGLU: Shazeer 2020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import ConfigError


class RMSNorm(nn.Module):
    """`x / sqrt(mean(x²) + eps) · weight`, the division in fp32 whatever the input's dtype."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        scale = torch.rsqrt(torch.mean(x32 * x32, dim=-1, keepdim=True) + self.eps)
        return (x32 * scale).type_as(x) * self.weight


class FeedForward(nn.Module):
    """SwiGLU without biases: `w2(silu(w1 x) · w3 x)`."""

    def __init__(self, d_model: int, ff_dim: int, dropout_p: float = 0.0) -> None:
        super().__init__()
        self.w1 = nn.Linear(d_model, ff_dim, bias=False)
        self.w3 = nn.Linear(d_model, ff_dim, bias=False)
        self.w2 = nn.Linear(ff_dim, d_model, bias=False)
        self.ffn_dropout = nn.Dropout(dropout_p)

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn_dropout(self.w2(F.silu(self.w1(x)) * self.w3(x)))


def rotary_tables(inv_freq: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles: two `[T, D]` tensors for `[T]` positions."""
    angles = torch.outer(positions.type_as(inv_freq), inv_freq)  # [T, D/2]
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x [..., T, D]` by the angles of `cos, sin [T, D]` (half-split layout)."""
    x1, x2 = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-x2, x1), dim=-1) * sin).type_as(x)


class RotaryEmbedding(nn.Module):
    """Holds the frequencies; `inv_freq` is a buffer that the published files carry."""

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        exponents = torch.arange(0, head_dim, 2).float() / head_dim
        self.register_buffer("inv_freq", 1.0 / (10000**exponents))

    def tables(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine `[length, D]` for positions 0 … length-1."""
        return rotary_tables(self.inv_freq, torch.arange(length, device=self.inv_freq.device))


class Attention(nn.Module):
    """Multi-head attention with biases on all four projections and rotary positions."""

    def __init__(
        self, d_model: int, n_heads: int, attn_dropout_p: float = 0.0, resid_dropout_p: float = 0.0
    ) -> None:
        super().__init__()
        if d_model % n_heads or (d_model // n_heads) % 2:
            raise ConfigError(
                f"d_model {d_model} cannot be split into {n_heads} heads of an even size"
            )
        self.d_model, self.n_heads = d_model, n_heads
        self.head_dim = d_model // n_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.rotary = RotaryEmbedding(self.head_dim)
        self.attn_dropout_p = attn_dropout_p
        self.resid_dropout = nn.Dropout(resid_dropout_p)

    def split(self, x: Tensor) -> Tensor:
        """`[B, T, d]` → `[B, H, T, D]`."""
        return x.unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool, key_padding_mask: Tensor | None
    ) -> Tensor:
        """Attention of `q [B, H, Tq, D]` over `k, v [B, H, Tk, D]`, projected: `[B, Tq, d]`.

        `key_padding_mask [B, Tk]` is True where a key is padding.
        """
        mask = None
        if key_padding_mask is not None:
            mask = ~key_padding_mask[:, None, None, :].bool()
            if causal:
                mask = (
                    mask
                    & torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
                )
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.attn_dropout_p if self.training else 0.0,
            is_causal=causal and mask is None,
        )
        return self.resid_dropout(self.out_proj(out.transpose(1, 2).flatten(-2)))


class SelfAttention(Attention):
    """Causal attention of a sequence over itself."""

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        q, k, v = self.split(self.q_proj(x)), self.split(self.k_proj(x)), self.split(self.v_proj(x))
        cos, sin = self.rotary.tables(x.shape[1])
        return self.attend(rotate(q, cos, sin), rotate(k, cos, sin), v, True, key_padding_mask)


class CrossAttention(Attention):
    """Attention of s1 embeddings over hidden states.

    As published: the rotation tables have the query's length, so that with one query (sampling)
    neither it nor any key is rotated, while a whole sequence (training) has both rotated; and the
    attention is causal in training mode only.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        q_len, k_len = query.shape[1], key.shape[1]
        if q_len not in (1, k_len):
            raise ConfigError(f"cross-attention takes 1 query or {k_len}, got {q_len}")
        q, k, v = (
            self.split(self.q_proj(query)),
            self.split(self.k_proj(key)),
            self.split(self.v_proj(value)),
        )
        if q_len > 1:
            cos, sin = self.rotary.tables(q_len)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return self.attend(q, k, v, self.training, key_padding_mask)


class TransformerBlock(nn.Module):
    """Pre-norm block: attention, then SwiGLU, each added to its input."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        ff_dim: int,
        ffn_dropout_p: float = 0.0,
        attn_dropout_p: float = 0.0,
        resid_dropout_p: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = RMSNorm(d_model)
        self.self_attn = SelfAttention(d_model, n_heads, attn_dropout_p, resid_dropout_p)
        self.norm2 = RMSNorm(d_model)
        self.ffn = FeedForward(d_model, ff_dim, ffn_dropout_p)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        x = x + self.self_attn(self.norm1(x), key_padding_mask=key_padding_mask)
        return x + self.ffn(self.norm2(x))
