"""The runtime: it turns candles, a model and a strategy file into a run folder.

The names below are what a strategy may use; the rest of the room is the machinery behind them.
"""

from kronos import Forecast
from sandbox.config import RunConfig
from sandbox.errors import SandboxError
from sandbox.feed import CandleFeed
from sandbox.indicator import KronosSignal
from sandbox.strategy import Strategy

__all__ = ["CandleFeed", "Forecast", "KronosSignal", "RunConfig", "SandboxError", "Strategy"]
