"""Workers that train together: what each gets, and that together they are one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kronos.errors import TrainingError
from kronos.training.dataset import EpochOrder, validation_loader
from kronos.training.objectives import Tally, TokenizerObjective
from kronos.training.steps import total_tally
from tests.kronos.training.cases import (
    A_CONFIG,
    a_predictor,
    a_run,
    a_tokenizer,
    same_bits,
    some_windows,
)
from tests.kronos.training.two_workers import BAD_BATCH, WHOLE, trained, without_dropout

ROOT = Path(__file__).parents[3]
Found = list[dict[str, Any]]  # of rank 0 and of rank 1


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What two processes found, which talked to each other over the loopback."""
    folder = tmp_path_factory.mktemp("workers")
    with ExitStack() as stack:
        workers = []
        for rank in ("0", "1"):
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.kronos.training.two_workers", rank, str(folder)],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                text=True,
            )
            workers.append(stack.enter_context(worker))
            stack.callback(worker.kill)  # before its exit, which waits for it
        for worker in workers:
            _, said = worker.communicate(timeout=150)
            assert worker.returncode == 0, said
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process found that had the whole batches."""
    return trained(WHOLE, without_dropout())


@pytest.mark.parametrize("share", ["halves", "quarters"])
def test_two_workers_take_the_steps_of_one(both: Found, alone: dict[str, Any], share: str) -> None:
    losses = [(a + b) / 2 for a, b in zip(*(found[share]["losses"] for found in both), strict=True)]
    assert len(losses) == 20
    assert losses == pytest.approx(alone["losses"], abs=1e-4)
    assert losses[-1] < losses[0] - 0.1
    assert both[0][share]["losses"] != both[1][share]["losses"]
    assert same_bits(both[0][share]["weights"], both[1][share]["weights"])
    assert both[0][share]["validation"] == pytest.approx(alone["validation"], abs=1e-4)


def test_two_workers_validate_as_one(both: Found, alone: dict[str, Any]) -> None:
    for found in both:
        assert found["halves"]["base"] == pytest.approx(alone["base"], rel=1e-12)
        assert found["quarters"]["base"] == pytest.approx(alone["base"], rel=1e-6)  # one had none
        assert found["halves"]["validation"] == both[0]["halves"]["validation"]


@pytest.mark.parametrize(
    ("kind", "own"), [("nan", "the loss became nan"), ("infinite", "the loss became inf")]
)
def test_a_bad_batch_of_one_worker_stops_both_at_once(both: Found, kind: str, own: str) -> None:
    at = f"step {BAD_BATCH} (epoch 0, batch {BAD_BATCH}): "
    assert both[1][kind]["error"].startswith(at + own)
    other = at + "the gradient became nan while this worker's loss was "
    assert both[0][kind]["error"].startswith(other)
    for found in both:
        assert found[kind]["at"] == BAD_BATCH
        assert same_bits(found[kind]["before"], found[kind]["after"])


def test_a_validation_set_that_is_empty_for_all_stops_all(both: Found) -> None:
    assert [found["nobody"].split(":")[0] for found in both] == ["the validation set is empty"] * 2


@pytest.mark.parametrize("world", [2, 3, 9])
@pytest.mark.parametrize("kind", ["predictor", "tokenizer"])
def test_shares_of_validation_add_up_to_the_whole(kind: str, world: int) -> None:
    objective = a_predictor() if kind == "predictor" else TokenizerObjective(a_tokenizer())
    _, check = some_windows()
    whole = total_tally(objective, validation_loader(check, 5))
    shares = [validation_loader(check, 5, rank=rank, world=world) for rank in range(world)]
    tallies = [total_tally(objective, share) for share in shares]
    together = sum(tallies, Tally(0.0, 0))
    assert together.count == whole.count
    assert together.mean == pytest.approx(whole.mean, rel=1e-12)
    assert (Tally(0.0, 0) in tallies) == (world == 9)  # there are fewer batches than that
    windows = [x for share in shares for x, _ in share]
    assert sum(len(x) for x in windows) == len(check) == len(torch.cat(windows).unique(dim=0))


def test_fewer_windows_than_workers_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 training windows are fewer than the 4 workers"):
        EpochOrder(3, 2, 0, rank=0, world=4)
    with pytest.raises(TrainingError, match="cannot be dealt to worker 2 of 2"):
        EpochOrder(30, 2, 0, rank=2, world=2)
    with pytest.raises(TrainingError, match="cannot be dealt to worker -1 of 2"):
        validation_loader(some_windows()[1], 5, rank=-1, world=2)


def test_every_worker_has_its_own_dropout_and_rank_0_that_of_one_worker() -> None:
    def first_loss(rank: int = 0, world: int = 1) -> float:
        run, loader, _ = a_run(rank=rank, world=world)
        return next(run.run_batches(loader(0, 0)))

    one = first_loss()
    assert first_loss(rank=0, world=2) == one
    assert len({one, first_loss(rank=1, world=3), first_loss(rank=2, world=3)}) == 3


def test_identity_knows_the_workers_and_leaves_one_worker_s_as_it_was(tmp_path: Path) -> None:
    plain, _, _ = a_run()
    assert plain.identity == (
        '[{"epochs": 3, "batch_size": 4, "batches_per_epoch": 4, "accumulation": 1, '
        '"lr_max": 0.003, "pct_start": 0.03, "div_factor": 10.0, "final_div_factor": 10000.0, '
        '"beta1_range": [0.85, 0.95], "beta2": 0.95, "weight_decay": 0.1, "clip_norm": 3.0, '
        '"patience": null, "seed": 5}, 4, ""]'
    )
    two, _, _ = a_run(replace(A_CONFIG, accumulation=2), world=2)
    assert two.identity.endswith('{"world": 2, "global_batch_size": 16}]')
    options: list[dict[str, Any]]
    options = [{"world": 2}, {"world": 3}, {"beat_base": True}, {"bf16": True}]
    assert len({a_run(**changes)[0].identity for changes in options}) == 4
    assert a_run(world=2, rank=1)[0].identity == a_run(world=2)[0].identity
    file = tmp_path / "progress.safetensors"
    plain.save(file)
    with pytest.raises(TrainingError, match="holds the progress of another run"):
        a_run(world=2)[0].resume(file)
