"""Cuts training and validation windows out of candles.

Knows candles and times; nothing of files or symbols' meaning. A window is `lookback` bars, on which
alone it is normalised, and `horizon + 1` target bars after them; stamps and normalisation are those
of forecasts (`kronos.prepare`). Random order comes from generators made here out of a seed; the
global generator is neither read nor set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from kronos.errors import TrainingError
from kronos.prepare import (
    CLIP,
    bar_stamps,
    candle_values,
    checked_times,
    normalise,
    session_dates,
)

Window = tuple[Tensor, Tensor]  # candles [W, 6] normalised, stamps [W, 5]
WindowBatch = tuple[Tensor, Tensor]  # candles [B, W, 6] normalised, stamps [B, W, 5]


@dataclass(frozen=True, eq=False)
class CandleSeries:
    """One symbol's bars, oldest first."""

    values: NDArray[np.float32]  # [n, 6] open high low close volume amount, unnormalised
    stamps: NDArray[np.int64]  # [n, 5] minute hour weekday day month
    times: NDArray[np.datetime64]  # [n] strictly increasing

    def __post_init__(self) -> None:
        n = len(self.times)
        if self.values.shape != (n, 6) or self.stamps.shape != (n, 5):
            raise TrainingError(
                f"a series of {n} times needs values [{n}, 6] and stamps [{n}, 5], got "
                f"{self.values.shape} and {self.stamps.shape}"
            )
        if not np.isfinite(self.values).all():
            raise TrainingError("a series holds values that are not finite")
        if (np.diff(self.times) <= np.timedelta64(0, "ns")).any():
            raise TrainingError("a series' times must be strictly increasing")

    @classmethod
    def of(cls, frame: pd.DataFrame, daily: bool) -> CandleSeries:
        """A frame of candles (columns as `kronos.COLUMNS`) indexed by their close times, UTC.

        Daily bars are stamped, and cut into training and validation, by the date of their session.
        Raises InputError where the frame cannot be used.
        """
        close_ns = checked_times(frame.index, "the frame's index").as_unit("ns").asi8
        times_ns = session_dates(close_ns) if daily else close_ns
        times = times_ns.astype("datetime64[ns]").astype("datetime64[us]")  # any year fits
        return cls(candle_values(frame), bar_stamps(close_ns, daily), times)


@dataclass(frozen=True)
class WindowShape:
    """How long a window is and how far its normalised values reach."""

    lookback: int = 90  # bars a window is normalised on
    horizon: int = 10  # bars; one more target follows, since each token predicts the next
    clip: float = CLIP  # standard deviations

    def __post_init__(self) -> None:
        if self.lookback < 2 or self.horizon < 1 or not self.clip > 0:
            raise TrainingError(
                "a window needs lookback >= 2, horizon >= 1 and clip > 0, got "
                f"{self.lookback}, {self.horizon} and {self.clip}"
            )

    @property
    def bars(self) -> int:
        """Bars in a whole window."""
        return self.lookback + self.horizon + 1


class WindowDataset(Dataset[Window]):
    """Every window of some series whose bars are allowed, as `(x [W, 6], stamp [W, 5])`.

    Build one with `train_windows` or `validation_windows`, which say what is allowed.
    """

    def __init__(
        self,
        series: Mapping[str, CandleSeries],
        shape: WindowShape,
        starts: Mapping[str, list[int]],
    ) -> None:
        self.shape = shape
        self.index = [(name, start) for name in series for start in starts[name]]
        self.series = dict(series)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Window:
        name, start = self.index[i]
        bars = slice(start, start + self.shape.bars)
        values = self.series[name].values[bars]
        x = normalise(values, self.shape.lookback, self.shape.clip).values
        return torch.from_numpy(x), torch.from_numpy(self.series[name].stamps[bars].copy())


def _positions(series: CandleSeries, start: np.datetime64, end: np.datetime64) -> tuple[int, int]:
    """Positions of the first bar at or after `start` and of the first at or after `end`."""
    low, high = np.searchsorted(series.times, np.array([start, end], series.times.dtype))
    return int(low), int(high)


def _cut(
    series: Mapping[str, CandleSeries],
    shape: WindowShape,
    period: tuple[np.datetime64, np.datetime64],
    stride: int,
    kind: str,
    *,
    reach: int,
) -> WindowDataset:
    """Windows that end before the period does and begin in it, or up to `reach` bars before it."""
    start, end = period
    starts = {}
    for name, candles in series.items():
        low, high = _positions(candles, start, end)
        starts[name] = list(range(max(low - reach, 0), high - shape.bars + 1, stride))
    windows = WindowDataset(series, shape, starts)
    if len(windows) == 0:
        ranges = [_positions(series, start, end) for series in windows.series.values()]
        shape, longest = windows.shape, max((high - low for low, high in ranges), default=0)
        raise TrainingError(
            f"no {kind} window fits from {start} until {end}: it takes {shape.lookback} + "
            f"{shape.horizon} + 1 = {shape.bars} bars, and the longest of {len(ranges)} series has "
            f"{longest} there; give more history, a wider range or a shorter lookback"
        )
    return windows


