"""An exchange's candles of one symbol as a frame, and when each of them opened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..bars import frame_of
from .pages import Row


def frame_and_opens(rows: Sequence[Row], length_ns: int) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The frame of candles that last `length_ns` each, and their openings, `[n]` in ns since 1970.

    A bar does not open before the one above has closed. That of a short session would: a replay
    takes every bar for a whole day, and names it after its close.
    """
    opens_ns = np.array([row.opened_ns for row in rows], np.int64)
    closes_ns = opens_ns + length_ns
    opens_ns[1:] = np.maximum(opens_ns[1:], closes_ns[:-1])
    return frame_of(closes_ns, [row[1:] for row in rows]), opens_ns
