"""When bars opened, told from when they closed (or the other way round) and from nothing else.

A bar is as long as the bars around it are apart, whatever gaps lie between some of them. Where the
spacing leaves a doubt the bar is taken to be longer, and so to have opened earlier: an order then
waits a bar more than it had to, while an opening that is too late would fill it at a price from
before its decision. All times are nanoseconds since 1970, UTC.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import NS_PER_DAY, NS_PER_HOUR

Times = NDArray[np.int64]  # nanoseconds since 1970, UTC; or lengths of time in nanoseconds

DAILY_NS = 20 * NS_PER_HOUR  # bars this far apart are daily or longer
MONTHLY_NS = 27 * NS_PER_DAY  # from here on the calendar makes lengths uneven
UNEVEN = 1.2  # of the typical length, the longest of months, quarters or years
# A session's first bar never stands beside the one before it, so its length hides in the distance
# from one session to the next: one several times the most frequent, and nearly as frequent, may be
# it. Bars missing at random do not give such distances.
NEARLY_AS_FREQUENT = 0.7
FEW = 1  # times less often, in any case
SEVERAL = 4
DOUBT, FEWEST_TO_DOUBT = 1.5, 10  # standard deviations; times that a spacing was seen
CANDIDATES = 12  # spacings that are looked for, the most frequent and the most often repeated

# When a stretch of bars has another length than the series usually has: either another spacing is
# more frequent there than bars missing at random make it, by so many standard deviations, or the
# usual one is missing, which had so small a chance. First likely, then certain.
STRETCHES = (5, 8, 20, 60, 150)  # spacings
NEAR = 20
SIGN_TESTS = (4.0, 4.7)
ONE_OF_TWO, ONE_OF_THREE = 1 / 2, 1 / 3
CHANCES = (1e-7, 1e-10)
CHANGE = 50  # bars whose usual length is taken, where it changes
HARDLY_ANY = 0.01  # of such parts
LEAST_KNOWN = 5  # spacings on one side, for that side to tell anything


def opening_times(index: pd.DatetimeIndex) -> Times:
    """`[bars]` close times to `[bars]` opening times, by the spacing of the bars.

    A bar opens its length before it closes and never before the last one closed; where no whole bar
    fits between it and the last one, it opened at once. A single bar counts as a day long.
    """
    return _openings_of(pd.DatetimeIndex(index).as_unit("ns").asi8.tobytes()).copy()


@lru_cache(maxsize=2)  # the symbols of a market mostly have the same times
def _openings_of(times_ns: bytes) -> Times:
    return _openings(np.frombuffer(times_ns, dtype=np.int64), first_bar_hides=True)


def closing_times(index: pd.DatetimeIndex) -> Times:
    """`[bars]` opening times to `[bars]` close times: a bar lasts its length, and to the next
    opening at most; where no whole bar fits in between, it lasts until then."""
    opened = pd.DatetimeIndex(index).as_unit("ns").asi8
    return -_openings(-opened[::-1], first_bar_hides=False)[::-1]


def usual_length(times_ns: Times) -> int:
    """The typical distance of bars; a day for a single bar."""
    if len(times_ns) < 2:
        return NS_PER_DAY
    values, counts = np.unique(_whole_days(np.diff(times_ns)), return_counts=True)
    return int(_typical(values, counts, hides=False))


def lengths_seen(index: pd.DatetimeIndex) -> tuple[int, ...]:
    """The lengths of bars in a series, nanoseconds, rising: one, unless it certainly changes."""
    times_ns = pd.DatetimeIndex(index).as_unit("ns").asi8
    spacing = _whole_days(np.diff(times_ns))
    if not len(spacing) or not _lengths(spacing, hides=True)[1]:
        return (usual_length(times_ns),)
    parts = [times_ns[at : at + CHANGE] for at in range(0, len(times_ns), CHANGE)]
    values, counts = np.unique([usual_length(part) for part in parts], return_counts=True)
    often = values[counts > len(parts) * HARDLY_ANY]
    return tuple(often.tolist())


def _openings(closes: Times, *, first_bar_hides: bool) -> Times:
    gaps = np.diff(closes)
    if not len(gaps):
        return closes - NS_PER_DAY
    spacing = _whole_days(gaps)
    lengths, _ = _lengths(spacing, hides=first_bar_hides)
    lengths[1:] += np.where(lengths[1:] >= DAILY_NS, np.maximum(gaps - spacing, 0), 0)
    opens: Times = closes - lengths
    at_once = gaps < 2 * lengths[1:]
    opens[1:] = np.where(at_once, closes[:-1], np.maximum(opens[1:], closes[:-1]))
    return opens


def _whole_days(gaps: Times) -> Times:
    """Days are 23 or 25 hours long where summer time begins or ends: take them as 24."""
    days = np.rint(gaps / NS_PER_DAY).astype(np.int64) * NS_PER_DAY
    return np.where((days > 0) & (np.abs(gaps - days) <= NS_PER_HOUR), days, gaps)


def _typical(values: Times, counts: NDArray[np.int64], *, hides: bool) -> np.int64:
    """The most frequent of the spacings, and the largest of several that are."""
    most = counts.max()
    mode = values[counts == most].max()
    if most >= FEWEST_TO_DOUBT:  # where half the bars are missing, twice the length may come first
        short = (values * 2 == mode) | (values * 3 == mode)
        short &= counts >= most - DOUBT * np.sqrt(most)
        mode = values[short].min() if short.any() else mode
    if mode >= MONTHLY_NS:
        return values[values <= UNEVEN * mode].max()
    if mode < DAILY_NS and hides:
        hidden = (counts >= NEARLY_AS_FREQUENT * most - FEW) & (values >= SEVERAL * mode)
        return values[hidden].max() if hidden.any() else mode
    return mode


def _lengths(spacing: Times, *, hides: bool) -> tuple[Times, bool]:
    """`[n - 1]` spacings to the `[n]` lengths of bars, right where a bar is shorter than its
    distance from the last one, at least that distance elsewhere; and whether they change."""
    values, codes, counts = np.unique(spacing, return_inverse=True, return_counts=True)
    usual = _typical(values, counts, hides=hides)
    lengths = np.full(len(spacing) + 1, usual)
    repeated = np.bincount(codes[1:][codes[1:] == codes[:-1]], minlength=len(values))
    chosen = {int(np.searchsorted(values, usual))}
    for frequency in (counts, repeated):
        chosen.update(np.argsort(frequency, kind="stable")[-CANDIDATES:].tolist())
    places = np.array(sorted(chosen))
    if len(places) == 1:
        return lengths, False
    # elsewhere a bar opens when the last one closes, however long it is taken to be
    rows = np.concatenate([[0], 1 + np.flatnonzero(spacing > values[places[0]])])
    stretches = _Stretches(codes, places, values[places], int(usual), hides)
    lengths[rows], change = stretches.lengths(rows)
    return lengths, change


class _Stretches:
    """Which lengths the bars before and after a row have."""

    def __init__(
        self, codes: NDArray[np.int64], places: NDArray[np.int64], values: Times, usual: int,
        hides: bool,
    ) -> None:  # fmt: skip
        self._values = values  # [K], rising
        self._usual = usual
        self._hides = hides and values[0] < DAILY_NS
        self._end = len(codes)
        seen = codes == places[:, None]
        self._seen = np.zeros((len(places), len(codes) + 1), dtype=np.int32)
        np.cumsum(seen, axis=1, out=self._seen[:, 1:])
        self._at_usual = int(np.searchsorted(values, usual))
        self._chance = np.log1p(-min(float(seen[self._at_usual].mean()), 0.999))  # of a miss

    def lengths(self, rows: NDArray[np.int64]) -> tuple[Times, bool]:
        """The larger of what both sides tell, the usual length where neither does; and whether
        the series certainly has several lengths."""
        sides = [self._side(rows, way) for way in (-1, 1)]
        lengths: Times = np.maximum(sides[0].length, sides[1].length)
        lengths = np.where(lengths > 0, lengths, self._usual)
        several = any(bool(side.sure.any()) for side in sides)
        if several:
            for side in sides:
                lengths = np.maximum(lengths, side.cautious)
        return lengths, several

    def _side(self, rows: NDArray[np.int64], way: int) -> _Side:
        """What the spacings before, or after, each row tell."""
        length, cautious = np.zeros((2, len(rows)), dtype=np.int64)
        sure = np.zeros(len(rows), dtype=bool)
        for stretch in STRETCHES:
            near = np.clip(rows - 1 if way < 0 else rows, 0, self._end)
            far = np.clip(near + way * stretch, 0, self._end)
            first, past = np.minimum(near, far), np.maximum(near, far)
            counts = self._seen[:, past] - self._seen[:, first]  # [K, rows]
            typical = self._typical(counts)
            other, certain = self._is_other(counts, past - first)
            length = np.maximum(length, np.where(other, typical, 0))
            sure |= certain
            if stretch <= NEAR:
                cautious = np.maximum(cautious, typical)
        known = past - first >= LEAST_KNOWN
        return _Side(np.where((length == 0) & known, self._usual, length), cautious, sure)

    def _typical(self, counts: NDArray[np.int32]) -> Times:
        """As the function of that name, for each row; 0 where no spacing is known."""
        most = counts.max(axis=0)
        mode = self._largest(counts == most)
        if self._hides:
            hidden = (counts >= NEARLY_AS_FREQUENT * most - FEW) & (counts > 0)
            hidden &= self._values[:, None] >= SEVERAL * mode
            hides = (mode < DAILY_NS) & hidden.any(axis=0)
            mode = np.where(hides, self._largest(hidden), mode)
        return np.where(most > 0, mode, 0)

    def _largest(self, where: NDArray[np.bool_]) -> Times:
        largest: Times = self._values[len(self._values) - 1 - np.argmax(where[::-1], axis=0)]
        return largest

    def _is_other(
        self, counts: NDArray[np.int32], known: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether bars have another length than usual in a stretch: likely, and certainly."""
        most, usual = counts.max(axis=0), counts[self._at_usual]
        both = most + usual
        several = self._largest(counts == most) >= SEVERAL * self._usual
        share = np.where(several, ONE_OF_THREE, ONE_OF_TWO)  # at most, of bars missing at random
        excess = (most - share * both) / np.sqrt(np.maximum(share * (1 - share) * both, 1))
        smallest = self._values[np.argmax(counts > 0, axis=0)]
        missed = known * np.maximum(smallest / self._usual - 1, 1)  # bars of the usual length
        missing = (usual == 0) & (most > 0) & (known >= LEAST_KNOWN)
        tested = [
            ((excess >= deviations) & (most > usual))
            | (missing & (missed * self._chance <= np.log(chance)))
            for deviations, chance in zip(SIGN_TESTS, CHANCES, strict=True)
        ]
        return tested[0], tested[1]


class _Side(NamedTuple):
    length: Times  # [rows]; 0 where too little is known
    cautious: Times  # [rows], for a series of several lengths
    sure: NDArray[np.bool_]  # [rows], whether the series has a length besides the usual one
