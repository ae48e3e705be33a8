"""Trains an objective: epochs, validation, early stopping, resumable progress.

Knows objectives (`kronos.training.objectives`), batches and one progress file; nothing of candles'
files, process groups or clocks. A worker of a distributed run hands in its wrapped objective, its
own share of the batches, and how tallies are summed over workers. Everything random is a function
of (seed, epoch, batch, rank), so a run that was cut off and resumed ends with the same bits as one
that was not.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
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
    train_loss: float  # mean of its steps' losses, dropout on, over this worker's batches
    validation_loss: float  # a token (forecaster) or a value (tokenizer)
    best: bool  # whether it beat every earlier epoch, and the base where that was validated


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands; its progress file holds this and the tensors that go with it."""

    epoch: int = 0  # the running one
    batch: int = 0  # next one of the epoch
    loss_sum: float = 0.0  # of the epoch's steps so far
    best_loss: float = math.inf
    best_epoch: int = -1  # none yet, or the base
    history: tuple[EpochReport, ...] = ()
    base_loss: float | None = None  # validation before the first step; None: not taken


def _one_worker(tally: Tally) -> Tally:
    return tally


class TrainingRun:
    """One run: an objective, its optimiser, and where it stands.

    `batches_per_epoch` is what every epoch will deliver, to each of `world` workers of which this
    is number `rank`; every worker's batches must be of the same size. `fingerprint` names the data
    and the model in words of the caller's, so that another run's progress is refused.

    With `beat_base` the model is validated before the first step, and where no epoch beats it the
    run ends with the weights that it began with. With `bf16` training's forward runs in bfloat16;
    validation stays in fp32, so that losses compare with those of other runs.
    """

    def __init__(
        self,
        objective: nn.Module,
        config: TrainConfig,
        batches_per_epoch: int,
        fingerprint: str = "",
        *,
        rank: int = 0,
        world: int = 1,
        beat_base: bool = False,
        bf16: bool = False,
    ) -> None:
        if config.batches_per_epoch is not None:
            batches_per_epoch = min(batches_per_epoch, config.batches_per_epoch)
        if batches_per_epoch < 1:
            raise TrainingError("the training set is empty: an epoch has no batch")
        self.objective, self.config = objective, config
        self.rank, self.world, self.beat_base, self.bf16 = rank, world, beat_base, bf16
        self.batches_per_epoch = batches_per_epoch
        self.steps_per_epoch = math.ceil(batches_per_epoch / config.accumulation)
        self.identity = json.dumps(
            [asdict(config), batches_per_epoch, fingerprint, *self._unusual()]
        )
        self.optimizer = make_optimizer(objective, config)
        self.progress = TrainingProgress()
        self.best: dict[str, Tensor] = {}

    def _unusual(self) -> list[dict[str, int]]:
        """What joins the identity of a run that is more than one worker's plain one."""
        unusual: dict[str, int] = {}
        if self.world > 1:
            unusual |= {"world": self.world, "global_batch_size": self.global_batch_size}
        unusual |= {key: True for key in ("beat_base", "bf16") if getattr(self, key)}
        return [unusual] if unusual else []

    @property
    def global_batch_size(self) -> int:
        """Windows a step, over all workers; an epoch's last step may have fewer."""
        return self.config.batch_size * self.config.accumulation * self.world

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, were it not stopped early."""
        return self.steps_per_epoch * self.config.epochs

    @property
    def steps_done(self) -> int:
        """Optimiser steps so far, over all epochs."""
        at = self.progress
        return at.epoch * self.steps_per_epoch + math.ceil(at.batch / self.config.accumulation)

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
            at, step = self.progress, self.steps_done
            loss = train_step(
                self.objective,
                group,
                self.optimizer,
                self.config,
                rate=one_cycle(step, self.steps, self.config),
                seed=self._step_seed(),
                where=f"step {step} (epoch {at.epoch}, {_batches(at.batch, len(group))})",
                bf16=self.bf16,
            )
            self.progress = replace(at, batch=at.batch + len(group), loss_sum=at.loss_sum + loss)
            yield loss
        if self.progress.batch < self.batches_per_epoch:
            raise TrainingError(
                f"epoch {self.progress.epoch} gave {self.progress.batch} batches, "
                f"{self.batches_per_epoch} were announced"
            )

    def _step_seed(self) -> int:
        """Of the next step's dropout and sampled tokens: every worker has its own."""
        at, others = self.progress, (self.rank,) if self.rank else ()
        return mixed_seed(self.config.seed, at.epoch, at.batch, *others)

    @property
    def base_is_due(self) -> bool:
        """The base has to be validated, and has not been yet."""
        return self.beat_base and self.progress.base_loss is None

    def record_base(self, validation_loss: float) -> None:
        """Epochs now have to beat this loss; the weights as they are are kept until one does."""
        if not math.isfinite(validation_loss):
            raise TrainingError(f"the base's validation loss is {validation_loss}")
        self.best = self.weights()
        self.progress = replace(self.progress, base_loss=validation_loss, best_loss=validation_loss)

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


def _batches(first: int, count: int) -> str:
    return f"batch {first}" if count == 1 else f"batches {first} to {first + count - 1}"


def _save(run: TrainingRun, file: Path | None) -> None:
    if file is not None and run.rank == 0:
        run.save(file)


def _refuse_empty(validation: Iterable[WindowBatch], reduce: Callable[[Tally], Tally]) -> None:
    """Raise where no worker has a batch; every worker takes part, so that all raise."""
    first = next(iter(validation), None)
    if reduce(Tally(0.0, 0 if first is None else len(first[0]))).count == 0:
        raise TrainingError("the validation set is empty: no token to take a loss over")


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
    """Run every epoch that is left, then put the best weights into the model.

    They are the best epoch's, or the base's where no epoch beat it (then `best_epoch` is -1).

    `validation` is gone through once an epoch. With `progress_file` the run is resumed from it if
    it is there, and saved to it after every epoch and every `save_every` steps. `on_step` and
    `on_epoch` are told of each.

    Of several workers each calls this with its own share, which may be empty for validation.
    `reduce` sums a tally over them, in fp64, and all call it alike. They resume from one file,
    which rank 0 alone writes.

    Raises `TrainingError` for an empty training or validation set before any step is spent on an
    epoch's worth of them, and where no epoch's validation loss was a number.
    """
    _refuse_empty(validation, reduce)
    save = partial(_save, run, progress_file)
    if progress_file is not None and progress_file.exists():
        run.resume(progress_file)
    if run.base_is_due:
        run.record_base(reduce(total_tally(run.objective, validation)).mean)
        save()
    while not run.done:
        at = run.progress
        for number, loss in enumerate(run.run_batches(batches(at.epoch, at.batch)), start=1):
            if on_step is not None:
                on_step(run.progress, loss)
            if save_every and number % save_every == 0:
                save()
        report = run.end_epoch(reduce(total_tally(run.objective, validation)).mean)
        save()
        if on_epoch is not None:
            on_epoch(report)
    if not run.best:
        raise TrainingError("no epoch's validation loss was a finite number; try a lower lr_max")
    unwrapped(run.objective).model.load_state_dict(run.best)
    return run.progress
