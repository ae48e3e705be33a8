"""The forecaster: token ids and calendar stamps in, logits of the next bar's two tokens out.

Knows ids `[B, T]` and stamps `[B, T, 5]` (minute hour weekday day month, integers); nothing of
candles, prices or sampling. A bar has a coarse token s1 and a fine token s2; s2's logits are
conditioned on the s1 that was chosen.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from kronos.errors import ConfigError
from kronos.layers import CrossAttention, RMSNorm, TransformerBlock

CALENDAR_SIZES = {"minute": 60, "hour": 24, "weekday": 7, "day": 32, "month": 13}


class HierarchicalEmbedding(nn.Module):
    """Both sub-token embeddings, scaled by √d, fused by one linear layer."""

    def __init__(self, s1_bits: int, s2_bits: int, d_model: int) -> None:
        super().__init__()
        self.s1_bits, self.s2_bits, self.d_model = s1_bits, s2_bits, d_model
        self.emb_s1 = nn.Embedding(2**s1_bits, d_model)
        self.emb_s2 = nn.Embedding(2**s2_bits, d_model)
        self.fusion_proj = nn.Linear(2 * d_model, d_model)
        self.scale = math.sqrt(d_model)

    def split_token(self, token_ids: Tensor, s2_bits: int) -> tuple[Tensor, Tensor]:
        """Composite ids with s1 in the high bits, as published; `KronosTokenizer` has it in the
        low bits."""
        ids = token_ids.long()
        return ids >> s2_bits, ids & (2**s2_bits - 1)

    def forward(
        self, token_ids: Tensor | list[Tensor] | tuple[Tensor, Tensor], s2_ids: Tensor | None = None
    ) -> Tensor:
        """`[s1, s2]`, or s1 and s2, or composite ids (see `split_token`), `[B, T]` each →
        `[B, T, d]`."""
        if s2_ids is not None:
            s1, s2 = token_ids, s2_ids
        elif isinstance(token_ids, Tensor):
            s1, s2 = self.split_token(token_ids, self.s2_bits)
        else:
            s1, s2 = token_ids
        pair = torch.cat([self.emb_s1(s1) * self.scale, self.emb_s2(s2) * self.scale], -1)
        return self.fusion_proj(pair)


class SinusoidEmbedding(nn.Module):
    """A fixed sine and cosine table in place of a learned embedding (Vaswani et al. 2017)."""

    def __init__(self, size: int, d_model: int) -> None:
        super().__init__()
        position = torch.arange(size).float().unsqueeze(1)
        rate = (torch.arange(0, d_model, 2).float() * -(math.log(10000.0) / d_model)).exp()
        table = torch.zeros(size, d_model)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        self.emb = nn.Embedding.from_pretrained(table, freeze=True)

    @property
    def weight(self) -> Tensor:
        return self.emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.emb(ids)


class CalendarEmbedding(nn.Module):
    """Sum of one embedding for each of minute, hour, weekday, day and month."""

    def __init__(self, d_model: int, learned: bool) -> None:
        super().__init__()
        kind = nn.Embedding if learned else SinusoidEmbedding
        for name, size in CALENDAR_SIZES.items():
            setattr(self, f"{name}_embed", kind(size, d_model))

    def forward(self, stamp: Tensor) -> Tensor:
        names = list(CALENDAR_SIZES)
        ids = dict(zip(names, stamp.long().unbind(-1), strict=True))

        def embedded(name: str) -> Tensor:
            return self.get_submodule(f"{name}_embed")(ids[name])

        total = embedded("hour") + embedded("weekday")  # the published order of summation
        return total + embedded("day") + embedded("month") + embedded("minute")


class DependencyLayer(nn.Module):
    """Lets s2 depend on s1: the s1 embedding attends over the hidden states. Always four heads."""

    def __init__(self, d_model: int, n_heads: int = 4) -> None:
        super().__init__()
        self.cross_attn = CrossAttention(d_model, n_heads)
        self.norm = RMSNorm(d_model)

    def forward(
        self, hidden_states: Tensor, sibling_embed: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """`hidden_states [B, T, d]`, `sibling_embed [B, T or 1, d]` → `[B, T, d]`."""
        attended = self.cross_attn(
            query=sibling_embed,
            key=hidden_states,
            value=hidden_states,
            key_padding_mask=key_padding_mask,
        )
        return self.norm(hidden_states + attended)


class DualHead(nn.Module):
    """Logits of s1 and of s2, and their mean cross-entropy."""

    def __init__(self, s1_bits: int, s2_bits: int, d_model: int) -> None:
        super().__init__()
        self.vocab_s1, self.vocab_s2 = 2**s1_bits, 2**s2_bits
        self.proj_s1 = nn.Linear(d_model, self.vocab_s1)
        self.proj_s2 = nn.Linear(d_model, self.vocab_s2)

    def forward(self, states: Tensor) -> Tensor:
        return self.proj_s1(states)

    def cond_forward(self, states: Tensor) -> Tensor:
        return self.proj_s2(states)

    def compute_loss(
        self,
        s1_logits: Tensor,
        s2_logits: Tensor,
        s1_targets: Tensor,
        s2_targets: Tensor,
        padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `[B, T, V]`, targets `[B, T]` → (mean of both, s1, s2) in nats a token."""
        if padding_mask is not None:
            keep = ~padding_mask.bool()
            s1_logits, s1_targets = s1_logits[keep], s1_targets[keep]
            s2_logits, s2_targets = s2_logits[keep], s2_targets[keep]
        s1 = F.cross_entropy(s1_logits.flatten(0, -2), s1_targets.flatten())
        s2 = F.cross_entropy(s2_logits.flatten(0, -2), s2_targets.flatten())
        return (s1 + s2) / 2, s1, s2


