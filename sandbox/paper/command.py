"""The command from its options to its run folder."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from feeds.ccxt import After, Feed, Row, open_feed
from feeds.errors import UnreachableError
from sandbox.config import RunConfig
from sandbox.errors import AccountError
from sandbox.paper import account as accounts
from sandbox.paper.account import AccountFile
from sandbox.paper.dashboard import dashboard
from sandbox.paper.folder import LEAST_BARS, write_run_folder
from sandbox.paper.opening import (
    default_path,
    on_account,
    opened_account,
    recorded_terms,
    the_strategy,
)
from sandbox.paper.session import Limits, Outcome, Session
from sandbox.paper.stopping import stopping_softly
from sandbox.paper.terms import REPLAY, exchange_kind
from sandbox.paper.trader import Signals, Trader
from sandbox.paper.view import Quiet, Terminal, View
from sandbox.progress import Bar, Progress, progress_bar
from sandbox.run.__main__ import show
from sandbox.words import counted

Tell = Callable[[str, str], None]  # of an event's kind and its text
FIRST_PAUSE_SECS, LONGEST_PAUSE_SECS = 2.0, 60.0  # before an exchange is asked again

# Options of the command that a backtest on the recorded candles does not take, with how many values
NOT_OF_A_RUN: Mapping[str, int] = {
    "--exchange": 1, "--symbols": 1, "--timeframe": 1, "--state": 1, "--bars": 1, "--once": 0,
    "--dashboard": 1, "--quiet": 0, "--out": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is asked for besides the options of a run."""

    exchange: str
    symbols: list[str] | None
    timeframe: str | None
    state: Path | None
    bars: int | None
    once: bool
    port: int | None  # of the dashboard
    quiet: bool
    out: Path | None
    given: tuple[str, ...]  # the whole command line


def trade_on_paper(config: RunConfig, command: Command) -> None:
    """Trade until there is a reason to stop, then write a run folder."""
    strategy = the_strategy(config)
    path = command.state or default_path(strategy.name, command.exchange, command.timeframe)
    config = on_account(config, path)
    with accounts.locked(path), ExitStack() as stack:
        before: Mapping[str, Any] = recorded_terms(path) or {}
        symbols = command.symbols or before.get("symbols")
        timeframe = command.timeframe or before.get("timeframe")
        patient = bool(before) and exchange_kind(command.exchange) != REPLAY
        feed = stack.enter_context(_reached(command.exchange, symbols, timeframe, patient=patient))
        opened = stack.enter_context(opened_account(config, strategy, feed, path))
        account = opened.account
        sessions: list[Session] = []
        trader = Trader(
            opened.traded, opened.candles, Signals(
                source=opened.forecaster.source,
                too_late=lambda: sessions[0].too_late() if sessions else None,
            ), account,
        )  # fmt: skip
        with _bar(command)("Going through the account", "bars") as progress:
            trader.restore(progress)
        trader.forecasts.rehearse()
        shown = stack.enter_context(ExitStack())
        view: View = Quiet(path) if command.quiet else Terminal()
        shown.enter_context(view)
        tell = view.log if command.quiet else _on_screen
        if command.port is not None:
            address = stack.enter_context(dashboard(path, command.port))
            tell("dashboard", f"dashboard on {address}")
        session = Session(trader, account, feed, view, Limits(command.bars, once=command.once))
        sessions.append(session)
        outcome = _sit(session, feed, trader, account)
        if not command.quiet:
            shown.close()  # the picture; what comes now goes below it
        tell("stopped", _in_words(outcome, trader, path))
        _write_folder(config, command, trader, account, tell)


def _on_screen(_: str, text: str) -> None:
    print(text, flush=True)


def _bar(command: Command) -> Bar:
    """What shows progress, or nothing that does."""
    return _no_bar if command.quiet else progress_bar


@contextmanager
def _no_bar(label: str, unit: str) -> Iterator[Progress]:
    yield lambda done, total: None


def _reached(
    exchange: str, symbols: list[str] | None, timeframe: str | None, *, patient: bool
) -> Feed:
    """The feed; with `patient` an exchange that does not answer is asked until it does."""
    since, pause = time.time(), FIRST_PAUSE_SECS
    while True:
        try:
            return open_feed(exchange, symbols, timeframe)
        except UnreachableError as error:
            if not patient:
                raise
            print(
                f"no answer since {_utc(int(since * 1e9))}: {error}; again in {pause:.0f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECS)


def _sit(session: Session, feed: Feed, trader: Trader, account: AccountFile) -> Outcome:
    after = after_account(account, trader.last_ns, feed.length_ns)
    with stopping_softly() as stop, feed.live(after) as live:
        clock_ns = live.status().clock_ns
        if clock_ns + feed.length_ns < trader.last_ns:
            raise AccountError(
                f"{account.path} has traded up to {_utc(trader.last_ns)}, and on {feed.exchange} "
                f"it is {_utc(clock_ns)}: it is another replay, or one that began anew; open "
                "another account with --state FILE"
            )
        return session.run(live, stop)


def after_account(account: AccountFile, last_ns: int, length_ns: int) -> After:
    """What an exchange is asked for next: what came after the bars that an account has."""
    last = {
        symbol: Row(time_ns - length_ns, *candle[1:])
        for symbol, (time_ns, candle) in account.last_bars().items()
    }
    return After(last_ns, last, frozenset(account.ended()))


def _in_words(outcome: Outcome, trader: Trader, path: Path) -> str:
    words = f"{path}: {outcome.why}; {counted(outcome.bars, 'bar')} in this sitting"
    if outcome.caught_up:
        words += f", {outcome.caught_up:,} of them closed while nothing was running"
    return f"{words}, {trader.bars_traded:,} in all"


def _write_folder(
    config: RunConfig, command: Command, trader: Trader, account: AccountFile, tell: Tell
) -> None:
    if command.once and command.out is None:
        return
    if trader.bars_traded < LEAST_BARS:
        tell("report", f"no run folder yet: a report needs {LEAST_BARS} bars")
        return
    finished = write_run_folder(config, trader, account, out=command.out, bar=_bar(command))
    if command.quiet:
        tell("report", f"report: {finished.folder / 'report.html'}")
    else:
        show(finished, Console())
    proof = proof_command(command.given, config)
    tell("proof", f"The same candles in a backtest: {proof}")


def proof_command(given: tuple[str, ...], config: RunConfig) -> str:
    """The backtest that gives the same trades.csv and equity.csv."""
    kept: list[str] = []
    skip = 0
    for word in given:
        name, equals, _ = word.partition("=")
        if skip:
            skip -= 1
        elif name in NOT_OF_A_RUN:
            skip = 0 if equals else NOT_OF_A_RUN[name]
        else:
            kept.append(word)
    return shlex.join(
        ["python", "-m", "sandbox.run", *kept, "--data", config.candles.data, "--store", "none"]
    )


def _utc(time_ns: int) -> str:
    return f"{pd.Timestamp(time_ns, tz='UTC'):%Y-%m-%d %H:%M}"
