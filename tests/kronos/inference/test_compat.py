"""Names that code written for the published package calls, with the published meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import kronos
from kronos import (
    InputError,
    KronosPredictor,
    auto_regressive_inference,
    calc_time_stamps,
    sample_from_logits,
    top_k_top_p_filtering,
)
from kronos.inference.sampling import SamplingParams, token_probs
from tests.kronos.conftest import Golden
from tests.kronos.test_reference_parity import agree, windows

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 3.0, 3.0, -2.0]])
NONE = -float("inf")


def inputs(golden: Golden, length: int, steps: int) -> tuple[torch.Tensor, ...]:
    """Normalised candles `[B, L, 6]` and float stamps, as the published scripts make them."""
    x = golden.inputs["ohlcva"][:, :length].astype(np.float32)
    x = (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-5)
    stamps = golden.stamp[:, : length + steps].float()
    return torch.from_numpy(x), stamps[:, :length], stamps[:, length:]


def regress(golden: Golden, steps: int = 4, **more: Any) -> np.ndarray:
    arrays = inputs(golden, 20, steps)
    options = {"max_context": golden.case["max_context"], "pred_len": steps} | more
    return auto_regressive_inference(golden.tokenizer, golden.model, *arrays, **options)


def test_inference_step_by_step(golden: Golden) -> None:
    """The greedy path by the published recipe: whole windows, one token after the other."""
    x, x_stamp, y_stamp = inputs(golden, 20, 4)
    model, tokenizer, stamps = golden.model, golden.tokenizer, torch.cat((x_stamp, y_stamp), 1)
    with torch.no_grad():
        s1, s2 = tokenizer.encode(x.clip(-2, 2), half=True)
        for _ in range(4):
            logits, states = model.decode_s1(s1, s2, stamps[:, : s1.shape[1]])
            id1 = logits[:, -1].argmax(-1, keepdim=True)
            id2 = model.decode_s2(states, id1)[:, -1].argmax(-1, keepdim=True)
            s1, s2 = torch.cat((s1, id1), 1), torch.cat((s2, id2), 1)
        want = tokenizer.decode([s1, s2], half=True).numpy()
    got = regress(golden, max_context=64, clip=2, top_k=1, sample_count=2)
    assert got.shape == (len(x), 24, 6)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    cut = regress(golden, max_context=24, clip=2, top_k=1, sample_count=1)
    np.testing.assert_allclose(cut, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("context", "bars"), [(64, 24), (22, 22), (4, 4)])
def test_the_last_bars_of_the_context_come_back(tiny: Golden, context: int, bars: int) -> None:
    assert regress(tiny, max_context=context).shape == (len(tiny.inputs["ohlcva"]), bars, 6)


def test_inference_draws_from_torchs_generator(tiny: Golden) -> None:
    torch.manual_seed(5)
    first, second = regress(tiny, sample_count=1), regress(tiny, sample_count=1)
    torch.manual_seed(5)
    np.testing.assert_array_equal(regress(tiny, sample_count=1), first)
    assert not np.array_equal(first, second)


def test_inference_notices_other_weights(tiny: Golden) -> None:
    before = regress(tiny, top_k=1)
    tiny.model.head.proj_s1.weight.data.neg_()
    assert not np.array_equal(regress(tiny, top_k=1), before)


def test_inference_refuses_what_does_not_go_together(tiny: Golden) -> None:
    with pytest.raises(InputError, match=r"y_stamp \[\d, 4, 5\] do not go together.*\[B, 5, 5\]"):
        auto_regressive_inference(
            tiny.tokenizer, tiny.model, *inputs(tiny, 20, 4), max_context=64, pred_len=5
        )
    with pytest.raises(InputError, match="pred_len must be a whole number from 1 to 3, got 4"):
        regress(tiny, max_context=3)


def test_generate_is_the_middle_of_predict(golden: Golden) -> None:
    frames, history, _ = windows(golden, "greedy_fits")
    steps, length = golden.case["pred_len"], len(history)
    values = np.stack([f.to_numpy(np.float32) for f in frames])
    mean, scale = values.mean(1, keepdims=True), values.std(1, keepdims=True) + 1e-5
    x = ((values - mean) / scale).astype(np.float32)
    stamp = golden.inputs["stamp"].astype(np.float32)
    x_stamp, y_stamp = stamp[:, -steps - length : -steps], stamp[:, -steps:]
    got = golden.predictor().generate(x, x_stamp, y_stamp, steps, 1.0, 1, 1.0, 1, False)
    agree(golden, "predict_batch.greedy", got * scale + mean)


class Shifted(KronosPredictor):
    def generate(self, *args: Any) -> np.ndarray:
        return super().generate(*args) + 1


def test_predict_goes_through_an_overridden_generate(tiny: Golden) -> None:
    (frame, *_), history, future = windows(tiny, "greedy_fits")
    steps = tiny.case["pred_len"]
    options: dict[str, Any] = {"top_k": 1, "top_p": 1.0, "verbose": False}
    want = tiny.predictor().predict(frame, history, future, steps, **options)
    shifted = Shifted(tiny.model, tiny.tokenizer, "cpu", tiny.case["max_context"])
    got = shifted.predict(frame, history, future, steps, **options)
    scale = frame.to_numpy(np.float32).std(0)
    np.testing.assert_allclose(got - want, np.broadcast_to(scale, got.shape), rtol=1e-3)
    seeded = [
        shifted.predict(frame, history, future, steps, verbose=False, seed=s) for s in (1, 1, 2)
    ]
    pd.testing.assert_frame_equal(seeded[0], seeded[1])
    assert not seeded[0].equals(seeded[2])


def test_columns_may_have_other_names(tiny: Golden) -> None:
    (frame, *_), history, future = windows(tiny, "greedy_fits")
    steps, predictor = tiny.case["pred_len"], tiny.predictor()
    assert predictor.price_cols == ["open", "high", "low", "close"]
    assert (predictor.vol_col, predictor.amt_vol) == ("volume", "amount")
    assert predictor.time_cols == ["minute", "hour", "weekday", "day", "month"]
    want = predictor.predict(frame, history, future, steps, verbose=False, seed=1)
    predictor.price_cols = ["O", "H", "L", "C"]
    predictor.vol_col, predictor.amt_vol = "V", "A"
    names = dict(zip(want.columns, "OHLCVA", strict=True))
    renamed = frame.rename(columns=names).assign(close=0.0)  # a column that is not asked for
    got = predictor.predict(renamed, history, future, steps, verbose=False, seed=1)
    pd.testing.assert_frame_equal(got, want.rename(columns=names))
    (paths,) = predictor.paths(renamed, history, future, steps, sample_count=1)
    assert paths.paths.shape == (1, steps, 6)
    with pytest.raises(InputError, match=r"price columns \['O', 'H', 'L', 'C'\] not found"):
        predictor.predict(frame, history, future, steps, verbose=False)
    predictor.price_cols = ["C"]
    with pytest.raises(InputError, match=r"there must be 6 column names.*price_cols"):
        predictor.predict(renamed, history, future, steps, verbose=False)


def test_calc_time_stamps() -> None:
    times = pd.Series(pd.to_datetime(["2024-02-29 13:05", "2024-03-03 00:59"]), index=[7, 8])
    want = pd.DataFrame(
        [[5, 13, 3, 29, 2], [59, 0, 6, 3, 3]],
        columns=["minute", "hour", "weekday", "day", "month"],
    )
    assert calc_time_stamps(times).index.tolist() == [7, 8]
    np.testing.assert_array_equal(calc_time_stamps(times).to_numpy(), want.to_numpy())
    got = calc_time_stamps(pd.DatetimeIndex(times))
    pd.testing.assert_frame_equal(got, want, check_dtype=False)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ({"top_k": 1}, [[1, 0, 0, 0], [0, 1, 1, 0]]),  # equals of the last one stay
        ({"top_k": 9}, [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ({"top_k": 1, "min_tokens_to_keep": 2}, [[1, 1, 0, 0], [0, 1, 1, 0]]),
        ({"top_p": 0.5}, [[1, 0, 0, 0], [0, 1, 1, 0]]),  # shares .64 .24 .09 .03; .02 .49 .49 0
        ({"top_p": 0.7}, [[1, 1, 0, 0], [0, 1, 1, 0]]),
        ({"top_p": 0.9}, [[1, 1, 1, 0], [0, 1, 1, 0]]),
        ({"top_p": 0.0001}, [[1, 0, 0, 0], [0, 1, 0, 0]]),
        ({"top_k": 2, "top_p": 0.0001}, [[1, 1, 0, 0], [0, 1, 1, 0]]),  # top_p counts for nothing
    ],
)
def test_filtering(options: dict[str, Any], kept: list[list[int]]) -> None:
    logits = LOGITS.clone()
    got = top_k_top_p_filtering(logits, **options)
    assert got is logits
    if options.get("top_p") == 0.0001 and "top_k" not in options:
        assert (got > NONE).sum(-1).tolist() == [1, 1]  # which of two equals, the sort decides
    else:
        assert (got > NONE).int().tolist() == kept
    assert torch.equal(got[got > NONE], LOGITS[got > NONE])
    filled = top_k_top_p_filtering(LOGITS.clone(), filter_value=-7.0, **options)
    assert torch.equal(filled == -7.0, got == NONE)


@pytest.mark.parametrize("p", [0.3, 0.9, 0.99])
def test_filtering_keeps_what_our_nucleus_keeps(golden: Golden, p: float) -> None:
    logits = torch.from_numpy(golden.expected["decode_s1.logits"][:, -1])
    got = top_k_top_p_filtering(logits.clone(), top_p=p).softmax(-1)
    torch.testing.assert_close(got, token_probs(logits, SamplingParams(1.0, 0, p)))


def test_sample_from_logits() -> None:
    assert sample_from_logits(LOGITS[:1], sample_logits=False).tolist() == [[0]]
    assert sample_from_logits(LOGITS, 0.5, top_k=1, top_p=1.0)[0].tolist() == [0]
    before = LOGITS.clone()
    many = LOGITS[:1].expand(20_000, 4)
    torch.manual_seed(3)
    drawn = sample_from_logits(many, temperature=2.0)
    torch.manual_seed(3)
    assert torch.equal(sample_from_logits(many, 2.0, top_k=0, top_p=1.0), drawn)
    assert drawn.shape == (20_000, 1)
    share = torch.bincount(drawn[:, 0], minlength=4) / len(drawn)
    torch.testing.assert_close(share, (LOGITS[0] / 2).softmax(-1), rtol=0, atol=0.015)
    assert set(sample_from_logits(many, top_k=None, top_p=0.7)[:, 0].tolist()) == {0, 1}
    assert torch.equal(LOGITS, before)


def test_indices_to_bits(golden: Golden) -> None:
    tokenizer = golden.tokenizer
    codes, ids = golden.expected["tokenizer.quantized"], golden.expected["tokenizer.indices"]
    got = tokenizer.indices_to_bits(torch.from_numpy(ids))
    np.testing.assert_allclose(got.numpy(), codes, rtol=1e-6)
    halves = [torch.from_numpy(golden.expected[f"encode.{name}"]) for name in ("s1", "s2")]
    np.testing.assert_allclose(tokenizer.indices_to_bits(halves, half=True), codes, rtol=1e-6)


def test_the_quantiser_itself(golden: Golden) -> None:
    z = torch.randn(2, 3, golden.tokenizer.codebook_dim)
    loss, codes, whole = golden.tokenizer.tokenizer(z)
    nothing, same, halves = golden.tokenizer.tokenizer(z, half=True, collect_metrics=False)
    assert float(loss) != 0
    assert float(nothing) == 0
    assert torch.equal(codes, same)
    assert torch.equal(halves[0] + (halves[1] << golden.tokenizer.s1_bits), whole)


def test_sizes_are_attributes(tiny: Golden) -> None:
    model, tokenizer = tiny.model, tiny.tokenizer
    for name, value in {
        "s1_bits": 5, "s2_bits": 5, "n_layers": 2, "d_model": 32, "n_heads": 4, "ff_dim": 64,
        "ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0,
        "token_dropout_p": 0.0, "learn_te": True, "s1_vocab_size": 32,
    }.items():  # fmt: skip
        assert getattr(model, name) == value, name
    for name, value in {
        "d_in": 6, "d_model": 32, "n_heads": 4, "ff_dim": 64, "enc_layers": 3, "dec_layers": 3,
        "s1_bits": 5, "s2_bits": 5, "codebook_dim": 10, "ffn_dropout_p": 0.0,
        "attn_dropout_p": 0.0, "resid_dropout_p": 0.0,
    }.items():  # fmt: skip
        assert getattr(tokenizer, name) == value, name
    assert (model.head.vocab_s1, model.head.vocab_s2) == (32, 32)
    assert (model.embedding.s1_bits, model.embedding.s2_bits) == (5, 5)
    assert model.embedding.d_model == model.transformer[0].self_attn.d_model == 32


@torch.no_grad()
def test_an_embedding_takes_a_pair_or_composite_ids(tiny: Golden) -> None:
    embedding = tiny.model.embedding
    s1, s2 = torch.tensor([[3, 30]]), torch.tensor([[17, 0]])
    want = embedding.fusion_proj(
        torch.cat((embedding.emb_s1(s1), embedding.emb_s2(s2)), -1) * 32**0.5
    )
    torch.testing.assert_close(embedding([s1, s2]), want)
    for same in (embedding((s1, s2)), embedding(s1, s2), embedding((s1 << 5) + s2)):
        assert torch.equal(same, embedding([s1, s2]))
    assert [part.tolist() for part in embedding.split_token((s1 << 5) + s2, 5)] == [
        s1.tolist(),
        s2.tolist(),
    ]


@torch.no_grad()
def test_key_padding_mask_by_its_name(tiny: Golden) -> None:
    """True is padding: what stands there changes nothing for the others."""
    model, generator = tiny.model, torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 32, generator=generator)
    other = x.clone()
    other[:, :2] = torch.randn(2, 2, 32, generator=generator)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[:, :2] = True
    block, layer = model.transformer[0], model.dep_layer
    for call in (
        lambda y: block(y, key_padding_mask=mask),
        lambda y: block.self_attn(y, key_padding_mask=mask),
        lambda y: layer(hidden_states=y, sibling_embed=x, key_padding_mask=mask),
        lambda y: layer.cross_attn(query=x, key=y, value=y, key_padding_mask=mask),
    ):
        assert torch.equal(call(x)[:, 2:], call(other)[:, 2:])
    assert not torch.equal(block(x)[:, 2:], block(other)[:, 2:])
    ids = torch.arange(12).view(2, 6) % 32
    changed = ids.clone()
    changed[:, :2] += 1
    outs = [model.decode_s1(i, i, padding_mask=mask)[0][:, 2:] for i in (ids, changed)]
    assert torch.equal(*outs)


@pytest.mark.parametrize(
    "name",
    ["Kronos", "KronosTokenizer", "KronosPredictor", "auto_regressive_inference",
     "sample_from_logits", "top_k_top_p_filtering", "calc_time_stamps"],
)  # fmt: skip
def test_the_package_exports(name: str) -> None:
    assert name in kronos.__all__
    assert callable(getattr(kronos, name))
