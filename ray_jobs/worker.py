"""What a worker of Ray Train does: the stages of a fine-tuning, in step with the other workers.

All that is kept is written by the first worker, into a folder that every machine sees: the progress
of each stage, from which a training goes on after a worker died or the driver was killed; the loss
of every step (`losses.csv`); the same for TensorBoard.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from safetensors import safe_open

from kronos.errors import KronosError
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer
from kronos.training.dataset import (
    CandleSeries,
    EpochLoader,
    EpochOrder,
    WindowDataset,
    target_windows,
    validation_loader,
    validation_windows,
)
from kronos.training.fit import EpochReport, TrainingProgress, TrainingRun, fit
from kronos.training.objectives import Tally, TokenizerObjective, predictor_objective
from kronos.training.schedule import one_cycle
from kronos.training.steps import Objective
from ray_jobs.board import Standing
from ray_jobs.errors import sent
from ray_jobs.options import TOKENIZER, Period, TrainingOptions
from sandbox.errors import SandboxError, WorkerError
from sandbox.files import write_whole

VALIDATION_BATCH = 128  # windows
REPORT_SECS = 30.0  # between reports to Ray, which each wait for its next look at the workers
TELL_SECS = 0.5
MARK, MET, LOSSES, BOARDS = "shared.txt", "error.txt", "losses.csv", "tensorboard"
LOSS_COLUMNS = ("stage", "step", "epoch", "loss", "rate", "seconds")
STAGES, ERROR = "stages", "error"


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What each worker is handed; references lead into Ray's object store."""

    name: str  # on the board
    nets: Any  # reference to (model, tokenizer) of the base, on the CPU
    series: Any  # reference to the candles by symbol, none at or after the end of validation
    options: TrainingOptions
    objective: str
    train: Period
    validate: Period
    identity: str  # hash of all that decides the outcome
    folder: str  # of unfinished work, on storage that every machine sees
    mark: str  # what the driver wrote there
    threads: int
    board: Any  # handle of a `Board`, or None


def train_worker(config: Mapping[str, Any]) -> dict[str, Any]:
    """All stages: `{"stages": {name: figures}}`, or `{"error": text}` for an error that would come
    again. The model is found in the progress files.

    Errors of ours come to all workers at the same step, and end the training. Any other is that of
    one worker: it is raised, which ends the others, and noted, so that the workers that Ray starts
    next end with it. RuntimeErrors are not noted, since that is what a worker meets whose
    neighbour has died.
    """
    job: TrainingJob = config["job"]
    torch.set_num_threads(job.threads)
    try:
        worker = Worker(job)
        if met := worker.met_before():
            return {ERROR: met}
        return {STAGES: worker.run()}
    except (KronosError, SandboxError) as error:
        return {ERROR: sent(error)}
    except Exception as error:
        if not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError):
            _note(job, error)
        raise


def _note(job: TrainingJob, error: Exception) -> None:
    with suppress(OSError):
        write_whole(Path(job.folder) / MET, f"{job.mark}\n{sent(error)}".encode())


def met_before(folder: Path, mark: str) -> str:
    """The error that an earlier worker of the same command has noted, as text; empty if none."""
    try:
        noted_mark, _, error = (folder / MET).read_text().partition("\n")
    except OSError:
        return ""
    return error if noted_mark == mark else ""


