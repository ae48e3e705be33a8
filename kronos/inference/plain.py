"""What a sample path is: the modules called bar by bar, as the published code calls them.

Knows normalised candles, stamps and keys. `PlainSampler.sample_path` is what the fast sampler is
compared with. It also serves models that the fast one cannot (adapters, quantised layers, hooks,
overridden methods), since it calls whatever they hold. Paths are computed one at a time, so that
one depends neither on others nor on how many are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from kronos.inference.batch import SeriesBatch, check_pair, without_autocast
from kronos.inference.draws import series_key, uniforms
from kronos.inference.sampling import SamplingParams, draw_tokens
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


class PlainSampler:
    """`Sampler`'s interface without caches or fused weights; computes in the modules' own dtype.

    Modules that draw random numbers themselves (dropout left on) draw from a generator keyed by
    seed, series and sample, and the global one is left as it was.
    """

    def __init__(self, model: Kronos, tokenizer: KronosTokenizer, max_context: int) -> None:
        check_pair(model, tokenizer, max_context)
        self.model, self.tokenizer, self.max_context = model, tokenizer, max_context
        self.device = next(model.parameters()).device
        floating = (p.dtype for p in tokenizer.parameters() if p.is_floating_point())
        self.input_dtype = next(floating, torch.float32)

    def sample_path(self, x: Tensor, stamps: Tensor, u: Tensor, params: SamplingParams) -> Tensor:
        """One path `[P, 6]` from candles `[L, 6]`, stamps `[L + P, 5]` and uniforms `[P, 2]`."""
        s1, s2 = self.tokenizer.encode(x[None], half=True)
        for bar, (u1, u2) in enumerate(u.unsqueeze(-1)):
            now = params.at(bar, len(u))
            end = s1.shape[1]
            seen = slice(max(0, end - self.max_context), end)
            logits, context = self.model.decode_s1(s1[:, seen], s2[:, seen], stamps[None, seen])
            new_s1 = draw_tokens(logits[:, -1], now, u1)[:, None]
            logits = self.model.decode_s2(context, new_s1)
            new_s2 = draw_tokens(logits[:, -1], now, u2)[:, None]
            s1, s2 = torch.cat((s1, new_s1), 1), torch.cat((s2, new_s2), 1)
        seen = slice(-self.max_context, None)
        candles = self.tokenizer.decode([s1[:, seen], s2[:, seen]], half=True)
        return candles[0, -len(u) :].float()

    def sample(
        self,
        batch: SeriesBatch,
        params: SamplingParams,
        samples: int,
        seed: int = 0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Normalised paths `[B, S, P, 6]` fp32; `progress` gets the number of series just done."""
        horizon, columns = batch.horizon, batch.x.shape[-1]
        out = np.empty((len(batch.x), samples, horizon, columns), dtype=np.float32)
        for paths, x, stamps, key in zip(out, batch.x, batch.stamps, batch.keys, strict=True):
            u = uniforms(seed, [key], horizon, samples)[0]
            for number, path in enumerate(paths):
                own_u = torch.from_numpy(np.ascontiguousarray(u[:, number]))
                with own_random(self.device, series_key(seed, key, number) % 2**63):
                    path[:] = self._path_of_arrays(x, stamps, own_u, params).cpu().numpy()
            if progress is not None:
                progress(1)
        return out

    def _path_of_arrays(
        self, x: np.ndarray, stamps: np.ndarray, u: Tensor, params: SamplingParams
    ) -> Tensor:
        candles = torch.from_numpy(x).to(self.device, self.input_dtype)
        times = torch.from_numpy(stamps).to(self.device, torch.float32)
        with torch.no_grad(), without_autocast(self.device):
            return self.sample_path(candles, times, u.to(self.device), params)
