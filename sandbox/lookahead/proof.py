"""Proof that a strategy decides on what it could have known: run it again, varied, and compare.

Three questions, each answered with every order and cancellation that the strategy gave:

- Repeat: does the same run give the same decisions? Else no comparison means anything.
- Future: do decisions up to a cut stay the same when the candles after the cut are altered? Most
  cuts are at bars at which the strategy decided, since a look at the next bar shows only there.
- History: do all decisions stay the same with other amounts of history before the start?

Each trial runs in a process of its own that holds the candles of that trial and no others, started
the way a run is: a strategy that searches its memory, its stack or the loaded modules finds what it
finds in a run. The run itself trades the very candles that `sandbox.run` trades.

A run shows a strategy `WARMUP_BARS` bars of each symbol before the start. It is compared with half
as many more, twice as many and all there are: a strategy whose longest indicator fits in what a
run gives can only gain bars that it does not need. Fewer bars would be unfair to it, so three
quarters are tried only where the data begin too late for half as many more, and never fewer than
its indicators need.

In a repeat and on altered futures decisions have to be the same to the last bit. With another
history an indicator's value may be rounded otherwise, so there sizes and prices may be apart by a
millionth, and the largest difference is told. A size that is cut to whole lots can then come out a
lot apart: that counts as a difference, since nobody can know which of the two was meant.

Forecasts are made anew for every comparison, so a signal that looks ahead is found as well. What a
strategy reads from elsewhere is not altered, and so proves nothing: `sandbox.run.reads` sees it,
the user is told, and such a strategy is not clean. Files in its own folder and modules of its own
elsewhere are told as a note, unless they hold the run's candles or forecasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from sandbox.errors import ConfigError, StrategyError, WindowError
from sandbox.lookahead.altered import ALTERATIONS, Alteration, altered_market
from sandbox.lookahead.rerun import (
    HISTORY_ROUNDING,
    Frames,
    Outcome,
    Reached,
    Rerun,
    first_difference,
    largest_difference,
)
from sandbox.progress import Progress
from sandbox.run.portfolios import Loaded, Market
from sandbox.run.reads import Touch, judged
from sandbox.run.trials import Trials
from sandbox.trading.source import WARMUP_BARS, opens_by_spacing

if TYPE_CHECKING:
    from sandbox.config import Sampling
    from sandbox.forecast.book import SignalSource

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
    history_apart: float = 0.0  # the most that a size or a price differed, as a share
    differences: tuple[Difference, ...] = ()
    reached: tuple[Reached, ...] = ()  # what was read or done outside: no proof holds for it
    noted: tuple[Reached, ...] = ()  # worth a note: see `sandbox.run.reads`

    @property
    def clean(self) -> bool:
        """Whether something was compared, nothing differed and nothing came from elsewhere."""
        return bool(self.decisions and self.futures) and not (self.differences or self.reached)


def prove(
    loaded: Loaded,
    market: Market,
    *,
    source: SignalSource,
    sampling: Sampling,
    cuts: int = CUTS,
    data: Iterable[str] = (),
    seen: Iterable[Touch] = (),
    trials: Trials | None = None,
    on_step: Progress | None = None,
    on_forecast: Progress | None = None,
) -> Proof:
    """Trade the market as a run does, and then again, varied.

    `data` are the files, and folders that end in a slash, that hold the run's candles and
    forecasts; `seen` is what the strategy reached for when it was loaded here. `on_step` is told
    how many runs are done, of how many; `on_forecast` the same of the forecasts of the first run.
    A check stops at the first difference it finds.
    """
    if cuts < 1:
        raise ConfigError(f"--cuts {cuts}: at least 1 is needed")
    _check_traded(market)
    if market.opens is None:  # once, since altered candles may have another spacing
        market = replace(market, opens=opens_by_spacing(market.frames))
    with nullcontext(trials) if trials is not None else Trials() as clean:
        rerun = Rerun(trials=clean, loaded=loaded, source=source, sampling=sampling)
        base, again = rerun.twice(market, on_forecast)
        if base.error is not None:
            raise base.error
        comparison = _Comparison(rerun, market, base, cuts, on_step)
        proof = comparison.proof(again) if base.decisions else Proof(decisions=0)
    found = [*(Reached(touch, None) for touch in seen), *comparison.reached]
    touches: dict[tuple[str, str], Reached] = {}  # the first of each, in their order
    for reached in found:
        touches.setdefault(reached.touch[:2], reached)
    first = [reached.touch for reached in touches.values()]
    outside, own = judged(first, loaded.path.parent, data)
    return replace(
        proof,
        reached=tuple(touches[touch[:2]] for touch in outside),
        noted=tuple(touches[touch[:2]] for touch in own),
    )


class _Comparison:
    """A run and its varied reruns."""

    def __init__(
        self, rerun: Rerun, market: Market, base: Outcome, cuts: int, on_step: Progress | None
    ) -> None:
        self._rerun = rerun
        self._market = market
        self._base = base
        self._traded = _traded(market)
        self._cuts = cut_times(base, cuts) if base.decisions else ()
        self._given, self._amounts = history_amounts(
            self._traded.frames, market.start, base.bars_needed
        )
        self._steps = 2 + len(self._cuts) * len(ALTERATIONS) + len(self._amounts)
        self._on_step = on_step
        self._done = 0
        self.reached = list(base.reached)

    def proof(self, again: Outcome) -> Proof:
        decisions = len(self._base.decisions)
        self._step(self._base)
        self._step(again)
        unlike = _difference("repeat", "nothing", self._base, again, None)
        if unlike is not None:
            return Proof(decisions=decisions, differences=(unlike,))
        futures, in_future = self._futures()
        amounts, apart, in_history = self._history()
        return Proof(
            decisions=decisions,
            cuts=self._cuts,
            futures=futures,
            history_bars=amounts,
            history_apart=apart,
            differences=tuple(found for found in (in_future, in_history) if found is not None),
        )

    def _futures(self) -> tuple[int, Difference | None]:
        """How many altered futures were compared, and the first difference."""
        variants = [(cut, alteration) for cut in self._cuts for alteration in ALTERATIONS]
        outcomes = self._rerun.all(_altered(self._traded, *variant) for variant in variants)
        compared = 0
        for (cut, alteration), outcome in zip(variants, outcomes, strict=False):
            self._step(outcome)
            compared += 1
            found = _difference("future", alteration.words, self._base, outcome, cut)
            if found is not None:
                return compared, found
        return compared, None

    def _history(self) -> tuple[tuple[int, ...], float, Difference | None]:
        """The amounts that were compared, how far sizes and prices were apart at most, and the
        first difference."""
        lookback = self._rerun.sampling.lookback
        markets = (
            replace(
                _history_cut(self._market, max(bars, lookback)),
                warmup_bars=bars,
            )
            for bars in self._amounts
        )
        most = 0.0
        for nth, outcome in enumerate(self._rerun.all(markets)):
            self._step(outcome)
            bars = self._amounts[nth]
            words = f"{bars} bars of history before the start instead of {self._given}"
            found = _difference("history", words, self._base, outcome, None, HISTORY_ROUNDING)
            if found is not None:
                return self._amounts[: nth + 1], most, found
            most = max(most, largest_difference(self._base.decisions, outcome.decisions))
        return self._amounts, most, None

    def _step(self, outcome: Outcome) -> None:
        self.reached += outcome.reached
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


def _traded(market: Market) -> Market:
    """With the symbols that have a bar to trade."""
    frames = {
        symbol: frame
        for symbol, frame in market.frames.items()
        if len(frame.loc[market.start : market.end])
    }
    return replace(market, frames=frames)


def _check_traded(market: Market) -> None:
    if not _traded(market).frames:
        raise WindowError(f"no candles between {market.start:%Y-%m-%d} and {market.end:%Y-%m-%d}")


def _altered(market: Market, cut: pd.Timestamp, alteration: Alteration) -> Market:
    """Up to the last of the altered bars, which may be later than the run's end."""
    frames, opens = altered_market(market.frames, market.opens, cut, alteration)
    end = max(frame.index[-1] for frame in frames.values() if len(frame))
    return replace(market, frames=frames, opens=opens, end=end)


def _history_cut(market: Market, bars: int) -> Market:
    """Each symbol from `bars` bars before the start on."""
    first = {
        symbol: max(0, int(frame.index.searchsorted(market.start)) - bars)
        for symbol, frame in market.frames.items()
    }
    return replace(
        market,
        frames={symbol: frame.iloc[first[symbol] :] for symbol, frame in market.frames.items()},
        opens=market.opens
        and {symbol: opens[first[symbol] :] for symbol, opens in market.opens.items()},
    )


def _difference(
    check: Check,
    varied: str,
    base: Outcome,
    rerun: Outcome,
    cut: pd.Timestamp | None,
    rounding: float = 0.0,
) -> Difference | None:
    """What a rerun decided differently, up to the cut where there is one."""
    last = base.bars[-1] if cut is None else cut
    if rerun.error is not None:
        return _failure(check, varied, base, rerun, cut)
    found = first_difference(base.until(last), rerun.until(last), rounding)
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
