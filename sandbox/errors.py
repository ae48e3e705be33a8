"""What can go wrong in a run, in words meant for the person who started it.

SandboxError
├── ConfigError       an option is out of range, or two options contradict each other
├── StrategyError     the strategy file cannot be loaded, or asked for something impossible
├── SourceError       bars do not come as bars have to: out of order, or of an unknown symbol
├── WindowError       there are no candles, or too few, between the dates asked for
├── RunFolderError    the run folder cannot be written or read
├── StoreError        the forecast store cannot be written or read
├── AccountError     a paper account cannot be read, written or gone on with
├── TriesError       the registry of tries cannot be read or written
├── WorkerError       a process that worked on a part of the run ended in the middle of it
└── MemoryShortError  what was asked for does not fit in memory
"""

from typing import Any


class SandboxError(Exception):
    """Base of every error of this room; its text is one line."""

    stopped: Any = None  # `portfolios.Stopped` where it ended a portfolio's backtest


class ConfigError(SandboxError):
    """An option is out of range, or two options contradict each other."""


class StrategyError(SandboxError):
    """The strategy file cannot be loaded, or asked for something impossible."""


class SourceError(SandboxError):
    """Bars do not come as bars have to: out of order, or of a symbol that nobody announced."""


class WindowError(SandboxError):
    """There are no candles, or too few, between the dates asked for."""


class RunFolderError(SandboxError):
    """The run folder cannot be written or read."""


class StoreError(SandboxError):
    """The forecast store cannot be written or read."""


class AccountError(SandboxError):
    """A paper account cannot be read or written, or is not the one that was asked for."""


class WorkerError(SandboxError):
    """A process that worked on a part of the run ended in the middle of it."""


class MemoryShortError(SandboxError):
    """What was asked for does not fit in memory."""
