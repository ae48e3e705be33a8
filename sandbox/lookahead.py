"""Proof that a strategy decides on what it could have known: run it again, varied, and compare.

Three questions, each answered with every order and cancellation that the strategy gave:

- Repeat: does the same run give the same decisions? Else no comparison means anything.
- Future: do decisions up to a cut stay the same when the candles after the cut are altered? Most
  cuts are at bars at which the strategy decided, since a look at the next bar shows only there.
- History: do all decisions stay the same with other amounts of history before the start?

A run shows a strategy `WARMUP_BARS` bars of each symbol before the start. It is compared with half
as many more, twice as many and all there are: a strategy whose longest indicator fits in what a
run gives can only gain bars that it does not need. Fewer bars would be unfair to it, so three
quarters are tried only where the data begin too late for half as many more, and never fewer than
its indicators need.

Forecasts are made anew for every comparison, so a signal that looks ahead is found as well. What a
strategy reads from files of its own is not altered, and so not found.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from sandbox.altered import ALTERATIONS, altered_future
from sandbox.engine import WARMUP_BARS
from sandbox.errors import ConfigError, StrategyError, WindowError
from sandbox.progress import Progress
from sandbox.rerun import Frames, Outcome, Trial, first_difference

if TYPE_CHECKING:
    from sandbox.broker import Account
    from sandbox.signal import SignalSource
    from sandbox.strategy import Strategy
    from sandbox.windows import Sampling

CUTS = 8
SHARE_OF_OTHER_CUTS = 0.25  # at bars without a decision, to see one that is made there
Check = Literal["repeat", "future", "history"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first bar at which a varied run decided something else."""

    check: Check
    varied: str  # what was done differently, in words
    cut: pd.Timestamp | None = None  # of a future check: the last bar left as it was
    bar: pd.Timestamp
    as_run: tuple[str, ...]  # what only the run itself decided then, in words
    when_varied: tuple[str, ...]  # what only the varied run did


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was compared, and the first difference of each check that found one."""

    decisions: int  # of the run
    cuts: tuple[pd.Timestamp, ...] = ()  # the last bars left as they were
    futures: int = 0  # altered futures compared
    history_bars: tuple[int, ...] = ()  # other amounts of history compared, in bars
    differences: tuple[Difference, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether something was compared and nothing differed."""
        return bool(self.decisions and self.futures) and not self.differences


def prove(
    strategy: type[Strategy],
    frames: Frames,
    *,
    params: Mapping[str, Any],
    account: Account,
    start: pd.Timestamp,
    end: pd.Timestamp,
    source: SignalSource,
    sampling: Sampling,
    cuts: int = CUTS,
    on_step: Progress | None = None,
    on_forecast: Progress | None = None,
) -> Proof:
    """Trade `frames` from `start` to `end`, both inclusive bar times, and then again, varied.

    `on_step` is told how many runs are done, of how many; `on_forecast` the same of the forecasts
    of the first run. A check stops at the first difference it finds.
    """
    if cuts < 1:
        raise ConfigError(f"--cuts {cuts}: at least 1 is needed")
    traded = _traded(frames, start, end)
    trial, needed = Trial.watched(strategy, params, account, start, source, sampling)
    base = trial.run(traded, on_forecast=on_forecast)
    if base.error is not None:
        raise base.error
    if not base.decisions:
        return Proof(decisions=0)
    return _Comparison(trial, traded, base, cuts, max(needed), on_step).proof()


class _Comparison:
    """A run and its varied reruns."""

    def __init__(
        self,
        trial: Trial,
        frames: Frames,
        base: Outcome,
        cuts: int,
        needed: int,
        on_step: Progress | None,
    ) -> None:
        self._trial = trial
        self._frames = frames
        self._base = base
        self._cuts = cut_times(base, cuts)
        self._given, self._amounts = history_amounts(frames, trial.start, needed)
        self._steps = 2 + len(self._cuts) * len(ALTERATIONS) + len(self._amounts)
        self._on_step = on_step
        self._done = 0
        self._step()

    def proof(self) -> Proof:
        decisions = len(self._base.decisions)
        unlike = self._repeat()
        if unlike is not None:
            return Proof(decisions=decisions, differences=(unlike,))
        futures, in_future = self._futures()
        amounts, in_history = self._history()
        return Proof(
            decisions=decisions,
            cuts=self._cuts,
            futures=futures,
            history_bars=amounts,
            differences=tuple(found for found in (in_future, in_history) if found is not None),
        )

    def _repeat(self) -> Difference | None:
        again = self._trial.run(self._frames)
        self._step()
        return _difference("repeat", "nothing", self._base, again, None)

    def _futures(self) -> tuple[int, Difference | None]:
        """How many altered futures were compared, and the first difference."""
        compared = 0
        for cut in self._cuts:
            for alteration in ALTERATIONS:
                rerun = self._trial.run(altered_future(self._frames, cut, alteration))
                self._step()
                compared += 1
                found = _difference("future", alteration.words, self._base, rerun, cut)
                if found is not None:
                    return compared, found
        return compared, None

    def _history(self) -> tuple[tuple[int, ...], Difference | None]:
        """The amounts that were compared, and the first difference."""
        for nth, bars in enumerate(self._amounts, start=1):
            known = _history_cut(
                self._frames, self._trial.start, max(bars, self._trial.sampling.lookback)
            )
            rerun = self._trial.run(known, warmup_bars=bars)
            self._step()
            words = f"{bars} bars of history before the start instead of {self._given}"
            found = _difference("history", words, self._base, rerun, None)
            if found is not None:
                return self._amounts[:nth], found
        return self._amounts, None

    def _step(self) -> None:
        self._done += 1
        if self._on_step is not None:
            self._on_step(self._done, self._steps)


