"""What time it is in a run: the close of the bar that closes now."""

from __future__ import annotations

import pandas as pd

from feeds.bars import NS_PER_DAY
from sandbox.errors import SourceError

UNIX_EPOCH_DAY = 719_163  # 1970-01-01 in Backtrader's count of days
NEVER = -(2**63)  # ns; before any bar


class Clock:
    """The current bar time and the one before it. It knows of none to come."""

    def __init__(self) -> None:
        self.now_ns: int | None = None  # nanoseconds since 1970; None before the first bar
        self.before_ns = NEVER  # the bar time before this one, whichever symbol's
        self.days = float(UNIX_EPOCH_DAY)  # now, as Backtrader counts

    def advance(self, time_ns: int) -> None:
        """Go on to the next bar time; raises SourceError where it is not later than this one."""
        if self.now_ns is not None:
            if time_ns <= self.now_ns:
                raise SourceError(
                    f"bar time {_utc(time_ns)} after {_utc(self.now_ns)}: a source hands out bar "
                    "times once each, oldest first"
                )
            self.before_ns = self.now_ns
        self.now_ns = time_ns
        self.days = UNIX_EPOCH_DAY + time_ns / NS_PER_DAY

    @property
    def now(self) -> pd.Timestamp:
        """The current bar time; raises SourceError before the first."""
        if self.now_ns is None:
            raise SourceError("no bar has closed yet, so there is no time")
        return _utc(self.now_ns)

    def at_or_after(self, start: pd.Timestamp) -> bool:
        """Whether the current bar closes then or later."""
        return self.now_ns is not None and self.now_ns >= start.value


def _utc(time_ns: int) -> pd.Timestamp:
    return pd.Timestamp(time_ns, tz="UTC")
