"""The run folder of a paper account: that of a backtest on the candles that it recorded.

The strategy's own lines are those of the account's engine; its forecasts are those it had. The
benchmark, the controls and the run without costs are traded on the recorded candles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from feeds.members import NO_MEMBERS, Members
from sandbox.config import RunConfig, Sampling
from sandbox.errors import AccountError
from sandbox.forecast.book import ForecastBook, Forecasts, SignalSource
from sandbox.forecast.naive import NAIVE
from sandbox.forecast.paths import room_for_paths
from sandbox.forecast.windows import Calendar, Windows
from sandbox.paper.account import AccountFile
from sandbox.paper.trader import Trader
from sandbox.progress import Bar, Progress
from sandbox.run.job import Finished, run_prepared, start_report
from sandbox.run.portfolios import Loaded, Portfolio
from sandbox.run.portfolios import Traded as TradedPortfolio
from sandbox.run.prepare import Prepared, prepare
from sandbox.words import counted

LEAST_BARS = 2  # of a report


def write_run_folder(
    config: RunConfig, trader: Trader, account: AccountFile, *, out: Path | None, bar: Bar
) -> Finished:
    """Ends the trader's strategy. `config` names the account as its data."""
    with start_report() as report:
        run = prepare(config)
        _expect_unchanged(run.strategies[0], account)
        strategy = run.strategies[0].name
        own = TradedPortfolio(trader.finish(run.candles), trader.forecasts.times_asked, ())
        return run_prepared(
            _with_recorded_forecasts(run, account), out=out, bar=bar, report=report,
            kept=_OwnBacktest(strategy, own), more_notes=list(_notes(account, trader)),
        )  # fmt: skip


def _expect_unchanged(strategy: Loaded, account: AccountFile) -> None:
    """The controls trade the file as it is now, the account traded it as it was."""
    traded = account.meta("account")["strategy"]["sha256"]
    if strategy.sha256 != traded:
        raise AccountError(
            f"{strategy.path} was changed while it was traded, so that no run folder is written: "
            f"its controls would be another strategy's. {account.path} is whole: with the file as "
            "it was the same command goes on, and ends in a run folder"
        )


class _OwnBacktest:
    """The strategy's, which was traded as its bars came."""

    reused = 0  # from a store

    def __init__(self, name: str, traded: TradedPortfolio) -> None:
        self._name = name
        self._traded = traded

    def read(self, portfolio: Portfolio) -> TradedPortfolio | None:
        return self._traded if portfolio.name == self._name else None

    def keep(self, portfolio: Portfolio, traded: TradedPortfolio) -> None:
        """Nothing is kept for another time."""


class _RecordedSource:
    """The forecasts that the account has; what it lacks is computed."""

    def __init__(
        self, source: SignalSource, account: AccountFile, calendar: Calendar | None, folder: Path
    ) -> None:
        self.name = source.name
        self._source = source
        self._account = account
        self._calendar = calendar
        self._folder = folder

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> Forecasts:
        windows = Windows.of(frames, sampling, asofs, self._calendar, members)
        paths = room_for_paths(windows.asof_ns, sampling, self._folder)
        shape = sampling.samples, sampling.horizon, -1
        absent: list[int] = []
        for asof_ns, rows in windows.rows_at.items():
            made = {kept.symbol: kept for kept in self._account.forecasts(asof_ns)}
            for row in rows.tolist():
                kept = made.get(windows.symbols[row])
                if kept is None:
                    absent.append(row)
                    continue
                values = np.full((1, *shape[:2], 6), np.nan, dtype=np.float32)
                if kept.paths is not None:  # else it is withheld
                    values[0] = np.frombuffer(kept.paths, "<f4").reshape(shape)
                paths.put(np.array([row]), values)
        for row, computed in self._computed(windows, frames, sampling, absent):
            paths.put(np.array([row]), computed)
        paths.seal()
        if progress:
            progress(len(windows), len(windows))
        return ForecastBook(windows, paths, computed=len(absent), reused=len(windows) - len(absent))

    def _computed(
        self,
        windows: Windows,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        rows: list[int],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The strategy never asked for these; another portfolio may."""
        if not rows:
            return
        asofs = pd.DatetimeIndex(np.unique(windows.asof_ns[rows]), tz="UTC")
        wanted = {windows.symbols[row] for row in rows}
        own = {symbol: frame for symbol, frame in frames.items() if symbol in wanted}
        book = self._source.book(own, sampling, asofs)
        for row in rows:
            asof = pd.Timestamp(int(windows.asof_ns[row]), tz="UTC")
            forecast = book.at(windows.symbols[row], asof)
            assert forecast is not None
            yield row, forecast.paths[None]


def _with_recorded_forecasts(run: Prepared, account: AccountFile) -> Prepared:
    forecaster = run.forecaster
    if forecaster.source.name in NAIVE:
        return run
    source = _RecordedSource(
        forecaster.source, account, forecaster.calendar, account.path.absolute().parent
    )
    return replace(run, forecaster=forecaster._replace(source=source))


def _notes(account: AccountFile, trader: Trader) -> Iterator[str]:
    traded = trader.traded
    yield (
        f"Traded on paper, on {traded.exchange}'s candles of {traded.timeframe}: "
        f"{counted(account.count('bars'), 'bar')}."
    )
    if caught_up := account.count("caught_up"):
        yield (
            f"{counted(caught_up, 'bar')} closed while nothing was running and were traded "
            "afterwards, as if on time."
        )
    if missing := account.count("missing"):
        yield (
            f"{counted(missing, 'forecast')} failed or came too late: nothing was ordered of those "
            "symbols at those bars, nor is it where these candles are traded again."
        )
