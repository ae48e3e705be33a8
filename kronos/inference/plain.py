"""Sampling without caches or fused weights: it calls the modules as the published code does.

Knows normalised candles, stamps and keys. It says what a sample path is, and it serves models that
are not the plain ones (LoRA, quantised, hooked, overridden), since it calls whatever they hold. One
path at a time, so that it depends neither on its neighbours nor on how many samples are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from kronos.inference.draws import series_key, uniforms
from kronos.inference.sampler import Batch, check_pair, without_autocast
from kronos.inference.sampling import Sampling, draw
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer


@contextmanager
def own_random(device: torch.device, seed: int) -> Iterator[None]:
    """Inside, torch's generators draw from `seed`; afterwards they are as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def sample_path(
    model: Kronos,
    tokenizer: KronosTokenizer,
    x: Tensor,
    stamps: Tensor,
    u: Tensor,
    how: Sampling,
    max_context: int,
) -> Tensor:
    """One path `[P, 6]` from candles `[L, 6]`, stamps `[L + P, 5]` and uniforms `[P, 2]`."""
    s1, s2 = tokenizer.encode(x[None], half=True)
    for step in u:
        end = s1.shape[1]
        at = slice(max(0, end - max_context), end)
        logits, context = model.decode_s1(s1[:, at], s2[:, at], stamps[None, at])
        id1 = draw(logits[:, -1], how, step[:1])[:, None]
        logits = model.decode_s2(context, id1)
        id2 = draw(logits[:, -1], how, step[1:])[:, None]
        s1, s2 = torch.cat((s1, id1), 1), torch.cat((s2, id2), 1)
    candles = tokenizer.decode([s1[:, -max_context:], s2[:, -max_context:]], half=True)
    return candles[0, -len(u) :].float()


class PlainSampler:
    """`Sampler`'s interface over `sample_path`; computes in the modules' own dtype.

    Modules that draw random numbers themselves (dropout left on) draw from a generator keyed by
    seed, series and sample, and the global one is left as it was.
    """

    def __init__(self, model: Kronos, tokenizer: KronosTokenizer, max_context: int) -> None:
        check_pair(model, tokenizer, max_context)
        self.model, self.tokenizer, self.max_context = model, tokenizer, max_context
        self.device = next(model.parameters()).device
        floating = (p.dtype for p in tokenizer.parameters() if p.is_floating_point())
        self.input_dtype = next(floating, torch.float32)

    def sample(
        self,
        batch: Batch,
        how: Sampling,
        samples: int,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Normalised paths `[B, S, P, 6]` fp32; `progress` gets the number of series just done."""
        horizon = batch.stamps.shape[1] - batch.x.shape[1]
        out = np.empty((len(batch.x), samples, horizon, batch.x.shape[-1]), dtype=np.float32)
        for paths, x, stamps, key in zip(out, batch.x, batch.stamps, batch.keys, strict=True):
            u = uniforms(seed, [key], horizon, samples)[0]
            for number, path in enumerate(paths):
                drawn = torch.from_numpy(np.ascontiguousarray(u[:, number]))
                with own_random(self.device, series_key(seed, key, number) % 2**63):
                    path[:] = self._path(x, stamps, drawn, how).cpu().numpy()
            if progress is not None:
                progress(1)
        return out

    def _path(self, x: np.ndarray, stamps: np.ndarray, u: Tensor, how: Sampling) -> Tensor:
        candles = torch.from_numpy(x).to(self.device, self.input_dtype)
        at = torch.from_numpy(stamps).to(self.device, torch.float32)
        with torch.no_grad(), without_autocast(self.device):
            return sample_path(
                self.model, self.tokenizer, candles, at, u.to(self.device), how, self.max_context
            )
