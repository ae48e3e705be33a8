"""Draws sample paths of many series: plans tiles, runs them, gives normalised candles back.

Knows normalised candles `[B, L, 6]`, stamps and keys; nothing of prices, frames or files. A path
depends on the weights, the sampling settings, the seed and its own series alone, not on what else
is in the batch: tiles hold whole quanta of rows (see `fused.pad_rows`) and uniforms are keyed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from kronos.errors import InputError
from kronos.inference.decoding import TileDecoder, decode_suffix
from kronos.inference.fused import FusedKronos, FusedTokenizer, Operand, attention_dtype
from kronos.inference.sampling import Sampling, draw, uniforms
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROW_QUANTUM = 4  # rows: the least number from which row results are the same in any larger product
Net = TypeVar("Net", Kronos, KronosTokenizer)
TILE_BYTES = 128 << 20  # large enough for full matrix products, small enough for caches
# Where row results do depend on the number of rows, every tile has this many series and samples.
FIXED_TILE_SERIES, FIXED_TILE_SAMPLES = 32, 8


def row_quantum(dtype: torch.dtype, device: torch.device) -> int | None:
    """How many rows a matrix product must be a multiple of for its rows not to depend on how many.

    Tried on this machine, with this number of threads; None where no small one is enough.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(device)

    generator = torch.Generator("cpu").manual_seed(0)
    x = normal(1024, 256).to(dtype)
    shapes = [(256, 256), (768, 256), (1024, 256), (256, 64), (6, 256)]  # out, in
    weights = [normal(*shape) for shape in shapes]
    operands = [Operand(w, None, dtype) for w in weights]
    for quantum in (ROW_QUANTUM, 2 * ROW_QUANTUM, 4 * ROW_QUANTUM, 8 * ROW_QUANTUM):
        if all(_rows_agree(x[:, : op.whole.shape[0]], op, quantum) for op in operands):
            return quantum
    return None


def _rows_agree(x: Tensor, operand: Operand, quantum: int) -> bool:
    whole = operand(x)
    counts = [quantum * i for i in (1, 2, 3, 5, 8, 17, 25, 40)]
    return all(torch.equal(operand(x[:n]), whole[:n]) for n in counts)


