"""Names of the published code that its callers use, with its arguments and results.

Code written for the published package imports these from `kronos` in place of `model.kronos`. They
draw from torch's global generator, as published.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kronos.inference.batch import unseeded_batch, without_autocast
from kronos.inference.current import CurrentSampler, sample_with_bar
from kronos.inference.sampler import TILE_BYTES
from kronos.inference.sampling import SamplingParams
from kronos.model import Kronos
from kronos.prepare import CLIP, PARTS_OF_TIME, Times, time_stamps, whole_number
from kronos.tokenizer import KronosTokenizer

_samplers: WeakKeyDictionary[Kronos, CurrentSampler] = WeakKeyDictionary()


def calc_time_stamps(x_timestamp: Times) -> pd.DataFrame:
    """Times → one row each: minute, hour, weekday (Monday 0), day, month."""
    index = x_timestamp.index if isinstance(x_timestamp, pd.Series) else None
    stamps = time_stamps(pd.DatetimeIndex(x_timestamp))
    return pd.DataFrame(stamps, index=index, columns=list(PARTS_OF_TIME))


def top_k_top_p_filtering(
    logits: Tensor,
    top_k: int = 0,
    top_p: float = 1.0,
    filter_value: float = -float("inf"),
    min_tokens_to_keep: int = 1,
) -> Tensor:
    """Logits `[R, V]` with the tokens that are left out set to `filter_value`, in place.

    top_k > 0 keeps the k most probable and then `top_p` counts for nothing; top_p < 1 keeps the
    most probable ones up to the first that takes their mass above it. At least
    `min_tokens_to_keep` stay.
    """
    if top_k > 0:
        kept = min(max(top_k, min_tokens_to_keep), logits.shape[-1])
        least = logits.topk(kept, -1).values[..., -1:]
        return logits.masked_fill_(logits < least, filter_value)
    if top_p < 1:
        ranked, order = logits.sort(-1, descending=True)
        above = ranked.softmax(-1).cumsum(-1) > top_p
        if min_tokens_to_keep > 1:
            above[..., :min_tokens_to_keep] = False
        drop = torch.zeros_like(above)
        drop[..., 1:] = above[..., :-1]  # the token that crosses `top_p` stays
        return logits.masked_fill_(torch.zeros_like(drop).scatter_(-1, order, drop), filter_value)
    return logits


def sample_from_logits(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    sample_logits: bool = True,
) -> Tensor:
    """Logits `[R, V]` → ids `[R, 1]`: drawn, or the most probable without `sample_logits`."""
    top_k, top_p = top_k or 0, 1.0 if top_p is None else top_p
    probs = top_k_top_p_filtering(logits / temperature, top_k, top_p).softmax(-1)
    return torch.multinomial(probs, 1) if sample_logits else probs.topk(1, -1).indices


def auto_regressive_inference(
    tokenizer: KronosTokenizer,
    model: Kronos,
    x: Tensor,
    x_stamp: Tensor,
    y_stamp: Tensor,
    max_context: int,
    pred_len: int,
    clip: float = CLIP,
    T: float = 1.0,  # noqa: N803 - the published name
    top_k: int = 0,
    top_p: float = 0.99,
    sample_count: int = 5,
    verbose: bool = False,
) -> np.ndarray:
    """Normalised candles `[B, L, 6]`, stamps `[B, L, 5]` and `[B, P, 5]` → the mean of
    `sample_count` paths, fp32.

    The last `max_context` of the L + P bars come back: those of the history as the tokenizer
    restores them, then the forecast; `[:, -pred_len:]` is the forecast alone.
    """
    pred_len = whole_number(pred_len, "pred_len", 1, whole_number(max_context, "max_context", 1))
    x = torch.clip(x.detach(), -clip, clip).float()
    batch = unseeded_batch(x.cpu().numpy(), x_stamp.cpu().numpy(), y_stamp.cpu().numpy(), pred_len)
    current = _samplers.setdefault(model, CurrentSampler())
    sampler = current.get(model, tokenizer, max_context, "float32", TILE_BYTES)
    params = SamplingParams(T, top_k, top_p)
    paths = sample_with_bar(sampler, batch, params, sample_count, verbose)
    history = _restored(tokenizer, x, max(0, x.shape[1] + pred_len - max_context))
    return np.concatenate((history, paths.mean(1)), 1)


def _restored(tokenizer: KronosTokenizer, x: Tensor, start: int) -> np.ndarray:
    """Candles `[B, L, 6]` through the tokenizer and back, from bar `start` on."""
    weight = next(tokenizer.parameters())
    with torch.no_grad(), without_autocast(weight.device):
        s1, s2 = tokenizer.encode(x.to(weight.device, weight.dtype), half=True)
        if start >= x.shape[1]:
            return np.empty((len(x), 0, x.shape[2]), dtype=np.float32)
        return tokenizer.decode((s1[:, start:], s2[:, start:]), half=True).float().cpu().numpy()
