"""A replay exchange inside a Python program, in a thread of its own: for tests and notebooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import date

from feeds import Candles
from sandbox.replay.faults import NONE, FaultPlan
from sandbox.replay.market import Markets
from sandbox.replay.server import HOST, Exchange, listening


class Served:
    """An exchange that is being served."""

    def __init__(self, exchange: Exchange, port: int, stop: asyncio.Event) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self.port = port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def now_ns(self) -> int:
        """The exchange's clock, in nanoseconds since 1970."""
        return self._exchange.clock.now_ns

    @property
    def ended(self) -> bool:
        """Whether the last bar has closed."""
        return self._exchange.pace.ended

    @property
    def fault_counts(self) -> dict[str, int]:
        """How many faults of each kind clients have met so far; a kind without any is left out."""
        return dict(self._exchange.faults.counts)

    def stop(self) -> None:
        """Nobody is served any more; connections are closed. More than once is as good as once."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def serving(
    candles: Candles,
    *,
    speed: float | None = None,
    start: date | None = None,
    end: date | None = None,
    faults: FaultPlan | None = None,
    port: int = 0,
) -> Iterator[Served]:
    """Candles as an exchange on this machine, while the block runs.

    speed: seconds of the exchange in a second here; None: as fast as the client keeps up. start,
    end: first and last day that is replayed; bars before are history, by default the first 600 bar
    times or half of all. faults: what goes wrong; None: nothing.

    Raises ConfigError as `Markets.of` does, and for a port in use.
    """
    markets = Markets.of(candles, start, end)
    exchange = Exchange(markets, speed, lambda done, bars: None, faults or NONE)
    ready: Future[Served] = Future()
    serve = _serve(exchange, port, ready)
    thread = threading.Thread(target=asyncio.run, args=(serve,), daemon=True)
    thread.start()
    served = ready.result()
    try:
        yield served
    finally:
        served.stop()
        thread.join()


async def _serve(exchange: Exchange, port: int, ready: Future[Served]) -> None:
    stop = asyncio.Event()
    try:
        async with listening(exchange, port) as found:
            ready.set_result(Served(exchange, found, stop))
            await stop.wait()
    except Exception as error:
        if ready.done():
            raise
        ready.set_exception(error)
