"""One of two workers that train together: `python -m tests.kronos.training.two_workers RANK DIR`.

What it finds it leaves in DIR as `RANK.pt`, for `test_workers`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kronos.errors import TrainingError
from kronos.training.dataset import EpochLoader, EpochOrder, WindowBatch, validation_loader
from kronos.training.fit import TrainingRun, fit
from kronos.training.objectives import PredictorObjective, Tally, TokenizerObjective
from kronos.training.schedule import TrainConfig
from tests.kronos.training.cases import A_CONFIG, SHAPE, a_model, a_tokenizer, some_windows

WHOLE = replace(A_CONFIG, epochs=2, batch_size=8, batches_per_epoch=10)  # 20 steps of 8 windows
HALVES = replace(WHOLE, batch_size=4)
QUARTERS = replace(WHOLE, batch_size=2, batches_per_epoch=20, accumulation=2)
BAD_BATCH = 2


def without_dropout() -> PredictorObjective:
    return PredictorObjective(a_model(dropout=0.0), a_tokenizer(), SHAPE.lookback)


class OverflowingObjective(TokenizerObjective):
    """Its loss is infinite for windows that are marked, though its gradient never is."""

    def forward(self, x: Tensor, stamp: Tensor, generator: torch.Generator) -> Tensor:
        marked = bool((stamp < 0).any())
        return super().forward(x, stamp, generator) + (math.inf if marked else 0.0)


def trained(
    config: TrainConfig, objective: nn.Module, rank: int = 0, world: int = 1, check_batch: int = 5
) -> dict[str, Any]:
    """Losses of every step, weights and progress of a run that validates its base first."""
    train, check = some_windows()
    order = EpochOrder(
        len(train), config.batch_size, config.seed, config.batches_per_epoch, rank=rank, world=world
    )
    losses: list[float] = []
    run = TrainingRun(objective, config, len(order), rank=rank, world=world, beat_base=True)
    fit(
        run,
        EpochLoader(train, order),
        validation_loader(check, check_batch, rank=rank, world=world),
        on_step=lambda _, loss: losses.append(loss),
        reduce=summed if world > 1 else lambda tally: tally,
    )
    progress = run.progress
    return {
        "losses": losses,
        "weights": run.weights(),
        "base": progress.base_loss,
        "validation": [report.validation_loss for report in progress.history],
    }


def summed(tally: Tally) -> Tally:
    """Over both workers, in fp64."""
    both = torch.tensor([tally.total, float(tally.count)], dtype=torch.float64)
    dist.all_reduce(both)
    return Tally(both[0].item(), int(both[1]))


def spoilt(kind: str, rank: int) -> dict[str, Any]:
    """Train until rank 1's bad batch: what stopped this worker, and the weights around it."""
    train, check = some_windows()
    order = EpochOrder(len(train), 4, 5, 4, rank=rank, world=2)

    def batches(epoch: int, first: int) -> Iterator[WindowBatch]:
        for number, (x, stamp) in enumerate(EpochLoader(train, order)(epoch, first), start=first):
            if rank == 1 and number == BAD_BATCH:
                x, stamp = (x * math.nan, stamp) if kind == "nan" else (x, stamp - 10**6)
            yield x, stamp

    run = TrainingRun(
        DistributedDataParallel(OverflowingObjective(a_tokenizer())),
        replace(A_CONFIG, batch_size=4),
        len(order),
        rank=rank,
        world=2,
    )
    kept: list[dict[str, Tensor]] = []
    try:
        fit(
            run,
            batches,
            validation_loader(check, 5, rank=rank, world=2),
            on_step=lambda _at, _loss: kept.append(run.weights()),
            reduce=summed,
        )
    except TrainingError as error:
        return {"error": str(error), "before": kept[-1], "after": run.weights(), "at": len(kept)}
    return {"error": "none"}


def nobody_validates(rank: int) -> str:
    """What a run without any validation window says."""
    run = TrainingRun(DistributedDataParallel(without_dropout()), HALVES, 10, rank=rank, world=2)
    try:
        fit(run, lambda _epoch, _first: [], [], reduce=summed)
    except TrainingError as error:
        return str(error)
    return "nothing"


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    wrapped = DistributedDataParallel
    found = {
        "halves": trained(HALVES, wrapped(without_dropout()), rank, 2),
        "quarters": trained(QUARTERS, wrapped(without_dropout()), rank, 2, check_batch=1000),
        "nan": spoilt("nan", rank),
        "infinite": spoilt("infinite", rank),
        "nobody": nobody_validates(rank),
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
