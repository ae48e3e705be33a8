"""One optimiser step, and the validation loss.

Knows an objective, or what wraps it to spread it over workers, and batches; nothing of epochs, runs
or files. Dropout and sampled tokens draw from a forked generator: the global one is left as it was
found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

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


def _mean_loss_backward(
    objective: nn.Module, group: list[WindowBatch], seed: int, bf16: bool
) -> float:
    """Leave the gradient of the mean loss over `group`'s windows in the parameters; returns it.

    A wrapper that has a `no_sync` averages gradients over workers with the last batch alone.
    """
    device = device_of(objective)
    windows, total = sum(len(x) for x, _ in group), 0.0
    forward = partial(torch.autocast, device.type, torch.bfloat16) if bf16 else nullcontext
    for number, (x, stamp) in enumerate(group):
        last = number == len(group) - 1
        alone = nullcontext if last else getattr(objective, "no_sync", nullcontext)
        with alone():
            with seeded(mixed_seed(seed, number), device) as generator, forward():
                loss = objective(x.to(device), stamp.to(device), generator) / (windows / len(x))
            # From 1, or from NaN for a loss that is not finite, so that the gradient is not either.
            loss.backward(loss.detach() * 0 + 1)
        total += loss.item()
    return total


def train_step(
    objective: nn.Module,
    group: list[WindowBatch],
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    *,
    rate: tuple[float, float],
    seed: int,
    where: str,
    bf16: bool = False,
) -> float:
    """One optimiser step over the mean loss of `group`; returns that loss, this worker's own.

    `rate` is what `one_cycle` gives for this step; `seed` fixes dropout and sampled tokens; `where`
    is what errors call the step. With `bf16` the forward runs in bfloat16 where that is safe; the
    weights, their gradients and the optimiser stay as they are.

    Raises `TrainingError` where the gradient is not finite, the weights untouched. The gradient is
    what is looked at, since it is the one thing that all workers hold alike: what goes wrong in one
    of them stops every one at the same step.
    """
    objective.train()
    for settings in optimizer.param_groups:
        settings["lr"], settings["betas"] = rate[0], (rate[1], config.beta2)
    optimizer.zero_grad()
    loss = _mean_loss_backward(objective, group, seed, bf16)
    parameters = unwrapped(objective).model.parameters()
    norm = float(nn.utils.clip_grad_norm_(parameters, config.clip_norm))
    if not math.isfinite(norm):
        what = f"the gradient became {norm} while this worker's loss was {loss:.6g}"
        if not math.isfinite(loss):
            what = f"the loss became {loss}"
        raise TrainingError(f"{where}: {what}; try a lower lr_max than {config.lr_max}")
    optimizer.step()
    return loss


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
