"""Modules that are not the plain ones are called as they are, after one warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize, prune

from kronos import Kronos, KronosPredictor, UncachedWarning
from kronos.inference.plain import PlainSampler
from kronos.inference.structure import departures
from kronos.layers import SelfAttention
from tests.kronos.conftest import Golden
from tests.kronos.inference.test_as_held import paths


class LowRank(nn.Module):
    """What an adapter does: the linear layer it wraps, plus a product of two thin matrices."""

    def __init__(self, inner: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.inner = inner
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(rank, inner.in_features, generator=generator))
        self.b = nn.Parameter(torch.randn(inner.out_features, rank, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + x @ self.a.T @ self.b.T


def uncached(predictor: KronosPredictor, golden: Golden) -> np.ndarray:
    """Forecasts by the published steps, whatever the modules are."""
    sampler = PlainSampler(predictor.model, predictor.tokenizer, predictor.max_context)
    predictor._current.get = lambda *_: sampler  # type: ignore[method-assign]
    return paths(predictor, golden)


@pytest.mark.parametrize("max_context", [8, 64])
def test_the_fast_sampler_computes_what_the_plain_steps_do(
    golden: Golden, max_context: int
) -> None:
    predictor = golden.predictor(max_context=max_context)
    fast = paths(predictor, golden)
    np.testing.assert_allclose(uncached(predictor, golden), fast, rtol=2e-5)


def test_an_adapter_counts_as_much_as_merged_weights(tiny: Golden) -> None:
    predictor = tiny.predictor()
    before = paths(predictor, tiny)
    attention = tiny.model.transformer[0].self_attn
    plain = attention.q_proj
    attention.q_proj = LowRank(plain)
    with pytest.warns(UncachedWarning, match=r"transformer\.0\.self_attn\.q_proj is a LowRank"):
        adapted = paths(predictor, tiny)
    assert not np.array_equal(adapted, before)
    with torch.no_grad():
        plain.weight += attention.q_proj.b @ attention.q_proj.a
    attention.q_proj = plain
    np.testing.assert_allclose(adapted, paths(predictor, tiny), rtol=2e-5)


def quantised(golden: Golden) -> KronosPredictor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the whole of its quantisation
        nets = [
            torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, torch.qint8)
            for net in (golden.model, golden.tokenizer)
        ]
    return KronosPredictor(*nets, "cpu", golden.case["max_context"])


def test_quantised_layers_are_used(tiny: Golden) -> None:
    before = paths(tiny.predictor(), tiny)
    with pytest.warns(
        UncachedWarning, match=r"is a torch\.ao\..*Linear, not a torch\.nn\..*Linear"
    ):
        predictor = quantised(tiny)
    got = paths(predictor, tiny)
    assert np.isfinite(got).all()
    assert not np.array_equal(got, before)
    np.testing.assert_array_equal(got, uncached(predictor, tiny))


class Doubled(Kronos):
    def decode_s1(self, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        logits, states = super().decode_s1(*args, **more)
        return logits * 2, states


@contextmanager
def subclass(golden: Golden) -> Iterator[None]:
    golden.model.__class__ = Doubled
    yield


@contextmanager
def instance_method(golden: Golden) -> Iterator[None]:
    model = golden.model
    plain = Kronos.decode_s1

    def doubled(*args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        logits, states = plain(model, *args, **more)
        return logits * 2, states

    model.decode_s1 = doubled  # type: ignore[method-assign]
    yield


@contextmanager
def class_method(golden: Golden) -> Iterator[None]:
    plain = SelfAttention.forward

    @functools.wraps(plain)
    def doubled(self: SelfAttention, *args: Any, **more: Any) -> Tensor:
        return plain(self, *args, **more) * 2

    SelfAttention.forward = doubled  # type: ignore[method-assign]
    try:
        yield
    finally:
        SelfAttention.forward = plain  # type: ignore[method-assign]


def scaled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 3


@contextmanager
def hook(golden: Golden) -> Iterator[None]:
    golden.model.transformer[1].register_forward_hook(scaled)
    yield


@contextmanager
def hook_before(golden: Golden) -> Iterator[None]:
    golden.model.norm.register_forward_pre_hook(lambda _, args: (args[0] * 3 + 1,))
    yield


@contextmanager
def hook_in_tokenizer(golden: Golden) -> Iterator[None]:
    golden.tokenizer.head.register_forward_hook(scaled)
    yield


@contextmanager
def hook_everywhere(golden: Golden) -> Iterator[None]:
    def of_blocks(module: nn.Module, args: Any, output: Any) -> Any:
        return output * 3 if module in golden.model.transformer else output

    handle = register_module_forward_hook(of_blocks)
    try:
        yield
    finally:
        handle.remove()


class Negated(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return -weight


@contextmanager
def parametrised(golden: Golden) -> Iterator[None]:
    parametrize.register_parametrization(golden.model.head.proj_s1, "weight", Negated())
    yield


@contextmanager
def pruned(golden: Golden) -> Iterator[None]:
    prune.l1_unstructured(golden.model.head.proj_s1, "weight", 0.5)
    yield


@contextmanager
def one_more_block(golden: Golden) -> Iterator[None]:
    golden.model.transformer.append(golden.model.transformer[0])
    yield


@contextmanager
def without_bias(golden: Golden) -> Iterator[None]:
    golden.model.head.proj_s1.bias = None
    yield


@contextmanager
def with_bias(golden: Golden) -> Iterator[None]:
    ffn = golden.model.transformer[0].ffn
    ffn.w2.bias = nn.Parameter(torch.ones(golden.model.d_model) * 3)
    yield


@contextmanager
def another_setting(golden: Golden) -> Iterator[None]:
    golden.model.embedding.scale *= 3
    yield


@contextmanager
def limited_embedding(golden: Golden) -> Iterator[None]:
    golden.model.embedding.emb_s1.max_norm = 0.01
    yield


@contextmanager
def other_frequencies(golden: Golden) -> Iterator[None]:
    golden.model.transformer[1].self_attn.rotary.inv_freq.mul_(5)
    yield


@contextmanager
def another_function(golden: Golden) -> Iterator[None]:
    golden.tokenizer.codes_of = lambda s1, s2: torch.zeros(  # type: ignore[method-assign]
        *s1.shape, golden.tokenizer.codebook_dim
    )
    yield


ODD = [
    subclass, instance_method, class_method, hook, hook_before, hook_in_tokenizer, hook_everywhere,
    parametrised, pruned, one_more_block, without_bias, with_bias, another_setting,
    limited_embedding, other_frequencies, another_function,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_what_a_module_does_is_in_the_forecast(
    tiny: Golden, odd: Callable[[Golden], AbstractContextManager[None]]
) -> None:
    predictor = tiny.predictor()
    before = paths(predictor, tiny)
    with odd(tiny):
        with pytest.warns(UncachedWarning) as caught:
            got = paths(predictor, tiny)
        again = paths(predictor, tiny)
        assert not np.array_equal(got, before)
        np.testing.assert_array_equal(again, got)
        np.testing.assert_array_equal(uncached(predictor, tiny), got)
    assert len(caught) == 1
    assert caught[0].filename == __file__.replace("test_uncached", "test_as_held")


def test_a_hook_is_called_and_when_it_is_gone_so_is_the_detour(tiny: Golden) -> None:
    predictor, seen = tiny.predictor(), []
    before = paths(predictor, tiny)
    handle = tiny.model.transformer[0].register_forward_hook(lambda *_: seen.append(1))
    with pytest.warns(UncachedWarning, match=r"model\.transformer\.0 has a forward hook"):
        np.testing.assert_allclose(paths(predictor, tiny), before, rtol=2e-5)
    assert seen
    handle.remove()
    np.testing.assert_array_equal(paths(predictor, tiny), before)


def test_every_cause_is_told_once(tiny: Golden) -> None:
    predictor = tiny.predictor()
    tiny.model.norm.register_forward_hook(scaled)
    with pytest.warns(UncachedWarning, match="model.norm has a forward hook"):
        paths(predictor, tiny)
    tiny.tokenizer.head.register_forward_hook(scaled)
    with pytest.warns(UncachedWarning, match=r"tokenizer\.head has a forward hook:"):
        paths(predictor, tiny)
    paths(predictor, tiny)  # a warning would be an error


def test_plain_modules_and_harmless_marks_keep_the_fast_sampler(tiny: Golden) -> None:
    tiny.model.name = "mine"
    tiny.model.token_drop.p = 0.3
    tiny.model.transformer[1].self_attn = tiny.model.transformer[0].self_attn
    assert departures(tiny.model, tiny.tokenizer) == []


def test_dropout_that_is_left_on_is_used_and_repeats(tiny: Golden) -> None:
    predictor = tiny.predictor()
    before = paths(predictor, tiny)
    tiny.model.token_drop.p = 0.5
    tiny.model.token_drop.train()
    state = torch.random.get_rng_state()
    with pytest.warns(UncachedWarning, match="the model is in training mode"):
        got = paths(predictor, tiny)
    assert not np.array_equal(got, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(paths(predictor, tiny), got)
    tiny.model.eval()
    np.testing.assert_array_equal(paths(predictor, tiny), before)


def test_a_whole_model_in_training_mode_is_told(tiny: Golden) -> None:
    predictor = tiny.predictor()
    tiny.model.train()
    with pytest.warns(UncachedWarning, match="the model is in training mode"):
        paths(predictor, tiny)
    assert tiny.model.training


@pytest.mark.parametrize("few", [1, 2])
def test_uncached_paths_depend_on_nothing_beside_them(tiny: Golden, few: int) -> None:
    sampler = PlainSampler(tiny.model, tiny.tokenizer, tiny.case["max_context"])
    predictor = tiny.predictor()
    predictor._current.get = lambda *_: sampler  # type: ignore[method-assign]
    x, length = tiny.inputs["ohlcva"], 20
    stamps = tiny.inputs["stamp"]
    b = len(x)

    def run(at: list[int], samples: int) -> np.ndarray:
        return predictor.sample_paths(
            x[at, :length], stamps[at, :length], stamps[at, length : length + 3], at,
            sample_count=samples,
        )  # fmt: skip

    whole = run(list(range(b)), 4)
    np.testing.assert_array_equal(run([b - 1], few)[0], whole[b - 1, :few])


def test_autocast_does_not_reach_called_modules(tiny: Golden) -> None:
    predictor = tiny.predictor()
    tiny.model.norm.register_forward_hook(scaled)
    with pytest.warns(UncachedWarning):
        want = paths(predictor, tiny)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(paths(predictor, tiny), want)
