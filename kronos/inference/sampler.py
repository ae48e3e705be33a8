"""Draws sample paths of many series: plans tiles, runs them, gives normalised candles back.

Knows normalised candles `[B, L, 6]`, stamps and keys; nothing of prices, frames or files. A path
depends on the weights, the sampling settings, the seed and its own series alone, not on what else
is in the batch nor on how many threads compute: tiles hold whole quanta of rows (see
`inference.operand`), threads are as many as agree (`inference.threads`) and uniforms are keyed.

On a CPU that holds to the bit. On a GPU it holds up to rounding: cuBLAS rounds some rows otherwise
where they stand elsewhere in a tile (on an H200 in fp32 up to 9 % of values by at most 4e-7 of
themselves; about one sampled value in 10,000 then becomes another one, in bf16 too).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from kronos.errors import InputError
from kronos.inference.batch import SeriesBatch, check_pair, without_autocast
from kronos.inference.cache import attention_dtype
from kronos.inference.decoding import PREFILL_TOKENS, TileDecoder, decode_suffix
from kronos.inference.draws import uniforms
from kronos.inference.fused import FusedKronos, FusedTokenizer
from kronos.inference.operand import ROW_QUANTUM, row_quantum
from kronos.inference.sampling import SamplingParams, draw_tokens
from kronos.inference.threads import agreeing_threads, free_cores, threads
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Net = TypeVar("Net", Kronos, KronosTokenizer)
TILE_BYTES = 128 << 20  # large enough for full matrix products, small enough for caches
# Where row results do depend on the number of rows, every tile has this many series and samples. On
# a GPU small tiles wait for their kernels to be launched: 64 x 32 were 3 to 4 times as fast on an
# H200, and larger ones no faster.
FIXED_TILE = {"cpu": (32, 8), "cuda": (64, 32)}
FIXED_TILE_BYTES = 4 << 30  # long series get tiles of fewer


def _in_float32(net: Net) -> Net:
    """The module itself, or a copy in fp32 where its weights are of another type."""
    floating = (t for t in net.state_dict().values() if t.is_floating_point())
    return net if all(t.dtype == torch.float32 for t in floating) else deepcopy(net).float()


class Sampler:
    """Sample paths from a frozen copy of a model and its tokenizer.

    Weights of any floating type are taken over in fp32 first; `dtype` is what is computed in.
    max_context: bars that the model sees. max_bytes: memory for a tile's caches; batches are cut to
    fit it (one series always goes). Later changes of the modules do not reach it.
    """

    def __init__(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        max_context: int,
        dtype: str = "float32",
        max_bytes: int = TILE_BYTES,
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        check_pair(model, tokenizer, max_context)
        self.device = next(model.parameters()).device
        self.max_context, self.max_bytes = max_context, max_bytes
        with torch.inference_mode(), without_autocast(self.device):
            with threads(1):
                self.model = FusedKronos(_in_float32(model), DTYPES[dtype], max_context)
                self.tokenizer = FusedTokenizer(_in_float32(tokenizer), DTYPES[dtype], max_context)
                operands = [*self.model.operands, *self.tokenizer.operands]
                quantum = row_quantum(operands)
            self.thread_counts = agreeing_threads(operands)
        self.made_for_threads = torch.get_num_threads()
        self.quantum = quantum or ROW_QUANTUM
        self.fixed_tiles = quantum is None
        self.fixed_series, self.fixed_samples = FIXED_TILE.get(self.device.type, FIXED_TILE["cpu"])

    def sample(
        self,
        batch: SeriesBatch,
        params: SamplingParams,
        samples: int,
        seed: int = 0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Normalised paths `[B, S, P, 6]` fp32; `progress` gets the number of series just done."""
        count, length, columns = batch.x.shape
        out = np.empty((count, samples, batch.horizon, columns), dtype=np.float32)
        tile = self.tile_series(length, batch.horizon, samples)
        for start in range(0, count, tile):
            series = np.arange(start, min(start + tile, count))
            padded = np.resize(series, tile) if self.fixed_tiles else series
            u = uniforms(seed, [batch.keys[i] for i in padded], batch.horizon, samples)
            with (
                torch.inference_mode(),
                without_autocast(self.device),
                threads(self._threads_now()),
            ):
                paths = self._tile(batch.x[padded], batch.stamps[padded], u, params)
            out[series] = paths[: len(series)].cpu().numpy()
            if progress is not None:
                progress(len(series))
        return out

    def suits_threads(self) -> bool:
        """Whether it was made for torch's number of threads as it is now; one is always right."""
        return torch.get_num_threads() in (1, self.made_for_threads)

    def _threads_now(self) -> int:
        """How many threads a tile gets that is computed now."""
        most = torch.get_num_threads()
        if self.device.type == "cpu" and most > 1:
            most = min(most, free_cores())
        return next(count for count in self.thread_counts if count <= most)

    def tile_series(self, length: int, horizon: int, samples: int) -> int:
        """How many series of these lengths go into one tile."""
        if self.fixed_tiles:  # whatever the number of samples that is asked for
            fitting = FIXED_TILE_BYTES // self._series_bytes(length, horizon, self.fixed_samples)
            return max(1, min(self.fixed_series, fitting))
        return max(1, self.max_bytes // self._series_bytes(length, horizon, samples))

    def _series_bytes(self, length: int, horizon: int, samples: int) -> int:
        """Peak memory of one series' caches, logits and, where the window slides, windows."""
        model = self.model
        narrow = torch.empty(0, dtype=model.dtype, device=self.device)
        size = torch.finfo(attention_dtype(narrow)).bits // 8
        width = min(length, self.max_context)
        bars = width + samples * min(horizon, self.max_context - width)
        if length + horizon - 1 > self.max_context:
            bars += samples * self.max_context
        caches = 2 * (len(model.blocks) + 1) * bars * model.d * size
        scores = 3 * samples * model.cross_heads * (width + horizon) * 4
        vocabulary = max(model.s1_operand.out_features, model.s2_operand.out_features)
        time = (length + horizon) * model.d * size
        return int(caches + scores + 4 * samples * vocabulary * 4 + time)

    def _tile(
        self, x: np.ndarray, stamps: np.ndarray, u: np.ndarray, params: SamplingParams
    ) -> Tensor:
        """Candles `[b, L, 6]`, stamps `[b, L + P, 5]`, uniforms `[b, P, S, 2]` → paths
        `[b, S, P, 6]`. The histories are run once, then the samples group by group."""
        s1, s2 = self._encode(torch.from_numpy(x).to(self.device))
        (b, length), (horizon, wanted) = s1.shape, u.shape[1:3]
        size = self._samples_at_once(b, wanted)
        u = np.pad(u, ((0, 0), (0, 0), (0, -wanted % size), (0, 0)))
        at = torch.from_numpy(stamps).to(self.device)
        decoder = TileDecoder(self.model, s1, s2, at, size, self.quantum)
        decoder.prefill()
        start = max(0, length + horizon - self.max_context)
        prefix = s1[:, start:], s2[:, start:]
        samples = size if self.fixed_tiles else wanted
        groups = []
        for first in range(0, wanted, size):
            decoder.reset()
            s1_new, s2_new = self._draw_ids(decoder, u[:, :, first : first + size], params)
            new = s1_new[: b * samples], s2_new[: b * samples]
            candles = decode_suffix(self.tokenizer, prefix, new, samples, self.quantum)
            groups.append(candles.view(b, samples, horizon, -1))
        return torch.cat(groups, 1)[:, :wanted]

    def _samples_at_once(self, b: int, wanted: int) -> int:
        """Samples of each of `b` series that are drawn together."""
        if self.fixed_tiles:
            return self.fixed_samples
        # Rows of a single series are padded to whole quanta anyway: as samples they cost less.
        return wanted + -wanted % self.quantum if b == 1 else wanted

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All bars are encoded, also those before the context: their effect on the ids of later
        bars is part of the published behaviour."""
        chunk = max(1, PREFILL_TOKENS // x.shape[1])
        parts = [self.tokenizer.encode(part, self.quantum) for part in x.split(chunk)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _draw_ids(
        self, decoder: TileDecoder, u: np.ndarray, params: SamplingParams
    ) -> tuple[Tensor, Tensor]:
        """Uniforms `[b, P, S, 2]` → sampled ids `[R, P]` each."""
        b, horizon, samples, _ = u.shape
        by_step = np.ascontiguousarray(u.transpose(1, 3, 0, 2)).reshape(horizon, 2, b * samples)
        for bar, (u1, u2) in enumerate(torch.from_numpy(by_step).to(self.device)):
            now = params.at(bar, horizon)
            s1 = draw_tokens(decoder.s1_logits(), now, u1)
            s2 = draw_tokens(decoder.s2_logits(s1), now, u2)
            decoder.advance(s1, s2)
        return decoder.sampled()
