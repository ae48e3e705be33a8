"""From candles to forecasts: normalise, sample, give price units back.

`predict` and `predict_batch` take what the published `KronosPredictor` takes and return the same
frames; `paths` returns every sample, `sample_paths` does so for arrays.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from kronos.errors import InputError, warn_caller
from kronos.forecast import CLOSE, COLUMNS, Forecast
from kronos.inference.batch import SeriesBatch, unseeded_batch
from kronos.inference.current import AnySampler, CurrentSampler, sample_with_bar
from kronos.inference.draws import series_key
from kronos.inference.plain import own_random
from kronos.inference.sampler import TILE_BYTES
from kronos.inference.sampling import SamplingParams, unseeded_keys
from kronos.model import Kronos
from kronos.prepare import (
    CLIP,
    LARGEST,
    PARTS_OF_TIME,
    Normalised,
    PreparedSeries,
    Times,
    normalise,
    prepare_all,
    whole_number,
)
from kronos.tokenizer import KronosTokenizer

PlacedArrays = Iterator[tuple[list[int], np.ndarray]]  # places of some series, an array for each


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
    cut to fit.

    Every call forecasts with the model and tokenizer as they are then: changed weights, however
    they were written, and attributes set on the predictor are noticed. Weights of another type
    (double, half) are taken over in fp32, so that doubles forecast as their fp32 values do. Modules
    that are not the plain ones (adapters, quantised layers, hooks, overridden methods, dropout that
    `train()` left on) are called as they are, without caches, after one `UncachedWarning`.

    price_cols, vol_col, amt_vol: what frames call their columns, in and out.
    """

    def __init__(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        device: str | torch.device | None = None,
        max_context: int = 512,
        clip: float = CLIP,
        *,
        dtype: str = "float32",
        max_bytes: int = TILE_BYTES,
    ) -> None:
        self.device = torch.device(device or default_device())
        self.model, self.tokenizer = model.to(self.device), tokenizer.to(self.device)
        self.max_context, self.clip = max_context, clip
        self.dtype, self.max_bytes = dtype, max_bytes
        self.price_cols = ["open", "high", "low", "close"]
        self.vol_col, self.amt_vol = "volume", "amount"
        self.time_cols = list(PARTS_OF_TIME)
        self._current = CurrentSampler()
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
        seed: int | None = None,
    ) -> pd.DataFrame:
        """The mean of `sample_count` paths, `pred_len` rows of `COLUMNS` indexed by `y_timestamp`.

        df: L bars with open, high, low, close and optionally volume, amount. x_timestamp: their L
        times; y_timestamp: the `pred_len` times to forecast. T, top_k, top_p: see
        `kronos.inference.sampling.SamplingParams`; the published default `top_p=0.9` cuts tails,
        so use `paths` where spread matters. Without `seed` each call draws anew from torch's
        generator, which `torch.manual_seed` repeats; with one the same call gives the same answer.
        Raises InputError where something cannot be used.
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
        seed: int | None = None,
    ) -> list[pd.DataFrame]:
        """`predict` for many series at once; histories may differ in length. Without `seed` each
        series draws for itself, also where it is the same one twice."""
        pred_len = self._pred_len(pred_len)
        columns = self._columns()
        series = prepare_all(df_list, x_timestamp_list, y_timestamp_list, pred_len, columns)
        params = self._params(T, top_k, top_p)
        if getattr(self.generate, "__func__", None) is not _GENERATE:
            groups = self._generated(series, (T, top_k, top_p, sample_count, verbose), seed)
        else:
            if seed is None:
                keys, seed = unseeded_keys(len(series)), 0
            else:
                keys = [series_key(_content(s), s.asof) for s in series]
            groups = self._means(series, keys, params, sample_count, seed, verbose)
        means = _in_order(groups, len(series))
        return [
            pd.DataFrame(mean, columns=columns, index=times)
            for mean, times in zip(means, y_timestamp_list, strict=True)
        ]

    def generate(
        self,
        x: np.ndarray,
        x_stamp: np.ndarray,
        y_stamp: np.ndarray,
        pred_len: int,
        T: float,  # noqa: N803
        top_k: int,
        top_p: float,
        sample_count: int,
        verbose: bool,
    ) -> np.ndarray:
        """The published step in the middle of `predict`: normalised candles `[B, L, 6]`, stamps
        `[B, L, 5]` and `[B, P, 5]` → the normalised mean path of each, `[B, P, 6]` fp32.

        Draws from torch's generator. `predict` and `predict_batch` go through a subclass's own.
        """
        x = np.clip(np.asarray(x, dtype=np.float32), -self._clip(), self._clip())
        params, pred_len = SamplingParams(T, top_k, top_p), self._pred_len(pred_len)
        batch = unseeded_batch(x, np.asarray(x_stamp), np.asarray(y_stamp), pred_len)
        return sample_with_bar(self._sampler(), batch, params, sample_count, verbose).mean(1)

    def paths(
        self,
        df_list: pd.DataFrame | Sequence[pd.DataFrame],
        x_timestamp_list: Times | Sequence[Times],
        y_timestamp_list: Times | Sequence[Times],
        pred_len: int,
        T: float | tuple[float, float] = 1.0,  # noqa: N803
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
        T: one temperature, or `(first, last)`, linear from the first forecast bar to the last.
        """
        if isinstance(symbols, str):
            symbols = [symbols]
        if isinstance(df_list, pd.DataFrame):
            df_list, x_timestamp_list = [df_list], [x_timestamp_list]  # type: ignore[list-item]
            y_timestamp_list = [y_timestamp_list]  # type: ignore[list-item]
        pred_len = self._pred_len(pred_len)
        columns = self._columns()
        series = prepare_all(df_list, x_timestamp_list, y_timestamp_list, pred_len, columns)  # type: ignore[arg-type]
        if symbols is not None and len(symbols) != len(series):
            raise InputError(f"{len(series)} series but {len(symbols)} symbols")
        names = list(symbols) if symbols is not None else [""] * len(series)
        keys = [
            series_key(name or _content(s), s.asof) for name, s in zip(names, series, strict=True)
        ]
        params = self._params(T, top_k, top_p)
        sampled = self._sampled(series, keys, params, sample_count, seed, verbose)
        groups = ((at, windows.restore(paths, paths)) for at, windows, paths in sampled)
        return [
            Forecast(name, s.asof, float(s.values[-1, CLOSE]), s.index, paths)
            for name, s, paths in zip(names, series, _in_order(groups, len(series)), strict=True)
        ]

    def sample_paths(
        self,
        x: np.ndarray,
        x_stamp: np.ndarray,
        y_stamp: np.ndarray,
        keys: Sequence[int],
        *,
        T: float | tuple[float, float] = 1.0,  # noqa: N803
        top_k: int = 0,
        top_p: float = 1.0,
        sample_count: int = 1,
        seed: int = 0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Raw paths `[B, S, P, 6]` fp32 in price units, for series of one length.

        x: candles `[B, L, 6]`, finite; x_stamp `[B, L, 5]`, y_stamp `[B, P, 5]`: from
        `kronos.prepare.bar_stamps`; keys: one integer a series, from `series_key(symbol, asof)`;
        T: as in `paths`; progress: called with the number of series just done.
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
        params = self._params(T, top_k, top_p)
        if b == 0:
            return np.empty((0, count, y_stamp.shape[1], len(COLUMNS)), dtype=np.float32)
        windows = normalise(x, length, self._clip())
        stamps = np.concatenate((x_stamp, y_stamp), axis=1).astype(np.int64)
        batch = SeriesBatch(windows.values, stamps, keys)
        paths = self._sampler().sample(batch, params, count, seed, progress)
        return windows.restore(paths, out=paths)

    def _sampled(
        self,
        series: list[PreparedSeries],
        keys: list[int],
        params: SamplingParams,
        sample_count: int,
        seed: int,
        verbose: bool,
    ) -> Iterator[tuple[list[int], Normalised, np.ndarray]]:
        """Sample series of any lengths, those of one length together, longest first: their places,
        their windows and their normalised paths `[b, S, P, 6]`."""
        sample_count = whole_number(sample_count, "sample_count", 1)
        self._warn_if_cut(max((len(s.values) for s in series), default=0))
        sampler = self._sampler()
        with tqdm(total=len(series), unit="series", disable=not verbose) as bar:
            for at, windows in self._windows(series):
                stamps = np.stack([series[i].stamps for i in at])
                batch = SeriesBatch(windows.values, stamps, [keys[i] for i in at])
                yield at, windows, sampler.sample(batch, params, sample_count, seed, bar.update)

    def _means(
        self,
        series: list[PreparedSeries],
        keys: list[int],
        params: SamplingParams,
        sample_count: int,
        seed: int,
        verbose: bool,
    ) -> PlacedArrays:
        """The mean path of each series in price units, `[P, 6]`."""
        for at, windows, drawn in self._sampled(series, keys, params, sample_count, seed, verbose):
            yield at, windows.restore(np.stack([paths.mean(0) for paths in drawn]))

    def _generated(
        self, series: list[PreparedSeries], settings: tuple[Any, ...], seed: int | None
    ) -> PlacedArrays:
        """The mean path of each series by a `generate` that is not ours, in price units."""
        with nullcontext() if seed is None else own_random(self.device, seed % 2**63):
            for at, windows in self._windows(series):
                x_stamp = np.stack([series[i].x_stamp for i in at]).astype(np.float32)
                y_stamp = np.stack([series[i].y_stamp for i in at]).astype(np.float32)
                horizon = y_stamp.shape[1]
                means = self.generate(windows.values, x_stamp, y_stamp, horizon, *settings)
                yield at, windows.restore(np.asarray(means))

    def _windows(self, series: list[PreparedSeries]) -> Iterator[tuple[list[int], Normalised]]:
        """Places and windows of the series of each length, longest first."""
        places: dict[int, list[int]] = defaultdict(list)
        for i, s in enumerate(series):
            places[len(s.values)].append(i)
        for length in sorted(places, reverse=True):
            values = np.stack([series[i].values for i in places[length]])
            yield places[length], normalise(values, length, self._clip())

    def _columns(self) -> list[str]:
        return [*self.price_cols, self.vol_col, self.amt_vol]

    def _clip(self) -> float:
        if not self.clip > 0:
            raise InputError(f"clip must be above 0, got {self.clip}")
        return self.clip

    def _pred_len(self, pred_len: int) -> int:
        pred_len = whole_number(pred_len, "pred_len", 1)
        if pred_len > whole_number(self.max_context, "max_context", 1):
            raise InputError(
                f"pred_len is {pred_len}, the model sees {self.max_context} bars (max_context)"
            )
        return pred_len

    def _params(
        self,
        T: float | tuple[float, float],  # noqa: N803
        top_k: int,
        top_p: float,
    ) -> SamplingParams:
        params = SamplingParams(T, top_k, top_p)
        if top_k > 0 and top_p < 1:
            warn_caller(
                f"top_k={top_k} is used and top_p={top_p} ignored, as in the published code; "
                "pass top_p=1 or top_k=0 to say which is meant"
            )
        return params

    def _warn_if_cut(self, length: int) -> None:
        if length > self.max_context:
            warn_caller(
                f"the model sees the last {self.max_context} of {length} bars (max_context); all "
                "of them set the normalisation"
            )

    @property
    def tiling(self) -> tuple[int, int]:
        """To how many rows products of matrices are padded here, and whether batches are cut into
        tiles of one size. Where both are the same, so are forecasts, on machines of one kind."""
        sampler = self._sampler()
        return getattr(sampler, "quantum", 0), int(getattr(sampler, "fixed_tiles", False))

    def _sampler(self) -> AnySampler:
        context = whole_number(self.max_context, "max_context", 1)
        self._clip()
        parts = self.model, self.tokenizer
        return self._current.get(*parts, context, self.dtype, self.max_bytes)


_GENERATE = KronosPredictor.generate  # to notice a subclass's, an instance's or a replaced one


def _in_order(groups: Iterable[tuple[list[int], np.ndarray]], count: int) -> list[np.ndarray]:
    """One array for each of `count` series, given in groups with their places."""
    arrays: list[np.ndarray] = [np.empty(0)] * count
    for at, group in groups:
        for i, array in zip(at, group, strict=True):
            arrays[i] = array.copy()  # so that one that is kept does not keep its group in memory
    return arrays


def _content(series: PreparedSeries) -> str:
    return hashlib.sha256(series.values.tobytes()).hexdigest()


def _first_bad(x: np.ndarray) -> int:
    return int(np.argmax(~np.isfinite(x).all(axis=(1, 2))))
