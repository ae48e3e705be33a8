"""A forecast reflects the model, the tokenizer and the predictor as the caller holds them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kronos import InputError, KronosPredictor
from kronos.hub import read_checkpoint
from kronos.inference.checksum import BLOCK, device_sums, weights_checksum, word_sums
from kronos.inference.sampler import Sampler
from kronos.model import Kronos
from tests.kronos.conftest import GOLDEN, Golden, load_golden

HORIZON = 4


def paths(predictor: KronosPredictor, golden: Golden) -> np.ndarray:
    """Three paths of each of the golden series `[2, 3, P, 6]`; sampled, so that ids can differ."""
    x, length = golden.inputs["ohlcva"][:2], golden.case["lookback"] - HORIZON
    stamps = golden.inputs["stamp"][:2]
    return predictor.sample_paths(
        x[:, :length], stamps[:, :length], stamps[:, length : length + HORIZON], [1, 2],
        sample_count=3, seed=7,
    )  # fmt: skip


def with_gradients(golden: Golden) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    parameters = [p for p in golden.model.parameters() if p.requires_grad]
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)
    return parameters


def fused_step(golden: Golden, _: KronosPredictor) -> None:
    torch.optim.AdamW(with_gradients(golden), lr=0.1, fused=True).step()


def moving_average(golden: Golden, _: KronosPredictor) -> None:
    data = [p.data for p in golden.model.parameters()]
    torch._foreach_lerp_(data, [-d for d in data], 0.75)


def copied_data(golden: Golden, _: KronosPredictor) -> None:
    for p in golden.model.parameters():
        p.data.copy_(p.data.flip(0))


def numpy_view(golden: Golden, _: KronosPredictor) -> None:
    golden.model.head.proj_s1.weight.detach().numpy()[:] *= -1


def one_element(golden: Golden, _: KronosPredictor) -> None:
    golden.model.norm.weight.data[3] = 50


def permuted_rows(golden: Golden, _: KronosPredictor) -> None:
    weight = golden.model.embedding.emb_s1.weight.data
    weight.copy_(weight[torch.arange(len(weight)).roll(1)])


def other_state(golden: Golden, _: KronosPredictor) -> None:
    state = golden.model.state_dict()
    golden.model.load_state_dict({k: v.flip(0) for k, v in state.items()}, assign=True)


def other_parameter(golden: Golden, _: KronosPredictor) -> None:
    head = golden.model.head.proj_s1
    head.weight = nn.Parameter(-head.weight.detach())


def other_part(golden: Golden, _: KronosPredictor) -> None:
    golden.model.head.proj_s1 = nn.Linear(golden.model.d_model, golden.model.s1_vocab_size)


def other_order(golden: Golden, _: KronosPredictor) -> None:
    golden.model.transformer = nn.ModuleList(reversed(list(golden.model.transformer)))


def rounded(golden: Golden, _: KronosPredictor) -> None:
    golden.model.to(torch.bfloat16)


def tokenizer_weights(golden: Golden, _: KronosPredictor) -> None:
    golden.tokenizer.head.weight.data.neg_()


def frequencies(golden: Golden, _: KronosPredictor) -> None:
    for block in golden.model.transformer:
        block.self_attn.rotary.inv_freq.mul_(3)


def context(_: Golden, predictor: KronosPredictor) -> None:
    predictor.max_context = 8


def clip(_: Golden, predictor: KronosPredictor) -> None:
    predictor.clip = 0.5


def other_model(_: Golden, predictor: KronosPredictor) -> None:
    torch.manual_seed(1)
    changed = copy.deepcopy(predictor.model)
    changed.apply(changed._init_weights)
    predictor.model = changed


CHANGES = [
    fused_step, moving_average, copied_data, numpy_view, one_element, permuted_rows, other_state,
    other_parameter, other_part, other_order, rounded, tokenizer_weights, frequencies, context,
    clip, other_model,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_in_the_next_forecast(
    tiny: Golden, change: Callable[[Golden, KronosPredictor], None]
) -> None:
    predictor = tiny.predictor()
    before = paths(predictor, tiny)
    change(tiny, predictor)
    after = paths(predictor, tiny)
    assert not np.array_equal(after, before)
    fresh = KronosPredictor(
        copy.deepcopy(predictor.model),
        copy.deepcopy(predictor.tokenizer),
        "cpu",
        predictor.max_context,
        predictor.clip,
    )
    np.testing.assert_array_equal(after, paths(fresh, tiny))


def test_an_unchanged_model_keeps_its_sampler(tiny: Golden) -> None:
    predictor = tiny.predictor()
    assert predictor._sampler() is predictor._sampler()


def test_a_sampler_is_a_frozen_copy(tiny: Golden) -> None:
    predictor = tiny.predictor()
    sampler = predictor._sampler()
    assert isinstance(sampler, Sampler)
    before = paths(predictor, tiny)
    for net in (tiny.model, tiny.tokenizer):
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.data.zero_()
    predictor._current.get = lambda *_: sampler  # type: ignore[method-assign]
    np.testing.assert_array_equal(paths(predictor, tiny), before)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("max_context", 0, "max_context must be a whole number"), ("clip", -1, "clip must be above")],
)
def test_a_setting_that_cannot_be_used_later(
    tiny: Golden, name: str, value: int, text: str
) -> None:
    predictor = tiny.predictor()
    setattr(predictor, name, value)
    with pytest.raises(InputError, match=text):
        paths(predictor, tiny)


class Weights(nn.Module):
    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)


SIZES = st.sampled_from([1, 5, 600, 601, 2 * BLOCK, 2 * BLOCK + 3, 6 * BLOCK + 1])


@given(size=SIZES, bit=st.integers(0, 31), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_one_bit_changes_the_checksum(size: int, bit: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = Weights(torch.randn(size, generator=generator))
    before = weights_checksum(weights)
    bits = weights.values.detach().numpy().view(np.uint32)
    bits[seed % size] ^= np.uint32(1 << bit)
    assert weights_checksum(weights) != before
    bits[seed % size] ^= np.uint32(1 << bit)
    assert weights_checksum(weights) == before


REARRANGED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "negated": lambda x: -x,
    "every second negated": lambda x: torch.where(torch.arange(len(x)) % 2 == 1, -x, x),
    "a pair negated": lambda x: torch.cat((-x[:2], x[2:])),
    "neighbours swapped": lambda x: x.view(-1, 2).flip(1).flatten(),
    "pairs swapped": lambda x: torch.cat((x[2:4], x[:2], x[4:])),
    "blocks swapped": lambda x: x.view(-1, 2 * BLOCK).flip(0).flatten(),
    "reversed": lambda x: x.flip(0),
    "one up, one down": lambda x: x + torch.eye(1, len(x))[0] - torch.eye(1, len(x))[0].roll(1),
}


@pytest.mark.parametrize("name", REARRANGED)
@pytest.mark.parametrize("constant", [False, True])
def test_a_rearrangement_changes_the_checksum(name: str, constant: bool) -> None:
    values = torch.randn(4 * BLOCK, generator=torch.Generator().manual_seed(0))
    if constant:
        values = torch.ones(4 * BLOCK)
    changed = REARRANGED[name](values)
    same = bool(torch.equal(changed, values))
    assert (weights_checksum(Weights(changed)) == weights_checksum(Weights(values))) == same


def test_the_checksum_knows_shape_and_type() -> None:
    values = torch.zeros(2, 3)
    sums = {weights_checksum(Weights(v)) for v in (values, values.T, values.half(), values[:1])}
    assert len(sums) == 4


@pytest.mark.parametrize("octets", [8, 5000, 8 * BLOCK, 24 * BLOCK + 8])
def test_sums_on_a_device_are_those_here(octets: int) -> None:
    raw = torch.randint(256, (octets,), dtype=torch.uint8)
    here = word_sums(raw.numpy().view(np.uint64))
    np.testing.assert_array_equal(device_sums(raw).numpy().view(np.uint64), here)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(tiny: Golden, dtype: str, narrow: torch.dtype) -> None:
    outside = tiny.predictor(dtype=dtype)
    want = paths(outside, tiny)
    with torch.autocast("cpu", dtype=narrow):
        inside = tiny.predictor(dtype=dtype)
        np.testing.assert_array_equal(paths(inside, tiny), want)
        np.testing.assert_array_equal(paths(outside, tiny), want)
    np.testing.assert_array_equal(paths(inside, tiny), want)


class DefaultDtype(AbstractContextManager[None]):
    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing special": nullcontext,
    "doubles by default": DefaultDtype,
    "another default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
}


@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize("loading", [False, True])
def test_surroundings_change_nothing(tiny: Golden, name: str, loading: bool) -> None:
    if loading and name == "another default device":
        pytest.skip("modules that are built on another device are meant to be there")
    want = paths(tiny.predictor(), tiny)
    with SURROUNDINGS[name]():
        golden = load_golden("tiny") if loading else tiny
        predictor = golden.predictor()
        np.testing.assert_array_equal(paths(predictor, tiny), want)
    np.testing.assert_array_equal(paths(predictor, tiny), want)


def test_a_double_model_forecasts_as_the_float_it_was(tiny: Golden) -> None:
    predictor = tiny.predictor()
    want = paths(predictor, tiny)
    tiny.model.double()
    np.testing.assert_array_equal(paths(predictor, tiny), want)
    tiny.tokenizer.double()
    np.testing.assert_array_equal(paths(tiny.predictor(), tiny), want)


def test_threads_are_part_of_what_a_sampler_was_made_for(tiny: Golden) -> None:
    predictor, threads = tiny.predictor(), torch.get_num_threads()
    first = predictor._sampler()
    torch.set_num_threads(threads + 1)
    try:
        assert predictor._sampler() is not first
    finally:
        torch.set_num_threads(threads)


def test_a_model_read_in_inference_mode_is_the_same(tiny: Golden) -> None:
    with torch.inference_mode():
        model = read_checkpoint(Kronos, GOLDEN / "tiny" / "model")
    predictor = KronosPredictor(model, tiny.tokenizer, "cpu", tiny.case["max_context"])
    np.testing.assert_array_equal(paths(predictor, tiny), paths(tiny.predictor(), tiny))
