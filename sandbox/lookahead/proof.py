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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

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
    in_words,
    largest_difference,
)
from sandbox.progress import Bar, Progress, no_bar
from sandbox.run.portfolios import Market
from sandbox.run.reads import Touch, judged
from sandbox.trading.source import WARMUP_BARS, opens_by_spacing

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
    rerun: Rerun,
    market: Market,
    *,
    cuts: int = CUTS,
    data: Iterable[str] = (),
    seen: Iterable[Touch] = (),
    bar: Bar = no_bar,
) -> Proof:
    """Trade the market as a run does, and then again, varied.

    `data` are the files, and folders that end in a slash, that hold the run's candles and
    forecasts; `seen` is what the strategy reached for when it was loaded here. `bar` shows the
    forecasts of the first run, then how many runs are done. A check stops at the first difference
    it finds. Raises ConfigError for fewer cuts than one, WindowError for a market without a bar to
    trade, and the strategy's own error.
    """
    if cuts < 1:
        raise ConfigError(f"--cuts {cuts}: at least 1 is needed")
    _check_traded(market)
    market = replace(market, ended=None)  # altered candles may end elsewhere
    if market.opens is None:  # once, since altered candles may have another spacing
        market = replace(market, opens=opens_by_spacing(market.frames))
    with bar("Forecasting", "forecasts") as progress:
        base, again = rerun.twice(market, progress)
    if base.error is not None:
        raise base.error
    with bar(f"Comparing {rerun.loaded.name}", "runs") as progress:
        comparison = _Comparison(rerun, market, base, cuts, progress)
        proof = comparison.proof(again) if base.decisions else Proof(decisions=0)
    reached = [*(Reached(touch, None) for touch in seen), *comparison.reached]
    return _with_what_was_reached(proof, reached, rerun.loaded.path.parent, data)


def _with_what_was_reached(
    proof: Proof, reached: Iterable[Reached], folder: Path, data: Iterable[str]
) -> Proof:
    """`folder` is the strategy's own."""
    firsts: dict[tuple[str, str], Reached] = {}  # of each, in their order
    for each in reached:
        firsts.setdefault(each.touch[:2], each)
    outside, own = judged([each.touch for each in firsts.values()], folder, data)
    return replace(
        proof,
        reached=tuple(firsts[touch[:2]] for touch in outside),
        noted=tuple(firsts[touch[:2]] for touch in own),
    )


class _Variation(NamedTuple):
    """What a rerun does otherwise."""

    check: Check
    words: str
    cut: pd.Timestamp | None = None  # of a future check: the last bar left as it was


class _Comparison:
    """A run and its varied reruns."""

    def __init__(
        self, rerun: Rerun, market: Market, base: Outcome, cuts: int, progress: Progress
    ) -> None:
        self._rerun = rerun
        self._market = market
        self._base = base
        self._traded = _traded(market)
        self._cuts = cut_times(base, cuts) if base.decisions else ()
        self._given, self._amounts = history_amounts(
            self._traded.frames, market.start, base.bars_needed
        )
        self._runs = 2 + len(self._cuts) * len(ALTERATIONS) + len(self._amounts)
        self._progress = progress
        self._done = 0
        self.reached = list(base.reached)

    def proof(self, again: Outcome) -> Proof:
        decisions = len(self._base.decisions)
        self._count(self._base)
        self._count(again)
        unlike = _difference(_Variation("repeat", "nothing"), self._base, again)
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
            differences=tuple(each for each in (in_future, in_history) if each is not None),
        )

    def _futures(self) -> tuple[int, Difference | None]:
        """How many altered futures were compared, and the first difference."""
        futures = [(cut, alteration) for cut in self._cuts for alteration in ALTERATIONS]
        outcomes = self._rerun.all(_altered(self._traded, *future) for future in futures)
        compared = 0
        for (cut, alteration), outcome in zip(futures, outcomes, strict=False):
            self._count(outcome)
            compared += 1
            variation = _Variation("future", alteration.words, cut)
            difference = _difference(variation, self._base, outcome)
            if difference is not None:
                return compared, difference
        return compared, None

    def _history(self) -> tuple[tuple[int, ...], float, Difference | None]:
        """The amounts that were compared, how far sizes and prices were apart at most, and the
        first difference."""
        forecast_bars = self._rerun.history_bars
        markets = (
            replace(_history_cut(self._market, max(bars, forecast_bars)), warmup_bars=bars)
            for bars in self._amounts
        )
        most = 0.0
        for nth, outcome in enumerate(self._rerun.all(markets)):
            self._count(outcome)
            bars = self._amounts[nth]
            words = f"{bars} bars of history before the start instead of {self._given}"
            variation = _Variation("history", words)
            difference = _difference(variation, self._base, outcome, HISTORY_ROUNDING)
            if difference is not None:
                return self._amounts[: nth + 1], most, difference
            most = max(most, largest_difference(self._base.decisions, outcome.decisions))
        return self._amounts, most, None

    def _count(self, outcome: Outcome) -> None:
        self.reached += outcome.reached
        self._done += 1
        self._progress(self._done, self._runs)


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
    variation: _Variation, base: Outcome, rerun: Outcome, rounding: float = 0.0
) -> Difference | None:
    """What a rerun decided differently, up to the cut where there is one."""
    if rerun.error is not None:
        return _failure(variation, base, rerun, rerun.error)
    last = base.bars[-1] if variation.cut is None else variation.cut
    difference = first_difference(base.until(last), rerun.until(last), rounding)
    if difference is None:
        return None
    bar, as_run, when_varied = difference
    return Difference(
        check=variation.check, varied=variation.words, cut=variation.cut, bar=bar, as_run=as_run,
        when_varied=when_varied,
    )  # fmt: skip


def _failure(variation: _Variation, base: Outcome, rerun: Outcome, error: Exception) -> Difference:
    """A strategy that stopped; past the cut it could see what was altered, so that is its own."""
    assert rerun.failed_at is not None
    cut, name = variation.cut, type(error).__name__
    if cut is not None and rerun.failed_at > cut:
        raise StrategyError(
            f"stopped at {rerun.failed_at:%Y-%m-%d %H:%M} on candles altered after "
            f"{cut:%Y-%m-%d %H:%M}: {name}: {error}"
        ) from error
    decided = [d for d in base.decisions if d.time_ns == rerun.failed_at.value]
    return Difference(
        check=variation.check, varied=variation.words, cut=cut, bar=rerun.failed_at,
        as_run=tuple(in_words(decision) for decision in decided),
        when_varied=(f"stopped with {name}: {error}",),
    )  # fmt: skip
