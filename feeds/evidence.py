"""Whether the prices of other symbols contradict how a symbol's stamps were read.

A bar that is read a whole length too late or too early moves with the bars of other symbols from
before or after it, and not with those of its own time. Where symbols do not move together at all
nothing can be told, and nobody can profit from the wrong reading either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .bars import NS_PER_DAY, NS_PER_SECOND
from .spacing import Times, closing_times, opening_times, usual_length

# Which reading was taken without knowing: midnights as dates, or moments as closing times.
Doubt: TypeAlias = Literal["dates", "closes"]

OTHERS = 6  # symbols that one is compared with, at most
OWN = 12  # symbols of a kind that are compared, at most
LATEST_BARS = 5000
FEWEST_BARS = 50
LEAST_CORRELATION = 0.2
MOST_BY_CHANCE = 0.4  # of the correlation in the other reading
DEVIATIONS = 4.0
FEWEST_EQUAL, MOSTLY_EQUAL, HARDLY_EQUAL = 10, 0.9, 0.2  # closes, and shares of them
DAYS_OF_A_WEEK = 7


class Read(NamedTuple):
    """One symbol's bars, as their stamps were read."""

    doubt: Doubt | None
    stamps_ns: Times  # [bars], as the source has them
    opens_ns: Times  # [bars], as they were read
    closes_ns: Times  # [bars], as they were read
    prices: NDArray[np.float64]  # [bars], at the close
    moves: NDArray[np.float64]  # [bars], log return from the opening to the close


class _Kind(NamedTuple):
    doubt: Doubt | None
    length_ns: int
    every_day: bool


def contradicted(read: Mapping[str, Read], doubt: Doubt) -> dict[str, str]:
    """The symbols whose doubtful reading is wrong, each with a symbol whose prices show it.

    What is shown for one symbol holds for all of its kind. Dates are only doubted where a market
    never shuts: elsewhere its hours, and not the stamps, may be what moves it with earlier bars.
    """
    if all(bars.doubt != doubt for bars in read.values()):
        return {}
    kinds: dict[_Kind, list[str]] = {}
    for symbol, bars in read.items():
        kinds.setdefault(_kind(bars), []).append(symbol)
    wrong: dict[str, str] = {}
    for kind, symbols in kinds.items():
        if kind.doubt != doubt or (doubt == "dates" and not kind.every_day):
            continue
        others = [
            symbol
            for other, members in kinds.items()
            if other != kind
            for symbol in members[:OTHERS]
        ][:OTHERS]
        for symbol in symbols[:OWN]:
            witness = next((o for o in others if _contradicts(read[o], read[symbol])), None)
            if witness is not None:
                wrong |= dict.fromkeys(symbols, witness)
                break
    return wrong


def _kind(bars: Read) -> _Kind:
    weekdays = np.unique(bars.stamps_ns[-LATEST_BARS:] // NS_PER_DAY % DAYS_OF_A_WEEK)
    return _Kind(bars.doubt, usual_length(bars.closes_ns), len(weekdays) == DAYS_OF_A_WEEK)


def _contradicts(other: Read, bars: Read) -> bool:
    """Whether `other` moves with `bars` in their other reading, and hardly in the one taken; or, if
    its bars are longer, has their very prices in it."""
    otherwise = _read_otherwise(bars)
    length, of_other = usual_length(bars.closes_ns), usual_length(other.closes_ns)
    if of_other > length:
        taken, else_ = (_share_equal(other, read, read.closes_ns) for read in (bars, otherwise))
        return else_ >= MOSTLY_EQUAL and taken <= HARDLY_EQUAL
    moves_with = _correlation if of_other <= length / 2 else _correlation_of_one
    taken, _ = moves_with(other, bars)
    else_, known = moves_with(other, otherwise)
    if known < FEWEST_BARS or else_ < LEAST_CORRELATION or taken > MOST_BY_CHANCE * else_:
        return False
    apart = np.arctanh(min(else_, 0.999)) - np.arctanh(taken)
    return bool(apart * np.sqrt((known - 3) / 2) >= DEVIATIONS)


def _read_otherwise(bars: Read) -> Read:
    """The same bars in the reading that was not taken."""
    index = pd.DatetimeIndex(bars.stamps_ns, tz="UTC")
    if bars.doubt == "closes":
        return bars._replace(opens_ns=bars.stamps_ns, closes_ns=closing_times(index))
    return bars._replace(opens_ns=opening_times(index), closes_ns=bars.stamps_ns)


def _share_equal(other: Read, bars: Read, closes_ns: Times) -> float:
    """Of the closes of longer bars, that are the last price of the shorter ones by then."""
    by_then = np.searchsorted(closes_ns, other.closes_ns + NS_PER_SECOND, side="right") - 1
    known = (by_then >= 0) & (by_then < len(closes_ns) - 1)
    if known.sum() < FEWEST_EQUAL:
        return 0.0
    equal = np.isclose(bars.prices[by_then], other.prices, rtol=1e-9, atol=0)
    return float(equal[known].mean())


def _correlation(other: Read, bars: Read) -> tuple[float, int]:
    """Of the moves within bars with those of shorter ones from one of their closes to the next,
    without its sign; and of how many."""
    closes_ns, moves = bars.closes_ns[-LATEST_BARS:], bars.moves[-LATEST_BARS:]
    inside = (closes_ns >= other.closes_ns[0]) & (closes_ns <= other.closes_ns[-1] + NS_PER_DAY)
    if inside.sum() < FEWEST_BARS:
        return 0.0, 0
    last_known = np.searchsorted(other.closes_ns, closes_ns[inside], side="right") - 1
    own, its = moves[inside][1:], np.diff(np.log(other.prices[last_known]))
    traded = np.diff(last_known) > 0  # over a weekend the other one may stand still
    traded[1:] &= traded[:-1].copy()
    return _size_of_correlation(own[traded], its[traded])


def _correlation_of_one(other: Read, bars: Read) -> tuple[float, int]:
    """The same with bars about as long: each with the one that is open in the middle of it."""
    opens_ns, closes_ns = bars.opens_ns[-LATEST_BARS:], bars.closes_ns[-LATEST_BARS:]
    middles = opens_ns + (closes_ns - opens_ns) // 2
    rows = np.searchsorted(other.closes_ns, middles)
    known = (rows > 0) & (rows < len(other.closes_ns))
    known[known] &= other.opens_ns[rows[known]] <= middles[known]
    rows = rows[known]
    its = np.log(other.prices[rows] / other.prices[rows - 1])  # a session's night is in it
    return _size_of_correlation(bars.moves[-LATEST_BARS:][known], its)


def _size_of_correlation(own: NDArray[np.float64], its: NDArray[np.float64]) -> tuple[float, int]:
    if len(own) < FEWEST_BARS or not own.std() or not its.std():
        return 0.0, 0
    return abs(float(np.corrcoef(own, its)[0, 1])), len(own)
