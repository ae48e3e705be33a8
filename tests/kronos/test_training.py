"""Training: what a window may hold, what repeats to the bit, what is refused, what is reported."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.errors import TrainingError
from kronos.model import Kronos
from kronos.prepare import normalise
from kronos.tokenizer import KronosTokenizer
from kronos.training.dataset import (
    CandleSeries,
    EpochLoader,
    EpochOrder,
    WindowShape,
    train_windows,
    validation_loader,
    validation_windows,
)
from kronos.training.fit import (
    EpochReport,
    TrainConfig,
    TrainingProgress,
    TrainingRun,
    fit,
    one_cycle,
    seeded,
    tokenizer_config,
    validate,
)
from kronos.training.objectives import (
    PredictorObjective,
    Tally,
    TokenizerObjective,
    s2_logits_as_sampled,
    token_counts,
    unigram_nats,
)

BEGIN, SPLIT, END = np.datetime64("2000-01-01"), np.datetime64("2000-03-01"), None
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


def a_run(
    config: TrainConfig = A_CONFIG, objective: PredictorObjective | None = None
) -> tuple[
    TrainingRun, EpochLoader, torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]
]:
    series = {"A": a_series(seed=1), "B": a_series(seed=2)}
    train = train_windows(series, SHAPE, BEGIN, SPLIT)
    check = validation_windows(series, SHAPE, SPLIT, np.datetime64("2000-05-01"), stride=4)
    order = EpochOrder(len(train), config.batch_size, config.seed, config.batches_per_epoch)
    loader = EpochLoader(train, order)
    return (
        TrainingRun(objective or a_predictor(), config, len(loader)),
        loader,
        validation_loader(check, 5),
    )


def weights_of(run: TrainingRun) -> dict[str, torch.Tensor]:
    return run.weights()


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- windows


@given(
    bars=st.integers(1, 90),
    lookback=st.integers(2, 12),
    horizon=st.integers(1, 6),
    split=st.integers(0, 100),
    stride=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_no_window_straddles_the_split(
    bars: int, lookback: int, horizon: int, split: int, stride: int
) -> None:
    series, shape = {"A": a_series(bars)}, WindowShape(lookback, horizon)
    at, end = BEGIN + np.timedelta64(split, "D"), BEGIN + np.timedelta64(80, "D")
    times = series["A"].times
    try:
        train = train_windows(series, shape, BEGIN, at, stride)
        assert all(times[start + shape.bars - 1] < at for _, start in train.index)
    except TrainingError:
        assert min(bars, split) < shape.bars
    try:
        check = validation_windows(series, shape, at, end, stride)
    except TrainingError:
        return
    for _, start in check.index:
        assert at <= times[start + lookback] <= times[start + shape.bars - 1] < end


def test_every_allowed_window_is_there() -> None:
    series = {"A": a_series(40)}
    train = train_windows(series, SHAPE, BEGIN, BEGIN + np.timedelta64(20, "D"))
    assert train.index == [("A", start) for start in range(20 - SHAPE.bars + 1)]
    check = validation_windows(series, SHAPE, BEGIN + np.timedelta64(20, "D"), SPLIT)
    assert check.index == [("A", start) for start in range(20 - 8, 40 - SHAPE.bars + 1)]


def test_normalisation_knows_the_lookback_alone() -> None:
    x = a_series(12).values
    later = x.copy()
    later[8:] *= 3
    assert np.array_equal(normalise(x, 8, 5.0).values[:8], normalise(later, 8, 5.0).values[:8])
    past = x[:8].astype(np.float64)
    by_hand = (x - past.mean(0)) / (past.std(0) + 1e-5)
    assert np.allclose(normalise(x, 8, 5.0).values, np.clip(by_hand, -5, 5), atol=2e-4)


def test_normalised_values_are_clipped() -> None:
    x = a_series(12).values
    x[10] *= 1000
    assert normalise(x, 8, 5.0).values[10].tolist() == [5.0] * 6


def test_empty_sets_are_refused_with_what_is_missing() -> None:
    series = {"A": a_series(11)}
    with pytest.raises(TrainingError, match=r"no training window fits .* 8 \+ 3 \+ 1 = 12 bars"):
        train_windows(series, SHAPE, BEGIN, SPLIT)
    with pytest.raises(TrainingError, match="no validation window fits from 2000-03-01 until"):
        validation_windows(series, SHAPE, SPLIT, np.datetime64("2001-01-01"))


def test_a_series_that_goes_back_in_time_is_refused() -> None:
    one = a_series(5)
    with pytest.raises(TrainingError, match="strictly increasing"):
        CandleSeries(one.values, one.stamps, one.times[::-1])


@given(n=st.integers(8, 60), world=st.integers(1, 4), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_workers_share_an_epoch_without_overlap(n: int, world: int, epoch: int) -> None:
    seen: list[int] = []
    lengths = set()
    for rank in range(world):
        order = EpochOrder(n, 2, 3, rank=rank, world=world)
        order.start_at(epoch)
        batches = list(order)
        lengths.add(len(batches))
        seen += [i for batch in batches for i in batch]
    assert len(seen) == len(set(seen))
    assert len(lengths) == 1


def test_order_depends_on_seed_and_epoch_and_can_be_joined_midway() -> None:
    order = EpochOrder(50, 4, seed=1)
    first = list(order)
    order.start_at(1)
    assert list(order) != first
    order.start_at(0, batch=3)
    assert list(order) == first[3:]


# --- losses


def test_s2_of_all_positions_at_once_equals_one_query_at_a_time() -> None:
    model = a_model().eval()
    ids = torch.randint(0, 8, (2, 6), generator=torch.Generator().manual_seed(0))
    _, states = model.decode_s1(ids, ids)
    at_once = s2_logits_as_sampled(model, states, ids)
    for t in range(6):
        alone = model.decode_s2(states[:, : t + 1], ids[:, t : t + 1])[:, -1]
        assert torch.allclose(at_once[:, t], alone, atol=1e-5)


def test_validation_of_a_bar_does_not_see_later_bars() -> None:
    objective = a_predictor().eval()
    x = torch.randn(2, SHAPE.bars, 6, generator=torch.Generator().manual_seed(0))
    stamp = torch.zeros(2, SHAPE.bars, 5, dtype=torch.int64)
    changed = x.clone()
    changed[:, -1] = 4.0
    short = [objective.tally_each(y[:, :-1], stamp[:, :-1]) for y in (x, changed)]
    assert short[0] == short[1]
    whole = objective.tally(x, stamp)
    assert whole.count == 2 * 2 * (SHAPE.horizon + 1)


def test_loss_of_targets_ignores_predictions_inside_the_lookback() -> None:
    only, everything = a_predictor().eval(), a_predictor(targets_only=False).eval()
    x = torch.randn(3, SHAPE.bars, 6, generator=torch.Generator().manual_seed(0))
    stamp = torch.zeros(3, SHAPE.bars, 5, dtype=torch.int64)
    generator = torch.Generator()
    assert only(x, stamp, generator).item() == pytest.approx(only.tally(x, stamp).mean, rel=1e-5)
    assert only(x, stamp, generator).item() != everything(x, stamp, generator).item()


def test_published_form_of_training_runs_and_repeats() -> None:
    objective = a_predictor(targets_only=False, teacher_forcing=False, as_sampled=False)
    x = torch.randn(2, SHAPE.bars, 6, generator=torch.Generator().manual_seed(0))
    stamp = torch.zeros(2, SHAPE.bars, 5, dtype=torch.int64)
    losses = []
    for seed in (3, 3):
        with seeded(seed) as generator:
            losses.append(objective.train()(x, stamp, generator).item())
    assert losses[0] == losses[1]


def test_tokens_of_different_widths_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"3 \+ 3 bits, the tokenizer's 4 \+ 4"):
        PredictorObjective(a_model(), a_tokenizer(bits=4), 8)


def test_unigram_nats_by_hand() -> None:
    # counts 5, 2, 0 and one more each: frequencies 6/10, 3/10, 1/10
    counts, ids = torch.tensor([5, 2, 0]), torch.tensor([0, 0, 1, 2])
    by_hand = -(2 * math.log(0.6) + math.log(0.3) + math.log(0.1)) / 4
    assert unigram_nats(counts, ids) == pytest.approx(by_hand)
    with pytest.raises(TrainingError, match="validation set is empty"):
        unigram_nats(counts, ids[:0])


def test_token_counts_are_of_target_bars() -> None:
    objective = a_predictor()
    x = torch.randn(5, SHAPE.bars, 6, generator=torch.Generator().manual_seed(0))
    s1, s2 = objective.tokens(x)
    counts = token_counts(objective, [(x[:2], x), (x[2:], x)])
    for ids, found in zip((s1, s2), counts, strict=True):
        assert torch.equal(found, torch.bincount(ids[:, 8:].flatten(), minlength=8))


def test_tallies_weigh_by_tokens() -> None:
    assert (Tally(2.0, 1) + Tally(4.0, 3)).mean == 1.5
    with pytest.raises(TrainingError, match="validation set is empty"):
        validate(a_predictor(), [])


def test_validation_loss_does_not_depend_on_batch_cuts() -> None:
    run, _, check = a_run()
    windows = check.dataset
    by_five = validate(run.objective, check)
    by_two = validate(run.objective, validation_loader(windows, 2))  # type: ignore[arg-type]
    assert by_five == pytest.approx(by_two, rel=1e-6)


# --- schedule


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


# --- runs


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


class KilledError(Exception):
    """Stands for the process' end."""


@pytest.mark.parametrize("at_step", [2, 5, 8, 11])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, at_step: int) -> None:
    whole, loader, check = a_run()
    fit(whole, loader, check)
    file, steps = tmp_path / "progress.safetensors", 0

    def kill(_at: TrainingProgress, _loss: float) -> None:
        nonlocal steps
        steps += 1
        if steps == at_step:
            raise KilledError

    run, loader, check = a_run()
    with pytest.raises(KilledError):
        fit(run, loader, check, progress_file=file, save_every=2, on_step=kill)
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
