"""What time it is in a run: the close of the bar that closes now."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from feeds.bars import NS_PER_DAY

UNIX_EPOCH_DAY = 719_163  # 1970-01-01 in Backtrader's count of days
NEVER = -(2**63)  # ns; before any bar


class Clock:
    """The close times of all bars of a run, oldest first, and which of them is now."""

    def __init__(self, times_ns: Iterable[np.ndarray]) -> None:
        self._times_ns: list[int] = np.unique(np.concatenate(list(times_ns))).tolist()
        self._at = -1
        self.now_ns: int | None = None  # nanoseconds since 1970; None before the first bar

    def tick(self) -> bool:
        """Go on to the next bar time; False after the last."""
        if self._at + 1 >= len(self._times_ns):
            return False
        self._at += 1
        self.now_ns = self._times_ns[self._at]
        return True

    def bars_from(self, start: pd.Timestamp) -> int:
        return sum(time_ns >= start.value for time_ns in self._times_ns)

    @property
    def days(self) -> float:
        """Now, as Backtrader counts."""
        return UNIX_EPOCH_DAY + (self.now_ns or 0) / NS_PER_DAY

    @property
    def now(self) -> pd.Timestamp:
        return pd.Timestamp(self._times_ns[self._at], tz="UTC")

    def at_or_after(self, start: pd.Timestamp) -> bool:
        """Whether the current bar closes then or later."""
        return self.now_ns is not None and self.now_ns >= start.value

    @property
    def before_ns(self) -> int:
        """The close time of the bar before this one, whichever symbol's; `NEVER` if none was."""
        return self._times_ns[self._at - 1] if self._at > 0 else NEVER

    @property
    def before(self) -> pd.Timestamp | None:
        """The close time of the bar before this one, whichever symbol it belongs to."""
        return pd.Timestamp(self._times_ns[self._at - 1], tz="UTC") if self._at > 0 else None
