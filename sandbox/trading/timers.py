"""Which of Backtrader's timers make sense in a run, and which never came to their time.

A timer calls `notify_timer` at the first bar of a day that closes at its time or later.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import time

import backtrader as bt

from sandbox.errors import StrategyError


def check_timer(timer: bt.timer.Timer, *, begun: bool) -> None:
    """Refuses one that would never be called, and one that would look ahead."""
    when = _name(timer)
    if begun:
        raise StrategyError(f"add_timer({when}) after the start: add timers in __init__ or start")
    if timer.p.cheat:
        raise StrategyError(
            f"add_timer({when}, cheat=True) would decide in a bar that has closed and trade at its "
            "open, which is look-ahead: leave cheat out"
        )
    if timer.p.when == bt.timer.SESSION_END and not isinstance(timer.p.when, time):
        raise StrategyError(
            "add_timer(SESSION_END): that a bar is the last of its session is not known before the "
            "next one; name the closing time with when=datetime.time(...), UTC, or decide in next "
            "when self.due"
        )


def idle_timers(timers: Iterable[bt.timer.Timer]) -> tuple[str, ...]:
    """Those that were never called, in words."""
    return tuple(_name(timer) for timer in timers if not hasattr(timer, "lastwhen"))


def _name(timer: bt.timer.Timer) -> str:
    words = {bt.timer.SESSION_START: "SESSION_START", bt.timer.SESSION_END: "SESSION_END"}
    when = timer.p.when
    return f"when={when:%H:%M}" if isinstance(when, time) else words.get(when, f"when={when}")
