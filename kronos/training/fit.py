"""Trains an objective: schedule, steps, validation, early stopping, resumable progress.

Knows objectives (`kronos.training.objectives`), batches and one progress file; nothing of candles'
files, process groups or clocks. `fit` takes its batches from its caller, so a worker of a
distributed run hands in its own share. Everything random is a function of (seed, epoch, batch):
dropout runs on a forked generator, so the global one is left as it was found, and a run that was
cut off and resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kronos.errors import TrainingError
from kronos.training.dataset import WindowBatch, mixed_seed
from kronos.training.objectives import PredictorObjective, Tally, TokenizerObjective

Objective = TokenizerObjective | PredictorObjective
EpochBatches = Callable[[int, int], Iterable[WindowBatch]]  # (epoch, first batch) -> its batches


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


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[torch.Generator]:
    """Inside, dropout and initialisation draw from `seed`; afterwards the global state is back.

    Yields a generator on `device` for what can be handed one.
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield torch.Generator(device).manual_seed(mixed_seed(seed, 1))


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch."""

    epoch: int  # from 0
    train_loss: float  # mean of its steps' losses, dropout on
    validation_loss: float  # a token (forecaster) or a value (tokenizer)
    best: bool  # whether no earlier epoch validated better


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands; its progress file holds this and the tensors that go with it."""

    epoch: int = 0  # the running one
    batch: int = 0  # next one of the epoch
    loss_sum: float = 0.0  # of the epoch's steps so far
    best_loss: float = math.inf
    best_epoch: int = -1
    history: tuple[EpochReport, ...] = ()


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


def _device(objective: nn.Module) -> torch.device:
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
    device = _device(objective)
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
    device, total = _device(objective), Tally(0.0, 0)
    for x, stamp in batches:
        total = total + unwrapped(objective).tally(x.to(device), stamp.to(device))
    return total


def validate(objective: nn.Module, batches: Iterable[WindowBatch]) -> float:
    """Mean validation loss, weighted by tokens; raises `TrainingError` for an empty set."""
    return total_tally(objective, batches).mean


def _one_worker(tally: Tally) -> Tally:
    return tally


