"""What samplers take: a batch of series, and a model and a tokenizer that go together.

Knows normalised candles, stamps and keys; nothing of prices, frames or how paths are sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from kronos.errors import InputError
from kronos.inference.sampling import unseeded_keys
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer


@dataclass(frozen=True)
class SeriesBatch:
    """Series of one length: x `[B, L, 6]` normalised fp32, stamps `[B, L + P, 5]` int64, and keys,
    one a series, for its random numbers (`series_key`)."""

    x: np.ndarray
    stamps: np.ndarray
    keys: Sequence[int]

    @property
    def horizon(self) -> int:
        """P, bars to forecast."""
        return self.stamps.shape[1] - self.x.shape[1]


def unseeded_batch(
    x: np.ndarray, x_stamp: np.ndarray, y_stamp: np.ndarray, pred_len: int
) -> SeriesBatch:
    """Normalised candles `[B, L, 6]`, stamps `[B, L, 5]` and `[B, P, 5]`, checked, with keys from
    torch's generator."""
    b, length = x.shape[0], x.shape[1] if x.ndim == 3 else 0
    shapes = (b, length, 6), (b, length, 5), (b, pred_len, 5)
    if (x.shape, x_stamp.shape, y_stamp.shape) != shapes or length < 1:
        raise InputError(
            f"x {list(x.shape)}, x_stamp {list(x_stamp.shape)} and y_stamp {list(y_stamp.shape)} "
            f"do not go together; they must be [B, L, 6], [B, L, 5] and [B, {pred_len}, 5]"
        )
    stamps = np.concatenate((x_stamp, y_stamp), axis=1).astype(np.int64)
    return SeriesBatch(np.ascontiguousarray(x), stamps, unseeded_keys(b))


def check_pair(model: Kronos, tokenizer: KronosTokenizer, max_context: int) -> None:
    """Raises InputError where a model and a tokenizer cannot work together."""
    if (model.s1_bits, model.s2_bits) != (tokenizer.s1_bits, tokenizer.s2_bits):
        raise InputError(
            f"model and tokenizer do not go together: the model has "
            f"{model.s1_bits}+{model.s2_bits} bits, the tokenizer "
            f"{tokenizer.s1_bits}+{tokenizer.s2_bits}"
        )
    if max_context < 1:
        raise InputError(f"max_context must be at least 1 bar, got {max_context}")


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Inside, autocast is off, whatever the caller switched on."""
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield
