"""Forecasts over the replicas of a model on a Ray cluster: `--backend ray`.

Ray Data hands out the numbers of windows; candles and weights are put in its object store once.
What comes back is what this machine alone would have computed: on machines of one kind to the bit,
since every replica pads and tiles as the others do, which is checked.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.exceptions
import ray.util.annotations

from feeds import COLUMNS
from kronos import Checkpoint, KronosPredictor
from ray_jobs.cluster import connected, expect_resources, room_for
from ray_jobs.errors import last_line, received, sent
from sandbox.config import BackendOptions, ModelOptions, Sampling
from sandbox.errors import SandboxError, WorkerError
from sandbox.forecast.backend import Tell, batch_size, piece_size, sample_windows
from sandbox.forecast.windows import Array, Windows

RESTARTS = 2  # of a replica that died, and attempts more at what it was at
MOST_BLOCKS = 10_000  # each is a task of Ray's
ROW, PATHS, TILING, ERROR = "row", "paths", "tiling", "error"


class RayBackend:
    """The local backend's forecasts, computed by replicas of the model on a Ray cluster.

    A replica that dies is started again, and what it was at is computed again; one that dies at the
    same windows `RESTARTS` times more ends the run.
    """

    def __init__(
        self, checkpoint: Checkpoint, model: ModelOptions, options: BackendOptions
    ) -> None:
        self._checkpoint, self._model, self._options = checkpoint, model, options

    def sample(
        self, windows: Windows, sampling: Sampling, tell: Tell | None
    ) -> Iterator[tuple[Array, Array]]:
        """Pieces as they are done: rows `[n]`, paths `[n, S, P, 6]`."""
        with connected(self._options.ray_address):
            replicas = self._replicas(len(windows))
            expect_resources(replicas, self._threads, self._gpus)
            batches = _checked(self._batches(windows, sampling, replicas))
            yield from _pieces(batches, piece_size(sampling), tell)

    @property
    def _threads(self) -> int:
        return self._options.replica_threads

    @property
    def _gpus(self) -> float:
        """Of a replica; unless told one each where the cluster has any."""
        if self._options.replica_gpus is not None:
            return self._options.replica_gpus
        return min(1.0, ray.cluster_resources().get("GPU", 0.0))

    def _replicas(self, windows: int) -> int:
        """As many as the cluster has room for, unless told."""
        if self._options.replicas is not None:
            return self._options.replicas
        return max(1, min(room_for(self._threads, self._gpus), windows))

    def _batches(
        self, windows: Windows, sampling: Sampling, replicas: int
    ) -> Iterator[dict[str, Array]]:
        """What replicas give, batch by batch; raises what one of them met."""
        setup = _Setup(
            nets=ray.put((self._checkpoint.model, self._checkpoint.tokenizer)),
            windows=ray.put(windows),
            sampling=sampling,
            max_context=self._checkpoint.max_context,
            device=self._model.device or ("cuda" if self._gpus else "cpu"),
            dtype=self._model.dtype,
            threads=self._threads,
        )
        size = max(batch_size(len(windows), sampling, replicas), -(-len(windows) // MOST_BLOCKS))
        try:
            done = self._mapped(setup, len(windows), size, replicas)
            batches: Any = done.iter_batches(batch_size=None, batch_format="numpy")
            yield from batches
        except ray.exceptions.RayError as error:
            raise _in_words(error) from error

    def _mapped(self, setup: _Setup, windows: int, size: int, replicas: int) -> ray.data.Dataset:
        """What replicas make of so many windows, `size` at a time, once it is iterated over."""
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it says all that it does
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=replicas, initial_size=replicas)
        # Blocks that are there: those of ray.data.range are read by tasks, which would wait for a
        # CPU that a replica has, and the replicas for them.
        parts = np.split(np.arange(windows), range(size, windows, size))
        numbers = ray.data.from_blocks([pa.table({ROW: part}) for part in parts])
        with warnings.catch_warnings():  # of the only way to bound restarts
            warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
            return numbers.map_batches(
                Replica, fn_constructor_args=(setup,), batch_size=size, batch_format="numpy",
                compute=pool, num_cpus=self._threads, num_gpus=self._gpus,
                max_restarts=RESTARTS, max_task_retries=RESTARTS,
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What a replica is made from; references lead into Ray's object store."""

    nets: Any  # reference to (model, tokenizer), on the CPU
    windows: Any  # reference to all windows
    sampling: Sampling
    max_context: int
    device: str
    dtype: str
    threads: int


