"""Kronos: a foundation model for candlesticks (arXiv 2508.02739), faithful and fast."""

from kronos.errors import (
    CheckpointError,
    ConfigError,
    InputError,
    KronosError,
    TrainingError,
    UnknownModelError,
)
from kronos.forecast import COLUMNS, Forecast
from kronos.hub import Checkpoint, load
from kronos.model import Kronos
from kronos.predictor import KronosPredictor
from kronos.prepare import time_stamps
from kronos.sampling import series_key
from kronos.tokenizer import KronosTokenizer

__all__ = [
    "COLUMNS",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "Forecast",
    "InputError",
    "Kronos",
    "KronosError",
    "KronosPredictor",
    "KronosTokenizer",
    "TrainingError",
    "UnknownModelError",
    "load",
    "series_key",
    "time_stamps",
]
