"""One optimiser step, and the validation loss.

Knows an objective, or what wraps it to spread it over workers, and batches; nothing of epochs, runs
or files. Dropout and sampled tokens draw from a forked generator: the global one is left as it was
found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from kronos.errors import TrainingError
from kronos.training.dataset import WindowBatch, mixed_seed
from kronos.training.objectives import PredictorObjective, Tally, TokenizerObjective
from kronos.training.schedule import TrainConfig

Objective = TokenizerObjective | PredictorObjective


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[torch.Generator]:
    """Inside, dropout and initialisation draw from `seed`; afterwards the global state is back.

    Yields a generator on `device` for what can be handed one.
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield torch.Generator(device).manual_seed(mixed_seed(seed, 1))


def unwrapped(objective: nn.Module) -> Objective:
    """The objective itself, out of a wrapper that keeps it as `.module`."""
    inner = getattr(objective, "module", objective)
    if not isinstance(inner, TokenizerObjective | PredictorObjective):
        raise TrainingError(f"{type(inner).__name__} is no objective of kronos.training")
    return inner


def make_optimizer(objective: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the trained parameters, all of them decayed, as published."""
    return torch.optim.AdamW(
        unwrapped(objective).model.parameters(),
        lr=config.lr_max / config.div_factor,
        betas=(config.beta1_range[1], config.beta2),
        weight_decay=config.weight_decay,
    )


def device_of(objective: nn.Module) -> torch.device:
    return next(objective.parameters()).device


def train_step(
    objective: nn.Module,
    group: list[WindowBatch],
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    *,
    rate: tuple[float, float],
    seed: int,
) -> float:
    """One optimiser step over the mean loss of `group`; returns that loss.

    `rate` is what `one_cycle` gives for this step; `seed` fixes dropout and sampled tokens.
    Raises `TrainingError` where the loss is not finite, the weights untouched.
    """
    objective.train()
    device = device_of(objective)
    for settings in optimizer.param_groups:
        settings["lr"], settings["betas"] = rate[0], (rate[1], config.beta2)
    optimizer.zero_grad()
    total = 0.0
    for number, (x, stamp) in enumerate(group):
        with seeded(mixed_seed(seed, number), device) as generator:
            loss = objective(x.to(device), stamp.to(device), generator) / len(group)
        loss.backward()
        total += loss.item()
    if not math.isfinite(total):
        raise TrainingError(f"the loss became {total}; try a lower lr_max than {config.lr_max}")
    nn.utils.clip_grad_norm_(unwrapped(objective).model.parameters(), config.clip_norm)
    optimizer.step()
    return total


@torch.no_grad()
def total_tally(objective: nn.Module, batches: Iterable[WindowBatch]) -> Tally:
    """Sum and count of the validation loss over `batches`, in evaluation mode."""
    objective.eval()
    device, total = device_of(objective), Tally(0.0, 0)
    for x, stamp in batches:
        total = total + unwrapped(objective).tally(x.to(device), stamp.to(device))
    return total


def validate(objective: nn.Module, batches: Iterable[WindowBatch]) -> float:
    """Mean validation loss, weighted by tokens; raises `TrainingError` for an empty set."""
    return total_tally(objective, batches).mean
