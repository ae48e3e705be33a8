"""Walk-forward folds: which times a fold trains on, validates on and is tested on.

Knows times alone. Parts are half-open and do not overlap, and a window belongs to a part if all its
targets lie in it, so no label of one part is in another: with a gap of 0, too. Lookbacks may reach
back into an earlier part, as a forecast made at that time would have; else each part would lose its
first `lookback` bars.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from ray_jobs.options import Period
from sandbox.errors import ConfigError

Times = NDArray[np.datetime64]
BEGINNING = np.datetime64("1900-01-01", "us")
BARS = "bars"
UNITS = (BARS, "days", "weeks", "months", "years")


@dataclass(frozen=True)
class Span:
    """A length of time: `6 months`, or `120 bars` of the universe."""

    number: int
    unit: str

    @classmethod
    def of(cls, text: str, name: str) -> Span:
        match = re.fullmatch(r"(\d+)\s*([a-z]+?)s?", text.strip().lower())
        unit = f"{match[2]}s" if match else ""
        if match is None or unit not in UNITS:
            raise ConfigError(
                f"{name} {text!r}: write a whole number of {', '.join(UNITS)}, such as 6 months"
            )
        return cls(int(match[1]), unit)

    def before(self, time: np.datetime64, times: Times) -> np.datetime64 | None:
        """The time so long before; None where there are too few bars."""
        return self._moved(time, times, -1)

    def after(self, time: np.datetime64, times: Times) -> np.datetime64 | None:
        """The time so long after; None where there are too few bars."""
        return self._moved(time, times, 1)

    def _moved(self, time: np.datetime64, times: Times, sign: int) -> np.datetime64 | None:
        if not self.number:
            return time
        if self.unit != BARS:
            length: dict[str, Any] = {self.unit: self.number}
            offset = pd.DateOffset(**length)
            moved = pd.Timestamp(time) + sign * offset
            return np.datetime64(moved.to_pydatetime(), "us")
        place = int(np.searchsorted(times, time)) + sign * self.number
        return times[place] if 0 <= place < len(times) else None


@checked_dataclass(frozen=True, kw_only=True)
class FoldOptions:
    """How time is cut. Lengths are texts such as `6 months` or `120 bars`."""

    start: date  # where the first test part begins
    end: date  # last day that is tested; the data's own end where that comes first
    test: str = "6 months"
    validate: str = "6 months"
    train: str | None = None  # None: all there is, which only an anchored window allows
    # Between the end of validation and the test part. 0 leaks no label: targets never straddle two
    # parts, and what a test forecast is judged by comes after every bar that its weights have seen.
    gap: str = "0 bars"
    window: Literal["anchored", "rolling"] = "anchored"  # whether training's start stays or moves
    begin_from: Literal["base", "previous"] = "base"  # weights that each fold starts from

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"folds: end {self.end} is before start {self.start}")
        if self.window == "rolling" and self.train is None:
            raise ValueError("folds: a rolling window needs the length of train, such as 3 years")
        for name in ("test", "validate", "train"):
            length = getattr(self, name)
            if length is not None and not Span.of(length, f"folds: {name}").number:
                raise ValueError(f"folds: {name} {length}: it must be longer than nothing")
        Span.of(self.gap, "folds: gap")
        return self


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One of them; times are those that training compares: of daily bars the session's date."""

    number: int  # from 1
    train: Period
    validate: Period
    test: Period

    @property
    def name(self) -> str:
        """`01`"""
        return f"{self.number:02d}"


def folds_of(options: FoldOptions, times: Times) -> list[Fold]:
    """All folds over a universe's bar times `[n]`, ascending.

    The last test part ends with the options' end. Raises ConfigError for a fold that the bars
    before it are too few for, and where nothing is left to test.
    """
    return list(_folds(options, times))


def _folds(options: FoldOptions, times: Times) -> Iterator[Fold]:
    test = Span.of(options.test, "test")
    begin: np.datetime64 | None = np.datetime64(options.start, "us")
    last = min(np.datetime64(options.end, "us"), times[-1].astype("M8[D]").astype("M8[us]"))
    end = last + np.timedelta64(1, "D")
    number, anchor = 1, None
    while begin is not None and begin < end:
        until = test.after(begin, times)
        tested = Period(begin, end if until is None else min(until, end))
        if len(_inside(tested, times)):
            fold = _fold(number, tested, options, times, anchor)
            anchor = fold.train.start if options.window == "anchored" else None
            yield fold
            number += 1
        begin = until
    if number == 1:
        raise ConfigError(
            f"folds: no bar to test from {options.start} to {options.end}; the candles have "
            f"{times[0].astype('M8[D]')} to {times[-1].astype('M8[D]')}"
        )


def _fold(
    number: int, test: Period, options: FoldOptions, times: Times, anchor: np.datetime64 | None
) -> Fold:
    end = _before(number, "gap", options.gap, test.start, times)
    middle = _before(number, "validate", options.validate, end, times)
    start: np.datetime64
    if options.train is None:
        start = BEGINNING
    elif anchor is None:
        start = _before(number, "train", options.train, middle, times)
    else:
        start = anchor
    fold = Fold(number=number, train=Period(start, middle), validate=Period(middle, end), test=test)
    for part, name in ((fold.validate, "validation"), (fold.train, "training")):
        if not len(_inside(part, times)):
            words = " until before ".join(part.in_words())
            raise ConfigError(
                f"fold {number} does not fit the data: no bar from {words} for its {name}; the "
                f"first bar is at {times[0].astype('M8[D]')}"
            )
    return fold


def _before(
    number: int, name: str, length: str, time: np.datetime64, times: Times
) -> np.datetime64:
    found = Span.of(length, name).before(time, times)
    if found is None:
        had = int(np.searchsorted(times, time))
        raise ConfigError(
            f"fold {number} does not fit the data: {name} takes {length} before "
            f"{time.astype('M8[D]')}, and there are {had}"
        )
    return found


def _inside(period: Period, times: Times) -> Times:
    low, high = np.searchsorted(times, np.array(period, times.dtype))
    return times[low:high]
