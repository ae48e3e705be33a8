"""Which weights forecast, whether they fit what is asked of them, and what they may have seen."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

import pandas as pd

import kronos
from sandbox.errors import ConfigError


class Weights(Protocol):
    """What is written down about the weights that forecast: of a checkpoint, or of several."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def max_context(self) -> int: ...

    @property
    def seen_until(self) -> dt.date | None: ...


def load_checkpoint(name: str, lookback: int) -> kronos.Checkpoint:
    """The model of a name, if its context holds as many bars as the lookback."""
    checkpoint = kronos.find(name)
    expect_context(checkpoint, lookback, "--lookback")
    return checkpoint


def expect_context(checkpoint: Weights, bars: int, flag: str) -> None:
    """Raises ConfigError for more bars than a model sees."""
    if bars > checkpoint.max_context:
        raise ConfigError(
            f"{flag} {bars}: model {checkpoint.name} sees {checkpoint.max_context} bars at most"
        )


def model_sentence(
    checkpoint: Weights, first: pd.Timestamp, last: pd.Timestamp | None = None
) -> str:
    """Whether figures from `first` on, to `last`, can be called unseen."""
    weights = f"Model: {checkpoint.name} (weights {checkpoint.fingerprint[:12]})"
    if checkpoint.seen_until is None:
        return f"{weights}; up to when its training data runs is not known."
    seen_until = pd.Timestamp(checkpoint.seen_until).tz_localize("UTC")
    trained = f"{weights} was trained on data to {seen_until:%Y-%m-%d}"
    if seen_until < first.normalize():
        return f"{trained}; these candles came later."
    if last is not None and last.normalize() > seen_until:
        return f"{trained} and may have seen these candles up to then: figures are split there."
    return f"{trained} and may have seen these very candles: nothing here is out of sample."
