"""The table of scores, `scores.parquet`: one row a symbol, asof, horizon and source.

symbol, source: texts. asof: UTC. horizon: bars of the symbol's own. outcome: simple return of the
close from asof to that bar. mean: of the sampled ones. crps: of them, in simple returns. energy: of
the candle at that bar, of its four prices' returns. pit: where the outcome lies among the samples,
0 to 1. prob_up: share of samples above 0. inside_50 ... inside_98: whether the outcome lies in the
central band of so many per cent. variance: mean over samples of the sum of squared log returns of
the closes from asof to that bar; volatility: mean of its root. realised: that sum of what came. A
row is there only where the outcome is known; energy is NaN of a source whose candles are not whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feeds import CLOSE
from kronos.inference.draws import uniforms
from sandbox.forecast.windows import Array
from sandbox.skill.cells import Cells
from sandbox.skill.scores import fair_crps, fair_energy, inside_bands, pit

LEVELS_PCT = (50, 80, 90, 98)
FILE = "scores.parquet"
ROWS_PER_GROUP = 1 << 16
_TEXT = pa.dictionary(pa.int32(), pa.string())
_VARIANCES = ("variance", "volatility", "realised")
_NUMBERS = ("outcome", "mean", "crps", "energy", "pit", "prob_up")
SCHEMA = pa.schema(
    [
        ("source", _TEXT), ("symbol", _TEXT), ("asof", pa.timestamp("ns", tz="UTC")),
        ("horizon", pa.int16()),
        *((name, pa.float32()) for name in _NUMBERS),
        *((f"inside_{level}", pa.bool_()) for level in LEVELS_PCT),
        *((name, pa.float32()) for name in _VARIANCES),
    ]
)  # fmt: skip


def noise_of(cells: Cells, rows: Array, seed: int, horizons: int) -> Array:
    """Uniform numbers that randomise the PIT, `[n, horizons]`; the same for every source, and
    others than those that paths are drawn with."""
    keys = cells.windows.pick(rows).keys()
    flat = uniforms((seed + 1) % 2**63, keys, 1, (horizons + 1) // 2)
    noise: Array = flat.reshape(len(rows), -1)[:, :horizons].astype(np.float64)
    return noise


def scored(
    returns: Array, came: Array, horizons: Sequence[int], noise: Array, *, whole: bool
) -> Iterator[tuple[int, Array, dict[str, Array]]]:
    """For each horizon: it, the places `[m]` whose outcome is known, and the columns `[m]` of
    numbers, of sampled candles.

    returns: `[n, S, P, 4]` simple returns against the close at asof. came: `[n, P, 4]`, NaN where
    not known. noise: `[n, len(horizons)]`. whole: whether the candles are, and have an energy.
    """
    sums = _realised(returns[..., CLOSE])
    variance, volatility = sums.mean(axis=1), np.sqrt(sums).mean(axis=1)  # [n, P]
    realised = _realised(came[:, None, :, CLOSE])[:, 0]
    for nth, h in enumerate(horizons):
        known = np.flatnonzero(np.isfinite(came[:, h - 1, CLOSE]))
        if not len(known):
            continue
        samples, outcome = returns[known, :, h - 1, CLOSE], came[known, h - 1, CLOSE]
        inside = inside_bands(samples, outcome, [level / 100 for level in LEVELS_PCT])
        energy = np.full(len(known), np.nan)
        if whole:
            energy = fair_energy(returns[known, :, h - 1], came[known, h - 1])
        yield h, known, {
            "outcome": outcome,
            "mean": samples.mean(axis=1),
            "crps": fair_crps(samples, outcome),
            "energy": energy,
            "pit": pit(samples, outcome, noise[known, nth]),
            "prob_up": (samples > 0).mean(axis=1),
            **{f"inside_{level}": inside[:, at] for at, level in enumerate(LEVELS_PCT)},
            "variance": variance[known, h - 1],
            "volatility": volatility[known, h - 1],
            "realised": realised[known, h - 1],
        }  # fmt: skip


def _realised(returns: Array) -> Array:
    """Sums of squared log steps up to each bar, `[n, S, P]`, of returns against the close."""
    logs = np.log1p(np.maximum(returns, -1 + 1e-12))
    steps = np.diff(logs, axis=2, prepend=0)
    sums: Array = (steps**2).cumsum(axis=2)
    return sums


class ScoresFile:
    """Writes the table; a source's rows stand together in groups of many."""

    def __init__(self, path: Path, cells: Cells) -> None:
        self._cells = cells
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._waiting: dict[str, list[pa.Table]] = defaultdict(list)
        self.rows = 0

    def add(self, source: str, rows: Array, horizon: int, columns: dict[str, Array]) -> None:
        """Of cells `rows` `[m]` of one horizon."""
        cells = self._cells
        table = pa.table(
            {
                "source": pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), [source]),
                "symbol": pa.DictionaryArray.from_arrays(
                    cells.symbol_of[rows].astype(np.int32), list(cells.symbols)
                ),
                "asof": pa.array(cells.windows.asof_ns[rows]).cast(pa.timestamp("ns", tz="UTC")),
                "horizon": np.full(len(rows), horizon, np.int16),
                **{name: pa.array(column).cast(SCHEMA.field(name).type)
                   for name, column in columns.items()},
            },
            schema=SCHEMA,
        )  # fmt: skip
        waiting = self._waiting[source]
        waiting.append(table)
        self.rows += len(rows)
        if sum(map(len, waiting)) >= ROWS_PER_GROUP:
            self._write(source)

    def close(self) -> None:
        for source in list(self._waiting):
            self._write(source)
        self._writer.close()

    def _write(self, source: str) -> None:
        tables = self._waiting.pop(source)
        self._writer.write_table(pa.concat_tables(tables), row_group_size=2 * ROWS_PER_GROUP)


@contextmanager
def scores_file(path: Path, cells: Cells) -> Iterator[ScoresFile]:
    file = ScoresFile(path, cells)
    try:
        yield file
    finally:
        file.close()


def read_source(path: Path, source: str) -> pd.DataFrame:
    """The rows of one source, numbers in double precision; texts as categories."""
    names = [name for name in SCHEMA.names if name != "source"]
    table = pq.read_table(path, columns=names, filters=[("source", "==", source)])
    frame = table.to_pandas()
    numbers = [*_NUMBERS, *_VARIANCES]
    return frame.astype(dict.fromkeys(numbers, "float64"))
