"""Strategies tried in processes that hold the candles of one trial and nothing else.

`Trials` starts one process, as a run is started and with a run's command line, which imports what a
run imports and never sees a candle. For each trial it forks a process, which gets its candles and
forecasts through a pipe of its own and goes on as a run does: `portfolios.backtests`. So a strategy
finds there what it would find in a run, whatever it searches: memory, stack, modules, command line.

The process that asks for trials loads the candles, alters them and makes the forecasts.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from sandbox.cli import TRIALS_SOCKET
from sandbox.errors import SandboxError, StrategyError
from sandbox.run.portfolios import Portfolio, Stopped, Traded, Trading, backtests
from sandbox.run.reads import is_library

ROOT = Path(__file__).resolve().parents[2]
IMPORT, TRIAL = b"i", b"t"
NEVER_IN_A_RUN = "sandbox.lookahead"  # the room of the proof itself

Asked = TypeVar("Asked")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one process gets: a portfolio, and all it may know of the market."""

    portfolio: Portfolio
    trading: Trading
    times: int = 1  # that it is traded in the same process


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A trial that an error ended."""

    shown: SandboxError  # what a user reads
    stopped: Stopped | None  # of a strategy's own error


Result = list[Traded] | Failed


class Trials:
    """The process that forks a process for each trial; one for as many proofs as there are."""

    def __init__(self, argv: Sequence[str] = ()) -> None:
        """`argv` is the command line of the run that would be the same."""
        self._was_asked = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.run", *argv],
                env=_environment(os.environ, theirs.fileno()),
                pass_fds=[theirs.fileno()],
                preexec_fn=_leave_signals_to_us,
            )

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()  # it ends when it reads that
        if not self._was_asked:  # it may still be importing
            self._process.kill()
        self._process.wait()

    def import_as_here(self) -> None:
        """Have it import the libraries that this process has: a run would have them, too."""
        connection = self._asked(IMPORT, _libraries())
        with contextlib.closing(connection), contextlib.suppress(EOFError, OSError):
            connection.recv()

    def run(self, trial: Trial) -> Result:
        return self._result(self._asked(TRIAL, trial))

    def ordered(
        self, asked: Iterable[Asked], trial_of: Callable[[Asked], Trial], at_once: int
    ) -> Iterator[tuple[Asked, Result]]:
        """The results of trials in their order, some of which run beside each other.

        Trials are made only a little ahead of the results that are taken.
        """
        running: list[tuple[Asked, Connection]] = []
        left = iter(asked)
        try:
            while True:
                while len(running) < at_once and (following := next(left, None)) is not None:
                    running.append((following, self._asked(TRIAL, trial_of(following))))
                if not running:
                    return
                what, connection = running.pop(0)
                yield what, self._result(connection)
        finally:
            for _, connection in running:
                connection.close()

    def _asked(self, kind: bytes, what: Trial | list[str]) -> Connection:
        self._was_asked = True
        ours, theirs = socket.socketpair()
        connection = Connection(ours.detach())
        try:
            with theirs:
                socket.send_fds(self._socket, [kind], [theirs.fileno()])
            connection.send(what)
        except OSError:
            connection.close()
            raise StrategyError(_gone("could not be started")) from None
        return connection

    def _result(self, connection: Connection) -> Result:
        with contextlib.closing(connection):
            try:
                result: Result = connection.recv()
            except (EOFError, OSError):
                raise StrategyError(_gone("ended without a result")) from None
        return result


def serve(number: int) -> int:
    """Fork a process for each trial that the socket asks for, until nobody asks any more."""
    importlib.import_module("sandbox.run.job")
    _ = is_library("")  # finds out once where libraries are
    gc.collect()
    gc.freeze()  # what is forked searches none of this for garbage, which would copy it
    children: set[int] = set()
    with socket.socket(fileno=number) as asks:
        while (asked := socket.recv_fds(asks, 1, 1))[0]:
            connection = Connection(asked[1][0])
            if asked[0] == IMPORT:
                _import(connection)
            else:
                children.add(_forked(asks, connection))
            connection.close()
            children = {pid for pid in children if os.waitpid(pid, os.WNOHANG) == (0, 0)}
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return 0


def _forked(asks: socket.socket, connection: Connection) -> int:
    with warnings.catch_warnings():  # from 3.12 on, of threads: what is forked uses none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        try:
            asks.close()
            for ended_by in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(ended_by, signal.SIG_DFL)
            connection.send(_tried(connection.recv()))
        finally:
            os._exit(0)
    return pid


def _tried(trial: Trial) -> Result:
    """As a run does it, with what the trial holds."""
    try:
        plan = [trial.portfolio] * trial.times
        return backtests(plan, trial.trading, lambda *_: None, most=1)
    except SandboxError as error:
        return Failed(shown=error, stopped=error.stopped)
    except Exception as error:
        what = f"{trial.portfolio.name}: {type(error).__name__}: {error}"
        return Failed(shown=SandboxError(what), stopped=None)


def _import(connection: Connection) -> None:
    for name in connection.recv():
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    with contextlib.suppress(OSError):
        connection.send(None)


def _libraries() -> list[str]:
    """The modules of this process that are no strategy's and not the proof's own."""
    names = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and not name.startswith((NEVER_IN_A_RUN, "__")) and is_library(path):
            names.append(name)
    return names


def _environment(given: Mapping[str, str], socket_number: int) -> dict[str, str]:
    """That of a run in this place; the way to the sandbox is added only where it needs one."""
    paths = [str(Path.cwd()), *given.get("PYTHONPATH", "").split(os.pathsep)]
    way = {} if str(ROOT) in paths or is_library(str(ROOT)) else {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), given.get("PYTHONPATH")]))
    }  # fmt: skip
    return {**given, **way, TRIALS_SOCKET: str(socket_number)}


def _leave_signals_to_us() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _gone(what: str) -> str:
    return (
        f"the process of a trial {what}: it was killed, perhaps because memory ran out, or "
        "something in the strategy calls os._exit"
    )
