"""Runs that have to beat the weights that they begin with."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kronos.errors import TrainingError
from kronos.training.fit import fit
from kronos.training.steps import validate
from tests.kronos.training.cases import A_CONFIG, KilledError, a_run, killed_at, same_bits

ABSURD = replace(A_CONFIG, lr_max=30.0)


def test_a_base_that_no_epoch_beats_comes_back_to_the_bit() -> None:
    run, loader, check = a_run(ABSURD, beat_base=True)
    base, base_loss = run.weights(), validate(run.objective, check)
    progress = fit(run, loader, check)
    assert (progress.best_epoch, progress.best_loss, progress.base_loss) == (
        -1,
        base_loss,
        base_loss,
    )
    assert [report.best for report in progress.history] == [False] * ABSURD.epochs
    assert min(report.validation_loss for report in progress.history) > base_loss
    assert same_bits(run.weights(), base)


def test_without_the_base_the_best_epoch_is_taken_however_bad() -> None:
    run, loader, check = a_run(ABSURD)
    base = run.weights()
    progress = fit(run, loader, check)
    assert progress.best_epoch >= 0
    assert progress.base_loss is None
    assert not same_bits(run.weights(), base)


def test_a_base_that_is_beaten_changes_nothing() -> None:
    plain, loader, check = a_run()
    fit(plain, loader, check)
    run, loader, check = a_run(beat_base=True)
    progress = fit(run, loader, check)
    assert progress.base_loss is not None and progress.best_loss < progress.base_loss
    assert progress == replace(plain.progress, base_loss=progress.base_loss)
    assert same_bits(run.weights(), plain.weights())


def test_patience_counts_from_the_base() -> None:
    run, loader, check = a_run(replace(ABSURD, epochs=9, patience=2), beat_base=True)
    assert len(fit(run, loader, check).history) == 2


@pytest.mark.parametrize("lr_max", [ABSURD.lr_max, A_CONFIG.lr_max])
@pytest.mark.parametrize("at_step", [1, 3, 6, 12])
def test_a_killed_run_resumes_with_its_base(tmp_path: Path, at_step: int, lr_max: float) -> None:
    config = replace(A_CONFIG, lr_max=lr_max)
    whole, loader, check = a_run(config, beat_base=True)
    fit(whole, loader, check)
    file = tmp_path / "progress.safetensors"

    run, loader, check = a_run(config, beat_base=True)
    with pytest.raises(KilledError):
        fit(run, loader, check, progress_file=file, save_every=2, on_step=killed_at(at_step))
    run, loader, check = a_run(config, beat_base=True)
    with torch.no_grad():  # the resumed run's own weights are not the base
        next(run.objective.parameters()).zero_()
    fit(run, loader, check, progress_file=file, save_every=2)
    assert run.progress == whole.progress
    assert same_bits(run.weights(), whole.weights())


def test_a_base_without_a_loss_is_refused() -> None:
    run, _, _ = a_run(beat_base=True)
    with pytest.raises(TrainingError, match="the base's validation loss is nan"):
        run.record_base(math.nan)
    assert run.base_is_due


def test_epochs_without_a_loss_end_in_an_error_or_in_the_base() -> None:
    run, loader, check = a_run(beat_base=True)
    base = run.weights()
    run.record_base(2.0)
    for _ in range(A_CONFIG.epochs):
        run.end_epoch(math.nan)
    assert fit(run, loader, check).best_epoch == -1
    assert same_bits(run.weights(), base)
    run, loader, check = a_run()
    for _ in range(A_CONFIG.epochs):
        run.end_epoch(math.nan)
    with pytest.raises(TrainingError, match="no epoch's validation loss was a finite number"):
        fit(run, loader, check)
