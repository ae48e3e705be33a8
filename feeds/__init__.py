"""Where candles come from: one string in, validated frames out.

    from feeds import load

    candles = load("sample:AAPL,NVDA", start="2018-01-01")
    candles["AAPL"]  # a frame: UTC times; open high low close volume amount
    candles.opens["AAPL"]  # when each of its bars opened

This package knows files, markets and the one schema of candles; it knows no model and no broker.
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"]:  # Python is looking for a command in here: feeds.sample.build
    from .interrupts import end_at_once

    end_at_once()  # before the imports below, which take a second

from .bars import (
    AMOUNT,
    CLOSE,
    COLUMNS,
    HIGH,
    LOW,
    OPEN,
    VOLUME,
    bar_times,
    times_ns,
    values_of,
)
from .candles import Candles, When
from .checks import validate
from .errors import (
    CandleError,
    ColumnError,
    FeedError,
    PriceError,
    SourceError,
    SpecError,
    SymbolError,
    TimeError,
)
from .files import from_frames
from .repairs import repair
from .schema import normalise
from .sessions import Hours, Sessions
from .spacing import opening_times
from .specs import KNOWN_SPECS, load
from .stamps import Stamps

__all__ = [
    "AMOUNT",
    "CLOSE",
    "COLUMNS",
    "HIGH",
    "KNOWN_SPECS",
    "LOW",
    "OPEN",
    "VOLUME",
    "CandleError",
    "Candles",
    "ColumnError",
    "FeedError",
    "Hours",
    "PriceError",
    "Sessions",
    "SourceError",
    "SpecError",
    "Stamps",
    "SymbolError",
    "TimeError",
    "When",
    "bar_times",
    "from_frames",
    "load",
    "normalise",
    "opening_times",
    "repair",
    "times_ns",
    "validate",
    "values_of",
]
