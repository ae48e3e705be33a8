"""One step: accumulated batches, other number formats, gradients that are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from kronos.errors import TrainingError
from kronos.training.dataset import WindowBatch
from kronos.training.fit import TrainingRun, fit
from kronos.training.objectives import TokenizerObjective, predictor_objective
from kronos.training.schedule import TrainConfig
from kronos.training.steps import make_optimizer, train_step, validate
from tests.kronos.training.cases import (
    A_CONFIG,
    SHAPE,
    a_model,
    a_run,
    a_tokenizer,
    same_bits,
    some_windows,
)
from tests.kronos.training.two_workers import OverflowingObjective, without_dropout

UNCLIPPED = TrainConfig(clip_norm=1e9)


def windows(numbers: Sequence[int]) -> WindowBatch:
    train, _ = some_windows()
    x, stamps = zip(*(train[i] for i in numbers), strict=True)
    return torch.stack(x), torch.stack(stamps)


def gradient_of(objective: nn.Module) -> Tensor:
    gradients = [p.grad.flatten() for p in objective.parameters() if p.grad is not None]
    return torch.cat(gradients)


def step(
    objective: nn.Module, group: list[WindowBatch], config: TrainConfig = UNCLIPPED
) -> tuple[float, Tensor]:
    """The step's loss, and its whole gradient."""
    loss = train_step(
        objective,
        group,
        make_optimizer(objective, config),
        config,
        rate=(1e-3, 0.9),
        seed=1,
        where="step 0",
    )
    return loss, gradient_of(objective)


@pytest.mark.parametrize("cuts", [(0, 4, 8), (0, 2, 4, 6, 8), (0, 5, 8), (0, 1, 8)])
def test_accumulated_batches_equal_one_of_all_their_windows(cuts: tuple[int, ...]) -> None:
    whole_loss, whole = step(without_dropout(), [windows(range(8))])
    parts = [windows(range(a, b)) for a, b in pairwise(cuts)]
    loss, gradient = step(without_dropout(), parts)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert torch.allclose(gradient, whole, atol=1e-5 * whole.abs().max().item())


def test_a_last_group_that_is_shorter_is_a_mean_of_its_own_windows() -> None:
    def steps(accumulation: int, cuts: list[range]) -> list[tuple[float, Tensor]]:
        objective = without_dropout()
        config = replace(A_CONFIG, epochs=1, accumulation=accumulation, clip_norm=1e9)
        run, found = TrainingRun(objective, config, len(cuts)), []
        for loss in run.run_batches([windows(cut) for cut in cuts]):
            found.append((loss, gradient_of(objective)))
        return found

    by_two = steps(2, [range(0, 4), range(4, 8), range(8, 12)])
    by_one = steps(1, [range(0, 8), range(8, 12)])
    for (loss, gradient), (known_loss, known) in zip(by_two, by_one, strict=True):
        assert loss == pytest.approx(known_loss, rel=1e-4)
        assert torch.allclose(gradient, known, atol=1e-3 * known.abs().max().item())


class Wrapper(nn.Module):
    """Stands for what spreads an objective over workers; notes when it was told to wait."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.waiting, self.seen = False, ""

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.waiting = True
        yield
        self.waiting = False

    def forward(self, x: Tensor, stamp: Tensor, generator: torch.Generator) -> Tensor:
        self.seen += "w" if self.waiting else "s"
        loss: Tensor = self.module(x, stamp, generator)
        loss.register_hook(self._backward)
        return loss

    def _backward(self, gradient: Tensor) -> None:
        self.seen += "W" if self.waiting else "S"


def test_workers_wait_for_the_last_batch_of_a_group_before_they_speak() -> None:
    wrapper = Wrapper(without_dropout())
    run = TrainingRun(wrapper, replace(A_CONFIG, accumulation=3, epochs=1), 4)
    list(run.run_batches([windows(range(4))] * 4))
    assert wrapper.seen == "wWwWsS" + "sS"


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize(("kind", "text"), [("nan", "nan"), ("infinite", "inf")])
def test_a_loss_that_is_not_finite_leaves_the_weights(bad: int, kind: str, text: str) -> None:
    objective = OverflowingObjective(a_tokenizer())
    group = [windows(range(4)), windows(range(4, 8))]
    x, stamp = group[bad]
    group[bad] = (x * math.nan, stamp) if kind == "nan" else (x, stamp - 10**6)
    before = {name: t.clone() for name, t in objective.state_dict().items()}
    with pytest.raises(TrainingError, match=f"step 0: the loss became {text}; try a lower lr_max"):
        step(objective, group)
    assert same_bits(before, objective.state_dict())


def test_a_gradient_that_is_not_finite_leaves_the_weights_and_says_which_batches() -> None:
    objective = without_dropout()
    next(objective.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    before = {name: t.clone() for name, t in objective.state_dict().items()}
    run = TrainingRun(objective, replace(A_CONFIG, accumulation=2), 3)
    run.end_epoch(1.0)
    text = r"step 2 \(epoch 1, batches 0 to 1\): the gradient became (nan|inf) while this worker's"
    with pytest.raises(TrainingError, match=text):
        next(run.run_batches([windows(range(4))] * 3))
    assert same_bits(before, objective.state_dict())


@pytest.mark.parametrize("name", ["published", "sandbox", "tokenizer"])
def test_bf16_steps_are_near_those_of_fp32_and_keep_fp32_weights(name: str) -> None:
    found = {}
    for bf16 in (False, True):
        if name == "tokenizer":
            objective: nn.Module = TokenizerObjective(a_tokenizer())
        else:
            objective = predictor_objective(name, a_model(), a_tokenizer(), SHAPE.lookback)
        run = TrainingRun(objective, A_CONFIG, 4, bf16=bf16)
        found[bf16] = next(run.run_batches([windows(range(4))] * 4))
        assert {t.dtype for t in objective.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in objective.parameters() if p.grad is not None} == {
            torch.float32
        }
    assert found[True] != found[False]
    assert found[True] == pytest.approx(found[False], rel=0.05)


def test_ids_and_validation_stay_in_fp32() -> None:
    objective = without_dropout()
    x, _ = windows(range(0, 90, 2))
    known = torch.stack(objective.tokenizer.encode(x, half=True))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(torch.stack(objective.tokens(x)), known)
        assert not torch.equal(torch.stack(objective.tokenizer.encode(x, half=True)), known)
    run, loader, check = a_run(bf16=True)
    loss = fit(run, loader, check).best_loss
    assert loss == validate(run.objective, check)
