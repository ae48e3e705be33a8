"""From logits to token ids: temperature, top-k, nucleus, and draws by inverse CDF.

Knows logits `[R, V]` and uniforms `[R]`; nothing of candles, caches or files. No global random
state, but in `unseeded_keys` for callers who ask for it: uniforms come from `inference.draws`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kronos.errors import InputError
from kronos.inference.nucleus import nucleus_threshold

KEY_LIMIT = 2**63 - 1  # keys without a seed are drawn below this


def unseeded_keys(count: int) -> list[int]:
    """A key for each of `count` series from torch's global generator: `torch.manual_seed` repeats
    them, and otherwise no two are alike."""
    keys = torch.randint(KEY_LIMIT, (count,), dtype=torch.int64, device="cpu")
    return [int(key) for key in keys]


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is drawn.

    temperature: logits are divided by it, > 0. Two of them, `(first, last)`, are a ramp over the
    bars to forecast, from the first one to the last (see `at`).
    top_k: 0 for all tokens; k keeps the k most probable (1 is greedy and ignores the uniforms).
    top_p: in (0, 1]; keeps the smallest set of most probable tokens with more than that mass.
    """

    temperature: float | tuple[float, float] = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for temperature in _ends(self.temperature):
            if not (np.isfinite(temperature) and temperature > 0):
                raise InputError(
                    f"temperature T must be a finite number above 0, got {self.temperature}; "
                    "for the most probable path use top_k=1"
                )
        if not isinstance(self.top_k, int | np.integer) or self.top_k < 0:
            raise InputError(f"top_k must be a whole number, 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be in (0, 1], got {self.top_p}; 1 keeps every token")

    @property
    def greedy(self) -> bool:
        return self.top_k == 1

    def at(self, bar: int, horizon: int) -> SamplingParams:
        """Those of one bar, 0 for the first of `horizon` ones, with a temperature of its own.

        A ramp is linear over bars: the h-th of P bars, counted from 1, gets
        `first + (last - first) * (h - 1) / (P - 1)`, and a single bar gets `first`.
        """
        if not isinstance(self.temperature, tuple):
            return self
        first, last = self.temperature
        if first != last and horizon > 1:
            first = first + (last - first) * bar / (horizon - 1)
        return SamplingParams(first, self.top_k, self.top_p)


def _ends(temperature: float | tuple[float, float]) -> tuple[float, ...]:
    """The temperature, or both ends of a ramp."""
    if not isinstance(temperature, tuple):
        return (temperature,)
    if len(temperature) != 2:
        raise InputError(
            "temperature T must be one number, or two: of the first bar and of the last; got "
            f"{temperature}"
        )
    return temperature


def _keep_top_k(logits: Tensor, k: int) -> Tensor:
    threshold = logits.topk(min(k, logits.shape[-1]), -1).values[:, -1:]
    return logits.masked_fill(logits < threshold, -torch.inf)


def token_probs(logits: Tensor, params: SamplingParams) -> Tensor:
    """Logits `[R, V]` → the probabilities that tokens are drawn from, `[R, V]`, rows sum to 1.

    With both top_k and top_p only top_k counts, as in the published code. The parameters are those
    of one bar (`SamplingParams.at`).
    """
    if isinstance(params.temperature, tuple):
        raise TypeError(f"a ramp {params.temperature} is not the temperature of one bar")
    logits = logits.float() / params.temperature
    if params.top_k > 0:
        return _keep_top_k(logits, params.top_k).softmax(-1)
    probs = logits.softmax(-1)
    if params.top_p < 1:
        probs = probs.masked_fill(probs < nucleus_threshold(probs, params.top_p), 0.0)
        probs = probs / probs.sum(-1, keepdim=True)
    return probs


def draw_tokens(logits: Tensor, params: SamplingParams, u: Tensor) -> Tensor:
    """Logits `[R, V]`, uniforms `u [R]` in [0, 1) → ids `[R]`; greedy takes the first maximum."""
    if params.greedy:
        return logits.argmax(-1)
    cdf = token_probs(logits, params).cumsum(-1)
    total = cdf[:, -1]
    # below the total even after rounding, so that a token of probability 0 is never met
    target = torch.minimum(u * total, total * (1 - 2**-23))
    return torch.searchsorted(cdf, target.unsqueeze(-1), right=True).squeeze(-1)
