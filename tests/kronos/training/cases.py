"""Small series, models and runs for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
from kronos.training.fit import TrainingProgress, TrainingRun
from kronos.training.objectives import PredictorObjective
from kronos.training.schedule import TrainConfig
from kronos.training.steps import seeded
from sandbox.checkpoints.weights import save_weights

BEGIN, SPLIT = np.datetime64("2000-01-01"), np.datetime64("2000-03-01")
SHAPE = WindowShape(lookback=8, horizon=3)


def a_series(bars: int = 120, seed: int = 0, first: str = "2000-01-01") -> CandleSeries:
    """Random-walk candles, one a day."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, bars)))
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) * 1.01, np.minimum(open_, close) * 0.99
    volume = rng.uniform(1e3, 2e3, bars)
    values = np.stack([open_, high, low, close, volume, volume * close], -1).astype(np.float32)
    times = np.datetime64(first, "D") + np.arange(bars)
    stamps = np.zeros((bars, 5), np.int64)
    stamps[:, 2] = np.arange(bars) % 7
    return CandleSeries(values, stamps, times)


def a_tokenizer(bits: int = 3) -> KronosTokenizer:
    with seeded(1):
        return KronosTokenizer(
            6, 16, 2, 16, 2, 2, 0.0, 0.0, 0.0, bits, bits, 0.05, 1.0, 1.1, 0.05, bits
        )


def a_model(dropout: float = 0.1, bits: int = 3) -> Kronos:
    with seeded(2):
        return Kronos(bits, bits, 1, 16, 4, 16, dropout, dropout, dropout, dropout, True)


def a_predictor(**options: bool) -> PredictorObjective:
    return PredictorObjective(a_model(), a_tokenizer(), SHAPE.lookback, **options)


A_CONFIG = TrainConfig(epochs=3, batch_size=4, batches_per_epoch=4, lr_max=3e-3, seed=5)


def some_windows() -> tuple[WindowDataset, WindowDataset]:
    """Training and validation windows of two series."""
    series = {"A": a_series(seed=1), "B": a_series(seed=2)}
    check = validation_windows(series, SHAPE, SPLIT, np.datetime64("2000-05-01"), stride=4)
    return train_windows(series, SHAPE, BEGIN, SPLIT), check


def a_run(
    config: TrainConfig = A_CONFIG, objective: PredictorObjective | None = None, **options: Any
) -> tuple[
    TrainingRun, EpochLoader, torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]
]:
    train, check = some_windows()
    order = EpochOrder(len(train), config.batch_size, config.seed, config.batches_per_epoch)
    loader = EpochLoader(train, order)
    return (
        TrainingRun(objective or a_predictor(), config, len(loader), **options),
        loader,
        validation_loader(check, 5),
    )


class KilledError(Exception):
    """Stands for the process' end."""


def killed_at(step: int) -> Callable[[TrainingProgress, float], None]:
    """An `on_step` that ends the run at a step, counted from 1."""
    steps = count(1)

    def kill(_at: TrainingProgress, _loss: float) -> None:
        if next(steps) == step:
            raise KilledError

    return kill


def weights_of(run: TrainingRun) -> dict[str, torch.Tensor]:
    return run.weights()


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


TOKENIZER_SIZES = {
    "d_in": 6, "d_model": 16, "n_heads": 2, "ff_dim": 16, "n_enc_layers": 2, "n_dec_layers": 2,
    "ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0, "s1_bits": 3,
    "s2_bits": 3, "beta": 0.05, "gamma0": 1.0, "gamma": 1.1, "zeta": 0.05, "group_size": 3,
}  # fmt: skip
MODEL_SIZES = {
    "s1_bits": 3, "s2_bits": 3, "n_layers": 1, "d_model": 16, "n_heads": 4, "ff_dim": 16,
    "ffn_dropout_p": 0.1, "attn_dropout_p": 0.1, "resid_dropout_p": 0.1, "token_dropout_p": 0.1,
    "learn_te": True,
}  # fmt: skip


def save_tiny_checkpoint(
    folder: Path, seed: int = 0, seen_until: str | None = None, dropout: float = 0.1
) -> Path:
    """A folder that `--model` takes, of random weights; returns it."""
    sizes = {name: dropout if name.endswith("_p") else size for name, size in MODEL_SIZES.items()}
    with seeded(seed):
        tokenizer, model = KronosTokenizer(**TOKENIZER_SIZES), Kronos(**sizes)
    save_weights(folder / "tokenizer", tokenizer.state_dict(), TOKENIZER_SIZES)
    save_weights(folder / "model", model.state_dict(), sizes)
    card = {"max_context": 128, "seen_until": seen_until, "objective": "sandbox"}
    (folder / "card.json").write_text(json.dumps(card))
    return folder
