"""Calibrated forecasts: a model's, moved to where its past forecasts should have been.

As of each asof a forecast is moved by what was known by then of how past forecasts of the same
model and settings fared, those of all symbols together. Its closes go to recalibrated quantiles bar
by bar and keep their order among the samples, so that a path that was the third highest still is
(ensemble copula coupling; Schefzik, Thorarinsdottir and Gneiting 2013). Whole candles go with their
closes. `sandbox.forecast.recalibrate` says how quantiles are found, `sandbox.forecast.past` which
forecasts they are found from. Where too little is known, the forecast is the raw one.

A calibrated forecast is a function of the raw one and of the last `calibration_bars` bars of all
symbols, whatever else is asked for: in a backtest it is the same as live, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from feeds import AMOUNT, CLOSE, OPEN
from feeds.members import NO_MEMBERS, Members
from kronos import Forecast
from sandbox.config import Sampling
from sandbox.forecast.book import BarForecasts, Forecasts, SignalSource, forecasts_of
from sandbox.forecast.past import Blocks, calibration_bars, overlap
from sandbox.forecast.recalibrate import (
    LEAST_BLOCKS,
    LEAST_OUTCOMES,
    MIDDLE,
    Floats,
    Ints,
    Outcomes,
    mapped,
    sample_scores,
    scores_of,
    stretched,
    values_at,
)
from sandbox.forecast.windows import Array, Calendar, Windows, last_rows, rows_ahead
from sandbox.progress import Progress

LEAST_RATIO = 0.01  # of a close to that at asof: samples at or below it count as this
WINDOWS_AT_ONCE = 512  # whose outcomes are looked up in their forecasts together


class RawSource(SignalSource, Protocol):
    """What makes the forecasts that are moved."""

    calendar: Calendar | None

    def book_of(
        self, windows: Windows, sampling: Sampling, progress: Progress | None = None
    ) -> Forecasts: ...

    def covers(self, asof_ns: Array) -> Array:
        """Which of some times `[W]` it forecasts as of."""
        ...


class CalibratedSource:
    """A model's forecasts, calibrated.

    remembers: keep the closes of past forecasts from one call to the next, where there is no store
    that does.
    """

    def __init__(self, raw: RawSource, *, remembers: bool = False) -> None:
        self.name = raw.name
        self._raw = raw
        self._remembers = remembers
        self._closes: dict[bytes, Array] = {}  # of past forecasts, by a hash of their windows

    def history_bars(self, sampling: Sampling) -> int:
        """Bars of each symbol, asof included, that a forecast depends on at most."""
        return calibration_bars(sampling)

    def book(
        self,
        frames: Mapping[str, pd.DataFrame],
        sampling: Sampling,
        asofs: pd.DatetimeIndex,
        progress: Progress | None = None,
        members: Members = NO_MEMBERS,
    ) -> CalibratedBook:
        """Forecasts of the whole universe are made as of the asofs and as of past bars; `computed`
        and `reused` of the book count both."""
        blocks = Blocks.of(frames, sampling.horizon)
        asked_ns = asofs.as_unit("ns").asi8
        past_ns = blocks.times(asked_ns)
        past_ns = past_ns[self._raw.covers(past_ns)]
        times = pd.DatetimeIndex(np.union1d(asked_ns, past_ns), tz="UTC")
        windows = Windows.of(frames, sampling, times, self._raw.calendar, members)
        asked = np.isin(windows.asof_ns, asked_ns)
        last = last_rows(frames, windows)
        past = blocks.among(windows, past_ns) & (windows.ends < last)
        keys = self._keys(windows, past, sampling)
        known = np.array([key in self._closes for key in keys], dtype=bool)
        rows = np.flatnonzero(asked | (past & ~known))
        raw = self._raw.book_of(windows.pick(rows), sampling, progress)
        found = self._outcomes(raw, windows, np.flatnonzero(past), last, keys, blocks, sampling)
        at_ns, samples = np.unique(windows.asof_ns[asked]), sampling.samples
        moves = [BarMoves.of(own, blocks, at_ns, samples) for own in found]
        return CalibratedBook(
            windows.pick(np.flatnonzero(asked)), raw, Moves(at_ns, moves, sample_scores(samples))
        )

    def _keys(self, windows: Windows, past: Array, sampling: Sampling) -> list[bytes]:
        """By window, its key among the closes that are remembered; all are forgotten but those of
        past forecasts."""
        if not self._remembers:
            return [b""] * len(windows)
        keys = [digest.tobytes() for digest in windows.digests(f"{self.name} {sampling}")]
        still = {keys[row] for row in np.flatnonzero(past)}
        self._closes = {key: closes for key, closes in self._closes.items() if key in still}
        return keys

    def _outcomes(
        self, raw: Forecasts, windows: Windows, rows: Array, last: Array, keys: list[bytes],
        blocks: Blocks, sampling: Sampling,
    ) -> list[Outcomes]:  # fmt: skip
        """Of past forecasts, for each bar of the horizon."""
        horizon = sampling.horizon
        rows = rows[np.argsort(windows.asof_ns[rows], kind="stable")]
        scores = np.full((len(rows), horizon), np.nan)
        known_ns = np.full((len(rows), horizon), np.iinfo(np.int64).max)
        for first in range(0, len(rows), WINDOWS_AT_ONCE):
            here = slice(first, first + WINDOWS_AT_ONCE)
            own = rows[here]
            ahead, there = rows_ahead(windows.ends[own], last[own], horizon)
            known_ns[here] = np.where(there, windows.times_ns[ahead], known_ns[here])
            now = windows.values[windows.ends[own], CLOSE][:, None]
            came = np.where(there, _logs(windows.values[ahead, CLOSE] / now), np.nan)
            drawn = np.stack(list(self._drawn(raw, windows, own, keys)))  # [n, S, P]
            ordered = np.sort(_logs(drawn / now[..., None]), axis=1)
            for bar in range(horizon):
                scores[here, bar] = scores_of(ordered[:, :, bar], came[:, bar])
        asof_ns = windows.asof_ns[rows]
        numbers = blocks.numbers(asof_ns)
        return [
            Outcomes(
                numbers, asof_ns, known_ns[:, bar], scores[:, bar], overlap(bar + 1, horizon),
                blocks.intraday,
            ).in_order()
            for bar in range(horizon)
        ]  # fmt: skip

    def _drawn(
        self, raw: Forecasts, windows: Windows, rows: Array, keys: list[bytes]
    ) -> Iterator[Array]:
        """Sampled closes `[S, P]` of each of the windows `rows`, which are in the order of time."""
        made = [row for row in rows.tolist() if keys[row] not in self._closes]
        forecasts = forecasts_of(raw, windows.pick(np.array(made, dtype=np.int64)))
        for row in rows.tolist():
            closes = self._closes.get(keys[row])
            if closes is None:
                closes = next(forecasts).paths[..., CLOSE].copy()
                if self._remembers:
                    self._closes[keys[row]] = closes
            yield closes


@dataclass(frozen=True)
class BarMoves:
    """Where samples go at one bar of the horizon, as of each of `T` times."""

    maps: Floats  # [U, K]
    which: Ints  # [T], of the maps
    factors: Floats  # [T, 2], of the tails

    @classmethod
    def of(cls, past: Outcomes, blocks: Blocks, at_ns: Ints, samples: int) -> BarMoves:
        numbers = blocks.numbers(at_ns)
        maps, which = past.maps(at_ns, numbers)
        return cls(maps, which, past.factors(at_ns, numbers, blocks.began_ns, samples))

    def scores(self, nth: int, raw: Floats) -> Floats:
        """Where samples with the scores `raw` `[S]` go as of the nth time, `[S]`: to what has this
        score in the raw forecast. NaN where too little is known."""
        quantiles = stretched(raw[None], self.factors[nth, None])
        scores: Floats = mapped(self.maps[self.which[nth], None], quantiles)[0]
        return scores


@dataclass(frozen=True)
class Moves:
    """Where samples go, as of each of `T` times."""

    at_ns: Ints  # [T], sorted
    bars: list[BarMoves]  # [P]
    sample_scores: Floats  # [S]

    def known(self) -> Array:
        """Which of the times have moves for every bar of the horizon, `[T]`; as of the others
        forecasts stay raw."""
        each = [np.isfinite(own.maps[own.which, MIDDLE]) for own in self.bars]
        known: Array = np.logical_and.reduce(each)
        return known

    def as_of(self, asof_ns: int) -> Move | None:
        """None where too little is known."""
        nth = int(self.at_ns.searchsorted(asof_ns))
        scores = np.stack([own.scores(nth, self.sample_scores) for own in self.bars])
        return Move(scores) if np.isfinite(scores).all() else None


class Move:
    """What calibrates forecasts as of one time, and knows of no other."""

    def __init__(self, scores: Floats) -> None:
        """`[P, S]`, of samples in their order."""
        self._scores = scores

    def __call__(self, raw: Forecast) -> Forecast:
        paths = raw.paths.astype(np.float64)
        closes = paths[..., CLOSE].T  # [P, S]
        order = np.argsort(closes, axis=1, kind="stable")
        ordered = _logs(np.take_along_axis(closes, order, axis=1) / raw.close)
        moved = np.empty_like(closes)
        values = raw.close * np.exp(values_at(ordered, self._scores))
        np.put_along_axis(moved, order, values, axis=1)
        whole = closes > LEAST_RATIO * raw.close  # prices of others are no prices
        ratio = np.where(whole, moved / np.where(whole, closes, 1), 1).T[..., None]
        shift = np.where(whole, 0, moved - closes).T[..., None]
        paths[..., OPEN : CLOSE + 1] = paths[..., OPEN : CLOSE + 1] * ratio + shift
        paths[..., AMOUNT] *= ratio[..., 0]
        return replace(raw, paths=paths.astype(np.float32))


class CalibratedBook:
    """The forecasts that were asked for, of a raw book that has past ones, too."""

    def __init__(self, windows: Windows, raw: Forecasts, moves: Moves) -> None:
        self.windows = windows
        self.computed = raw.computed
        self.reused = raw.reused
        self.notes = (*raw.notes, *_notes(windows, moves))
        self._raw = raw
        self._moves = moves

    def __len__(self) -> int:
        return len(self.windows)

    def as_of(self, asof_ns: int, *, likely: bool = True) -> BarForecasts | None:
        if asof_ns not in self.windows.rows_at:
            return None
        shown, move = self._raw.as_of(asof_ns, likely=likely), self._moves.as_of(asof_ns)
        return shown.moved_by(move) if shown and move else shown

    def at(self, symbol: str, asof: pd.Timestamp) -> Forecast | None:
        shown = self.as_of(asof.value)
        return None if shown is None else shown.of(symbol)


def _notes(windows: Windows, moves: Moves) -> Iterator[str]:
    if not len(windows):
        return
    known = moves.known()
    raw = np.isin(windows.asof_ns, moves.at_ns[~known])
    if not raw.any():
        yield "All forecasts are calibrated by what came after past ones."
        return
    last = pd.Timestamp(int(windows.asof_ns[raw].max()), tz="UTC")
    which = "All forecasts" if raw.all() else f"{int(raw.sum()):,} of {len(windows):,} forecasts"
    yield (
        f"{which}, the last as of {last:%Y-%m-%d %H:%M}, are raw: to calibrate one takes "
        f"{LEAST_OUTCOMES} outcomes of past ones, known by then, from {LEAST_BLOCKS} dates."
    )


def _logs(ratios: Array) -> Floats:
    logs: Floats = np.log(np.maximum(ratios.astype(np.float64), LEAST_RATIO))
    return logs
