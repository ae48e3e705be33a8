"""Where forecasts are computed: what a model is asked, piece by piece, and what comes back.

On a CPU they are computed in as many processes as torch would have used threads, with one thread
each. Threads of one process wait for one another after every product of matrices, and they wait by
spinning: where other work takes a core for a moment all of them lose it. Processes wait for nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np

from kronos import Checkpoint
from sandbox.config import LOCAL, BackendOptions, ModelOptions, Sampling
from sandbox.cores import can_fork, cores, results_over_cores
from sandbox.errors import ConfigError
from sandbox.forecast.windows import Array, Windows
from sandbox.memory import available_bytes
from sandbox.progress import Progress
from sandbox.words import did_you_mean

WINDOWS_PER_PIECE = 1024  # what is kept at a time; forecasts do not depend on it
PIECE_BYTES = 256 << 20  # of paths; long horizons and many samples make pieces of fewer windows
# Given to a process at a time. Below 16 windows matrix products are too small to be fast; more than
# 64 make no difference, but leave a core with nothing to do for longer at the end.
LEAST_PER_BATCH, MOST_PER_BATCH = 16, 64
BATCH_BYTES = 32 << 20  # of paths, which are sent from one process to the other
BATCHES_PER_PROCESS = 4  # at least, so that the last ones end at about the same time
# What a process takes of its own, measured with 1.2, 8 and 106 million weights: 80 to 210 MB, and
# where one window's samples are many, 9, 29 and 47 kB more for each of its sampled bars.
PROCESS_BYTES = 256 << 20
BYTES_A_SAMPLED_BAR = 10  # times the square root of the number of weights
ENTRY_POINT = "sandbox.backends"
LITTLE_WORK = 4_000_000_000  # multiplications; one core does them in 0.2 s
ATTEMPTS = 2  # at a batch whose process is killed

Tell = Callable[[int], None]  # forecasts just done


class Predictor(Protocol):
    """What the signal asks of a model."""

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
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray: ...


class Backend(Protocol):
    """Where forecasts are computed."""

    def sample(
        self, windows: Windows, sampling: Sampling, tell: Tell | None
    ) -> Iterator[tuple[Array, Array]]:
        """Pieces as they are done, in any order: rows `[n]` of the windows, paths `[n, S, P, 6]`.

        `tell` hears how many forecasts have just been done, also within a piece.
        """
        ...


class LocalBackend:
    """This machine: one piece after the other, each in batches over several processes.

    processes: at most that many are forked, each computing with one thread of torch; with 1, and
    where there is too little to do or too little memory for more, this process computes. Unless
    given it is 1 on a GPU, and torch's number of threads on a CPU. A batch whose process is killed
    is computed again. Forecasts do not depend on any of it.
    """

    def __init__(self, predictor: Predictor, processes: int | None = None) -> None:
        self._predictor = predictor
        self._processes = processes_for(predictor) if processes is None else processes

    def sample(
        self, windows: Windows, sampling: Sampling, tell: Tell | None
    ) -> Iterator[tuple[Array, Array]]:
        pieces = _cut(np.arange(len(windows)), piece_size(sampling))
        processes = self._worth(windows, sampling)
        if processes > 1:
            yield from self._over_processes(windows, sampling, pieces, processes, tell)
            return
        for rows in pieces:
            yield rows, sample_windows(self._predictor, windows.pick(rows), sampling, tell)

    def _worth(self, windows: Windows, sampling: Sampling) -> int:
        """How many processes to compute in."""
        most = min(self._processes, len(windows))
        if most < 2 or not can_fork() or self._is_little(windows, sampling):
            return 1
        free = available_bytes()
        if free is None:
            return most
        spare = free - min(len(windows), piece_size(sampling)) * sampling.path_bytes
        sampled_bars = sampling.samples * sampling.horizon
        bytes_a_bar = BYTES_A_SAMPLED_BAR * math.isqrt(_weights(self._predictor))
        return max(1, min(most, spare // (PROCESS_BYTES + sampled_bars * bytes_a_bar)))

    def _is_little(self, windows: Windows, sampling: Sampling) -> bool:
        """Whether one core computes it in about the time that processes take to begin and end."""
        bars = len(windows) * (sampling.lookback + sampling.samples * sampling.horizon)
        return bars * _weights(self._predictor) <= LITTLE_WORK

    def _over_processes(
        self,
        windows: Windows,
        sampling: Sampling,
        pieces: Sequence[Array],
        processes: int,
        tell: Tell | None,
    ) -> Iterator[tuple[Array, Array]]:
        """Each piece once all its batches are done."""
        size = batch_size(len(windows), sampling, processes)
        batches = [(nth, rows) for nth, piece in enumerate(pieces) for rows in _cut(piece, size)]
        paths: dict[int, Array] = {}
        left = [len(piece) for piece in pieces]
        done = results_over_cores(
            partial(self._batch, windows, sampling),
            [rows for _, rows in batches],
            _increments(tell),
            partial(_name, windows),
            most=processes,
            attempts=ATTEMPTS,
        )
        for place, drawn in done:
            nth, rows = batches[place]
            piece = pieces[nth]
            into = paths.setdefault(nth, np.empty((len(piece), *drawn.shape[1:]), drawn.dtype))
            into[rows - piece[0]] = drawn
            left[nth] -= len(rows)
            if not left[nth]:
                yield piece, paths.pop(nth)

    def _batch(
        self, windows: Windows, sampling: Sampling, rows: Array, progress: Progress
    ) -> Array:
        """In a process of its own: paths `[n, S, P, 6]` of some windows."""
        import torch

        torch.set_num_threads(1)
        done = 0

        def count(just_done: int) -> None:
            nonlocal done
            done += just_done
            progress(done, len(rows))

        return sample_windows(self._predictor, windows.pick(rows), sampling, count)


def find_backend(
    checkpoint: Checkpoint, model: ModelOptions, options: BackendOptions
) -> Backend | None:
    """The backend that the options name; None for this machine, which needs none.

    Others are installed under the entry point `sandbox.backends`: a class that is called with these
    three. Raises ConfigError for a name that is not known, or whose packages are missing.
    """
    if options.backend == LOCAL:
        return None
    installed = {entry.name: entry for entry in entry_points(group=ENTRY_POINT)}
    if options.backend not in installed:
        known = [LOCAL, *installed]
        raise ConfigError(
            f"--backend {options.backend!r}: no such backend, there are {', '.join(known)}"
            f"{did_you_mean(options.backend, known)}"
        )
    try:
        make = installed[options.backend].load()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--backend {options.backend}: {error.name} is not installed; get it with "
            f"pip install 'kronos-sandbox[{options.backend}]'"
        ) from error
    backend: Backend = make(checkpoint, model, options)
    return backend


def sample_windows(
    predictor: Predictor, windows: Windows, sampling: Sampling, tell: Tell | None
) -> Array:
    """The sampled paths of `[B]` windows, `[B, S, P, 6]`."""
    return predictor.sample_paths(
        windows.candles(),
        *windows.stamps(),
        windows.keys(),
        T=sampling.temperature_ends,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        sample_count=sampling.samples,
        seed=sampling.seed,
        progress=tell,
    )


def processes_for(predictor: Predictor) -> int:
    """How many processes a predictor is worth: as many as torch has threads if it has a model on a
    CPU, else 1."""
    model = getattr(predictor, "model", None)
    if model is None or next(model.parameters()).device.type != "cpu":
        return 1
    import torch

    return min(cores(), torch.get_num_threads())


def _weights(predictor: Predictor) -> int:
    """Of a predictor's nets: each is multiplied with once a bar, more or less."""
    nets = [getattr(predictor, name, None) for name in ("model", "tokenizer")]
    return sum(weight.numel() for net in nets if net is not None for weight in net.parameters())


