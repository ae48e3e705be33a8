"""Runs: the schedule, what repeats to the bit, what is refused, what is reported."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kronos.errors import TrainingError
from kronos.training.fit import EpochReport, TrainingProgress, TrainingRun, fit
from kronos.training.objectives import TokenizerObjective
from kronos.training.schedule import TrainConfig, one_cycle, tokenizer_config
from kronos.training.steps import validate
from tests.kronos.training.cases import (
    A_CONFIG,
    KilledError,
    a_predictor,
    a_run,
    a_tokenizer,
    killed_at,
    same_bits,
    weights_of,
)


@pytest.mark.parametrize("steps", [40, 1000])
def test_schedule_is_the_reference_s_one_cycle(steps: int) -> None:
    config = TrainConfig(lr_max=1e-3)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.95))
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.03, div_factor=10
    )
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert one_cycle(step, steps, config) == pytest.approx(
            (group["lr"], group["betas"][0]), rel=1e-9, abs=1e-12
        )
        optimizer.step()
        if step + 1 < steps:
            reference.step()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lr_max": 0.0}, "lr_max must be a positive number, got 0.0"),
        ({"lr_max": math.nan}, "lr_max must be a positive number, got nan"),
        ({"epochs": 0}, "must be at least 1"),
        ({"pct_start": 1.0}, "pct_start must lie in"),
        ({"beta2": 1.0}, "betas must lie in"),
        ({"clip_norm": 0.0}, "clip_norm above 0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], text: str) -> None:
    with pytest.raises(TrainingError, match=text):
        replace(TrainConfig(), **change)  # type: ignore[arg-type]


def test_same_seed_same_bits_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(99)
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        run, loader, check = a_run()
        fit(run, loader, check)
        found.append(weights_of(run))
    assert same_bits(*found)
    assert torch.equal(torch.get_rng_state(), before)
    run, loader, check = a_run(replace(A_CONFIG, seed=6))
    fit(run, loader, check)
    assert not same_bits(found[0], weights_of(run))


@pytest.mark.parametrize(
    ("accumulation", "train", "best"),
    [
        (1, [2.3484904766, 1.7813686728, 1.6448477609], 1.5607419629),
        (2, [2.4688322544, 1.9161227643, 1.8923265934], 1.7955984768),
        (3, [2.4239192903, 1.8489992619, 1.9825355709], 1.7983358198),
    ],
)
def test_one_worker_s_run_has_its_stored_losses(
    accumulation: int, train: list[float], best: float
) -> None:
    run, loader, check = a_run(replace(A_CONFIG, accumulation=accumulation))
    progress = fit(run, loader, check)
    assert [report.train_loss for report in progress.history] == pytest.approx(train, rel=1e-4)
    assert progress.best_loss == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("at_step", [2, 5, 8, 11])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, at_step: int) -> None:
    whole, loader, check = a_run()
    fit(whole, loader, check)
    file = tmp_path / "progress.safetensors"

    run, loader, check = a_run()
    with pytest.raises(KilledError):
        fit(run, loader, check, progress_file=file, save_every=2, on_step=killed_at(at_step))
    run, loader, check = a_run()
    fit(run, loader, check, progress_file=file, save_every=2)
    assert run.progress == whole.progress
    assert same_bits(run.weights(), whole.weights())
    assert [f.name for f in tmp_path.iterdir()] == ["progress.safetensors"]


def test_another_run_s_progress_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "progress.safetensors"
    run, loader, check = a_run(replace(A_CONFIG, epochs=1))
    fit(run, loader, check, progress_file=file)
    other, loader, check = a_run(replace(A_CONFIG, epochs=2))
    with pytest.raises(TrainingError, match="holds the progress of another run"):
        fit(other, loader, check, progress_file=file)


def test_accumulated_batches_make_one_step() -> None:
    run, loader, check = a_run(replace(A_CONFIG, accumulation=2, epochs=1))
    losses: list[float] = []
    fit(run, loader, check, on_step=lambda _, loss: losses.append(loss))
    assert len(losses) == run.steps == 2


def test_empty_sets_stop_a_run_before_it_starts() -> None:
    run, loader, _ = a_run()
    with pytest.raises(TrainingError, match="the validation set is empty"):
        fit(run, loader, [])
    assert run.progress == TrainingProgress()
    with pytest.raises(TrainingError, match="the training set is empty"):
        TrainingRun(a_predictor(), A_CONFIG, 0)


def test_an_epoch_that_comes_up_short_is_refused() -> None:
    run, _, check = a_run()
    with pytest.raises(TrainingError, match="epoch 0 gave 0 batches, 4 were announced"):
        fit(run, lambda _epoch, _first: [], check)


def test_best_epoch_is_kept_and_patience_ends_a_run() -> None:
    run, loader, check = a_run(replace(A_CONFIG, epochs=9, patience=2))
    best = {}
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.2]):
        for _ in run.run_batches(loader(epoch, 0)):
            pass
        assert not run.done
        assert isinstance(run.end_epoch(loss), EpochReport)
        if epoch == 1:
            best = run.weights()
    assert run.done
    fit(run, loader, check)
    assert run.progress.best_epoch == 1
    assert same_bits(run.weights(), best)


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    run, loader, check = a_run()
    with torch.no_grad():
        next(run.objective.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match="the loss became nan; try a lower lr_max"):
        fit(run, loader, check)


def test_frozen_tokenizer_stays_as_it_is() -> None:
    objective = a_predictor()
    before = {n: t.clone() for n, t in objective.tokenizer.state_dict().items()}
    run, loader, check = a_run(objective=objective)
    fit(run, loader, check)
    assert same_bits(before, objective.tokenizer.state_dict())
    assert not objective.train().tokenizer.training


def test_both_losses_go_down_on_a_toy_series() -> None:
    config = replace(A_CONFIG, epochs=4, batches_per_epoch=12, lr_max=1e-2)
    run, loader, check = a_run(config)
    before = validate(run.objective, check)
    assert fit(run, loader, check).best_loss < before
    tokenizer = TokenizerObjective(a_tokenizer())
    stage = TrainingRun(
        tokenizer, tokenizer_config(**vars(config) | {"clip_norm": 2.0}), len(loader)
    )
    before = validate(tokenizer, check)
    assert fit(stage, loader, check).best_loss < 0.8 * before
