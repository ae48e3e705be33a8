"""One fine-tuning as its driver sees it: what decides it, Ray Train's workers, the folder it fills.

Ray Train starts the workers, starts them again where one died, and tells what became of them. What
a training has reached is in `ray_jobs.worker`'s progress files, so a command that was killed goes
on from there when it is started again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import platform
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from feeds import Candles
from kronos import Checkpoint
from kronos.hub import BUNDLED
from kronos.training.dataset import CandleSeries
from ray_jobs.cluster import expect_resources
from ray_jobs.errors import last_line, received
from ray_jobs.options import Period, TrainingOptions, WorkerOptions
from ray_jobs.worker import (
    BOARDS,
    ERROR,
    LOSSES,
    MARK,
    STAGES,
    TrainingJob,
    met_before,
    train_worker,
    windows_of,
)
from sandbox.checkpoints.card import read_card
from sandbox.checkpoints.finetuned import FineTuned, finished
from sandbox.checkpoints.series import series_before, series_hash, symbols_in
from sandbox.errors import ConfigError, WorkerError
from sandbox.files import package_versions
from sandbox.forecast.model import expect_context
from sandbox.words import counted

FORMAT = 1  # raised when the same settings come to train something else
PACKAGES = ("torch", "ray", "numpy", "pandas")


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """A checked fine-tuning: everything that decides it, nothing computed.

    series: bars before the end of validation alone, so that no later one can matter; `data_hash` is
    theirs.
    """

    base: Checkpoint
    spec: str
    series: Mapping[str, CandleSeries]
    data_hash: str
    options: TrainingOptions
    objective: str
    train: Period
    validate: Period
    workers: WorkerOptions
    out: Path
    identity: str
    windows: tuple[int, int]  # to train and to validate on

    @classmethod
    def of(
        cls,
        base: Checkpoint,
        candles: Candles,
        options: TrainingOptions,
        train: Period,
        validate: Period,
        workers: WorkerOptions,
        out: Path,
    ) -> FineTuning:
        """Raises ConfigError and TrainingError for what cannot be trained."""
        expect_context(base, options.lookback + options.horizon, "--lookback and --horizon")
        if out.name in ("", "..") or out.is_mount():
            raise ConfigError(f"{out}: name a folder to fill")
        for stage in options.stage_names:
            options.config_of(stage, workers.workers)  # raises for a batch that cannot be shared
        series = series_before(candles.frames, validate.end, candles.members)
        windows = windows_of(series, options, train, validate)
        objective, data_hash = objective_for(options, base), series_hash(series)
        decisive = {
            "format": FORMAT, "base": base.fingerprint, "data": data_hash,
            "objective": objective, "options": asdict(options), "workers": workers.workers,
            "train": train.in_words(), "validate": validate.in_words(),
        }  # fmt: skip
        text = json.dumps(decisive, sort_keys=True)
        return cls(
            base=base, spec=candles.spec, series=series, data_hash=data_hash, options=options,
            objective=objective, train=train, validate=validate, workers=workers, out=out,
            identity=hashlib.sha256(text.encode()).hexdigest(),
            windows=(len(windows[0]), len(windows[1])),
        )  # fmt: skip

    def finished(self) -> dict[str, Any] | None:
        """The card, where `out` is filled already; raises ConfigError where it holds another."""
        return finished(self.out, self.identity)

    @property
    def storage(self) -> Path:
        if self.workers.storage is not None:
            return Path(self.workers.storage).absolute()
        return self.out.absolute().parent / f".{self.out.name}.training"

    @property
    def run_name(self) -> str:
        """Ray Train's, of which the same one goes on."""
        return f"{self.out.name}-{self.identity[:12]}"

    def run(self, label: str, board: Any = None, loop: Any = train_worker) -> dict[str, Any]:
        """Train, in a process that is connected to Ray, and fill `out`; returns the card.

        The board shows it under the `label`; `loop` is what every worker does. Raises what the
        workers met, in one line.
        """
        gpus = self.workers.gpus_of_each(ray.cluster_resources().get("GPU", 0.0))
        expect_resources(self.workers.workers, self.workers.worker_threads, gpus, "worker")
        folder = self.storage / self.run_name
        mark = self._begin(folder)
        job = TrainingJob(
            name=label, nets=ray.put((self.base.model, self.base.tokenizer)),
            series=ray.put(dict(self.series)), options=self.options, objective=self.objective,
            train=self.train, validate=self.validate, identity=self.identity, folder=str(folder),
            mark=mark, threads=self.workers.worker_threads, board=board,
        )  # fmt: skip
        stages = self._trained(job, gpus, loop)
        card = FineTuned(
            base=self.base, card=self._card(stages), work=folder, tables=(LOSSES, BOARDS)
        ).write(self.out)
        self._clear(folder)
        return card

    def in_words(self, card: Mapping[str, Any]) -> str:
        """What came of it, a line for each stage and one for the folder."""
        lines = [f"{name}: {stage_in_words(stage)}" for name, stage in card["stages"].items()]
        same = "; it holds the base, byte for byte" if card["is_base"] else ""
        return "\n".join([*lines, f"wrote {self.out}{same}: --model {self.out}"])

    def _begin(self, folder: Path) -> str:
        """Make the folder of unfinished work; what is written there shows who sees it."""
        mark = uuid.uuid4().hex
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.out.parent.mkdir(parents=True, exist_ok=True)
            (folder / MARK).write_text(mark)
        except OSError as error:
            raise ConfigError(
                f"--storage {self.storage}: it cannot be written ({error.strerror or error})"
            ) from error
        return mark

    def _trained(self, job: TrainingJob, gpus: int, loop: Any) -> dict[str, Any]:
        """The stages' figures."""
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        trainer = TorchTrainer(
            loop, train_loop_config={"job": job},
            scaling_config=ScalingConfig(
                num_workers=self.workers.workers, use_gpu=gpus > 0,
                resources_per_worker={"CPU": self.workers.worker_threads}
                | ({"GPU": gpus} if gpus else {}),
            ),
            run_config=RunConfig(
                name=self.run_name, storage_path=str(self.storage),
                failure_config=FailureConfig(max_failures=self.workers.retries),
            ),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        )  # fmt: skip
        try:
            result: Any = trainer.fit()
        except Exception as error:  # of Ray Train and of Ray, which have no base in common
            if met := met_before(Path(job.folder), job.mark):
                raise received(met) from error
            raise WorkerError(
                f"training of {self.out.name} failed, its workers were started "
                f"{counted(self.workers.retries + 1, 'time')}: {last_line(str(error))}; what was "
                f"saved is kept in {job.folder}"
            ) from error
        outcome = result.return_value
        if ERROR in outcome:
            raise received(outcome[ERROR])
        stages: dict[str, Any] = outcome[STAGES]
        return stages

    def _card(self, stages: Mapping[str, Any]) -> dict[str, Any]:
        base, last = self.base, (self.validate.end - np.timedelta64(1, "us")).astype("M8[D]")
        last_day: dt.date = last.item()
        seen = None if base.seen_until is None else max(base.seen_until, last_day).isoformat()
        return {
            "name": self.out.name,
            "identity": self.identity,
            "base": {
                "name": base.name, "fingerprint": base.fingerprint,
                "seen_until": base.seen_until and base.seen_until.isoformat(),
            },
            "data": {
                "spec": self.spec, "hash": self.data_hash, "symbols": symbols_in(self.series),
            },
            "train": self.train.in_words(),
            "validate": self.validate.in_words(),
            "windows": dict(zip(("train", "validate"), self.windows, strict=True)),
            "seen_until": seen,
            "max_context": base.max_context,
            "objective": self.objective,
            "settings": asdict(self.options)
            | {"objective": self.objective, "workers": self.workers.workers},
            "stages": dict(stages),
            "versions": {"python": platform.python_version()}
            | package_versions(PACKAGES),
        }  # fmt: skip

    def _clear(self, folder: Path) -> None:
        """Unfinished work is not needed any more; a folder that the user named stays."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.workers.storage is None:
            shutil.rmtree(self.storage, ignore_errors=True)


def stage_in_words(stage: Mapping[str, Any]) -> str:
    """What a stage of a card did to the validation loss."""
    came = f"{stage['best_loss']:.4f} after epoch {stage['best_epoch']}"
    if not stage["best_epoch"]:
        came = f"no epoch of {stage['epochs_run']} was better: the base is kept"
    return f"validation loss {stage['base_loss']:.4f} before, {came}"


def objective_for(options: TrainingOptions, base: Checkpoint) -> str:
    """The losses asked for, or else what the base was trained by: fine-tuned ones say so in their
    card."""
    folder = base.model_folder.parent
    if options.objective is not None:
        return options.objective
    if folder == BUNDLED:
        return "sandbox"
    try:
        return str(read_card(folder).get("objective", "published"))
    except (OSError, ValueError):
        return "published"
