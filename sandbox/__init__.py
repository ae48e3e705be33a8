"""The runtime: it turns candles, a model and a strategy file into a run folder.

The names below are what a strategy may use; the rest of the room is the machinery behind them.
Each is imported when it is first asked for, so that a command can answer Ctrl-C at once and a
process that only forecasts carries no engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kronos import Forecast
    from sandbox.config import RunConfig
    from sandbox.errors import SandboxError
    from sandbox.trading.feed import CandleFeed
    from sandbox.trading.indicator import KronosSignal
    from sandbox.trading.strategy import Strategy

_MODULES = {
    "CandleFeed": "sandbox.trading.feed",
    "Forecast": "kronos",
    "KronosSignal": "sandbox.trading.indicator",
    "RunConfig": "sandbox.config",
    "SandboxError": "sandbox.errors",
    "Strategy": "sandbox.trading.strategy",
}

__all__ = ["CandleFeed", "Forecast", "KronosSignal", "RunConfig", "SandboxError", "Strategy"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