class Replica:
    """In a process of Ray's: the model, and all windows."""

    def __init__(self, setup: _Setup) -> None:
        import torch

        torch.set_num_threads(setup.threads)  # what the environment says is of a worker before it
        model, tokenizer = ray.get(setup.nets)
        self._predictor = KronosPredictor(
            model, tokenizer, setup.device, setup.max_context, dtype=setup.dtype
        )
        self._windows: Windows = ray.get(setup.windows)
        self._sampling = setup.sampling
        self._tiling = self._predictor.tiling
        self._shape = setup.sampling.samples, setup.sampling.horizon, len(COLUMNS)

    def __call__(self, batch: dict[str, Array]) -> dict[str, Array]:
        rows, error = batch[ROW], ""
        try:
            paths = self.paths(rows)
        except Exception as raised:
            error = sent(raised)
            paths = np.zeros((len(rows), *self._shape), np.float32)
        return {
            ROW: rows, PATHS: paths, TILING: np.array([self._tiling] * len(rows)),
            ERROR: np.array([error] * len(rows)),
        }  # fmt: skip

    def paths(self, rows: Array) -> Array:
        """Of some windows, `[n, S, P, 6]`."""
        return sample_windows(self._predictor, self._windows.pick(rows), self._sampling, None)


def _checked(batches: Iterable[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    """Batches of replicas that met no error, and that compute as the others do."""
    tilings: set[tuple[int, ...]] = set()
    for batch in batches:
        if batch[ERROR][0]:
            raise received(str(batch[ERROR][0]))
        tilings |= set(map(tuple, batch[TILING].tolist()))
        if len(tilings) > 1:
            raise WorkerError(
                "the machines of this Ray cluster round otherwise than one another, so forecasts "
                "would depend on which of them computes one: use machines of one kind (rows a "
                f"product is padded to, fixed tiles: {sorted(tilings)})"
            )
        yield batch


def _pieces(
    batches: Iterable[dict[str, Array]], size: int, tell: Tell | None
) -> Iterator[tuple[Array, Array]]:
    """Batches put together to at least `size` windows, so that the store has few parts."""
    collected: list[dict[str, Array]] = []
    count = 0
    for batch in batches:
        collected.append(batch)
        count += len(batch[ROW])
        if tell is not None:
            tell(len(batch[ROW]))
        if count >= size:
            yield _joined(collected)
            collected, count = [], 0
    if collected:
        yield _joined(collected)


def _joined(batches: Sequence[dict[str, Array]]) -> tuple[Array, Array]:
    """Rows `[n]` and paths `[n, S, P, 6]`."""
    rows, paths = (np.concatenate([batch[name] for batch in batches]) for name in (ROW, PATHS))
    return rows, paths


def _in_words(error: ray.exceptions.RayError) -> SandboxError:
    """What befell the replicas, in one line."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        if "creation task" in text:  # of an error in its constructor
            return WorkerError(f"a replica of the model could not begin: {last_line(text)}")
        if isinstance(cause, ray.exceptions.ActorDiedError | ray.exceptions.WorkerCrashedError):
            return WorkerError(
                f"a replica of the model died {RESTARTS + 1} times at the same forecasts: memory "
                "ran out there, most likely; ask for fewer --replicas or --samples"
            )
        if isinstance(cause, ray.exceptions.OutOfMemoryError):
            return WorkerError(
                "a machine of the Ray cluster ran out of memory: ask for fewer replicas"
            )
        cause = getattr(cause, "cause", None) or cause.__cause__
    return WorkerError(f"Ray: {type(error).__name__}: {last_line(str(error))}")
