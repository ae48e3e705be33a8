"""How a stage is trained: its settings, and the rate of every step.

Knows numbers alone; nothing of models or batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kronos.errors import TrainingError


@dataclass(frozen=True)
class TrainConfig:
    """How one stage is trained. The defaults are the forecaster's; see `tokenizer_config`."""

    epochs: int = 30
    batch_size: int = 50  # windows a batch and worker
    batches_per_epoch: int | None = None  # at most; None: every window once
    accumulation: int = 1  # batches a step
    lr_max: float = 4e-5  # AdamW's rate at the peak of the one-cycle schedule
    pct_start: float = 0.03  # share of all steps until the peak
    div_factor: float = 10.0  # the first rate is lr_max / div_factor
    final_div_factor: float = 1e4  # the last rate is the first / final_div_factor
    beta1_range: tuple[float, float] = (0.85, 0.95)  # at the peak, at both ends
    beta2: float = 0.95
    weight_decay: float = 0.1
    clip_norm: float = 3.0  # Euclidean norm of the whole gradient
    patience: int | None = None  # epochs without a better validation loss; None: run them all
    seed: int = 100

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch_size, self.accumulation, self.batches_per_epoch or 1)
        if min(counts) < 1 or (self.patience is not None and self.patience < 1):
            raise TrainingError("epochs, batch sizes, accumulation and patience must be at least 1")
        if not (math.isfinite(self.lr_max) and self.lr_max > 0):
            raise TrainingError(f"lr_max must be a positive number, got {self.lr_max}")
        if not 0 < self.pct_start < 1 or min(self.div_factor, self.final_div_factor) < 1:
            raise TrainingError("pct_start must lie in (0, 1), the div factors at or above 1")
        if not all(0 <= b < 1 for b in (*self.beta1_range, self.beta2)):
            raise TrainingError(f"betas must lie in [0, 1), got {self.beta1_range}, {self.beta2}")
        if self.weight_decay < 0 or not self.clip_norm > 0 or self.seed < 0:
            raise TrainingError("weight_decay and seed must not be negative, clip_norm above 0")


def tokenizer_config(**changes: Any) -> TrainConfig:
    """The published recipe of the tokenizer stage, with changes."""
    return TrainConfig(**({"lr_max": 2e-4, "clip_norm": 2.0} | changes))


def one_cycle(step: int, steps: int, config: TrainConfig) -> tuple[float, float]:
    """Rate and β1 of step 0 … steps-1: up for `pct_start` of them, then down, both on a cosine.

    β1 runs against the rate. A pure function of the step, so a resumed run needs no state for it.
    """
    low, high = config.lr_max / config.div_factor, config.lr_max
    beta_low, beta_high = config.beta1_range
    peak, last = config.pct_start * steps - 1, steps - 1
    if step <= peak:
        up = (1 - math.cos(math.pi * step / peak)) / 2
        return low + (high - low) * up, beta_high + (beta_low - beta_high) * up
    down = (1 - math.cos(math.pi * (step - peak) / (last - peak))) / 2 if last > peak else 1.0
    final = low / config.final_div_factor
    return high + (final - high) * down, beta_low + (beta_high - beta_low) * down
