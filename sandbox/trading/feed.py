"""Candles as Backtrader data feeds that hold nothing later than the current bar.

Backtrader reads one bar ahead of every feed to find out whose turn it is, and keeps what it read
where `data.close[1]` finds it. Here a clock that knows every bar's time says whose turn it is, so
a feed puts a bar on its lines only once that bar has closed.
"""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from feeds import CLOSE, COLUMNS, VOLUME, opening_times, times_ns, values_of
from sandbox.errors import StrategyError
from sandbox.trading.clock import NEVER, Clock
from sandbox.trading.matching import Bar

NAN = float("nan")
NO_RESAMPLING = (
    "longer bars are not made of shorter ones here: give them as a series of their own beside the "
    "shorter ones, such as BTC-1h.csv and BTC-1d.csv with --data 'csv:candles/*.csv', and read "
    "self.getdatabyname('BTC-1d')"
)


class CandleFeed(bt.feed.DataBase):  # type: ignore[misc]
    """One symbol's candles. The engine calls `deliver` at every bar time."""

    lines: Any = ("amount",)
    params = (
        ("frame", None), ("clock", None), ("last_bar", None), ("opens_ns", None),
        ("overlaps", False),
    )  # fmt: skip

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        clock: Clock,
        *,
        opens_ns: np.ndarray | None = None,
        last_bar: pd.Timestamp | None = None,
        overlaps: bool = False,
    ) -> CandleFeed:
        """`opens_ns` are the bars' opening times, `[n]` in ns since 1970, by default those that
        their spacing tells; `last_bar` is that of the symbol's data, where `frame` is only a part
        of them; `overlaps` says whether some bar is open while another symbol's closes."""
        params: dict[str, Any] = {
            "frame": frame, "clock": clock, "opens_ns": opens_ns, "last_bar": last_bar,
            "overlaps": overlaps,
        }  # fmt: skip
        return cls(**params)  # Backtrader takes them out before __init__

    def __init__(self) -> None:
        super().__init__()
        frame, last_bar, opens_ns = self.p.frame, self.p.last_bar, self.p.opens_ns
        # a strategy is to see delivered bars only
        self.p.frame = self.p.last_bar = self.p.opens_ns = None
        self._run_clock: Clock = self.p.clock  # `_clock` is a word of Backtrader's
        self._values = values_of(frame)
        self._times_ns: list[int] = times_ns(frame).tolist()
        known_opens = opening_times(frame.index) if opens_ns is None else opens_ns
        self._opens_ns: list[int] = known_opens.tolist()
        self.overlaps: bool = self.p.overlaps
        self._ends_ns = self._times_ns[-1] if last_bar is None else max(
            last_bar.value, self._times_ns[-1]
        )  # fmt: skip
        self._row = -1
        self._bar_ns: int | None = None
        self._next_ns: int | None = self._times_ns[0]
        self._ever_traded = False
        self.last_close = NAN  # as `close[0]`, without Backtrader's way to it

    # Backtrader's `==` compares current closes, so two symbols at one price would be the same one.
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    @property
    def symbol(self) -> str:
        return str(self._name)

    @property
    def asof(self) -> pd.Timestamp | None:
        """The close time of the latest bar delivered, None before the first."""
        return None if self._bar_ns is None else pd.Timestamp(self._bar_ns, tz="UTC")

    @property
    def has_bar(self) -> bool:
        """Whether this symbol has a bar that closes now; else its lines repeat an older one."""
        return self._bar_ns is not None and self._bar_ns == self._run_clock.now_ns

    @property
    def opened_ns(self) -> int:
        """When the latest bar opened, in ns since 1970; `NEVER` before the first."""
        return NEVER if self._row < 0 else self._opens_ns[self._row]

    @property
    def bar(self) -> Bar:
        """The prices of the latest bar."""
        return Bar(*self._values[self._row, : CLOSE + 1].tolist())

    @property
    def ended(self) -> bool:
        """Whether the symbol's last bar lies in the past, so that none will come."""
        now_ns = self._run_clock.now_ns
        return now_ns is not None and self._ends_ns < now_ns

    @property
    def has_volume(self) -> bool:
        """Whether any bar so far had a volume: else it is not known."""
        return self._ever_traded

    def bars_before(self, bars: int) -> np.ndarray:
        """Up to `bars` bars before the latest one, oldest first, `[n, 6]` in schema order."""
        return self._values[max(0, self._row - bars) : max(0, self._row)]

    def addfilter(self, *_: Any, **__: Any) -> None:
        """Backtrader's way to change bars before a strategy sees them, `resample` among others."""
        raise StrategyError(NO_RESAMPLING)

    addfilter_simple = resample = replay = addfilter

    def start(self) -> None:
        super().start()
        names = (*COLUMNS, "openinterest", "datetime")
        self._lines_moved = [getattr(self.lines, name) for name in names]
        assert len(names) == len(self.lines.lines)
        assert all(line.mode == line.UnBounded for line in self._lines_moved)

    def deliver(self) -> bool:
        """Put the bar that closes now on the lines; False where there is none."""
        now_ns = self._next_ns
        if now_ns is None or now_ns != self._run_clock.now_ns:
            return False
        self._row += 1
        bar = self._values[self._row].tolist()
        for line, value in zip(self._lines_moved, (*bar, NAN, NAN), strict=True):
            line._idx += 1  # what its `forward` does at five times the cost
            line.lencount += 1
            line.array.append(value)
        self.lines.datetime[0] = self._run_clock.days
        self._bar_ns, self.last_close = now_ns, bar[CLOSE]
        self._ever_traded = self._ever_traded or bar[VOLUME] > 0
        following = self._row + 1
        self._next_ns = self._times_ns[following] if following < len(self._times_ns) else None
        return True
