"""The options of `python -m sandbox.replay`, checked when they are built. Knows no server."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from sandbox.config import CandleOptions, Config
from sandbox.errors import ConfigError

FULL_SPEED = "max"
FASTEST = 10_000_000.0  # more would leave no time for a frame


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """Where, how fast and what is replayed. Dates are UTC and inclusive."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0  # 0: one that is free
    speed: str = "3600x"  # of the exchange's clock, or "max": as fast as the client keeps up
    start: date | None = None  # first day that is replayed; None: after as much history as usual
    end: date | None = None  # last day; None: that of the data
    faults: str | None = None  # SEED:RATE; None: nothing goes wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig(Config):
    """What decides a replay."""

    candles: CandleOptions
    replay: ReplayOptions


def speed_of(text: str) -> float | None:
    """`3600x` or `3600` as 3600.0, `max` as None; raises ConfigError."""
    if text.strip().lower() == FULL_SPEED:
        return None
    try:
        speed = float(text.strip().lower().removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed <= FASTEST:
        raise ConfigError(
            f"--speed {text!r}: write how many times as fast as real time, as in 60x (above 0, at "
            f"most {FASTEST:,.0f}x), or max"
        )
    return speed
