"""Trains an objective: epochs, validation, early stopping, resumable progress.

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
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kronos.errors import TrainingError
from kronos.training.dataset import WindowBatch, mixed_seed
from kronos.training.objectives import Tally
from kronos.training.schedule import TrainConfig, one_cycle
from kronos.training.steps import device_of, make_optimizer, total_tally, train_step, unwrapped

EpochBatches = Callable[[int, int], Iterable[WindowBatch]]  # (epoch, first batch) -> its batches


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
        device = device_of(self.objective)
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
