"""Trains the small checkpoint that the project ships: `python -m sandbox.checkpoints.bundled`.

One command from the two shipped samples to `kronos/bundled`: the tokenizer first, then the
forecaster on its ids, both on bars up to 2017-12-31 and stopped by those of 2018; nothing later is
read. Cut off, it goes on from its progress files when it is started again. `--quick` runs every
step in seconds on a few windows, to see that it works; what comes out of it forecasts nothing.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import platform
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer
from kronos.training.dataset import (
    CandleSeries,
    EpochLoader,
    EpochOrder,
    WindowDataset,
    WindowShape,
    train_windows,
    validation_loader,
    validation_windows,
)
from kronos.training.fit import EpochReport, TrainingProgress, TrainingRun, fit
from kronos.training.objectives import (
    PredictorObjective,
    TokenizerObjective,
    token_counts,
    unigram_nats,
)
from kronos.training.schedule import TrainConfig, tokenizer_config
from kronos.training.steps import seeded
from sandbox.checkpoints.card import write_card
from sandbox.checkpoints.series import SAMPLES, load_samples
from sandbox.checkpoints.weights import save_weights
from sandbox.cli import guarded
from sandbox.interrupts import leave
from sandbox.progress import Progress, progress_bar

TRAIN_END, SEEN_END = np.datetime64("2018-01-01"), np.datetime64("2019-01-01")  # both exclusive
BEGINNING = np.datetime64("1900-01-01")
MAX_CONTEXT = 512  # bars
STAGES = ("tokenizer", "predictor", "predictor_targets")  # in the order of training

TOKENIZER: dict[str, Any] = {
    "d_in": 6,
    "d_model": 64,
    "n_heads": 4,
    "ff_dim": 128,
    "n_enc_layers": 3,
    "n_dec_layers": 3,
    "ffn_dropout_p": 0.0,
    "attn_dropout_p": 0.0,
    "resid_dropout_p": 0.0,
    "s1_bits": 9,
    "s2_bits": 9,
    "beta": 0.05,
    "gamma0": 1.0,
    "gamma": 1.1,
    "zeta": 0.05,
    "group_size": 9,
}
MODEL: dict[str, Any] = {
    "s1_bits": 9,
    "s2_bits": 9,
    "n_layers": 4,
    "d_model": 128,
    "n_heads": 4,
    "ff_dim": 256,
    "ffn_dropout_p": 0.05,
    "attn_dropout_p": 0.05,
    "resid_dropout_p": 0.05,
    "token_dropout_p": 0.05,
    "learn_te": True,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is built.

    The forecaster learns from every bar of a window first, which is quick, then from the targets
    alone: bars inside the lookback were normalised with their own future, and their lesson that
    prices come back to the mean has to be unlearned.
    """

    tokenizer: TrainConfig
    predictor: TrainConfig
    predictor_targets: TrainConfig
    lookback: int = 90  # bars
    tokenizer_horizon: int = 10  # bars after the lookback in a training window
    predictor_horizon: int = 38  # bars
    validation_horizon: int = 10  # bars
    validation_stride: int = 11  # bars, so that every 2018 target is met once
    validation_batch: int = 128  # windows
    seed: int = 20181231


FULL = Recipe(
    tokenizer_config(
        epochs=10, batch_size=32, batches_per_epoch=200, lr_max=3e-3, pct_start=0.1, patience=3
    ),
    TrainConfig(
        epochs=4, batch_size=32, batches_per_epoch=130, lr_max=2e-3, pct_start=0.1, patience=3
    ),
    TrainConfig(
        epochs=3, batch_size=32, batches_per_epoch=90, lr_max=1e-3, pct_start=0.1, patience=3
    ),
)
BRIEF: dict[str, Any] = {"epochs": 2, "batch_size": 4, "batches_per_epoch": 3}
QUICK = replace(
    FULL,
    tokenizer=replace(FULL.tokenizer, **BRIEF),
    predictor=replace(FULL.predictor, **BRIEF),
    predictor_targets=replace(FULL.predictor_targets, **BRIEF),
    validation_stride=200,
)


