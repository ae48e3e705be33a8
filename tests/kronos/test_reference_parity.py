"""What the published code gave for the same weights and inputs, to 1e-5 relative, ids exactly.

Stored by the published code at commit 67b630e in fp32 on a CPU.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from kronos.inference.sampling import SamplingParams, token_probs
from tests.kronos.conftest import Golden

GREEDY = {"T": 1.0, "top_k": 1, "top_p": 1.0, "sample_count": 1, "verbose": False}


def agree(golden: Golden, key: str, got: torch.Tensor | np.ndarray) -> None:
    """Relative to the largest stored value where values pass through 0."""
    want = golden.expected[key]
    actual = got.detach().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
    assert actual.shape == want.shape
    if want.dtype.kind == "i":
        np.testing.assert_array_equal(actual, want)
    else:
        scale = max(float(np.abs(want).max()), 1e-30)
        np.testing.assert_allclose(actual, want, rtol=1e-5, atol=1e-6 * scale)


@torch.no_grad()
def test_encode_and_decode(golden: Golden) -> None:
    s1, s2 = golden.tokenizer.encode(golden.x, half=True)
    whole = golden.tokenizer.encode(golden.x)
    agree(golden, "encode.s1", s1)
    agree(golden, "encode.s2", s2)
    agree(golden, "encode.full", whole)
    agree(golden, "decode.half", golden.tokenizer.decode((s1, s2), half=True))
    agree(golden, "decode.full", golden.tokenizer.decode(whole))


@torch.no_grad()
def test_tokenizer_forward(golden: Golden) -> None:
    (coarse, full), loss, codes, ids = golden.tokenizer(golden.x)
    agree(golden, "tokenizer.z_pre", coarse)
    agree(golden, "tokenizer.z", full)
    agree(golden, "tokenizer.bsq_loss_eval", loss)
    agree(golden, "tokenizer.quantized", codes)
    agree(golden, "tokenizer.indices", ids)


def test_tokenizer_training_loss_and_gradient(golden: Golden) -> None:
    tokenizer = golden.tokenizer.train()
    (coarse, full), bsq_loss, _, _ = tokenizer(golden.x)
    agree(golden, "tokenizer.bsq_loss_train", bsq_loss)
    loss = (F.mse_loss(coarse, golden.x) + F.mse_loss(full, golden.x) + bsq_loss) / 2
    agree(golden, "tokenizer.train_loss", loss)
    loss.backward()
    norm = torch.nn.utils.get_total_norm(
        [p.grad for p in tokenizer.parameters() if p.grad is not None]
    )
    agree(golden, "tokenizer.grad_norm", norm)


@torch.no_grad()
def test_decode_s1_and_one_query_decode_s2(golden: Golden) -> None:
    s1, s2 = golden.tokenizer.encode(golden.x, half=True)
    logits, context = golden.model.decode_s1(s1, s2, golden.stamp[:, : golden.x.shape[1]])
    agree(golden, "decode_s1.logits", logits)
    agree(golden, "decode_s1.context", context)
    chosen = torch.from_numpy(golden.expected["decode_s2.s1"])
    agree(golden, "decode_s2.logits_last", golden.model.decode_s2(context, chosen)[:, -1])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_teacher_forced_forward_and_losses(golden: Golden, mode: str) -> None:
    model = golden.model.train(mode == "train")
    s1, s2 = golden.tokenizer.encode(golden.x, half=True)
    targets = s1[:, 1:], s2[:, 1:]
    logits = model(
        s1[:, :-1], s2[:, :-1], golden.stamp[:, : golden.x.shape[1] - 1],
        use_teacher_forcing=True, s1_targets=targets[0],
    )  # fmt: skip
    agree(golden, f"forward_{mode}.s1_logits", logits[0])
    agree(golden, f"forward_{mode}.s2_logits", logits[1])
    losses = model.head.compute_loss(*logits, *targets)
    for name, loss in zip(("mean", "s1", "s2"), losses, strict=True):
        agree(golden, f"loss_{mode}.{name}", loss)
    if mode == "train":
        losses[0].backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        agree(golden, "model.grad_norm", torch.nn.utils.get_total_norm(grads))


def test_token_probabilities(golden: Golden) -> None:
    logits = torch.from_numpy(golden.expected["decode_s1.logits"][:, -1])
    for key in (k for k in golden.expected if k.startswith("filter.probs_")):
        t, k, p = (part[1:] for part in key.removeprefix("filter.probs_").split("_"))
        agree(golden, key, token_probs(logits, SamplingParams(float(t), int(k), float(p))))


def windows(golden: Golden, name: str) -> tuple[list[pd.DataFrame], pd.Series, pd.Series]:
    """History frames, their times and the times to forecast, for a stored `predict`."""
    length, fits = golden.case["lookback"], golden.case["lookback_that_fits"]
    start = 0 if name == "greedy_overflow" else length - fits
    frames = [frame.iloc[start:] for frame in golden.frames]
    return frames, golden.times[start:length], golden.times[length:]


@pytest.mark.parametrize("name", ["greedy_fits", "greedy_overflow", "greedy_no_volume"])
def test_greedy_predict(golden: Golden, name: str) -> None:
    (frame, *_), history, future = windows(golden, name)
    if name == "greedy_no_volume":
        frame = frame[["open", "high", "low", "close"]]
    got = golden.predictor().predict(frame, history, future, golden.case["pred_len"], **GREEDY)
    agree(golden, f"predict.{name}", got.to_numpy())
    assert list(got.columns) == golden.case["columns"]
    pd.testing.assert_index_equal(got.index, pd.Index(future), check_names=False)


def test_greedy_predict_batch(golden: Golden) -> None:
    frames, history, future = windows(golden, "greedy_fits")
    n, steps = len(frames), golden.case["pred_len"]
    got = golden.predictor().predict_batch(frames, [history] * n, [future] * n, steps, **GREEDY)
    agree(golden, "predict_batch.greedy", np.stack([frame.to_numpy() for frame in got]))


def test_a_datetime_index_does_as_well_as_a_series(golden: Golden) -> None:
    (frame, *_), history, future = windows(golden, "greedy_fits")
    steps = golden.case["pred_len"]
    series = golden.predictor().predict(frame, history, future, steps, **GREEDY)
    index = golden.predictor().predict(
        frame, pd.DatetimeIndex(history), pd.DatetimeIndex(future), steps, **GREEDY
    )
    np.testing.assert_array_equal(series.to_numpy(), index.to_numpy())