class TrainingRun:
    """One run: an objective, its optimiser, and where it stands.

    `batches_per_epoch` is what every epoch will deliver, `fingerprint` names the data and the model
    in words of the caller's, so that another run's progress is refused.
    """

    def __init__(
        self,
        objective: nn.Module,
        config: TrainConfig,
        batches_per_epoch: int,
        fingerprint: str = "",
    ) -> None:
        if config.batches_per_epoch is not None:
            batches_per_epoch = min(batches_per_epoch, config.batches_per_epoch)
        if batches_per_epoch < 1:
            raise TrainingError("the training set is empty: an epoch has no batch")
        self.objective, self.config = objective, config
        self.batches_per_epoch = batches_per_epoch
        self.steps_per_epoch = math.ceil(batches_per_epoch / config.accumulation)
        self.identity = json.dumps([asdict(config), batches_per_epoch, fingerprint])
        self.optimizer = make_optimizer(objective, config)
        self.progress = TrainingProgress()
        self.best: dict[str, Tensor] = {}

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, were it not stopped early."""
        return self.steps_per_epoch * self.config.epochs

    @property
    def done(self) -> bool:
        """Every epoch has run, or none of the last `patience` validated better."""
        at, patience = self.progress, self.config.patience
        stale = at.epoch - 1 - at.best_epoch
        return at.epoch >= self.config.epochs or (patience is not None and stale >= patience)

    def weights(self) -> dict[str, Tensor]:
        """The trained model's state, as tensors of its own."""
        state = unwrapped(self.objective).model.state_dict()
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    def run_batches(self, batches: Iterable[WindowBatch]) -> Iterator[float]:
        """Train on the rest of the running epoch; yields every step's loss after the step."""
        source = islice(batches, self.batches_per_epoch - self.progress.batch)
        while group := list(islice(source, self.config.accumulation)):
            at = self.progress
            step = at.epoch * self.steps_per_epoch + at.batch // self.config.accumulation
            loss = train_step(
                self.objective,
                group,
                self.optimizer,
                self.config,
                rate=one_cycle(step, self.steps, self.config),
                seed=mixed_seed(self.config.seed, at.epoch, at.batch),
            )
            self.progress = replace(at, batch=at.batch + len(group), loss_sum=at.loss_sum + loss)
            yield loss
        if self.progress.batch < self.batches_per_epoch:
            raise TrainingError(
                f"epoch {self.progress.epoch} gave {self.progress.batch} batches, "
                f"{self.batches_per_epoch} were announced"
            )

    def end_epoch(self, validation_loss: float) -> EpochReport:
        """Record the epoch, keep its weights if they are the best, move on to the next."""
        at = self.progress
        better = validation_loss < at.best_loss
        report = EpochReport(at.epoch, at.loss_sum / self.steps_per_epoch, validation_loss, better)
        if better:
            self.best = self.weights()
            at = replace(at, best_loss=validation_loss, best_epoch=at.epoch)
        self.progress = replace(
            at, epoch=at.epoch + 1, batch=0, loss_sum=0.0, history=(*at.history, report)
        )
        return report

    def save(self, file: Path) -> None:
        """Progress, weights and the optimiser's state, in one safetensors file, written aside and
        renamed."""
        named = dict(unwrapped(self.objective).model.named_parameters())
        tensors = {f"model/{name}": tensor for name, tensor in self.weights().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in named.items():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = tensor.contiguous()
        notes = {"identity": self.identity, "progress": json.dumps(asdict(self.progress))}
        aside = file.with_name(file.name + ".part")
        save_file(tensors, aside, metadata=notes)
        os.replace(aside, file)

    def resume(self, file: Path) -> None:
        """Go on from a saved file; raises `TrainingError` where it is of another run."""
        device = _device(self.objective)
        with safe_open(file, framework="pt", device=str(device)) as stored:
            notes = stored.metadata() or {}
            if notes.get("identity") != self.identity:
                raise TrainingError(
                    f"{file} holds the progress of another run (other data, model or settings); "
                    "remove it to start over"
                )
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        raw = json.loads(notes["progress"])
        raw["history"] = tuple(EpochReport(**report) for report in raw["history"])
        self.progress = TrainingProgress(**raw)
        self.best = _under("best/", tensors)
        unwrapped(self.objective).model.load_state_dict(_under("model/", tensors))
        for name, parameter in unwrapped(self.objective).model.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq")
            state = {key: tensors.get(f"optimizer/{key}/{name}") for key in keys}
            if state["step"] is not None:
                self.optimizer.state[parameter] = state | {"step": state["step"].cpu()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def fit(
    run: TrainingRun,
    batches: EpochBatches,
    validation: Iterable[WindowBatch],
    *,
    progress_file: Path | None = None,
    save_every: int | None = None,
    on_step: Callable[[TrainingProgress, float], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    reduce: Callable[[Tally], Tally] = _one_worker,
) -> TrainingProgress:
    """Run every epoch that is left, then put the best epoch's weights into the model.

    `validation` is gone through once an epoch. With `progress_file` the run is resumed from it if
    it is there, and saved to it after every epoch and every `save_every` steps. `on_step` and
    `on_epoch` are told of each; `reduce` sums a tally over workers. Raises `TrainingError` for an
    empty training or validation set before any step is spent on an epoch's worth of them.
    """
    if next(iter(validation), None) is None:
        raise TrainingError("the validation set is empty: no token to take a loss over")
    if progress_file is not None and progress_file.exists():
        run.resume(progress_file)
    while not run.done:
        at = run.progress
        for number, loss in enumerate(run.run_batches(batches(at.epoch, at.batch)), start=1):
            if on_step is not None:
                on_step(run.progress, loss)
            if progress_file is not None and save_every and number % save_every == 0:
                run.save(progress_file)
        report = run.end_epoch(reduce(total_tally(run.objective, validation)).mean)
        if progress_file is not None:
            run.save(progress_file)
        if on_epoch is not None:
            on_epoch(report)
    unwrapped(run.objective).model.load_state_dict(run.best)
    return run.progress
