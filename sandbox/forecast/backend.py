"""Where forecasts are computed: what a model is asked, piece by piece, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from sandbox.config import Sampling
from sandbox.forecast.windows import Array, Windows

WINDOWS_PER_PIECE = 1024  # what a killed run loses at most; forecasts do not depend on it
PIECE_BYTES = 256 << 20  # of paths; long horizons and many samples make pieces of fewer windows

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
        T: float = 1.0,  # noqa: N803
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
    """This machine, one piece after the other."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def sample(
        self, windows: Windows, sampling: Sampling, tell: Tell | None
    ) -> Iterator[tuple[Array, Array]]:
        size = max(1, min(WINDOWS_PER_PIECE, PIECE_BYTES // sampling.path_bytes))
        for at in range(0, len(windows), size):
            rows = np.arange(at, min(at + size, len(windows)))
            yield rows, sample_windows(self._predictor, windows.pick(rows), sampling, tell)


def sample_windows(
    predictor: Predictor, windows: Windows, sampling: Sampling, tell: Tell | None
) -> Array:
    """The sampled paths of `[B]` windows, `[B, S, P, 6]`."""
    return predictor.sample_paths(
        windows.candles(),
        *windows.stamps(),
        windows.keys(),
        T=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        sample_count=sampling.samples,
        seed=sampling.seed,
        progress=tell,
    )
