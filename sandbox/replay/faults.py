"""What goes wrong at the exchange, drawn from a seed: which requests, frames and candles, and how.

A draw depends on the seed, on what is asked for and on how often that has been asked before, so
that the same client meets the same faults. Nothing here is for good: after some failures in a row
the next try of the same thing is spared, and a while after a bar has closed history tells the truth
about it. A page that ends before a candle, or with another version of it, never shows a later one:
a later candle vouches for those before it. A market's last candle is always told as it is.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

from feeds import AMOUNT, CLOSE, HIGH, LOW, VOLUME
from feeds.bars import NS_PER_SECOND
from sandbox.errors import ConfigError
from sandbox.replay.history import Candle, Seen, closed_candle
from sandbox.replay.market import Market
from sandbox.words import did_you_mean

Kind = Literal[
    "429", "418", "5xx", "403", "time-out", "empty", "null", "truncated", "cut",
    "missing", "late", "revised", "rows-doubled", "rows-reordered", "skew",
    "closed", "aborted", "half-open", "bad-json",
    "frame-doubled", "frame-reordered", "frame-stale", "frame-missing",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

# How often one kind comes beside others of its place.
REFUSALS: Mapping[Kind, float] = {"429": 6, "418": 3, "5xx": 14, "403": 6}
ANSWERS: Mapping[Kind, float] = {
    **REFUSALS, "time-out": 2, "empty": 12, "null": 8, "truncated": 14, "cut": 12,
}  # fmt: skip
SPOILS: tuple[Kind, ...] = ("empty", "null", "truncated", "cut")  # the body of an answer
PAGES: Mapping[Kind, float] = {"missing": 10, "rows-doubled": 10, "rows-reordered": 10}
CLOCKS: Mapping[Kind, float] = {"skew": 30}
CANDLES: Mapping[Kind, float] = {"late": 1, "revised": 1}
FRAMES: Mapping[Kind, float] = {
    "frame-doubled": 24, "frame-reordered": 22, "frame-stale": 20, "frame-missing": 20,
    "closed": 6, "aborted": 6, "half-open": 1, "bad-json": 1,
}  # fmt: skip
AT: Mapping[str, Mapping[Kind, float]] = {  # by what is asked for
    "klines": {**ANSWERS, **PAGES},
    "time": {**ANSWERS, **CLOCKS},
    "exchangeInfo": ANSWERS,
    "ping": ANSWERS,
    "ws": REFUSALS,
}

IN_A_ROW = 3  # failures of one thing, before it is spared once
SHORTEST_SECS, LONGEST_SECS = 0.1, 0.45  # that a candle is late or not final yet, by the clock here
MOST_ASKED = 3  # times that is, at full speed: so often its market has been asked for since
SKEW_SECS = 1.0  # that the clock is told wrong, at most
SKEW_PART = 0.1  # of a timeframe, at full speed: then it is only told late
STALEST_BARS = 5
REVISED_BY = 0.002


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """rate: share of requests, frames and candles that something is wrong with, 0 to 1."""

    seed: int
    rate: float
    kinds: Collection[str] = KINDS  # those that may come

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"faults at a rate of {self.rate:g}: it must be from 0 to 1")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"faults of kind {kind!r}: not known{did_you_mean(kind, KINDS)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `SEED:RATE`; raises ConfigError."""
        seed, _, rate = text.partition(":")
        try:
            return cls(seed=int(seed), rate=float(rate))
        except ValueError:
            raise ConfigError(
                f"--faults {text!r}: write SEED:RATE, a whole number and a share from 0 to 1, as "
                "in 7:0.05"
            ) from None


NONE = FaultPlan(seed=0, rate=0.0)


class Fate(NamedTuple):
    """What happens to a candle after its bar has closed."""

    kind: Kind  # "late" or "revised"
    lasts_ns: int  # from the close on
    asked: int  # at full speed: how often its market is asked for until it is over
    factor: float  # of a revised candle's close