class Worker:
    """One of the workers of a training."""

    def __init__(self, job: TrainingJob) -> None:
        self.job, self.folder = job, Path(job.folder)
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()

    def run(self) -> dict[str, Any]:
        """The stages' figures, each stage from where it was left."""
        self._expect_shared_folder()
        model, tokenizer = ray.get(self.job.nets)
        series = ray.get(self.job.series)
        train, validate = windows_of(series, self.job.options, self.job.train, self.job.validate)
        figures = {}
        for stage in self.job.options.stage_names:
            objective = self._objective(stage, model, tokenizer)
            figures[stage] = Stage(self, stage, objective, train, validate).run()
        return figures

    def met_before(self) -> str:
        """As `met_before`, found by all workers or by none."""
        met = met_before(self.folder, self.job.mark)
        unknown = WorkerError("a worker met an error, which others cannot read")
        return (met or sent(unknown)) if self.total(float(bool(met))) else ""

    def _objective(self, stage: str, model: Kronos, tokenizer: KronosTokenizer) -> Objective:
        if stage == TOKENIZER:
            return TokenizerObjective(tokenizer)
        lookback = self.job.options.lookback
        return predictor_objective(self.job.objective, model, tokenizer, lookback)

    def _expect_shared_folder(self) -> None:
        """Raises WorkerError, in all workers, where one of them does not see the driver's files."""
        try:
            seen = (self.folder / MARK).read_text() == self.job.mark
        except OSError:
            seen = False
        blind = self.total(0.0 if seen else 1.0)
        if blind:
            raise WorkerError(
                f"{blind:g} of {self.world} workers do not see the files that this command wrote "
                f"to {self.folder}: --storage must name a folder that all machines share"
            )

    def total(self, value: float) -> float:
        """Over all workers, in fp64; each calls it, and so waits for the others."""
        return summed(Tally(value, 1)).total


def windows_of(
    series: Mapping[str, CandleSeries], options: TrainingOptions, train: Period, validate: Period
) -> tuple[WindowDataset, WindowDataset]:
    """To train and to validate on: no target bar is in both; lookbacks may reach back."""
    every = options.bars_between_validation_windows
    return (
        target_windows(series, options.shape, *train, options.stride),
        validation_windows(series, options.shape, *validate, every),
    )


def summed(tally: Tally) -> Tally:
    """Over all workers, in fp64; each calls it, and so waits for the others."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return tally
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    both = torch.tensor([tally.total, float(tally.count)], dtype=torch.float64, device=device)
    dist.all_reduce(both)
    return Tally(both[0].item(), int(both[1]))


class Stage:
    """One stage on one worker."""

    def __init__(
        self,
        worker: Worker,
        name: str,
        objective: Objective,
        train: WindowDataset,
        validate: WindowDataset,
    ) -> None:
        job, rank, world = worker.job, worker.rank, worker.world
        self.worker, self.name, self.job = worker, name, job
        self.file = worker.folder / f"{name}.safetensors"
        self.config = job.options.config_of(name, world)
        seed = self.config.seed + (name == TOKENIZER)  # each stage has an order of its own
        order = EpochOrder(
            len(train), self.config.batch_size, seed, self.config.batches_per_epoch,
            rank=rank, world=world,
        )  # fmt: skip
        self.loader = EpochLoader(train, order)
        self.check = validation_loader(validate, VALIDATION_BATCH, rank=rank, world=world)
        wrapped = ray.train.torch.prepare_model(objective)
        self.training = TrainingRun(
            wrapped, self.config, len(order), f"{name} {job.identity}",
            rank=rank, world=world, beat_base=True, bf16=job.options.bf16,
        )  # fmt: skip
        self.losses = LossLog(worker.folder, name) if rank == 0 else None
        self._began = self._told = self._reported = time.monotonic()
        self._first: tuple[int, float] | None = None  # step of this process, and when it ended

    def run(self) -> dict[str, Any]:
        self._expect_one_progress()
        fit(
            self.training, self.loader, self.check, progress_file=self.file,
            save_every=self._steps_between_saves(), on_step=self._on_step,
            on_epoch=self._on_epoch, reduce=summed,
        )  # fmt: skip
        if self.losses is not None:
            self.losses.close()
        at = self.training.progress
        return {
            "base_loss": at.base_loss,
            "best_loss": at.best_loss,
            "best_epoch": at.best_epoch + 1,  # counted from 1; 0 is the base
            "epochs_run": at.epoch,
            "steps_run": at.epoch * self.training.steps_per_epoch,
            "seconds": round(time.monotonic() - self._began, 1),
            "history": _history(at),
        }

    def _steps_between_saves(self) -> int:
        """So that a worker that dies costs little, and writing costs little."""
        megabytes = sum(p.numel() for p in self.training.objective.parameters()) * 16 / 1e6
        return max(10, math.ceil(megabytes / 2))

    def _expect_one_progress(self) -> None:
        """Raises WorkerError, in all workers, where they would go on from different files."""
        here = _progress_digest(self.file)
        if self.worker.total(float(here)) != here * self.worker.world:
            raise WorkerError(
                f"workers read different progress in {self.file}: --storage must name a folder "
                "that all machines share, and see at the same time"
            )

    def _on_step(self, at: TrainingProgress, loss: float) -> None:
        loss = self.worker.total(loss) / self.worker.world
        if self.losses is None:
            return
        step, now = self.training.steps_done, time.monotonic()
        rate = one_cycle(step - 1, self.training.steps, self.config)[0]
        self.losses.add(step, at.epoch + 1, loss, rate, now - self._began)
        self._first = self._first or (step, now)
        if now - self._told >= TELL_SECS or step == self.training.steps:
            self._tell(step, loss, now)

    def _tell(self, step: int, loss: float, now: float) -> None:
        if self.job.board is None:
            return
        at, (first, began) = self.training.progress, self._first or (step, now)
        rate = (step - first) / (now - began) if step > first else 0.0
        checked = at.history[-1].validation_loss if at.history else at.base_loss
        standing = Standing(self.name, step, self.training.steps, loss, rate, checked)
        self.job.board.tell.remote(self.job.name, standing)
        self._told = now

    def _on_epoch(self, report: EpochReport) -> None:
        """All workers report to Ray, or none: the first one's clock decides."""
        now = time.monotonic()
        if self.losses is not None:
            self.losses.end_epoch(report.validation_loss)
        due = now - self._reported >= REPORT_SECS or self.training.done
        if self.worker.total(float(due and self.worker.rank == 0)):
            self._reported = now
            ray.train.report(
                {
                    "stage": self.name,
                    "epoch": report.epoch + 1,
                    "train_loss": report.train_loss,
                    "validation_loss": report.validation_loss,
                }
            )


