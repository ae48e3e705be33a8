"""Binary spherical quantisation: a unit vector becomes one bit a dimension.

Knows vectors `z [..., bits]`; nothing of candles or transformers. A code is the sign of each
dimension scaled by 1/√bits, so that it lies on the unit sphere. Gradients pass straight through.

Reference: Zhao, Xiong & Krähenbühl, "Image and Video Tokenization with Binary Spherical
Quantization", arXiv 2406.07548 (commitment and entropy terms).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import ConfigError


def bits_to_ids(bits: Tensor) -> Tensor:
    """`[..., n]` of values (bit set where ≥ 0) → ids `[...]` int64, least significant bit first."""
    powers = 2 ** torch.arange(bits.shape[-1], device=bits.device)
    return ((bits >= 0).long() * powers).sum(-1)


def ids_to_bits(ids: Tensor, n_bits: int) -> Tensor:
    """Ids `[...]` → `[..., n_bits]` of ±1.0, least significant bit first."""
    powers = 2 ** torch.arange(n_bits, device=ids.device)
    return ((ids.unsqueeze(-1) & powers) != 0).float() * 2 - 1


def _entropy(p: Tensor) -> Tensor:
    return -(p * torch.log(p + 1e-8)).sum(-1)


class SphericalCode(nn.Module):
    """Sign quantiser with its training loss; the two buffers are in the published files."""

    basis: Tensor
    group_basis: Tensor

    def __init__(
        self, n_bits: int, beta: float, gamma0: float, gamma: float, zeta: float, group_size: int
    ) -> None:
        super().__init__()
        if n_bits % group_size:
            raise ConfigError(f"{n_bits} bits cannot be split into groups of {group_size}")
        self.n_bits = n_bits
        self.beta, self.gamma0, self.gamma, self.zeta = beta, gamma0, gamma, zeta
        self.scale = n_bits**-0.5
        self.register_buffer("basis", 2 ** torch.arange(n_bits - 1, -1, -1))
        group_basis = 2 ** torch.arange(group_size - 1, -1, -1)
        self.register_buffer("group_basis", group_basis)

    def quantize(self, z: Tensor) -> Tensor:
        """±1/√bits by the sign of `z` (0 counts as negative), gradient passed straight through."""
        sign = torch.where(z > 0, 1.0, -1.0).to(z.dtype)
        return (z + (sign - z).detach()) * self.scale

    def loss(self, z: Tensor, quantized: Tensor) -> Tensor:
        """`β · commitment + ζ · (γ0 · H[per sample] − γ · H[codebook])`, a scalar.

        Both entropies are those of independent bits: of each bar's bits, averaged over bars, and
        of the bits' mean probabilities. (The published code computes sub-codes of `group_size` bits
        and then replaces them by the analytical bits, so `group_size` does not enter the loss; it
        sizes the buffers.)
        """
        commitment = self.beta * ((quantized.detach() - z) ** 2).sum(-1).mean()
        p = torch.sigmoid(-4 * z * self.scale)
        bits = torch.stack([p, 1 - p], -1)  # [..., n_bits, 2]
        per_sample = _entropy(bits).sum(-1).mean()
        codebook = _entropy(bits.flatten(0, -3).mean(0)).sum()
        return commitment + self.zeta * (self.gamma0 * per_sample - self.gamma * codebook)


class Quantizer(nn.Module):
    """Normalises onto the unit sphere, quantises, and names the codes as token ids."""

    def __init__(
        self,
        s1_bits: int,
        s2_bits: int,
        beta: float,
        gamma0: float,
        gamma: float,
        zeta: float,
        group_size: int,
    ) -> None:
        super().__init__()
        self.s1_bits, self.s2_bits, self.codebook_dim = s1_bits, s2_bits, s1_bits + s2_bits
        self.bsq = SphericalCode(s1_bits + s2_bits, beta, gamma0, gamma, zeta, group_size)

    def codes(self, z: Tensor) -> Tensor:
        """`z [B, T, bits]` → codes of the same shape, ±1/√bits."""
        quantized: Tensor = self.bsq.quantize(F.normalize(z, dim=-1))
        return quantized

    def split_ids(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse s1 ids (first bits) and fine s2 ids (the rest), each `[B, T]`."""
        return bits_to_ids(codes[..., : self.s1_bits]), bits_to_ids(codes[..., self.s1_bits :])

    def forward(
        self, z: Tensor, half: bool = False, collect_metrics: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | list[Tensor]]:
        """Loss (scalar, 0 without `collect_metrics`), codes `[B, T, bits]`, whole ids `[B, T]` or,
        with `half`, [s1, s2] ids."""
        z = F.normalize(z, dim=-1)
        codes = self.bsq.quantize(z)
        loss = self.bsq.loss(z, codes) if collect_metrics else codes.new_zeros(())
        return loss, codes, list(self.split_ids(codes)) if half else bits_to_ids(codes)
