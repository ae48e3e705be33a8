"""Kronos: a foundation model for candlesticks (arXiv 2508.02739), faithful and fast.

Read in this order: `layers`, `quantizer`, `tokenizer`, `model`, `prepare`, `forecast`, `predictor`,
`hub`. `kronos.inference` has the fast sampler, `kronos.training` losses, data sets and fitting.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kronos.errors import (
    CheckpointError,
    ConfigError,
    InputError,
    KronosError,
    TrainingError,
    UncachedWarning,
    UnknownModelError,
)
from kronos.forecast import COLUMNS, Forecast
from kronos.hub import Checkpoint, find, load
from kronos.inference.draws import series_key
from kronos.prepare import bar_stamps, time_stamps

if TYPE_CHECKING:
    from kronos.inference.compat import (
        auto_regressive_inference,
        calc_time_stamps,
        sample_from_logits,
        top_k_top_p_filtering,
    )
    from kronos.model import Kronos
    from kronos.predictor import KronosPredictor
    from kronos.tokenizer import KronosTokenizer

_NEEDS_TORCH = {  # name -> module; a run whose forecasts are all stored imports none of them
    "Kronos": "kronos.model",
    "KronosPredictor": "kronos.predictor",
    "KronosTokenizer": "kronos.tokenizer",
    "auto_regressive_inference": "kronos.inference.compat",
    "calc_time_stamps": "kronos.inference.compat",
    "sample_from_logits": "kronos.inference.compat",
    "top_k_top_p_filtering": "kronos.inference.compat",
}

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
    "UncachedWarning",
    "UnknownModelError",
    "auto_regressive_inference",
    "bar_stamps",
    "calc_time_stamps",
    "find",
    "load",
    "sample_from_logits",
    "series_key",
    "time_stamps",
    "top_k_top_p_filtering",
]


def __getattr__(name: str) -> object:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEEDS_TORCH[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
