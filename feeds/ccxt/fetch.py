"""Asks for pages until a symbol is known up to some time, patient with faults.

Pages are asked for one after the other, each from the last certain candle on; ccxt's own paging is
not used: it leaves out pages that fail.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ..errors import BusyError, ExchangeError, UnreachableError
from .exchange import Exchange, Timing
from .frontier import Frontier, Taken
from .markets import Market
from .pages import Row

T = TypeVar("T")
AT_ONCE = 8  # requests at a time


class Patience:
    """How long to wait after each failure: longer every time, never the same for two that wait."""

    def __init__(self, timing: Timing, chance: Callable[[], float] | None = None) -> None:
        self._timing = timing
        self._chance = chance or random.Random().random  # the shared one may be a strategy's
        self.failures = 0

    def pause_secs(self, error: ExchangeError) -> float:
        """After one more failure."""
        doubled = self._timing.first_pause_secs * 2.0 ** min(self.failures, 30)
        self.failures += 1
        pause = min(self._timing.longest_pause_secs, doubled) * (0.5 + self._chance() / 2)
        asked = error.after_s if isinstance(error, BusyError) else None
        return max(pause, asked or 0.0)

    def served(self) -> None:
        """All is well again."""
        self.failures = 0


async def insist(exchange: Exchange, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The answer, asked for again a few times where the exchange fails; then its last error."""
    patience = Patience(exchange.timing)
    while True:
        try:
            return await request()
        except ExchangeError as error:
            pause = patience.pause_secs(error)
            if patience.failures >= exchange.timing.tries:
                raise UnreachableError(
                    f"{exchange.name}: {error}; asked {patience.failures} times: is the network "
                    "there, and is that the right exchange?",
                    source=exchange.name,
                ) from error
            await asyncio.sleep(pause)


def certain_ns(exchange: Exchange, asked_ns: int, length_ns: int) -> int:
    """What closed up to here had settled when the exchange's clock showed `asked_ns`. On a clock
    that jumps a bar has settled a bar later, or once the clock has come to its end."""
    clock = exchange.clock
    if clock.speed is None:
        return asked_ns if clock.stands else asked_ns - length_ns
    return asked_ns - int(exchange.timing.settle_secs * clock.speed * 1e9)


def frontier_of(
    exchange: Exchange, length_ns: int, reached_ns: int, anchor: Row | None = None
) -> Frontier:
    """A frontier for the candles of an exchange with such a clock."""
    return Frontier(length_ns, reached_ns, anchor, jumps=exchange.clock.speed is None)


async def turn(
    exchange: Exchange, market: Market, timeframe: str, frontier: Frontier
) -> tuple[Taken, bool]:
    """Ask for one page and take it; also whether the page may have more behind it."""
    asked_ns = exchange.clock.now_ns
    certain = certain_ns(exchange, asked_ns, frontier.length_ns)
    ask = frontier.ask(asked_ns, exchange.page_limit(market.type))
    page = await exchange.page(market.symbol, timeframe, ask)
    if page.rows:
        exchange.clock.saw(page.rows[-1].opened_ns)
    return frontier.take(page, certain), page.full


async def read_until(
    exchange: Exchange,
    market: Market,
    timeframe: str,
    frontier: Frontier,
    until_ns: int,
    take: Callable[[Sequence[Row]], object],
) -> None:
    """Hand all candles up to `until_ns` to `take` as they become certain; later ones may come too.

    Raises ExchangeError where the exchange fails again and again.
    """
    while frontier.reached_ns < until_ns:
        taken, _ = await insist(exchange, lambda: turn(exchange, market, timeframe, frontier))
        if taken.candles:
            take(taken.candles)
        elif exchange.clock.speed is None:
            await asyncio.sleep(0.02)
            await insist(exchange, exchange.read_clock)
        elif not taken.in_doubt and frontier.reached_ns < until_ns:
            await asyncio.sleep(exchange.timing.first_pause_secs)


async def side_by_side(jobs: Sequence[Coroutine[Any, Any, T]], at_once: int = AT_ONCE) -> list[T]:
    """The results of all jobs, so many at a time; the first error ends the others."""
    room = asyncio.Semaphore(at_once)

    async def one(job: Coroutine[Any, Any, T]) -> T:
        try:
            async with room:
                return await job
        finally:
            job.close()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job)) for job in jobs]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
