"""One sitting of a paper account: bars come from the feed, are traded, kept and shown."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from feeds.ccxt import Feed, Live, LiveBar, Row
from feeds.errors import FeedEnded
from sandbox.paper.account import AccountFile, Event
from sandbox.paper.snapshot import snapshot_of
from sandbox.paper.stopping import Stop
from sandbox.paper.trader import Trader
from sandbox.paper.view import Level, View
from sandbox.trading.source import BarTime, Candle
from sandbox.words import counted

POLL_SECS = 0.25  # how often it is looked whether to stop
STATUS_SECS = 1.0  # how often the account says how the connection is
WARNINGS = frozenset({"disconnected", "late", "retry", "revised", "forecast failed"})


@dataclass(frozen=True)
class Limits:
    """When a sitting ends by itself."""

    bars: int | None = None  # traded in this sitting
    _: KW_ONLY
    once: bool = False  # when all that had closed is traded


@dataclass(kw_only=True)
class Outcome:
    """How a sitting ended."""

    bars: int = 0  # traded in it
    caught_up: int = 0  # of them after their time
    why: str = ""


class Session:
    """Trades what the feed hands out until there is a reason to stop."""

    def __init__(
        self, trader: Trader, account: AccountFile, feed: Feed, view: View, limits: Limits
    ) -> None:
        self._trader = trader
        self._account = account
        self._feed = feed
        self._view = view
        self._limits = limits
        self._outcome = Outcome()
        self._said_at = 0.0  # when the status was written
        self._began_ns = 0  # the exchange's time then
        self._in_hand: LiveBar | None = None
        self._live: Live | None = None
        self._closed_ns = {symbol: time_ns for symbol, (time_ns, _) in account.last_bars().items()}

    def run(self, live: Live, stop: Stop) -> Outcome:
        """Raises AccountError where a bar cannot be kept, and what the feed or strategy raises."""
        self._live = live
        self._began_ns = live.status().clock_ns
        self._show(live, stopped=False)
        try:
            self._outcome.why = self._trade_on(live, stop)
        finally:
            self._in_hand = None
        self._note(live.events())
        self._show(live, stopped=True, at_once=True)
        return self._outcome

    def too_late(self) -> str | None:
        """Why the forecasts of the bar in hand come too late now: the next bar has closed as well,
        and it had not when this one came."""
        bar, length_ns = self._in_hand, self._feed.length_ns
        if bar is None or self._live is None or self._feed.speed is None:
            return None
        behind_ns = self._live.status().clock_ns - bar.time_ns
        if bar.clock_ns - bar.time_ns >= length_ns or behind_ns < length_ns:
            return None
        return (
            f"the forecasts were there {behind_ns / 1e9:,.1f} s after the close, when the next bar "
            "had closed: they are not used"
        )

    def _trade_on(self, live: Live, stop: Stop) -> str:
        """Why it stopped."""
        while not stop:
            if self._limits.bars is not None and self._outcome.bars >= self._limits.bars:
                return f"{counted(self._outcome.bars, 'bar')} traded, as asked"
            if self._limits.once and live.caught_up():
                return "all bars that have closed are traded"
            try:
                bar = live.next(timeout=POLL_SECS)
            except FeedEnded:
                return "all markets have ended"
            if bar is None:
                self._note(live.events())
            else:
                self._trade(bar, live)
            # where the clock jumps there are more bars than anybody reads
            self._show(live, stopped=False, at_once=bool(bar and self._feed.speed))
        return f"stopped by {stop.by}"

    def _trade(self, bar: LiveBar, live: Live) -> None:
        self._in_hand = bar
        caught_up = bar.time_ns + self._feed.length_ns <= self._began_ns
        candles = {name: self._candle(name, row, bar.time_ns) for name, row in bar.candles.items()}
        events = [Event(e.kind, e.text, e.symbol, bar.time_ns) for e in live.events()]
        done = self._trader.trade(
            BarTime(bar.time_ns, candles, bar.ended), caught_up=caught_up, events=events
        )
        self._outcome.bars += 1
        self._outcome.caught_up += caught_up
        for event in done.events:
            self._view.log(event.kind, event.text, level=_level(event.kind), symbol=event.symbol)
        for fill in done.step.fills:
            self._view.log(
                "fill", f"{fill.side} {abs(fill.size):g} {fill.symbol} at {fill.price:,.6g}",
                symbol=fill.symbol, side=fill.side, size=abs(fill.size), price=fill.price,
            )  # fmt: skip
        for symbol in bar.ended:
            self._view.log("ended", f"{symbol} is no longer traded", symbol=symbol)

    def _candle(self, symbol: str, row: Row, time_ns: int) -> Candle:
        """A candle as it is traded: it opens when the one before has closed, or later."""
        before_ns = self._closed_ns.get(symbol, row.opened_ns)
        self._closed_ns[symbol] = time_ns
        return Candle(max(row.opened_ns, before_ns), *row[1:])

    def _note(self, happened: Any) -> None:
        events = [Event(event.kind, event.text, event.symbol) for event in happened]
        self._account.add_events(events)
        for event in events:
            self._view.log(event.kind, event.text, level=_level(event.kind), symbol=event.symbol)

    def _show(self, live: Live, *, stopped: bool, at_once: bool = False) -> None:
        now = time.monotonic()
        if now - self._said_at < STATUS_SECS and not at_once:
            return
        self._said_at = now
        status = live.status()
        self._view.show(snapshot_of(self._trader, self._feed, status, self._account))
        self._account.set_status(self._status(status, stopped=stopped))

    def _status(self, status: Any, *, stopped: bool) -> Mapping[str, Any]:
        return {
            "connected": status.connected,
            "since_ns": status.since_ns,
            "clock_ns": status.clock_ns,
            "frontier_ns": status.frontier_ns,
            "next_close_ns": status.next_close_ns,
            "waiting_for": list(status.waiting_for),
            "speed": self._feed.speed,
            "ended": self._outcome.why == "all markets have ended",
            "stopped": stopped,
            "pid": os.getpid(),
        }


def _level(kind: str) -> Level:
    return "warning" if kind in WARNINGS else "info"
