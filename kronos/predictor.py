"""From candles to forecasts: normalise, sample, give price units back.

`predict` and `predict_batch` take what the published `KronosPredictor` takes and return the same
frames; `paths` returns every sample, `sample_paths` does so for arrays.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from kronos.errors import InputError
from kronos.forecast import CLOSE, COLUMNS, Forecast
from kronos.model import Kronos
from kronos.prepare import LARGEST, Prepared, Times, prepare_all, whole_number
from kronos.sampler import TILE_BYTES, Batch, Sampler
from kronos.sampling import Sampling, series_key
from kronos.tokenizer import KronosTokenizer

EPSILON = 1e-5  # added to the standard deviation, as published


def default_device() -> str:
    """CUDA where there is one, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class KronosPredictor:
    """Forecasts from a model and its tokenizer.

    device: where to compute; the best there is unless given. max_context: bars that the model sees
    (longer histories are normalised whole and then cut, as published). clip: normalised values are
    cut to ±clip. dtype: `float32` or `bfloat16`. max_bytes: memory for caches; larger batches are
    cut to fit. Weights changed afterwards are noticed at the next call.
    """

    def __init__(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        device: str | torch.device | None = None,
        max_context: int = 512,
        clip: float = 5,
        *,
        dtype: str = "float32",
        max_bytes: int = TILE_BYTES,
    ) -> None:
        self.device = torch.device(device or default_device())
        self.model, self.tokenizer = model.to(self.device), tokenizer.to(self.device)
        self.max_context = whole_number(max_context, "max_context", 1)
        if not clip > 0:
            raise InputError(f"clip must be above 0, got {clip}")
        self.clip, self.dtype, self.max_bytes = clip, dtype, max_bytes
        self._built: tuple[object, Sampler] | None = None
        self._sampler()

    def predict(
        self,
        df: pd.DataFrame,
        x_timestamp: Times,
        y_timestamp: Times,
        pred_len: int,
        T: float = 1.0,  # noqa: N803 - the published name
        top_k: int = 0,
        top_p: float = 0.9,
        sample_count: int = 1,
        verbose: bool = True,
        *,
        seed: int = 0,
    ) -> pd.DataFrame:
        """The mean of `sample_count` paths, `pred_len` rows of `COLUMNS` indexed by `y_timestamp`.

        df: L bars with open, high, low, close and optionally volume, amount. x_timestamp: their L
        times; y_timestamp: the `pred_len` times to forecast. T, top_k, top_p: see
        `kronos.sampling.Sampling`; the published default `top_p=0.9` cuts tails, so use `paths`
        where spread matters. The same call gives the same answer: pass another `seed` for other
        draws. Raises InputError where something cannot be used.
        """
        frames = self.predict_batch(
            [df], [x_timestamp], [y_timestamp], pred_len, T, top_k, top_p, sample_count, verbose,
            seed=seed,
        )  # fmt: skip
        return frames[0]

    def predict_batch(
        self,
        df_list: Sequence[pd.DataFrame],
        x_timestamp_list: Sequence[Times],
        y_timestamp_list: Sequence[Times],
        pred_len: int,
        T: float = 1.0,  # noqa: N803
        top_k: int = 0,
        top_p: float = 0.9,
        sample_count: int = 1,
        verbose: bool = True,
        *,
        seed: int = 0,
    ) -> list[pd.DataFrame]:
        """`predict` for many series at once; histories may differ in length."""
        pred_len = self._pred_len(pred_len)
        series = prepare_all(df_list, x_timestamp_list, y_timestamp_list, pred_len)
        keys = [series_key(_content(s), s.asof) for s in series]
        how = self._sampling(T, top_k, top_p)
        means = self._run(series, keys, how, sample_count, seed, verbose, average=True)
        return [
            pd.DataFrame(mean, columns=list(COLUMNS), index=times)
            for mean, times in zip(means, y_timestamp_list, strict=True)
        ]

    def paths(
        self,
        df_list: pd.DataFrame | Sequence[pd.DataFrame],
        x_timestamp_list: Times | Sequence[Times],
        y_timestamp_list: Times | Sequence[Times],
        pred_len: int,
        T: float = 1.0,  # noqa: N803
        top_k: int = 0,
        top_p: float = 1.0,
        sample_count: int = 100,
        verbose: bool = False,
        *,
        seed: int = 0,
        symbols: Sequence[str] | None = None,
    ) -> list[Forecast]:
        """Every sampled path of one frame or of a list of frames, as raw `Forecast`s.

        A forecast depends on weights, sampling settings, seed, symbol, its last time and its bars,
        not on what else is in the list. Without `symbols` the bars themselves stand for the name.
        """
        if isinstance(symbols, str):
            symbols = [symbols]
        if isinstance(df_list, pd.DataFrame):
            df_list, x_timestamp_list = [df_list], [x_timestamp_list]  # type: ignore[list-item]
            y_timestamp_list = [y_timestamp_list]  # type: ignore[list-item]
        pred_len = self._pred_len(pred_len)
        series = prepare_all(df_list, x_timestamp_list, y_timestamp_list, pred_len)  # type: ignore[arg-type]
        if symbols is not None and len(symbols) != len(series):
            raise InputError(f"{len(series)} series but {len(symbols)} symbols")
        names = list(symbols) if symbols is not None else [""] * len(series)
        keys = [
            series_key(name or _content(s), s.asof) for name, s in zip(names, series, strict=True)
        ]
        how = self._sampling(T, top_k, top_p)
        drawn = self._run(series, keys, how, sample_count, seed, verbose)
        return [
            Forecast(name, s.asof, float(s.values[-1, CLOSE]), s.index, path)
            for name, s, path in zip(names, series, drawn, strict=True)
        ]

    def sample_paths(
        self,
        x: np.ndarray,
        x_stamp: np.ndarray,
        y_stamp: np.ndarray,
        keys: Sequence[int],
        *,
        T: float = 1.0,  # noqa: N803
        top_k: int = 0,
        top_p: float = 1.0,
        sample_count: int = 1,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Raw paths `[B, S, P, 6]` fp32 in price units, for series of one length.

        x: candles `[B, L, 6]`, finite; x_stamp `[B, L, 5]`, y_stamp `[B, P, 5]`: see
        `kronos.prepare.time_stamps`; keys: one integer a series, from
        `series_key(symbol, asof)`; progress: called with the number of series just done.
        """
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != len(COLUMNS):
            raise InputError(f"x must be [B, L, {len(COLUMNS)}], got {list(x.shape)}")
        b, length = x.shape[:2]
        together = x_stamp.shape == (b, length, 5) and y_stamp.shape[::2] == (b, 5)
        if not together or y_stamp.ndim != 3 or len(keys) != b:
            raise InputError(
                f"x {list(x.shape)}, x_stamp {list(x_stamp.shape)}, y_stamp {list(y_stamp.shape)} "
                f"and {len(keys)} keys do not go together; they must be [B, L, {len(COLUMNS)}], "
                "[B, L, 5], [B, P, 5] and B"
            )
        self._pred_len(y_stamp.shape[1])
        if not np.isfinite(x).all():
            raise InputError(f"x has NaN or infinite values, first in series {_first_bad(x)}")
        if x.size and np.abs(x).max() > LARGEST:
            raise InputError(f"x has {np.abs(x).max():g}; values may be up to {LARGEST:g}")
        count = whole_number(sample_count, "sample_count", 1)
        how = self._sampling(T, top_k, top_p)
        if b == 0:
            return np.empty((0, count, y_stamp.shape[1], len(COLUMNS)), dtype=np.float32)
        values = np.ascontiguousarray(x, dtype=np.float32)
        normal, mean, scale = _normalise(values, self.clip)
        stamps = np.concatenate((x_stamp, y_stamp), axis=1).astype(np.int64)
        out = self._sampler().sample(Batch(normal, stamps, keys), how, count, seed, progress)
        out *= scale[:, None, None]
        out += mean[:, None, None]
        return out

    def _run(
        self,
        series: list[Prepared],
        keys: list[int],
        how: Sampling,
        sample_count: int,
        seed: int,
        verbose: bool,
        average: bool = False,
    ) -> list[np.ndarray]:
        """Sample series of any lengths, longest first: `[S, P, 6]` each, or `[P, 6]` averaged."""
        sample_count = whole_number(sample_count, "sample_count", 1)
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, s in enumerate(series):
            by_length[len(s.values)].append(i)
        self._warn_if_cut(max(by_length, default=0))
        out: list[np.ndarray] = [np.empty(0)] * len(series)
        with tqdm(total=len(series), unit="series", disable=not verbose) as bar:

            def advance(count: int) -> None:
                bar.update(count)

            for length in sorted(by_length, reverse=True):
                at = by_length[length]
                values = np.stack([series[i].values for i in at])
                normal, mean, scale = _normalise(values, self.clip)
                stamps = [np.concatenate((series[i].x_stamp, series[i].y_stamp)) for i in at]
                batch = Batch(normal, np.stack(stamps), [keys[i] for i in at])
                drawn = self._sampler().sample(batch, how, sample_count, seed, advance)
                for i, path, m, s in zip(at, drawn, mean, scale, strict=True):
                    out[i] = (path.mean(0) if average else path) * s + m
        return out

    def _pred_len(self, pred_len: int) -> int:
        pred_len = whole_number(pred_len, "pred_len", 1)
        if pred_len > self.max_context:
            raise InputError(
                f"pred_len is {pred_len}, the model sees {self.max_context} bars (max_context)"
            )
        return pred_len

    def _sampling(self, T: float, top_k: int, top_p: float) -> Sampling:  # noqa: N803
        how = Sampling(T, top_k, top_p)
        if top_k > 0 and top_p < 1:
            warnings.warn(
                f"top_k={top_k} is used and top_p={top_p} ignored, as in the published code; "
                "pass top_p=1 or top_k=0 to say which is meant",
                stacklevel=4,
            )
        return how

    def _warn_if_cut(self, length: int) -> None:
        if length > self.max_context:
            warnings.warn(
                f"the model sees the last {self.max_context} of {length} bars (max_context); all "
                "of them set the normalisation",
                stacklevel=4,
            )

    def _sampler(self) -> Sampler:
        modules = (self.model, self.tokenizer)
        state = [(p.data_ptr(), p._version) for m in modules for p in m.parameters()]
        if self._built is None or self._built[0] != state:
            sampler = Sampler(
                self.model, self.tokenizer, self.max_context, self.dtype, self.max_bytes
            )
            self._built = (state, sampler)
        return self._built[1]


def _normalise(values: np.ndarray, clip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`[B, L, 6]` fp32 → normalised and clipped, and the mean and scale `[B, 6]` that undo it.

    One series at a time, so that its sums do not depend on how many there are.
    """
    mean = np.stack([v.mean(axis=0) for v in values])
    scale = np.stack([v.std(axis=0) for v in values]) + np.float32(EPSILON)
    normal = (values - mean[:, None]) / scale[:, None]
    return np.clip(normal, -clip, clip), mean, scale


def _content(series: Prepared) -> str:
    return hashlib.sha256(series.values.tobytes()).hexdigest()


def _first_bad(x: np.ndarray) -> int:
    return int(np.argmax(~np.isfinite(x).all(axis=(1, 2))))