def train_windows(
    series: Mapping[str, CandleSeries],
    shape: WindowShape,
    start: np.datetime64,
    end: np.datetime64,
    stride: int = 1,
) -> WindowDataset:
    """Windows whose every bar has `start <= time < end`, one each `stride` bars.

    Raises `TrainingError` where there is none.
    """
    return _cut(series, shape, (start, end), stride, "training", reach=0)


def target_windows(
    series: Mapping[str, CandleSeries],
    shape: WindowShape,
    start: np.datetime64,
    end: np.datetime64,
    stride: int = 1,
    kind: str = "training",
) -> WindowDataset:
    """Windows whose target bars all have `start <= time < end`; lookbacks may reach back further.

    Raises `TrainingError`, which calls them windows of that `kind`, where there is none.
    """
    return _cut(series, shape, (start, end), stride, kind, reach=shape.lookback)


def validation_windows(
    series: Mapping[str, CandleSeries],
    shape: WindowShape,
    start: np.datetime64,
    end: np.datetime64,
    stride: int = 1,
) -> WindowDataset:
    """`target_windows` to validate on."""
    return target_windows(series, shape, start, end, stride, "validation")


def _check_deal(batch_size: int, rank: int, world: int) -> None:
    if batch_size < 1 or not 0 <= rank < world:
        raise TrainingError(
            f"batches of {batch_size} windows cannot be dealt to worker {rank} of {world}: batches "
            "start at 1 window, workers are counted from 0"
        )


class EpochOrder(Sampler[list[int]]):
    """Batches of window numbers in an order that is a function of (seed, epoch) alone.

    With `world` workers each one sees every `world`-th window of the same order, and all of them
    the same number of batches. A last short batch is left out unless it is the only one.
    """

    def __init__(
        self,
        n_windows: int,
        batch_size: int,
        seed: int,
        batches: int | None = None,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _check_deal(batch_size, rank, world)
        if n_windows < world:
            raise TrainingError(
                f"{n_windows} training windows are fewer than the {world} workers, each of which "
                "needs one; ask for fewer workers or give more history"
            )
        self.n_windows, self.seed, self.rank, self.world = n_windows, seed, rank, world
        share = n_windows // world
        self.batch_size = min(batch_size, share)
        whole = share // self.batch_size
        self.batches = whole if batches is None else min(batches, whole)
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        return self.batches

    def start_at(self, epoch: int, batch: int = 0) -> None:
        """The next iteration gives `epoch`'s batches from number `batch` on."""
        self.epoch, self.first = epoch, batch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
        order = torch.randperm(self.n_windows, generator=generator)
        share = order[self.rank :: self.world].tolist()
        for number in range(self.first, self.batches):
            yield share[number * self.batch_size : (number + 1) * self.batch_size]


class EpochLoader:
    """`loader(epoch, first_batch)` gives that epoch's training batches from that one on."""

    def __init__(self, windows: WindowDataset, order: EpochOrder) -> None:
        self.order = order
        # Its own generator: a loader without one draws from the global one.
        self.loader: DataLoader[WindowBatch] = DataLoader(
            windows, batch_sampler=order, generator=torch.Generator()
        )

    def __len__(self) -> int:
        return len(self.order)

    def __call__(self, epoch: int, first_batch: int) -> Iterator[WindowBatch]:
        self.order.start_at(epoch, first_batch)
        yield from self.loader


def validation_loader(
    windows: WindowDataset, batch_size: int, *, rank: int = 0, world: int = 1
) -> DataLoader[WindowBatch]:
    """Every window once, in order; the last batch may be short.

    With `world` workers each one gets every `world`-th batch of the same batches, so that their
    tallies add up to one worker's to the rounding of a sum in fp64 (a batch cut elsewhere is
    rounded otherwise in fp32). A worker may get none.
    """
    _check_deal(batch_size, rank, world)
    firsts = range(rank * batch_size, len(windows), world * batch_size)
    batches = [list(range(i, min(i + batch_size, len(windows)))) for i in firsts]
    return DataLoader(windows, batch_sampler=batches, generator=torch.Generator())


def mixed_seed(*parts: int) -> int:
    """One 63-bit seed out of several non-negative integers."""
    state = np.random.SeedSequence(parts).generate_state(2, np.uint32).astype(np.uint64)
    return int((state[0] << np.uint64(31)) ^ state[1])