def _history(at: TrainingProgress) -> list[dict[str, Any]]:
    """The base as epoch 0, then the epochs, counted from 1 as `best_epoch` is."""
    base = {"epoch": 0, "train_loss": None, "validation_loss": at.base_loss, "best": True}
    epochs = [replace(report, epoch=report.epoch + 1) for report in at.history]
    return [base, *map(asdict, epochs)]


class LossLog:
    """The loss of every step, for people, spreadsheets and TensorBoard. Rows of steps that are
    taken again, after a worker died, are replaced."""

    def __init__(self, folder: Path, stage: str) -> None:
        self._file, self._stage, self._boards = folder / LOSSES, stage, folder / BOARDS / stage
        self._writer: Any = None  # of TensorBoard; None until the first step

    def add(self, step: int, epoch: int, loss: float, rate: float, seconds: float) -> None:
        if self._writer is None:
            self._begin(step)
        row = self._stage, step, epoch, f"{loss:.6g}", f"{rate:.6g}", f"{seconds:.2f}"
        with self._file.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
        self._writer.add_scalar("loss/train", loss, step)
        self._writer.add_scalar("learning_rate", rate, step)
        self._step = step

    def end_epoch(self, validation_loss: float) -> None:
        if self._writer is not None:  # else no step of this epoch was left to this process
            self._writer.add_scalar("loss/validation", validation_loss, self._step)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _begin(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        kept = [row for row in _rows_of(self._file) if self._is_before(row, step)]
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([LOSS_COLUMNS, *kept])
        write_whole(self._file, lines.getvalue().encode())
        self._writer = SummaryWriter(str(self._boards), purge_step=step)

    def _is_before(self, row: list[str], step: int) -> bool:
        return row[0] != self._stage or int(row[1]) < step


def _rows_of(file: Path) -> list[list[str]]:
    """Of a table of losses, but for the names of columns and a last row that was cut short."""
    if not file.exists():
        return []
    with file.open(newline="") as text:
        return [row for row in csv.reader(text) if len(row) == len(LOSS_COLUMNS)][1:]


def _progress_digest(file: Path) -> int:
    """A number below 2**40 that tells progress files apart; 0 without one."""
    if not file.exists():
        return 0
    with safe_open(file, framework="pt") as stored:
        notes = json.dumps(stored.metadata(), sort_keys=True)
    return int(sha256(notes.encode()).hexdigest()[:10], 16)
