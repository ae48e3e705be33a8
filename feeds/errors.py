"""Everything that `feeds` raises.

FeedError
├── SpecError        the data spec, or a start or end, cannot be understood
│   └── SymbolError  a picked symbol that the source does not have
├── SourceError      a file that is missing, empty or unreadable
└── CandleError      candles that break the contract
    ├── ColumnError  a column that is missing, doubled or not numeric
    ├── TimeError    a time that is unreadable, doubled, out of order, in a mixed zone, or an
    │                opening that cannot be
    └── PriceError   a price, volume or amount that no market prints

The text of each error names the symbol, the first bad row and its time, the value found, what is
allowed and what to do; the same facts are attributes for programs.
"""

from __future__ import annotations

from typing import Self

import pandas as pd

REPAIR = "correct the source, or load it with repair=True (--repair)"


class FeedError(Exception):
    """Base of every error of this package.

    symbol: the series concerned. source: file or spec it came from. row: position of the first bad
    row among that symbol's rows, from 0, in the order of the source. time: that row's time (UTC).
    value: what was found. remedy: what to do. Each is None where it does not apply.
    """

    def __init__(
        self,
        message: str,
        *,
        symbol: str | None = None,
        source: str | None = None,
        row: int | None = None,
        time: pd.Timestamp | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.symbol = symbol
        self.source = source
        self.row = row
        self.time = time
        self.value = value
        self.remedy = remedy

    @classmethod
    def at(
        cls,
        problem: str,
        *,
        symbol: str,
        remedy: str,
        source: str | None = None,
        row: int | None = None,
        time: pd.Timestamp | None = None,
        value: object = None,
    ) -> Self:
        """An error whose text is `SYMBOL (source), row N (time): problem; remedy`."""
        where = symbol if source is None else f"{symbol} ({source})"
        if row is not None:
            where += f", row {row}"
        if time is not None and not pd.isna(time):
            where += f" ({time:%Y-%m-%d %H:%M:%S} UTC)"
        return cls(
            f"{where}: {problem}; {remedy}",
            symbol=symbol,
            source=source,
            row=row,
            time=time,
            value=value,
            remedy=remedy,
        )


class SpecError(FeedError):
    """The data spec, or a start or end, cannot be understood."""


class SymbolError(SpecError):
    """A picked symbol that the source does not have."""


class SourceError(FeedError):
    """A file that is missing, empty or unreadable."""


class CandleError(FeedError):
    """Candles that break the contract."""


class ColumnError(CandleError):
    """A column that is missing, doubled or not numeric."""


class TimeError(CandleError):
    """A time that is unreadable, doubled, out of order, in a mixed zone, or an opening that cannot
    be."""


class PriceError(CandleError):
    """A price, volume or amount that no market prints."""
