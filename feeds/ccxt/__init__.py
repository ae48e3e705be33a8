"""Candles from exchanges by way of ccxt: live ones as they close, and history for backtests."""

from .events import After, Event, LiveBar, Status
from .exchange import Timing
from .feed import Feed, open_feed
from .live import Live
from .markets import Market
from .pages import Row
from .warmup import Warmup

__all__ = [
    "After",
    "Event",
    "Feed",
    "Live",
    "LiveBar",
    "Market",
    "Row",
    "Status",
    "Timing",
    "Warmup",
    "open_feed",
]
