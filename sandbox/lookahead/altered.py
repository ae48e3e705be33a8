"""Futures that did not happen: candles up to a cut as they were, other ones or none after it.

The candles made here are valid and go only a few bars past the cut, which is all it takes to see
whether a decision at the cut looked at them. Knows candles; nothing of strategies or orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import AMOUNT, CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME, bar_times, times_ns

Times = NDArray[np.int64]  # in nanoseconds, or rows

BARS_AFTER_CUT = 5
LEAST_MOVE, MOST_MOVE = 0.2, 0.4  # of the log price, a bar: more than markets do in one


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """One way to alter what comes after a cut: `ends`, or a `direction`, or `skipped_bars`."""

    words: str  # completes "the candles after the cut were altered: ..."
    direction: int = 0  # 1 or -1: of the first symbol, the second goes the other way, and so on
    skipped_bars: int = 0  # bar times after the cut that go missing
    ends: bool = False  # the symbols that have a bar at the cut have none after it


# The first two are opposites for every symbol and for the ranks of the symbols, so whatever is
# compared with the next bars, one of them changes the outcome. The third one moves the next times,
# and in the last one a symbol's last bar comes early: nobody knows that it is the last one.
ALTERATIONS: Sequence[Alteration] = (
    Alteration(words="every other symbol rises, the rest fall", direction=1),
    Alteration(words="the symbols that rose now fall, the rest rise", direction=-1),
    Alteration(words="the next 5 bar times are missing", skipped_bars=5),
    Alteration(words="there are none: the data end", ends=True),
)


def altered_future(
    frames: Mapping[str, pd.DataFrame], cut: pd.Timestamp, alteration: Alteration
) -> dict[str, pd.DataFrame]:
    """Every symbol up to the cut and a few altered bars past it.

    A symbol that has its next bar later still is brought forward: which symbols there are is a
    setting of the run, and not what is altered. Nor does a symbol end that lacks a bar at the cut,
    since its end would show before the cut. There must be a bar after the cut.
    """
    return altered_market(frames, None, cut, alteration)[0]


def altered_market(
    frames: Mapping[str, pd.DataFrame],
    opens: Mapping[str, Times] | None,
    cut: pd.Timestamp,
    alteration: Alteration,
) -> tuple[dict[str, pd.DataFrame], dict[str, Times] | None]:
    """`altered_future`, and when its bars open: `opens` are in nanoseconds, as frames have rows.

    A bar that is moved to another time keeps its length, as far as the bar before it leaves room.
    """
    ahead = _times_ahead(frames, cut, alteration.skipped_bars)
    moves = _moves(len(frames), alteration.direction)
    altered: dict[str, pd.DataFrame] = {}
    altered_opens: dict[str, Times] = {}
    for (symbol, frame), move in zip(frames.items(), moves, strict=True):
        if alteration.ends and cut in frame.index:
            rows = np.arange(frame.index.searchsorted(cut, side="right"))
            altered[symbol] = frame.loc[:cut]
        else:
            altered[symbol], rows = _joined(frame, cut, ahead, move)
        if opens is not None:
            altered_opens[symbol] = _opens(frame, opens[symbol], altered[symbol], rows)
    return altered, None if opens is None else altered_opens


def _opens(frame: pd.DataFrame, opens: Times, altered: pd.DataFrame, rows: Times) -> Times:
    """When the altered frame's bars open, each of which was a row of the frame."""
    closes = times_ns(altered)
    moved: Times = closes - (times_ns(frame) - opens)[rows]
    in_place = times_ns(frame)[rows] == closes
    moved[1:] = np.where(in_place[1:], moved[1:], np.maximum(moved[1:], closes[:-1]))
    return moved


def _times_ahead(
    frames: Mapping[str, pd.DataFrame], cut: pd.Timestamp, skipped_bars: int
) -> pd.DatetimeIndex:
    """The bar times that are kept after the cut; the last one is never skipped."""
    times = bar_times(frames)
    ahead = times[times > cut]
    first = min(skipped_bars, len(ahead) - 1)
    return ahead[first : first + BARS_AFTER_CUT]


def _moves(symbols: int, direction: int) -> NDArray[np.float64]:
    """Log moves a bar, no two symbols alike, so that ranks are told apart."""
    sizes = np.linspace(LEAST_MOVE, MOST_MOVE, symbols)
    signs = np.where(np.arange(symbols) % 2, -1.0, 1.0)
    moves: NDArray[np.float64] = direction * signs * sizes
    return moves


def _joined(
    frame: pd.DataFrame, cut: pd.Timestamp, ahead: pd.DatetimeIndex, move: float
) -> tuple[pd.DataFrame, Times]:
    """The frame up to the cut and its altered bars, and which row of it each of them was."""
    assert isinstance(frame.index, pd.DatetimeIndex)
    known = int(frame.index.searchsorted(cut, side="right"))
    later = frame.index[known:]
    rows = known + np.flatnonzero(later.isin(ahead))
    times = frame.index[rows]
    if not len(rows) and len(later):
        rows = known + np.arange(min(len(later), len(ahead)))
        times = ahead[: len(rows)].as_unit(frame.index.unit)
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    joined = pd.DataFrame(
        np.concatenate([values[:known], _moved(values[rows], move)]),
        index=frame.index[:known].append(times),
        columns=list(COLUMNS),
    )
    return joined, np.concatenate([np.arange(known), rows])


def _moved(candles: NDArray[np.float64], move: float) -> NDArray[np.float64]:
    """`[n, 6]` candles on a trend of `move` a bar, half of it overnight and half in the bar."""
    moved = candles.copy()
    at_close = move * np.arange(1, len(candles) + 1)
    moved[:, OPEN] *= np.exp(at_close - move / 2)
    for column in (CLOSE, VOLUME):
        moved[:, column] *= np.exp(at_close)
    moved[:, AMOUNT] *= np.exp(2 * at_close)
    body, moved_body = candles[:, [OPEN, CLOSE]], moved[:, [OPEN, CLOSE]]
    moved[:, HIGH] *= moved_body.max(axis=1) / body.max(axis=1)
    moved[:, LOW] *= moved_body.min(axis=1) / body.min(axis=1)
    moved[:, HIGH] = np.maximum(moved[:, HIGH], moved_body.max(axis=1))  # against rounding
    moved[:, LOW] = np.minimum(moved[:, LOW], moved_body.min(axis=1))
    return moved
