"""Losses: what they are taken over, by hand and against one query at a time."""

from __future__ import annotations

import math

import pytest
import torch

from kronos.errors import TrainingError
from kronos.training.dataset import validation_loader
from kronos.training.objectives import (
    PredictorObjective,
    Tally,
    predictor_objective,
    s2_logits_as_sampled,
    token_counts,
    unigram_nats,
)
from kronos.training.steps import seeded, validate
from tests.kronos.training.cases import SHAPE, a_model, a_predictor, a_run, a_tokenizer


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


@pytest.mark.parametrize(("name", "ours"), [("published", False), ("sandbox", True)])
def test_objectives_have_names(name: str, ours: bool) -> None:
    named = predictor_objective(name, a_model(), a_tokenizer(), SHAPE.lookback)
    switched = a_predictor(targets_only=ours, teacher_forcing=ours, as_sampled=ours)
    x = torch.randn(3, SHAPE.bars, 6, generator=torch.Generator().manual_seed(0))
    stamp = torch.zeros(3, SHAPE.bars, 5, dtype=torch.int64)
    losses = [o.eval()(x, stamp, torch.Generator().manual_seed(1)) for o in (named, switched)]
    assert losses[0].item() == losses[1].item()
    switched.targets_only = not ours
    assert switched(x, stamp, torch.Generator().manual_seed(1)).item() != losses[0].item()
    with pytest.raises(TrainingError, match="no objective 'ours': it is published or sandbox"):
        predictor_objective("ours", a_model(), a_tokenizer(), SHAPE.lookback)


def test_published_loss_by_hand() -> None:
    objective = predictor_objective("published", a_model(), a_tokenizer(), SHAPE.lookback).eval()
    x = torch.randn(3, SHAPE.bars, 6, generator=torch.Generator().manual_seed(0))
    stamp = torch.zeros(3, SHAPE.bars, 5, dtype=torch.int64)
    s1, s2 = objective.tokens(x)
    logits1, states = objective.model.decode_s1(s1[:, :-1], s2[:, :-1], stamp[:, :-1])
    probabilities = logits1.softmax(-1).flatten(0, 1)
    drawn = torch.multinomial(probabilities, 1, generator=torch.Generator().manual_seed(1))
    logits2 = objective.model.decode_s2(states, drawn.view(s1[:, 1:].shape))
    nats = [
        -logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).mean().item()
        for logits, ids in ((logits1, s1), (logits2, s2))
    ]
    loss = objective(x, stamp, torch.Generator().manual_seed(1)).item()
    assert loss == pytest.approx(sum(nats) / 2, rel=1e-5)


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
