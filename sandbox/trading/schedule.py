"""Which bar times a strategy decides at: every one, or the first of each day, week or month.

Days, ISO weeks and months are those of UTC. Knows times only, not whose bars they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from feeds.bars import NS_PER_DAY
from sandbox.errors import ConfigError

PERIODS = ("bar", "day", "week", "month")

MONDAY = 3  # 1970-01-01 was a Thursday, the fourth day of its ISO week


def due_times(times_ns: np.ndarray, rebalance: str) -> np.ndarray:
    """Out of a run's bar times, in ns since 1970, those that are due: always the first, then each
    one that is the first of its period. Sorted, each once.
    """
    times = np.unique(np.asarray(times_ns, dtype=np.int64))
    periods = period_of(times, rebalance)
    return times[np.concatenate([[True], periods[1:] != periods[:-1]])[: len(times)]]


def period_of(times_ns: Any, rebalance: str) -> Any:
    """The number of the period that a time or each of many falls in; with `bar` all are their own.

    A single time is a plain int, which is much faster than an array of one.
    """
    if rebalance not in PERIODS:
        raise ConfigError(f"rebalance {rebalance!r}: one of {', '.join(PERIODS)}")
    days = times_ns // NS_PER_DAY
    if rebalance == "day":
        return days
    if rebalance == "week":
        return (days + MONDAY) // 7
    if rebalance == "month":
        return np.asarray(days).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return times_ns