def cut_times(base: Outcome, cuts: int) -> tuple[pd.Timestamp, ...]:
    """Bars to cut after, oldest first, spread over the run; each has a bar after it.

    Three quarters are bars with a decision. The others are the bars before such a bar, where a
    strategy that looks ahead may come to decide early.
    """
    bars = base.bars[:-1]
    decided = bars.isin([decision.time for decision in base.decisions])
    before = np.append(decided[1:], False) & ~decided
    wanted = round(cuts * SHARE_OF_OTHER_CUTS)
    others = _spread(bars[before] if before.any() else bars[~decided], wanted)
    at_decisions = _spread(bars[decided], cuts - len(others))
    rest = bars.difference(at_decisions).difference(others)
    more = _spread(rest, cuts - len(others) - len(at_decisions))
    return tuple(at_decisions.union(others).union(more))


def history_amounts(
    frames: Frames, start: pd.Timestamp, needed: int = 1
) -> tuple[int, tuple[int, ...]]:
    """Bars before the start that a run gets, and other amounts to compare, fewest first."""
    there_are = max(int(frame.index.searchsorted(start)) for frame in frames.values())
    given = min(WARMUP_BARS, there_are)
    half_more = WARMUP_BARS * 3 // 2
    wanted = {half_more, 2 * WARMUP_BARS, there_are}
    if there_are < half_more:
        wanted.add(max(given * 3 // 4, min(needed, given)))
    amounts = {min(bars, there_are) for bars in wanted} - {given}
    return given, tuple(sorted(amounts))


def _spread(bars: pd.DatetimeIndex, count: int) -> pd.DatetimeIndex:
    """At most `count` of the bars, evenly from the first to the last."""
    picks = np.linspace(0, len(bars) - 1, min(count, len(bars)))
    return bars[np.unique(picks.round().astype(int))]


def _traded(frames: Frames, start: pd.Timestamp, end: pd.Timestamp) -> dict[str, pd.DataFrame]:
    """The symbols that have a bar to trade, up to the end."""
    known = {symbol: frame.loc[:end] for symbol, frame in frames.items()}
    traded = {
        symbol: frame for symbol, frame in known.items() if len(frame) and frame.index[-1] >= start
    }
    if not traded:
        raise WindowError(f"no candles between {start:%Y-%m-%d} and {end:%Y-%m-%d}")
    return traded


def _history_cut(frames: Frames, start: pd.Timestamp, bars: int) -> dict[str, pd.DataFrame]:
    """Each symbol from `bars` bars before the start on."""
    return {
        symbol: frame.iloc[max(0, int(frame.index.searchsorted(start)) - bars) :]
        for symbol, frame in frames.items()
    }


def _difference(
    check: Check, varied: str, base: Outcome, rerun: Outcome, cut: pd.Timestamp | None
) -> Difference | None:
    """What a rerun decided differently, up to the cut where there is one."""
    last = base.bars[-1] if cut is None else cut
    if rerun.error is not None:
        return _failure(check, varied, base, rerun, cut)
    found = first_difference(base.until(last), rerun.until(last))
    if found is None:
        return None
    bar, as_run, when_varied = found
    return Difference(
        check=check, varied=varied, cut=cut, bar=bar, as_run=as_run, when_varied=when_varied
    )


def _failure(
    check: Check, varied: str, base: Outcome, rerun: Outcome, cut: pd.Timestamp | None
) -> Difference:
    """A strategy that stopped; past the cut it could see what was altered, so that is its own."""
    assert rerun.error is not None and rerun.failed_at is not None
    if cut is not None and rerun.failed_at > cut:
        raise StrategyError(
            f"stopped at {rerun.failed_at:%Y-%m-%d %H:%M} on candles altered after "
            f"{cut:%Y-%m-%d %H:%M}: {type(rerun.error).__name__}: {rerun.error}"
        ) from rerun.error
    decided = [d.words() for d in base.decisions if d.time == rerun.failed_at]
    return Difference(
        check=check,
        varied=varied,
        cut=cut,
        bar=rerun.failed_at,
        as_run=tuple(decided),
        when_varied=(f"stopped with {type(rerun.error).__name__}: {rerun.error}",),
    )


if __name__ == "__main__":
    from sandbox.interrupts import leave
    from sandbox.lookahead_cli import main

    leave(main())
