"""One symbol's bars as a Backtrader data feed that holds nothing later than the current bar.

Backtrader reads one bar ahead of every feed to find out whose turn it is, and keeps what it read
where `data.close[1]` finds it. Here the engine delivers a bar once it has closed, and no feed knows
where bars come from.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from feeds import COLUMNS
from sandbox.errors import StrategyError
from sandbox.trading.clock import NEVER, Clock
from sandbox.trading.costs import LIQUIDITY_BARS
from sandbox.trading.matching import Bar
from sandbox.trading.source import Candle

NAN = float("nan")
BARS_KEPT = LIQUIDITY_BARS  # before the latest one, for what looks back from a fill
NO_RESAMPLING = (
    "longer bars are not made of shorter ones here: give them as a series of their own beside the "
    "shorter ones, such as BTC-1h.csv and BTC-1d.csv with --data 'csv:candles/*.csv', and read "
    "self.getdatabyname('BTC-1d')"
)


class CandleFeed(bt.feed.DataBase):  # type: ignore[misc]
    """The bars of one symbol up to now. The engine calls `deliver` with each that closes.

    `overlaps` says whether its bars are open while another symbol's close.
    """

    lines: Any = ("amount",)
    params = (("clock", None), ("overlaps", False))

    @classmethod
    def of(cls, clock: Clock, *, overlaps: bool = False) -> CandleFeed:
        params: dict[str, Any] = {"clock": clock, "overlaps": overlaps}
        return cls(**params)  # Backtrader takes them out before __init__

    def __init__(self) -> None:
        super().__init__()
        self._run_clock: Clock = self.p.clock  # `_clock` is a word of Backtrader's
        self.overlaps: bool = self.p.overlaps
        self.ended = False  # whether it is known that no bar will come
        self.is_member = True  # of its universe now: if not, it can only be sold
        self.last_close = NAN  # as `close[0]`, without Backtrader's way to it
        self._bar_ns: int | None = None  # when the latest bar closed
        self._latest = Candle(NEVER, NAN, NAN, NAN, NAN, NAN, NAN)
        self._recent: deque[Candle] = deque(maxlen=BARS_KEPT + 1)  # the latest one last
        self._ever_traded = False

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
    def bar(self) -> Bar:
        """The prices of the latest bar."""
        return Bar(*self._latest[1:5])

    @property
    def opened_ns(self) -> int:
        """When the latest bar opened, in ns since 1970."""
        return self._latest.opened_ns

    @property
    def has_volume(self) -> bool:
        """Whether any bar so far had a volume: else it is not known."""
        return self._ever_traded

    def bars_before(self, bars: int) -> np.ndarray:
        """Up to `bars` bars before the latest one, oldest first, `[n, 6]` in schema order; the
        last `BARS_KEPT` at most."""
        before = list(self._recent)[-1 - bars : -1]
        return np.array([candle[1:] for candle in before], np.float64).reshape(-1, len(COLUMNS))

    def addfilter(self, *_: Any, **__: Any) -> None:
        """Backtrader's way to change bars before a strategy sees them, `resample` among others."""
        raise StrategyError(NO_RESAMPLING)

    addfilter_simple = resample = replay = addfilter

    def start(self) -> None:
        super().start()
        names = (*COLUMNS, "openinterest", "datetime")
        lines = [getattr(self.lines, name) for name in names]
        assert len(names) == len(self.lines.lines)
        assert all(line.mode == line.UnBounded for line in lines)
        self._lines_moved = [(line, line.array.append) for line in lines]

    def deliver(self, candle: Candle) -> None:
        """Put the bar that closes now on the lines."""
        clock = self._run_clock
        values = (*candle[1:], NAN, clock.days)
        for (line, append), value in zip(self._lines_moved, values, strict=True):
            line._idx += 1  # what its `forward` does at five times the cost
            line.lencount += 1
            append(value)
        self._recent.append(candle)
        self._latest, self._bar_ns, self.last_close = candle, clock.now_ns, candle.close
        if not self._ever_traded:
            self._ever_traded = candle.volume > 0
