"""The forecasts of a paper account: made when a strategy first asks for one at a bar, then kept.

The first question at a bar has all symbols with a bar forecast as one batch. What failed, or came
after its time, is kept as such: it is no forecast, and nothing is ordered of that symbol at that
bar. When an account is gone through again, what it kept is handed out and nothing is computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd

from feeds import COLUMNS, times_ns, values_of
from feeds.bars import frame_of
from kronos import Forecast
from sandbox.config import Sampling
from sandbox.forecast.book import SignalSource, history_bars
from sandbox.forecast.calibrated import CalibratedSource
from sandbox.forecast.naive import NAIVE
from sandbox.paper.account import Event, MadeForecast
from sandbox.trading.clock import NEVER
from sandbox.trading.feed import CandleFeed
from sandbox.trading.schedule import period_of
from sandbox.trading.source import BarTime, Candle

FAILED, LATE, NOTE = "forecast failed", "forecast late", "forecasts"  # kinds of events


class LatestBar(NamedTuple):
    """A symbol's last bar, as it is shown."""

    time_ns: int  # when it closed
    close: float
    change: float | None  # of the close since the bar before, as a share


class PaperForecasts:
    """What a strategy asks; `begin` is called with each bar time before the strategy is.

    rebalance: the strategy's parameter: there are forecasts at the first bar of each period alone,
    as in a backtest. too_late: why the forecasts of the current bar come too late now, if they do.
    """

    def __init__(
        self,
        source: SignalSource,
        sampling: Sampling,
        rebalance: str,
        *,
        too_late: Callable[[], str | None],
    ) -> None:
        self.times_asked = 0
        self.events: list[Event] = []  # of the current bar
        self.made: list[MadeForecast] = []  # of the current bar, to be kept
        self.shown: dict[str, Forecast] = {}  # of the latest bar that any were asked for
        self.why_missing: dict[str, str] = {}  # of symbols without one then
        self._source = source
        self._sampling = sampling
        self._rebalance = rebalance
        self._too_late = too_late
        self._bars_kept = history_bars(source, sampling)
        self._needs_all = isinstance(source, CalibratedSource)  # symbols' bars, for each forecast
        self._notes: tuple[str, ...] = ()  # of the last batch
        self._bars: dict[str, deque[tuple[int, Candle]]] = {}
        self._kept_at: Callable[[int], Sequence[MadeForecast]] | None = None
        self._forecasts: Mapping[str, Forecast] = {}
        self._now_ns = self._before_ns = NEVER
        self._due = False
        self._asked_now = False
        self._withheld: frozenset[str] = frozenset()

    def load(self, frames: Mapping[str, pd.DataFrame], until_ns: int) -> None:
        """The bars of before the start, up to a time in ns since 1970: of each symbol as many as a
        forecast depends on."""
        for symbol, frame in frames.items():
            before = frame.loc[: pd.Timestamp(until_ns, tz="UTC")].tail(self._bars_kept)
            values = values_of(before).tolist()
            bars = zip(times_ns(before).tolist(), values, strict=True)
            self._bars[symbol] = deque(
                ((time_ns, Candle(NEVER, *row)) for time_ns, row in bars),
                maxlen=self._bars_kept,
            )

    def rehearse(self) -> None:
        """Forecast once and forget it: weights are read and buffers made before a bar waits for it.
        What fails here fails at the bar, too, and is told then."""
        last_ns = max((bars[-1][0] for bars in self._bars.values() if bars), default=NEVER)
        symbols = self._ready(last_ns)
        if symbols and not self._is_naive:
            with suppress(Exception):
                self._batch(symbols, last_ns)
        self._notes = ()

    def begin(
        self, bar: BarTime, *, traded: bool, kept: Callable[[int], Sequence[MadeForecast]] | None
    ) -> None:
        """A bar time closes; `traded`: after the warm-up. `kept` hands out what there was of a
        bar time that is gone through again; None: forecasts are made."""
        if traded:
            for symbol, candle in bar.bars.items():
                self._bars[symbol].append((bar.time_ns, candle))
        self.made, self.events = [], []
        self._now_ns, self._asked_now, self._withheld = bar.time_ns, False, frozenset()
        self._forecasts, self._kept_at = {}, kept
        self._due = traded and self._begins_a_period()
        if traded:
            self._before_ns = bar.time_ns

    def forecast(self, data: CandleFeed) -> Forecast | None:
        """As of the symbol's current bar; None without a bar now, with too few bars, off the
        schedule, or where it failed or came too late."""
        self.times_asked += 1
        if not self._asked_now:
            self._asked_now = True
            if self._due:
                self._forecasts = self._made_or_kept()
        return self._forecasts.get(data.symbol)

    def withheld(self, data: CandleFeed) -> bool:
        """Whether the symbol has no forecast now where it should have one."""
        return data.symbol in self._withheld

    def latest_bars(self) -> dict[str, LatestBar]:
        """The last bar of each symbol."""
        return {
            symbol: LatestBar(
                time_ns=bars[-1][0],
                close=bars[-1][1].close,
                change=bars[-1][1].close / bars[-2][1].close - 1 if len(bars) > 1 else None,
            )
            for symbol, bars in self._bars.items()
            if bars
        }

    @property
    def _is_naive(self) -> bool:
        """Whether its forecasts cost nothing to make again, so that none is kept."""
        return self._source.name in NAIVE

    def _begins_a_period(self) -> bool:
        if self._before_ns == NEVER:
            return True
        now, before = (period_of(at, self._rebalance) for at in (self._now_ns, self._before_ns))
        return bool(now != before)

    def _made_or_kept(self) -> dict[str, Forecast]:
        symbols = self._ready(self._now_ns)
        if not symbols:
            return {}
        if self._kept_at is None:
            forecasts, missing = self._of_now(symbols)
        else:
            forecasts, missing = self._of_before(symbols, self._kept_at(self._now_ns))
        self._withheld, self.why_missing = frozenset(missing), missing
        self.shown = forecasts or self.shown
        return forecasts

    def _ready(self, time_ns: int) -> list[str]:
        """The symbols with a bar that closed then, and bars enough."""
        return [
            symbol
            for symbol, bars in self._bars.items()
            if bars and bars[-1][0] == time_ns and len(bars) >= self._sampling.lookback
        ]

    def _of_before(
        self, symbols: Sequence[str], kept: Sequence[MadeForecast]
    ) -> tuple[dict[str, Forecast], dict[str, str]]:
        by_symbol = {made.symbol: made for made in kept}
        if self._is_naive:  # only what was missing is kept
            forecasts, failed = self._computed([s for s in symbols if s not in by_symbol])
            return forecasts, failed | {s: made.missing or "" for s, made in by_symbol.items()}
        forecasts = {
            symbol: self._restored(made)
            for symbol in symbols
            if (made := by_symbol.get(symbol)) and made.paths is not None
        }
        return forecasts, {
            symbol: (made.missing if (made := by_symbol.get(symbol)) else None) or "it was not kept"
            for symbol in symbols
            if symbol not in forecasts
        }

    def _restored(self, made: MadeForecast) -> Forecast:
        shape = self._sampling.samples, self._sampling.horizon, len(COLUMNS)
        future_ns = np.frombuffer(made.future_ns or b"", "<i8").astype(np.int64)
        return Forecast(
            symbol=made.symbol,
            asof=pd.Timestamp(made.asof_ns, tz="UTC"),
            close=self._bars[made.symbol][-1][1].close,
            index=pd.DatetimeIndex(future_ns, tz="UTC"),
            paths=np.frombuffer(made.paths or b"", "<f4").astype(np.float32).reshape(shape),
        )

    def _of_now(self, symbols: Sequence[str]) -> tuple[dict[str, Forecast], dict[str, str]]:
        forecasts, failed = self._computed(symbols)
        if late := self._too_late():
            self.events.append(Event(LATE, late, None, self._now_ns))
            failed |= dict.fromkeys(forecasts, late)
            forecasts = {}
        kept = [] if self._is_naive else [_kept(forecast) for forecast in forecasts.values()]
        missing = [MadeForecast(s, self._now_ns, None, None, why) for s, why in failed.items()]
        self.made = [*kept, *missing]
        return forecasts, failed

    def _computed(self, symbols: Sequence[str]) -> tuple[dict[str, Forecast], dict[str, str]]:
        """Forecasts, and why there are none of others: a batch that fails is tried one by one."""
        if not symbols:
            return {}, {}
        try:
            return self._batch(symbols, self._now_ns), {}
        except Exception as error:
            if len(symbols) == 1 or self._needs_all:
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self.events += [Event(FAILED, why, symbol, self._now_ns) for symbol in symbols]
                return {}, dict.fromkeys(symbols, why)
        forecasts: dict[str, Forecast] = {}
        failed: dict[str, str] = {}
        for symbol in symbols:
            own, its_failure = self._computed([symbol])
            forecasts |= own
            failed |= its_failure
        return forecasts, failed

    def _batch(self, symbols: Sequence[str], asof_ns: int) -> dict[str, Forecast]:
        """A calibrated forecast depends on all symbols' bars, of which it sees enough itself."""
        frames = {}
        for symbol in self._bars if self._needs_all else symbols:
            if not self._bars[symbol]:
                continue
            closes_ns, candles = zip(*self._bars[symbol], strict=True)
            frames[symbol] = frame_of(closes_ns, [candle[1:] for candle in candles])
        asof = pd.DatetimeIndex([pd.Timestamp(asof_ns, tz="UTC")])
        book = self._source.book(frames, self._sampling, asof)
        shown = book.as_of(asof_ns)
        assert shown is not None
        if book.notes != self._notes:
            self._notes = book.notes
            self.events += [Event(NOTE, note, None, asof_ns) for note in book.notes]
        made = {symbol: shown.of(symbol) for symbol in symbols}
        return {symbol: forecast for symbol, forecast in made.items() if forecast is not None}


def _kept(forecast: Forecast) -> MadeForecast:
    return MadeForecast(
        symbol=forecast.symbol,
        asof_ns=forecast.asof.value,
        future_ns=forecast.index.as_unit("ns").asi8.astype("<i8").tobytes(),
        paths=np.ascontiguousarray(forecast.paths, "<f4").tobytes(),
        missing=None,
    )
