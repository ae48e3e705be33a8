"""Options of training: which losses, for how long, on how many workers."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from kronos.training.dataset import WindowShape
from kronos.training.schedule import TrainConfig, tokenizer_config
from sandbox.errors import ConfigError

TOKENIZER, PREDICTOR = "tokenizer", "predictor"
BOTH = "both"

AtLeastOne = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a checkpoint is fine-tuned. Rates, clipping and AdamW's settings are the published."""

    objective: Literal["published", "sandbox"] | None = None  # None: that of the base
    stages: Literal["both", "predictor", "tokenizer"] = "both"
    epochs: AtLeastOne = 3
    batch_size: AtLeastOne = 48  # windows a step, over all workers
    accumulation: AtLeastOne = 1  # batches a step and worker
    steps_per_epoch: AtLeastOne | None = None  # at most; None: every window once
    learning_rate: Rate = 4e-5  # of the predictor, at the peak of the one-cycle schedule
    tokenizer_learning_rate: Rate = 2e-4
    patience: AtLeastOne | None = None  # epochs without a better validation loss; None: all run
    lookback: Annotated[int, Field(ge=2, le=4096)] = 90  # bars a window is normalised on
    horizon: Annotated[int, Field(ge=1, le=512)] = 10  # bars; one more target follows
    stride: AtLeastOne = 1  # bars between training windows of a symbol
    validation_stride: AtLeastOne | None = None  # None: each bar is a target once
    bf16: bool = False  # bfloat16 in training's forward; weights and validation stay in fp32
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 100

    @property
    def stage_names(self) -> tuple[str, ...]:
        """In the order in which they are trained."""
        return (TOKENIZER, PREDICTOR) if self.stages == BOTH else (self.stages,)

    @property
    def shape(self) -> WindowShape:
        return WindowShape(self.lookback, self.horizon)

    @property
    def bars_between_validation_windows(self) -> int:
        return self.validation_stride or self.horizon + 1

    def config_of(self, stage: str, workers: int) -> TrainConfig:
        """Of a stage, for each of so many workers; raises ConfigError where the batch cannot be
        shared out evenly."""
        batch, rest = divmod(self.batch_size, workers * self.accumulation)
        if rest or not batch:
            raise ConfigError(
                f"--batch-size {self.batch_size}: it is shared out over {workers} workers and "
                f"{self.accumulation} batches a step, so it must be a multiple of "
                f"{workers * self.accumulation}"
            )
        most = self.steps_per_epoch and self.steps_per_epoch * self.accumulation
        shared: dict[str, Any] = {
            "epochs": self.epochs, "batch_size": batch, "batches_per_epoch": most,
            "accumulation": self.accumulation, "patience": self.patience, "seed": self.seed,
        }  # fmt: skip
        if stage == TOKENIZER:
            return tokenizer_config(**shared, lr_max=self.tokenizer_learning_rate)
        return TrainConfig(**shared, lr_max=self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What trains: workers that hold a copy of the model each and share every batch."""

    ray_address: str | None = None  # auto, HOST:PORT; None: a Ray of this machine
    workers: AtLeastOne = 1
    worker_gpus: Annotated[int, Field(ge=0, le=1)] | None = None  # None: 1 each if there is any
    worker_threads: AtLeastOne = 1  # and CPUs of each
    retries: Annotated[int, Field(ge=0)] = 3  # after a worker that died
    storage: str | None = None  # folder of unfinished work, that all machines see

    def gpus_of_each(self, gpus: float) -> int:
        """Of a worker, in a cluster that has so many."""
        return min(1, int(gpus)) if self.worker_gpus is None else self.worker_gpus


class Period(NamedTuple):
    """From `start` on, before `end`; UTC."""

    start: np.datetime64
    end: np.datetime64

    @classmethod
    def of(cls, text: str, flag: str) -> Self:
        """`2015-01-01:2018-07-01`, or raises ConfigError."""
        first, colon, last = text.partition(":")
        try:
            days = date.fromisoformat(first), date.fromisoformat(last)
        except ValueError:
            days = None
        if not colon or days is None:
            raise ConfigError(f"{flag} {text!r}: write two dates, such as 2015-01-01:2018-07-01")
        if days[0] >= days[1]:
            raise ConfigError(f"{flag} {text}: its end is not after its start")
        return cls(*(np.datetime64(day, "us") for day in days))

    def in_words(self) -> list[str]:
        return [_in_words(time) for time in self]


@dataclass(frozen=True, kw_only=True)
class PeriodOptions:
    """What a model learns from, and what is kept back to stop by."""

    train: str
    validate: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.periods[1].start < self.periods[0].end:
            raise ValueError(
                f"--validate {self.validate} begins before --train {self.train} has ended: a model "
                "would be judged on what it was shown"
            )
        return self

    @property
    def periods(self) -> tuple[Period, Period]:
        return Period.of(self.train, "--train"), Period.of(self.validate, "--validate")


def _in_words(time: np.datetime64) -> str:
    """`2018-07-01`, with the time of day where it is not midnight."""
    return str(time.astype("datetime64[D]" if time == time.astype("M8[D]") else "datetime64[s]"))
