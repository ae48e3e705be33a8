"""A checksum of modules' weights that is cheap enough to be taken at every forecast.

Knows tensors and their bits; nothing of what they mean. PyTorch's own version counters miss what
is written through `.data`, a NumPy view or a fused optimiser, so the bits themselves are read.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 1 << 14  # 64-bit words summed at once: 128 KiB, to stay in cache
FEW_BYTES = 1 << 11  # tensors up to this size are hashed whole: that is quicker than summing
SHIFT = 29  # so that a float's sign, in either half of a word, reaches bits that do not cancel


def weights_checksum(*modules: nn.Module) -> bytes:
    """Changes with any bit of any parameter or buffer, its name, dtype, shape or device.

    One changed element always changes it. For other changes, orders included, the chance of being
    missed is about 2⁻³⁰ at most: each 64-bit word is mixed, multiplied by an odd number of its
    position's own, and the products of a block are summed modulo 2⁶⁴.
    """
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, tensor in _tensors(module, ""):
            about = f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.device}"
            digest.update(about.encode())
            for part in _condensed(tensor.detach()):
                digest.update(part)
        digest.update(b"end of module")
    return digest.digest()


def _tensors(module: nn.Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for own in (module._parameters, module._buffers):
        for name, tensor in own.items():
            if tensor is not None:
                yield prefix + name, tensor
    for name, child in module._modules.items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")


def _condensed(tensor: Tensor) -> Iterator[bytes]:
    raw = tensor.contiguous().view(-1).view(torch.uint8)
    if raw.device.type != "cpu" and raw.numel() > FEW_BYTES:
        yield device_sums(raw).cpu().numpy().tobytes()
        return
    octets = raw.cpu().numpy()
    if len(octets) <= FEW_BYTES:
        yield octets.tobytes()
        return
    whole = len(octets) // 8 * 8
    yield word_sums(octets[:whole].view(np.uint64)).tobytes()
    yield octets[whole:].tobytes()


@functools.cache
def _multipliers() -> np.ndarray:
    """One odd number for each position in a block, `[BLOCK]` uint64."""
    drawn = np.random.Generator(np.random.Philox(0)).integers(0, 2**64, BLOCK, dtype=np.uint64)
    return drawn | np.uint64(1)


def word_sums(words: np.ndarray) -> np.ndarray:
    """Words `[n]` uint64 → one sum a block, uint64."""
    weights, mixed = _multipliers(), np.empty(min(BLOCK, len(words)), dtype=np.uint64)
    sums = np.empty(-(-len(words) // BLOCK), dtype=np.uint64)
    for i in range(len(sums)):
        block = words[i * BLOCK : (i + 1) * BLOCK]
        into = mixed[: len(block)]
        np.right_shift(block, np.uint64(SHIFT), out=into)
        np.bitwise_xor(into, block, out=into)
        np.multiply(into, weights[: len(block)], out=into)
        sums[i] = np.add.reduce(into)
    return sums


def device_sums(raw: Tensor) -> Tensor:
    """`word_sums` of bytes `[n]` uint8 on their own device, filled up to whole blocks with 0."""
    words = F.pad(raw, (0, -raw.numel() % (8 * BLOCK))).view(torch.int64)
    mixed = words ^ ((words >> SHIFT) & ((1 << (64 - SHIFT)) - 1))  # `>>` alone repeats the sign
    weights = torch.from_numpy(_multipliers().view(np.int64)).to(raw.device)
    return (mixed.view(-1, BLOCK) * weights).sum(1)