@dataclass(frozen=True)
class Batch:
    """Series of one length: x `[B, L, 6]` normalised fp32, stamps `[B, L + P, 5]` int64, keys B."""

    x: np.ndarray
    stamps: np.ndarray
    keys: Sequence[int]


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Inside, nothing is cast behind one's back, whatever the caller switched on."""
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def check_pair(model: Kronos, tokenizer: KronosTokenizer, max_context: int) -> None:
    """Raises InputError where a model and a tokenizer cannot work together."""
    if (model.s1_bits, model.s2_bits) != (tokenizer.s1_bits, tokenizer.s2_bits):
        raise InputError(
            f"model and tokenizer do not go together: the model has "
            f"{model.s1_bits}+{model.s2_bits} bits, the tokenizer "
            f"{tokenizer.s1_bits}+{tokenizer.s2_bits}"
        )
    if max_context < 1:
        raise InputError(f"max_context must be at least 1 bar, got {max_context}")


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
            self.model = FusedKronos(_in_float32(model), DTYPES[dtype], max_context)
            self.tokenizer = FusedTokenizer(_in_float32(tokenizer), DTYPES[dtype], max_context)
            quantum = row_quantum(DTYPES[dtype], self.device)
        self.quantum = quantum or ROW_QUANTUM
        self.fixed_tiles = quantum is None

    def sample(
        self,
        batch: Batch,
        how: Sampling,
        samples: int,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Normalised paths `[B, S, P, 6]` fp32; `progress` gets the number of series just done."""
        count, length, _ = batch.x.shape
        horizon = batch.stamps.shape[1] - length
        out = np.empty((count, samples, horizon, batch.x.shape[-1]), dtype=np.float32)
        tile = self.tile_series(length, horizon, samples)
        for start in range(0, count, tile):
            at = np.arange(start, min(start + tile, count))
            padded = np.resize(at, tile) if self.fixed_tiles else at
            u = uniforms(seed, [batch.keys[i] for i in padded], horizon, samples)
            with torch.inference_mode(), without_autocast(self.device):
                paths = self._sampled(batch.x[padded], batch.stamps[padded], u, how)
            out[at] = paths[: len(at)].cpu().numpy()
            if progress is not None:
                progress(len(at))
        return out

    def _sampled(self, x: np.ndarray, stamps: np.ndarray, u: np.ndarray, how: Sampling) -> Tensor:
        """Paths `[b, S, P, 6]`, where tiles are fixed in as many of the same size as it takes."""
        if not self.fixed_tiles:
            return self._tile(x, stamps, u, how)
        samples = u.shape[2]
        u = np.pad(u, ((0, 0), (0, 0), (0, -samples % FIXED_TILE_SAMPLES), (0, 0)))
        groups = np.split(u, u.shape[2] // FIXED_TILE_SAMPLES, axis=2)
        return torch.cat([self._tile(x, stamps, some, how) for some in groups], 1)[:, :samples]

    def tile_series(self, length: int, horizon: int, samples: int) -> int:
        """How many series of these lengths go into one tile."""
        if self.fixed_tiles:
            return FIXED_TILE_SERIES
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
        vocabulary = max(model.s1_operand.out, model.s2_operand.out)
        time = (length + horizon) * model.d * size
        return int(caches + scores + 4 * samples * vocabulary * 4 + time)

    def _tile(self, x: np.ndarray, stamps: np.ndarray, u: np.ndarray, how: Sampling) -> Tensor:
        s1, s2 = self._encode(torch.from_numpy(x).to(self.device))
        new = self._draw_tokens(s1, s2, stamps, u, how)
        horizon, samples = u.shape[1:3]
        start = max(0, s1.shape[1] + horizon - self.max_context)
        prefix = s1[:, start:], s2[:, start:]
        candles = decode_suffix(self.tokenizer, prefix, new, samples, self.quantum)
        return candles.view(len(x), samples, horizon, -1)

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All bars are encoded, also those before the context: their effect on the ids of later
        bars is part of the published behaviour."""
        chunk = max(1, 2048 // x.shape[1])
        parts = [self.tokenizer.encode(part, self.quantum) for part in x.split(chunk)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _draw_tokens(
        self, s1: Tensor, s2: Tensor, stamps: np.ndarray, u: np.ndarray, how: Sampling
    ) -> tuple[Tensor, Tensor]:
        """History ids `[b, L]` → sampled ids `[R, P]` each."""
        b, horizon, wanted, _ = u.shape
        if b == 1:  # its rows are filled up to whole quanta anyway: with samples it costs less
            u = np.pad(u, ((0, 0), (0, 0), (0, -wanted % self.quantum), (0, 0)))
        samples = u.shape[2]
        at = torch.from_numpy(stamps).to(self.device)
        # [b, P, S, 2] → [P, 2, R]
        draws = torch.from_numpy(np.ascontiguousarray(u.transpose(1, 3, 0, 2))).to(self.device)
        draws = draws.view(horizon, 2, b * samples)
        tile = TileDecoder(self.model, s1, s2, at, samples, self.quantum)
        tile.prefill()
        for step in range(horizon):
            id1 = draw(tile.s1_logits(), how, draws[step, 0])
            id2 = draw(tile.s2_logits(id1), how, draws[step, 1])
            if step < horizon - 1:
                tile.advance(id1, id2)
            else:
                tile.new_s1.append(id1)
                tile.new_s2.append(id2)
        rows = b * wanted
        return torch.stack(tile.new_s1, 1)[:rows], torch.stack(tile.new_s2, 1)[:rows]
