"""Products whose rows do not depend on how many there are: which are tried, and what is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from kronos import Kronos, KronosTokenizer
from kronos.inference.operand import ROW_QUANTUM, Operand, pad_rows, row_quantum
from kronos.inference.sampler import Sampler
from tests.kronos.conftest import Golden
from tests.kronos.inference.test_as_held import paths


@contextmanager
def products_noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What rows are multiplied by while the context lasts."""
    seen: list[object] = []
    operand, linear = Operand.__call__, nn.Linear.forward

    def by_operand(self: Operand, *args: Tensor) -> Tensor:
        seen.append(self)
        return operand(self, *args)

    def by_linear(self: nn.Linear, x: Tensor) -> Tensor:
        seen.append(self)
        return linear(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(Operand, "__call__", by_operand)
        patch.setattr(nn.Linear, "forward", by_linear)
        yield seen


@pytest.mark.parametrize("max_context", [8, 64])  # with and without a window that slides
def test_every_product_of_a_forecast_is_tried(
    tiny: Golden, max_context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = tiny.predictor(max_context=max_context)
    sampler = predictor._sampler()
    assert isinstance(sampler, Sampler)
    predictor._current.get = lambda *_: sampler  # type: ignore[method-assign]
    with products_noted(monkeypatch) as multiplied:
        paths(predictor, tiny)
    with products_noted(monkeypatch) as tried:
        row_quantum([*sampler.model.operands, *sampler.tokenizer.operands])

    def sizes(products: list[object]) -> set[tuple[object, ...]]:
        return {(type(p), p.in_features, p.out_features) for p in products}  # type: ignore[attr-defined]

    assert len(multiplied) > 10
    assert sizes(multiplied) == sizes(tried)
    everything = {id(p) for p in (*sampler.model.operands, *sampler.tokenizer.operands)}
    assert {id(p) for p in multiplied} <= everything


@pytest.mark.parametrize(
    ("model", "inner"), [({"d_model": 32, "ff_dim": 512}, 512), ({"d_model": 64}, 2048)]
)
def test_the_models_own_inner_columns_are_tried(model: dict[str, int], inner: int) -> None:
    sizes = {"d_model": 64, "ff_dim": 2048} | model
    d, ff = sizes["d_model"], sizes["ff_dim"]
    net = Kronos(4, 4, 1, d, 4, ff, 0.0, 0.0, 0.0, 0.0, True).eval()
    tokenizer = KronosTokenizer(
        6, 16, 2, 24, 2, 2, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4
    ).eval()
    sampler = Sampler(net, tokenizer, 16)
    assert inner in {operand.in_features for operand in sampler.model.operands}
    assert sampler.quantum == ROW_QUANTUM


class Uneven(Operand):
    """Rounds otherwise where there are fewer than `enough` rows."""

    enough = 0

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        out = super().__call__(x, residual)
        return out * (1 + 2**-20) if len(x) < self.enough else out


@pytest.mark.parametrize(("enough", "quantum"), [(0, 4), (7, 8), (17, 32), (33, None)])
def test_the_smallest_quantum_that_is_enough(enough: int, quantum: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    even, uneven = (
        cls(torch.randn(8, 12, generator=generator), None, torch.float32)
        for cls in (Operand, Uneven)
    )
    uneven.enough = enough  # type: ignore[attr-defined]
    assert row_quantum([even, uneven]) == quantum


def test_rows_are_padded_with_zeros_to_whole_quanta() -> None:
    x = torch.ones(5, 3)
    assert torch.equal(pad_rows(x, 4), torch.cat((x, torch.zeros(3, 3))))
    assert pad_rows(x[:4], 4).shape == (4, 3)