class Kronos(nn.Module, PyTorchModelHubMixin):
    """Decoder-only transformer over pairs of tokens. Field names are those of `config.json`."""

    def __init__(
        self,
        s1_bits: int,
        s2_bits: int,
        n_layers: int,
        d_model: int,
        n_heads: int,
        ff_dim: int,
        ffn_dropout_p: float,
        attn_dropout_p: float,
        resid_dropout_p: float,
        token_dropout_p: float,
        learn_te: bool,
    ) -> None:
        super().__init__()
        if min(s1_bits, s2_bits, n_layers, d_model, n_heads, ff_dim) < 1:
            raise ConfigError("every size of a model must be at least 1")
        self.s1_bits, self.s2_bits, self.s1_vocab_size = s1_bits, s2_bits, 2**s1_bits
        self.n_layers, self.d_model, self.n_heads, self.ff_dim = n_layers, d_model, n_heads, ff_dim
        self.ffn_dropout_p, self.attn_dropout_p = ffn_dropout_p, attn_dropout_p
        self.resid_dropout_p, self.token_dropout_p = resid_dropout_p, token_dropout_p
        self.learn_te = learn_te
        self.token_drop = nn.Dropout(token_dropout_p)
        self.embedding = HierarchicalEmbedding(s1_bits, s2_bits, d_model)
        self.time_emb = CalendarEmbedding(d_model, learn_te)
        self.transformer = nn.ModuleList(
            TransformerBlock(
                d_model, n_heads, ff_dim, ffn_dropout_p, attn_dropout_p, resid_dropout_p
            )
            for _ in range(n_layers)
        )
        self.norm = RMSNorm(d_model)
        self.dep_layer = DependencyLayer(d_model)
        self.head = DualHead(s1_bits, s2_bits, d_model)
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and module.weight.requires_grad:
            nn.init.normal_(module.weight, std=self.d_model**-0.5)

    def decode_s1(
        self,
        s1_ids: Tensor,
        s2_ids: Tensor,
        stamp: Tensor | None = None,
        padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Ids `[B, T]`, stamps `[B, T, 5]` → s1 logits `[B, T, V1]`, hidden states `[B, T, d]`."""
        if s1_ids.shape != s2_ids.shape or (stamp is not None and stamp.shape[:2] != s1_ids.shape):
            raise ConfigError(
                f"ids and stamps differ in shape: s1 {tuple(s1_ids.shape)}, s2 "
                f"{tuple(s2_ids.shape)}, stamp {None if stamp is None else tuple(stamp.shape)}"
            )
        x = self.embedding([s1_ids, s2_ids])
        if stamp is not None:
            x = x + self.time_emb(stamp)
        x = self.token_drop(x)
        for block in self.transformer:
            x = block(x, key_padding_mask=padding_mask)
        x = self.norm(x)
        return self.head(x), x

    def decode_s2(
        self, context: Tensor, s1_ids: Tensor, padding_mask: Tensor | None = None
    ) -> Tensor:
        """Hidden states `[B, T, d]` and chosen s1 `[B, 1 or T]` → s2 logits `[B, T, V2]`."""
        sibling = self.embedding.emb_s1(s1_ids)
        states = self.dep_layer(context, sibling, key_padding_mask=padding_mask)
        return self.head.cond_forward(states)

    def forward(
        self,
        s1_ids: Tensor,
        s2_ids: Tensor,
        stamp: Tensor | None = None,
        padding_mask: Tensor | None = None,
        use_teacher_forcing: bool = False,
        s1_targets: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of every position's next s1 `[B, T, V1]` and s2 `[B, T, V2]`.

        s2 is conditioned on `s1_targets` with `use_teacher_forcing`, else on an s1 drawn from the
        model's own logits with `generator`.
        """
        s1_logits, x = self.decode_s1(s1_ids, s2_ids, stamp, padding_mask)
        if use_teacher_forcing:
            if s1_targets is None:
                raise ConfigError("use_teacher_forcing needs s1_targets")
            s1 = s1_targets
        else:
            probs = s1_logits.detach().float().softmax(-1).flatten(0, 1)
            s1 = torch.multinomial(probs, 1, generator=generator).view(s1_ids.shape)
        return s1_logits, self.decode_s2(x, s1, padding_mask)
