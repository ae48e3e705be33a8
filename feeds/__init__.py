"""Where candles come from: one string in, validated frames out.

    from feeds import load

    candles = load("sample:AAPL,NVDA", start="2018-01-01")
    candles["AAPL"]  # a frame: UTC times; open high low close volume amount

This package knows files, markets and the one schema of candles; it knows no model and no broker.
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"]:  # Python is looking for a command in here: feeds.sample.build
    from .interrupts import end_at_once

    end_at_once()  # before the imports below, which take a second

from .candles import COLUMNS, Candles, When
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
from .specs import KNOWN_SPECS, load

__all__ = [
    "COLUMNS",
    "KNOWN_SPECS",
    "CandleError",
    "Candles",
    "ColumnError",
    "FeedError",
    "PriceError",
    "SourceError",
    "SpecError",
    "SymbolError",
    "TimeError",
    "When",
    "from_frames",
    "load",
    "normalise",
    "repair",
    "validate",
]