class Faults:
    """The faults of one replay, and how many of each kind clients have met.

    speed: of the exchange's clock, None at full speed.
    """

    def __init__(self, plan: FaultPlan, speed: float | None, timeframe_ns: int) -> None:
        self._plan = plan
        self._speed = speed
        self._timeframe_ns = timeframe_ns
        self._times: Counter[str] = Counter()  # that something was asked for
        self._in_a_row: Counter[str] = Counter()
        self._fates: dict[tuple[str, int], Fate | None] = {}
        self._asked: dict[str, tuple[int, int]] = {}  # by market: candles closed, times asked since
        self.counts: Counter[str] = Counter()

    @property
    def planned(self) -> bool:
        """Whether anything may go wrong."""
        return self._plan.rate > 0

    @property
    def retry_secs(self) -> int:
        """What a refused client is told to wait."""
        return 1 if self._speed is None or self._speed > 60 else 2

    def count(self, kind: Kind) -> None:
        self.counts[kind] += 1

    def of_request(self, what: str, market_id: str = "") -> Kind | None:
        """What goes wrong with the next request, if anything. what: a key of `AT`."""
        return self._draw(f"{what} {market_id}", AT[what])

    def of_frame(self, stream: str) -> Kind | None:
        return self._draw(f"frame {stream}", FRAMES)

    def dice(self, what: str) -> random.Random:
        """For the particulars of a fault."""
        self._times[what] += 1
        return random.Random(f"{self._plan.seed} {what} {self._times[what]}")

    def _draw(self, what: str, weights: Mapping[Kind, float]) -> Kind | None:
        if not self.planned:
            return None
        dice = self.dice(what)
        kind = self._chosen(dice, weights)
        if kind is None or self._in_a_row[what] == IN_A_ROW:
            self._in_a_row[what] = 0
            return None
        self._in_a_row[what] += 1
        return kind

    def _chosen(self, dice: random.Random, weights: Mapping[Kind, float]) -> Kind | None:
        possible = {kind: weights[kind] for kind in weights if kind in self._plan.kinds}
        if dice.random() >= self._plan.rate or not possible:
            return None
        return dice.choices(list(possible), list(possible.values()))[0]

    def skew_ns(self) -> int:
        """What a wrongly told time is off by."""
        dice = self.dice("skew")
        if self._speed is None:
            return -int(dice.random() * SKEW_PART * self._timeframe_ns)
        return int(dice.uniform(-1, 1) * SKEW_SECS * self._speed * NS_PER_SECOND)

    def seen(
        self, market: Market, seen: Seen, now_ns: int, *, missing: bool
    ) -> tuple[Seen, Kind | None]:
        """What a client is shown of a market, and why that is not all.

        missing: this one answer lacks the newest candle, where that may be.
        """
        if not self.planned:
            return seen, None
        asked = self._count_asked(market, seen.closed)
        unsettled = self._unsettled(market, seen.closed, now_ns, asked)
        for nth in unsettled:
            fate = self._fate(market, nth)
            if fate is None or not self._holds(fate, market, nth, now_ns, asked):
                continue
            if fate.kind == "late":
                return Seen(nth), "late"
            return Seen(nth + 1, revised=_revised(closed_candle(market, nth), fate)), "revised"
        if missing and unsettled:
            return Seen(unsettled[-1]), "missing"
        return seen, None

    def _count_asked(self, market: Market, closed: int) -> int:
        before, times = self._asked.get(market.id, (closed, 0))
        times = times + 1 if before == closed else 1
        self._asked[market.id] = (closed, times)
        return times

    def _unsettled(self, market: Market, closed: int, now_ns: int, asked: int) -> range:
        """The closed candles that may yet be shown otherwise; none once the last has closed."""
        if closed == len(market.closes_ns):
            return range(0)
        if self._speed is None:
            first = closed - 1 if asked <= MOST_ASKED else closed
        else:
            since = now_ns - int(LONGEST_SECS * self._speed * NS_PER_SECOND)
            first = int(market.closes_ns.searchsorted(since, side="right"))
        return range(max(first, 0), closed)

    def _fate(self, market: Market, nth: int) -> Fate | None:
        key = (market.id, nth)
        if key not in self._fates:
            dice = random.Random(f"{self._plan.seed} candle {market.id} {market.closes_ns[nth]}")
            kind = self._chosen(dice, CANDLES)
            secs = dice.uniform(SHORTEST_SECS, LONGEST_SECS)
            lasts_ns = int(secs * (self._speed or 0.0) * NS_PER_SECOND)
            factor = math.exp(dice.uniform(-REVISED_BY, REVISED_BY))
            asked = dice.randint(1, MOST_ASKED)
            self._fates[key] = None if kind is None else Fate(kind, lasts_ns, asked, factor)
        return self._fates[key]

    def _holds(self, fate: Fate, market: Market, nth: int, now_ns: int, asked: int) -> bool:
        if self._speed is None:
            return asked <= fate.asked
        return now_ns - int(market.closes_ns[nth]) < fate.lasts_ns

    def told(self) -> str:
        """`12 faults: 5 late, 7 429`; one line."""
        kinds = ", ".join(f"{self.counts[kind]:,} {kind}" for kind in KINDS if self.counts[kind])
        return f"{self.counts.total():,} faults" + (f": {kinds}" if kinds else "")


def _revised(candle: Candle, fate: Fate) -> Candle:
    """A version that is valid, and not the last one."""
    values = list(candle.values)
    values[CLOSE] *= fate.factor
    values[HIGH] = max(values[HIGH], values[CLOSE])
    values[LOW] = min(values[LOW], values[CLOSE])
    for column in (VOLUME, AMOUNT):
        values[column] *= 0.9
    return candle._replace(values=values)
