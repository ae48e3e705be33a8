"""Every error that this package raises on purpose.

KronosError
├── InputError (ValueError)       a frame, a time index or a sampling setting cannot be used
├── ConfigError (ValueError)      model dimensions that contradict each other
├── TrainingError (ValueError)    a training or validation set that cannot be learned from
└── CheckpointError (OSError)     weights that cannot be found, or that are not what was asked for
    └── UnknownModelError         a name that no checkpoint has

and its one warning class: UncachedWarning (UserWarning), a model that the fast sampler cannot
serve. Warnings name the line outside this package that called it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

PACKAGE = Path(__file__).parent


class KronosError(Exception):
    """Base of all errors of this package."""


class InputError(KronosError, ValueError):
    """Candles, times or sampling settings that cannot be used."""


class ConfigError(KronosError, ValueError):
    """Model dimensions that contradict each other."""


class TrainingError(KronosError, ValueError):
    """A training or validation set that cannot be learned from."""


class CheckpointError(KronosError, OSError):
    """Weights that cannot be found, or that are not what was asked for."""


class UnknownModelError(CheckpointError):
    """A name that no checkpoint has."""


class UncachedWarning(UserWarning):
    """A model or tokenizer is not the plain one, so its forecasts are made without caches."""


def warn_caller(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost caller outside this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and PACKAGE in Path(frame.f_code.co_filename).parents:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
