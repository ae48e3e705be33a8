"""Everything that `feeds` raises.

FeedError
├── SpecError        the data spec, or a start or end, cannot be understood
│   └── SymbolError  a picked symbol that the source does not have
├── SourceError      a file that is missing, empty or unreadable
├── ExchangeError    an exchange that cannot be reached, or cannot serve what is asked of it
│   ├── PageError    an answer that no exchange gives when all is well: it is asked again
│   │   └── GoneError  a page of candles that begins later than it was asked to
│   └── BusyError    an exchange that asks for patience
├── FeedEnded        every market of a live feed has ended, and all its bars were handed out
└── CandleError      candles that break the contract
    ├── ColumnError  a column that is missing, doubled or not numeric
    ├── TimeError    a time that is unreadable, doubled, out of order, in a mixed zone, or an
    │                opening that cannot be
    └── PriceError   a price, volume or amount that no market prints

The text of each error names the symbol, the first bad row and its time, the value found, what is
allowed and what to do; the same facts are attributes for programs.
"""

from __future__ import annotations

from typing import Self, TypedDict, Unpack

import pandas as pd

REPAIR = "correct the source, or load it with repair=True (--repair)"


class Place(TypedDict, total=False):
    """Where something is wrong, and what: each None where it does not apply."""

    source: str | None  # file or spec it came from
    row: int | None  # position among the symbol's rows, from 0, in the order of the source
    time: pd.Timestamp | None  # of that row, UTC
    value: object  # what was found


class Facts(Place, total=False):
    """All that an error knows."""

    symbol: str | None  # the series concerned
    remedy: str | None  # what to do


class FeedError(Exception):
    """Base of every error of this package; its `Facts` are attributes."""

    symbol: str | None = None
    source: str | None = None
    row: int | None = None
    time: pd.Timestamp | None = None
    value: object = None
    remedy: str | None = None

    def __init__(self, message: str, **facts: Unpack[Facts]) -> None:
        super().__init__(message)
        vars(self).update(facts)

    @classmethod
    def at(cls, problem: str, *, symbol: str, remedy: str, **place: Unpack[Place]) -> Self:
        """An error whose text is `SYMBOL (source), row N (time): problem; remedy`."""
        source, row, time = place.get("source"), place.get("row"), place.get("time")
        where = symbol if source is None else f"{symbol} ({source})"
        if row is not None:
            where += f", row {row}"
        if time is not None and not pd.isna(time):
            where += f" ({time:%Y-%m-%d %H:%M:%S} UTC)"
        return cls(f"{where}: {problem}; {remedy}", symbol=symbol, remedy=remedy, **place)


class SpecError(FeedError):
    """The data spec, or a start or end, cannot be understood."""


class SymbolError(SpecError):
    """A picked symbol that the source does not have."""


class SourceError(FeedError):
    """A file that is missing, empty or unreadable."""


class ExchangeError(FeedError):
    """An exchange that cannot be reached, or cannot serve what is asked of it."""


class UnreachableError(ExchangeError):
    """An exchange that does not answer, asked again and again."""


class PageError(ExchangeError):
    """An answer that no exchange gives when all is well; it counts for nothing."""


class GoneError(PageError):
    """A whole page of candles that begins later than it was asked to: the exchange may not keep
    older ones."""


class BusyError(ExchangeError):
    """An exchange that asks for patience."""

    after_s: float | None = None  # how long, in seconds, where it says so


class FeedEnded(FeedError):  # noqa: N818 - an end that was expected
    """Every market of a live feed has ended, and all its bars were handed out."""

    ended: tuple[str, ...] = ()  # those whose end no bar told


class CandleError(FeedError):
    """Candles that break the contract."""


class ColumnError(CandleError):
    """A column that is missing, doubled or not numeric."""


class TimeError(CandleError):
    """A time that is unreadable, doubled, out of order, in a mixed zone, or an opening that cannot
    be."""


class PriceError(CandleError):
    """A price, volume or amount that no market prints."""
