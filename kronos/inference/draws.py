"""Random numbers that depend on what they are for, never on what was drawn before.

Uniforms are a function of (seed, series key, step, sample). Knows keys and counts; nothing of
tokens, candles or global random state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def series_key(*parts: object) -> int:
    """A 64-bit key of anything with a stable `str`, such as `(symbol, asof)`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniforms(seed: int, keys: Sequence[int], steps: int, samples: int) -> np.ndarray:
    """`[B, steps, samples, 2]` fp32 in [0, 1): one for s1 and one for s2 of each bar drawn.

    Philox (Salmon et al. 2011) with key (seed, series key) and the step as counter, so that a
    value depends on (seed, key, step, sample) alone, however many series, steps and samples are
    drawn beside it.
    """
    out = np.empty((len(keys), steps, samples, 2), dtype=np.float32)
    philox = np.random.Philox(0)
    generator = np.random.Generator(philox)
    state = philox.state  # of a new generator, with nothing drawn; set anew for each draw
    for row, key in zip(out, keys, strict=True):
        philox_key = np.array([seed % 2**64, key % 2**64], dtype=np.uint64)
        for step in range(steps):
            counter = np.array([0, 0, 0, step], dtype=np.uint64)
            state["state"] = {"counter": counter, "key": philox_key}
            philox.state = state
            generator.random(dtype=np.float32, out=row[step])
    return out
