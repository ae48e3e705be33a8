"""The tokenizer: normalised candles to token ids and back.

Knows normalised candles `[B, T, 6]` (float, columns open high low close volume amount) and ids
`[B, T]`; nothing of prices, times or sampling. Encoder and decoder are causal, so a bar's tokens
depend on it and on the bars before it only.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from kronos.errors import ConfigError
from kronos.layers import TransformerBlock
from kronos.quantizer import Quantizer, ids_to_bits


class KronosTokenizer(nn.Module, PyTorchModelHubMixin):
    """Transformer auto-encoder around a binary spherical quantiser.

    `n_enc_layers` and `n_dec_layers` count the linear layer beside the blocks, as the published
    configs do: there are `n - 1` blocks. `group_size` divides `s1_bits + s2_bits`; β, γ0, γ and ζ
    weigh the quantiser's loss.
    """

    def __init__(
        self,
        d_in: int,
        d_model: int,
        n_heads: int,
        ff_dim: int,
        n_enc_layers: int,
        n_dec_layers: int,
        ffn_dropout_p: float,
        attn_dropout_p: float,
        resid_dropout_p: float,
        s1_bits: int,
        s2_bits: int,
        beta: float,
        gamma0: float,
        gamma: float,
        zeta: float,
        group_size: int,
    ) -> None:
        super().__init__()
        if min(d_in, d_model, n_heads, ff_dim, n_enc_layers, n_dec_layers, s1_bits, s2_bits) < 1:
            raise ConfigError("every size of a tokenizer must be at least 1")
        self.d_in, self.d_model, self.n_heads, self.ff_dim = d_in, d_model, n_heads, ff_dim
        self.enc_layers, self.dec_layers = n_enc_layers, n_dec_layers
        self.ffn_dropout_p, self.attn_dropout_p = ffn_dropout_p, attn_dropout_p
        self.resid_dropout_p = resid_dropout_p
        self.s1_bits, self.s2_bits = s1_bits, s2_bits
        self.codebook_dim = s1_bits + s2_bits

        def blocks(n: int) -> nn.ModuleList:
            return nn.ModuleList(
                TransformerBlock(
                    d_model, n_heads, ff_dim, ffn_dropout_p, attn_dropout_p, resid_dropout_p
                )
                for _ in range(n - 1)
            )

        self.embed = nn.Linear(d_in, d_model)
        self.encoder = blocks(n_enc_layers)
        self.quant_embed = nn.Linear(d_model, self.codebook_dim)
        self.tokenizer = Quantizer(s1_bits, s2_bits, beta, gamma0, gamma, zeta, group_size)
        self.post_quant_embed_pre = nn.Linear(s1_bits, d_model)
        self.post_quant_embed = nn.Linear(self.codebook_dim, d_model)
        self.decoder = blocks(n_dec_layers)
        self.head = nn.Linear(d_model, d_in)

    def _features(self, x: Tensor) -> Tensor:
        """Candles `[B, T, d_in]` → what is quantised, `[B, T, bits]`."""
        if x.ndim != 3 or x.shape[-1] != self.d_in:
            raise ConfigError(f"candles must be [B, T, {self.d_in}], got {tuple(x.shape)}")
        z = self.embed(x)
        for block in self.encoder:
            z = block(z)
        return self.quant_embed(z)

    def _reconstruct(self, z: Tensor) -> Tensor:
        for block in self.decoder:
            z = block(z)
        return self.head(z)

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
        """Candles `[B, T, d_in]` → ((from s1 alone, from both) `[B, T, d_in]`, quantiser loss,
        codes `[B, T, bits]`, whole ids `[B, T]`)."""
        loss, codes, ids = self.tokenizer(self._features(x))
        coarse = self._reconstruct(self.post_quant_embed_pre(codes[..., : self.s1_bits]))
        full = self._reconstruct(self.post_quant_embed(codes))
        return (coarse, full), loss, codes, ids

    @overload
    def encode(self, x: Tensor, half: Literal[True]) -> tuple[Tensor, Tensor]: ...
    @overload
    def encode(self, x: Tensor, half: Literal[False] = ...) -> Tensor: ...
    def encode(self, x: Tensor, half: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Candles `[B, T, d_in]` → whole ids `[B, T]`, or (s1, s2) ids with `half=True`."""
        _, _, ids = self.tokenizer(self._features(x), half=half, collect_metrics=False)
        return (ids[0], ids[1]) if half else ids

    def codes_of(self, s1: Tensor, s2: Tensor) -> Tensor:
        """s1, s2 ids `[...]` → codes `[..., bits]` of ±1/√bits, in the weights' dtype."""
        floating = (p.dtype for p in self.parameters() if p.is_floating_point())
        bits = torch.cat([ids_to_bits(s1, self.s1_bits), ids_to_bits(s2, self.s2_bits)], -1)
        return bits.to(next(floating, torch.float32)) * self.tokenizer.bsq.scale

    def indices_to_bits(
        self, x: Tensor | tuple[Tensor, Tensor] | list[Tensor], half: bool = False
    ) -> Tensor:
        """The published name: whole ids `[B, T]`, or (s1, s2) ids with `half=True` → codes
        `[B, T, bits]`."""
        return self.codes_of(*self._both_ids(x, half))

    def _both_ids(
        self, ids: Tensor | tuple[Tensor, Tensor] | list[Tensor], half: bool
    ) -> tuple[Tensor, Tensor]:
        if half:
            s1, s2 = ids
            return s1, s2
        if not isinstance(ids, Tensor):
            raise ConfigError("half=False takes one tensor of whole ids")
        return ids & (2**self.s1_bits - 1), ids >> self.s1_bits

    def decode(
        self, ids: Tensor | tuple[Tensor, Tensor] | list[Tensor], half: bool = False
    ) -> Tensor:
        """Whole ids `[B, T]`, or (s1, s2) ids with `half=True` → candles `[B, T, d_in]`."""
        return self._reconstruct(self.post_quant_embed(self.indices_to_bits(ids, half)))