class EpochBars:
    """A progress bar for each epoch of a stage, and a line of what the epoch came to."""

    def __init__(self, stage: str, run: TrainingRun, bars: ExitStack) -> None:
        """The bar that is shown is closed with `bars`."""
        self._stage, self._run, self._bars = stage, run, bars
        self._move: Progress | None = None

    def step(self, at: TrainingProgress, _: float) -> None:
        if self._move is None:
            label = f"{self._stage}, epoch {at.epoch + 1}/{self._run.config.epochs}"
            self._move = self._bars.enter_context(progress_bar(label, "steps"))
        self._move(at.batch // self._run.config.accumulation, self._run.steps_per_epoch)

    def epoch(self, report: EpochReport) -> None:
        self._bars.close()
        self._move = None
        print(
            f"{self._stage}: epoch {report.epoch + 1}/{self._run.config.epochs}, train "
            f"{report.train_loss:.4f}, validation {report.validation_loss:.4f}"
            f"{' (best)' if report.best else ''}",
            flush=True,
        )


@dataclass(frozen=True)
class Data:
    """The windows of one stage."""

    train: WindowDataset
    validation: WindowDataset


def windows_of(series: Mapping[str, CandleSeries], recipe: Recipe, horizon: int) -> Data:
    """Training windows of `horizon` and the validation windows, the same ones in both stages."""
    check = WindowShape(recipe.lookback, recipe.validation_horizon)
    return Data(
        train_windows(series, WindowShape(recipe.lookback, horizon), BEGINNING, TRAIN_END),
        validation_windows(series, check, TRAIN_END, SEEN_END, recipe.validation_stride),
    )


def run_stage(
    name: str, objective: nn.Module, data: Data, recipe: Recipe, file: Path
) -> TrainingRun:
    """Train one stage, resuming from `file`; the model ends with its best epoch's weights."""
    sizes = TOKENIZER if name == "tokenizer" else MODEL
    config: TrainConfig = getattr(recipe, name)
    shapes = (data.train.shape, data.validation.shape, recipe.validation_stride, recipe.seed)
    order_seed = recipe.seed + STAGES.index(name)
    order = EpochOrder(len(data.train), config.batch_size, order_seed, config.batches_per_epoch)
    loader = EpochLoader(data.train, order)
    run = TrainingRun(objective, config, len(loader), f"{name} {sizes} {shapes} {len(data.train)}")
    with ExitStack() as stack:
        bars = EpochBars(name, run, stack)
        fit(
            run,
            loader,
            validation_loader(data.validation, recipe.validation_batch),
            progress_file=file,
            save_every=100,
            on_step=bars.step,
            on_epoch=bars.epoch,
        )
    return run


def build_tokenizer(
    series: Mapping[str, CandleSeries], recipe: Recipe, work: Path
) -> tuple[KronosTokenizer, dict[str, Any]]:
    """The trained tokenizer and what its card says of it."""
    with seeded(recipe.seed):
        tokenizer = KronosTokenizer(**TOKENIZER)
    data = windows_of(series, recipe, recipe.tokenizer_horizon)
    objective = TokenizerObjective(tokenizer)
    run = run_stage("tokenizer", objective, data, recipe, work / "tokenizer.safetensors")
    figures = _data_figures(data, tokenizer) | {"validation_loss": run.progress.best_loss}
    return tokenizer, figures | {"stages": {"tokenizer": _stage_figures(run)}}


def build_model(
    series: Mapping[str, CandleSeries], tokenizer: KronosTokenizer, recipe: Recipe, work: Path
) -> tuple[Kronos, dict[str, Any]]:
    """The trained forecaster and what its card says of it, the unigram figures beside the loss."""
    with seeded(recipe.seed + 1):
        model = Kronos(**MODEL)
    data = windows_of(series, recipe, recipe.predictor_horizon)
    stages, runs = {}, {"predictor": False, "predictor_targets": True}
    for name, targets_only in runs.items():
        objective = PredictorObjective(model, tokenizer, recipe.lookback, targets_only=targets_only)
        run = run_stage(name, objective, data, recipe, work / f"{name}.safetensors")
        stages[name] = _stage_figures(run)
    figures = _data_figures(data, model) | _token_figures(objective, data, recipe)
    return model, figures | {"validation_loss": run.progress.best_loss, "stages": stages}


def _data_figures(data: Data, model: nn.Module) -> dict[str, Any]:
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_windows": len(data.train),
        "validation_windows": len(data.validation),
    }