def piece_size(sampling: Sampling) -> int:
    """How many windows are kept at a time."""
    return max(1, min(WINDOWS_PER_PIECE, PIECE_BYTES // sampling.path_bytes))


def batch_size(windows: int, sampling: Sampling, processes: int) -> int:
    """How many windows are given to one of so many processes at a time."""
    shared = -(-windows // (processes * BATCHES_PER_PROCESS))
    even = -(-windows // processes)  # with few windows no process is left without
    fitting = max(1, BATCH_BYTES // sampling.path_bytes)
    return min(MOST_PER_BATCH, max(LEAST_PER_BATCH, shared), even, fitting)


def _cut(rows: Array, size: int) -> list[Array]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _name(windows: Windows, rows: Array) -> str:
    """What a batch of windows is called where it cannot be computed."""
    first, last = rows[0], rows[-1]
    days = np.datetime_as_string(windows.asof_ns[[first, last]].astype("M8[ns]"), "D")
    return (
        f"forecasts {first + 1:,} to {last + 1:,} of {len(windows):,} ({windows.symbols[first]} at "
        f"{days[0]} to {windows.symbols[last]} at {days[1]})"
    )


def _increments(tell: Tell | None) -> Progress:
    """Reports how many more are done; what is done again is not counted again."""
    reported = 0

    def progress(done: int, _: int) -> None:
        nonlocal reported
        if tell and done > reported:
            tell(done - reported)
            reported = done

    return progress
