"""The plan of a walk-forward: its file of options, its folds, and how long they may take."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from feeds import Candles
from kronos import Checkpoint, TrainingError, find
from kronos.training.dataset import EpochLoader, EpochOrder, WindowDataset
from kronos.training.objectives import TokenizerObjective, predictor_objective
from kronos.training.schedule import one_cycle
from kronos.training.steps import Objective, make_optimizer, train_step
from ray_jobs.folds import Fold, FoldOptions, folds_of
from ray_jobs.options import PREDICTOR, TOKENIZER, TrainingOptions, WorkerOptions
from ray_jobs.training import FineTuning, objective_for
from ray_jobs.worker import windows_of
from sandbox.checkpoints.series import series_before
from sandbox.config import CandleOptions, Config, RunConfig, options_in
from sandbox.errors import ConfigError
from sandbox.forecast.calendars import NamedCalendar
from sandbox.forecast.data import load_data
from sandbox.forecast.folds import fold_folder

SECTIONS = ("folds", "training", "workers", "run")
FIXED_IN_RUN = ("data", "repair", "stamps", "calendar", "model", "start", "end", "signal")
TOP_K = Path(__file__).resolve().parents[1] / "strategies" / "topk.py"
FOREVER = np.datetime64("2200-01-01", "us")
TIMED_STEPS = 2

AnyConfig = TypeVar("AnyConfig", bound=Config)


@dataclass(frozen=True, kw_only=True)
class WalkOptions:
    """What is walked over, from which weights."""

    name: str = "walk-forward"
    base: str = "bundled"  # checkpoint name; `from` in the file
    score_every: Annotated[int, Field(ge=1)] = 5  # bar times between the forecasts that are scored


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TopLevel(Config):
    walk: WalkOptions
    candles: CandleOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FoldSection(Config):
    folds: FoldOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TrainingSection(Config):
    training: TrainingOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WorkerSection(Config):
    workers: WorkerOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class WalkForwardConfig:
    """Everything that decides a walk-forward."""

    walk: WalkOptions
    candles: CandleOptions
    folds: FoldOptions
    training: TrainingOptions
    workers: WorkerOptions
    run: Mapping[str, Any]  # options of `sandbox.run`

    @classmethod
    def read(cls, file: Path) -> WalkForwardConfig:
        """Raises ConfigError for what a file must not hold."""
        options = options_in(file)
        sections = {name: _section(options.pop(name, None), name, file) for name in SECTIONS}
        if "from" in options:
            options["base"] = options.pop("from")
        top = _built(_TopLevel, options, file)
        # frozen: losses under two tokenizers do not compare
        training = {"stages": PREDICTOR} | sections["training"]
        config = cls(
            walk=top.walk,
            candles=top.candles,
            folds=_built(_FoldSection, sections["folds"], file, "folds").folds,
            training=_built(_TrainingSection, training, file, "training").training,
            workers=_built(_WorkerSection, sections["workers"], file, "workers").workers,
            run=sections["run"],
        )
        for name in FIXED_IN_RUN:
            if name in config.run:
                raise ConfigError(f"{file}: run: {name} is not set there: the folds decide it")
        _ = config.run_config("bundled")
        return config

    def run_config(self, model: str) -> RunConfig:
        """A backtest over all test parts with the forecasts of a model."""
        return RunConfig.of(
            **{"strategies": [str(TOP_K)]} | dict(self.run) | dataclasses.asdict(self.candles),
            model=model, start=self.folds.start, end=self.folds.end,
        )  # fmt: skip


def _section(content: Any, name: str, file: Path) -> dict[str, Any]:
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"--config {file}: {name} must be a mapping of options")
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def _built(
    kind: type[AnyConfig], options: Mapping[str, Any], file: Path, section: str = ""
) -> AnyConfig:
    try:
        return kind.of(**options)
    except ConfigError as error:
        where = f" {section}:" if section else ""
        raise ConfigError(f"--config {file}:{where} {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked walk-forward: everything loaded, nothing computed."""

    config: WalkForwardConfig
    candles: Candles
    calendar: NamedCalendar | None
    base: Checkpoint
    folds: tuple[Fold, ...]
    folder: Path

    @classmethod
    def of(cls, config: WalkForwardConfig, folder: Path) -> Plan:
        """Raises ConfigError for folds that do not fit the data."""
        candles, calendar = load_data(config.candles)
        every = series_before(candles.frames, FOREVER, candles.members)
        if not every:
            raise ConfigError(f"{candles.spec}: no symbol has two bars")
        times = np.unique(np.concatenate([series.times for series in every.values()]))
        plan = cls(
            config=config, candles=candles, calendar=calendar, base=find(config.walk.base),
            folds=tuple(folds_of(config.folds, times)), folder=folder,
        )  # fmt: skip
        _ = plan.window_counts  # raises for a fold without windows
        return plan

    def place(self, fold: Fold) -> Path:
        """The folder of a fold's checkpoint."""
        return fold_folder(self.folder, fold.number)

    @property
    def in_turn(self) -> bool:
        """Whether a fold needs the one before."""
        return self.config.folds.begin_from == "previous"

    def tuning(self, fold: Fold) -> FineTuning:
        """What trains a fold; with `in_turn` the fold before has to be there."""
        first = fold.number == 1 or not self.in_turn
        base = self.base if first else find(str(self.place(self.folds[fold.number - 2])))
        return FineTuning.of(
            base, self.candles, self.config.training, fold.train, fold.validate,
            self.config.workers, self.place(fold),
        )  # fmt: skip

    @property
    def objective(self) -> str:
        """The predictor's losses."""
        return objective_for(self.config.training, self.base)

    def windows(self, fold: Fold) -> tuple[WindowDataset, WindowDataset]:
        """To train and to validate on; raises ConfigError where there is none."""
        candles = self.candles
        series = series_before(candles.frames, fold.validate.end, candles.members)
        try:
            return windows_of(series, self.config.training, fold.train, fold.validate)
        except TrainingError as error:
            raise ConfigError(f"fold {fold.number} does not fit the data: {error}") from error

    @cached_property
    def window_counts(self) -> dict[int, tuple[int, int]]:
        """By fold: how many `windows` there are."""
        return {
            fold.number: (len(train), len(validate))
            for fold in self.folds
            for train, validate in [self.windows(fold)]
        }

    def steps(self, fold: Fold, stage: str) -> int:
        """Of a stage, were it not stopped early."""
        workers = self.config.workers.workers
        config = self.config.training.config_of(stage, workers)
        windows, _ = self.window_counts[fold.number]
        order = EpochOrder(
            windows, config.batch_size, config.seed, config.batches_per_epoch, world=workers
        )
        return math.ceil(len(order) / config.accumulation) * config.epochs

    def record(self) -> dict[str, Any]:
        """What walk_forward.json holds."""
        config = self.config
        return {
            "name": config.walk.name,
            "data": self.candles.spec,
            "data_hash": self.candles.data_hash,
            "base": {
                "name": self.base.name,
                "fingerprint": self.base.fingerprint,
                "seen_until": self.base.seen_until and self.base.seen_until.isoformat(),
                "max_context": self.base.max_context,
            },
            "window": config.folds.window,
            "begin_from": config.folds.begin_from,
            "gap": config.folds.gap,
            "objective": self.objective,
            "training": dataclasses.asdict(config.training),
            "notes": [note for note in (self.candles.note, *self.candles.timing) if note],
            "folds": [
                {
                    "number": fold.number,
                    "train": self._known_start(fold),
                    "validate": fold.validate.in_words(),
                    "test": fold.test.in_words(),
                    "train_windows": self.window_counts[fold.number][0],
                    "validation_windows": self.window_counts[fold.number][1],
                }
                for fold in self.folds
            ],
        }

    def _known_start(self, fold: Fold) -> list[str]:
        """Of its training part, which may begin before the candles do."""
        first = min(frame.index[0] for frame in self.candles.frames.values())
        start = max(fold.train.start, np.datetime64(first.date(), "us"))
        return [str(start.astype("M8[D]")), fold.train.in_words()[1]]

    def lines(self) -> Iterator[str]:
        """The folds for a terminal, with a guess of how long training takes on this machine."""
        seconds = {stage: self._step_seconds(stage) for stage in self.config.training.stage_names}
        total = 0.0
        for fold in self.folds:
            train, validate = self.window_counts[fold.number]
            steps = {stage: self.steps(fold, stage) for stage in seconds}
            takes = sum(steps[stage] * seconds[stage] for stage in seconds)
            total += takes
            parts = zip(
                ("train", "validate", "test"),
                (self._known_start(fold), fold.validate.in_words(), fold.test.in_words()),
                strict=True,
            )
            yield (
                f"fold {fold.name}: "
                + ", ".join(f"{name} {start} until before {end}" for name, (start, end) in parts)
                + f"; {train:,} windows to train and {validate:,} to validate on, "
                f"{sum(steps.values()):,} steps, about {duration(takes)}"
            )
        yield (
            f"{len(self.folds)} folds, about {duration(total)} of training with one worker of one "
            "thread of this machine's processor, one fold after the other; forecasts and backtests "
            "come on top"
        )

    def _step_seconds(self, stage: str) -> float:
        """Measured on this machine, with one thread."""
        train, _ = self.windows(self.folds[-1])
        config = self.config.training.config_of(stage, 1)
        loader = EpochLoader(train, EpochOrder(len(train), config.batch_size, 0, TIMED_STEPS + 1))
        objective = self._objective(stage)
        optimizer = make_optimizer(objective, config)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        began = time.perf_counter()
        done = 0
        for step, batch in enumerate(loader(0, 0)):
            if step == 1:  # the first one warms up
                began = time.perf_counter()
            train_step(
                objective, [batch] * config.accumulation, optimizer, config,
                rate=one_cycle(0, 10, config), seed=0, where="a timed step",
            )  # fmt: skip
            done = max(1, step)
        torch.set_num_threads(threads)
        return (time.perf_counter() - began) / done

    def _objective(self, stage: str) -> Objective:
        fresh = find(self.config.walk.base)  # its weights are changed
        if stage == TOKENIZER:
            return TokenizerObjective(fresh.tokenizer)
        lookback = self.config.training.lookback
        return predictor_objective(self.objective, fresh.model, fresh.tokenizer, lookback)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