def _stage_figures(run: TrainingRun) -> dict[str, Any]:
    at = run.progress
    return {
        "best_epoch": at.best_epoch + 1,
        "epochs_run": at.epoch,
        "steps_run": at.epoch * run.steps_per_epoch,
        "history": [asdict(report) for report in at.history],
    }


def _token_figures(objective: PredictorObjective, data: Data, recipe: Recipe) -> dict[str, Any]:
    """Validation nats of s1 and s2 beside those of predicting each by its training frequency."""
    check = validation_loader(data.validation, recipe.validation_batch)
    objective.eval()
    with torch.no_grad():
        each = [objective.tally_each(x, stamp) for x, stamp in check]
    s1, s2 = each[0]
    for more_s1, more_s2 in each[1:]:
        s1, s2 = s1 + more_s1, s2 + more_s2
    order = EpochOrder(len(data.train), 64, recipe.seed, 400)
    counts = token_counts(objective, EpochLoader(data.train, order)(0, 0))
    ids = [[], []]  # type: list[list[torch.Tensor]]
    for x, _ in check:
        for kept, tokens in zip(ids, objective.tokens(x), strict=True):
            kept.append(tokens[:, objective.lookback :].flatten())
    unigram = [unigram_nats(c, torch.cat(i)) for c, i in zip(counts, ids, strict=True)]
    return {
        "validation_tokens": s1.count + s2.count,
        "validation_loss_s1": s1.mean,
        "validation_loss_s2": s2.mean,
        "unigram_s1": unigram[0],
        "unigram_s2": unigram[1],
        "unigram": sum(unigram) / 2,
    }


def build(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Train both stages and write the checkpoint and its card into `out`; returns the card."""
    work = out / "progress"
    work.mkdir(parents=True, exist_ok=True)
    print("reading the samples", flush=True)
    series = load_samples(SEEN_END)
    tokenizer, tokenizer_figures = build_tokenizer(series, recipe, work)
    model, model_figures = build_model(series, tokenizer, recipe, work)
    card = {
        "name": "bundled",
        "trained_on": list(SAMPLES),
        "trained_until": "2017-12-31",
        "seen_until": "2018-12-31",
        "max_context": MAX_CONTEXT,
        "sha256": {
            "model": save_weights(out / "model", model.state_dict(), MODEL),
            "tokenizer": save_weights(out / "tokenizer", tokenizer.state_dict(), TOKENIZER),
        },
        "model": model_figures,
        "tokenizer": tokenizer_figures,
        "recipe": asdict(recipe),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pandas": pd.__version__,
        },
    }
    write_card(out, card)
    shutil.rmtree(work)
    return card


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, build, print where it went; 0 when it did."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.checkpoints.bundled", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=Path("kronos/bundled"), help="folder to fill")
    parser.add_argument(
        "--threads", type=int, default=1, help="of the processor; another count rounds differently"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see it work")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return guarded(
        lambda: _build_and_say(options),
        debug=options.debug,
        interrupted=f"the same command goes on from {options.out / 'progress'}",
    )


def _build_and_say(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    card = build(options.out, QUICK if options.quick else FULL)
    print(
        f"wrote {options.out}: validation {card['model']['validation_loss']:.4f} nats a token, "
        f"unigram {card['model']['unigram']:.4f}"
    )


if __name__ == "__main__":
    leave(main())
