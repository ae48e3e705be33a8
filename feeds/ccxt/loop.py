"""An event loop in a thread of its own: for an asynchronous client among code that waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")
CLOSE_SECS = 5.0  # that tasks get to end


class Loop:
    """Runs coroutines until it is closed; never keeps the program from ending."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        self._thread = threading.Thread(target=self._run, name="ccxt feed", daemon=True)
        self._thread.start()
        self.on_failure: Callable[[BaseException | None], None] | None = None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result, or its error; an interrupt while it runs cancels it."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it beside whatever else runs."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call it in the loop's thread; not at all once the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def close(self) -> None:
        """Cancel what still runs, end the thread. More than once is as good as once."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(CancelledError, TimeoutError):
            asyncio.run_coroutine_threadsafe(_end_others(), self._loop).result(CLOSE_SECS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody awaits: ccxt's reader of a socket dies so over a frame that is no JSON."""
        if self.on_failure is not None and "handle" in context:
            self.on_failure(context.get("exception"))


async def _end_others() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # transports that were closed say so in the next round
