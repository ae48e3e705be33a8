"""The runtime: it turns candles, a model and a strategy file into a run folder.

The names below are what a strategy may use; the rest of the room is the machinery behind them.
"""

from sandbox.config import RunConfig
from sandbox.errors import SandboxError
from sandbox.strategy import Strategy

__all__ = ["RunConfig", "SandboxError", "Strategy"]
