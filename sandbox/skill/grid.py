"""What is tuned: a grid of settings, the day they are chosen by, and what counts for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sandbox.config import Sampling, SkillConfig
from sandbox.errors import ConfigError
from sandbox.forecast.windows import Array
from sandbox.skill.cells import Cells
from sandbox.skill.sources import Asked, asked, setting, varied

TUNED = ("lookback", "temperature", "top_p", "top_k")  # settings that can be


class Combination(NamedTuple):
    values: Mapping[str, str]  # by setting, as they were given
    asked: Asked


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A grid of settings for every model, and the last day that they may be chosen by."""

    until: date
    settings: Mapping[str, Sequence[str]]  # all values, as they were given
    combinations: Mapping[str, Sequence[Combination]]  # by model

    @property
    def asked(self) -> list[Asked]:
        return [each.asked for own in self.combinations.values() for each in own]

    @property
    def end_ns(self) -> int:
        """The first moment after the day, in ns since 1970."""
        return (pd.Timestamp(self.until, tz="UTC") + pd.Timedelta(days=1)).value


def tuning_of(config: SkillConfig) -> Tuning | None:
    """What `--tune` asks for; None: nothing. Raises ConfigError."""
    texts, until = config.skill.tune, config.skill.tune_until
    if not texts and until is None:
        return None
    if not texts:
        raise ConfigError(
            f"--tune-until {until}: say what to tune, such as --tune temperature=0.6,0.8,1.0"
        )
    if until is None:
        raise ConfigError("--tune: say by which day settings are chosen, with --tune-until DATE")
    settings = _settings(texts, config.sampling)
    grid = [dict(zip(settings, values, strict=True)) for values in product(*settings.values())]
    return Tuning(
        until=until,
        settings=settings,
        combinations={
            model: [_combination(model, values, config.sampling) for values in grid]
            for model in config.skill.models
        },
    )


def all_asked(config: SkillConfig) -> list[Asked]:
    """What is asked for and what is tuned; raises ConfigError."""
    tuning = tuning_of(config)
    return [*asked(config), *(tuning.asked if tuning else ())]


def _combination(model: str, values: Mapping[str, str], base: Sampling) -> Combination:
    name = f"{model} {in_words(values)}"
    return Combination(values, Asked(name, model, varied("--tune", values, base)))


def in_words(values: Mapping[str, Any], separator: str = ",") -> str:
    """`lookback=64,temperature=0.8`, as `--variant` takes it."""
    return separator.join(f"{name}={value}" for name, value in values.items())


def _settings(texts: Sequence[str], base: Sampling) -> dict[str, list[str]]:
    """`["lookback=32,64", "top_p=0.9,1.0"]` to the values of each setting."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, values = setting(
            text, TUNED, f"--tune {text!r}", "that can be tuned", "name=value,value"
        )
        if key in found:
            raise ConfigError(f"--tune {key} is given twice: name all its values once")
        found[key] = [value.strip() for value in values.split(",")]
        _expect_different(text, key, found[key], base)
    return found


def _expect_different(text: str, key: str, values: Sequence[str], base: Sampling) -> None:
    known: list[Sampling] = []
    for value in values:
        sampling = varied(f"--tune {text!r}", {key: value}, base)
        if sampling in known:
            raise ConfigError(f"--tune {text!r}: {value} is given twice")
        known.append(sampling)


class Periods(NamedTuple):
    """Which cells `[W]` count before the end of the day and after it.

    Those whose whole horizon had come by then, and those of a later asof whose whole horizon has
    come since: what lies between counts for neither.
    """

    before: Array
    after: Array

    @classmethod
    def of(cls, cells: Cells, tuning: Tuning) -> Periods:
        """Raises ConfigError where there are none before or none after."""
        asof_ns, whole = cells.windows.asof_ns, cells.bars_after == cells.horizon
        last = np.minimum(cells.windows.ends + cells.horizon, cells.last_rows)
        known_ns = cells.windows.times_ns[last]
        own = cls(whole & (known_ns < tuning.end_ns), whole & (asof_ns >= tuning.end_ns))
        flag = f"--tune-until {tuning.until}"
        first, latest = (f"{pd.Timestamp(ns):%Y-%m-%d}" for ns in asof_ns[[0, -1]].tolist())
        if asof_ns[0] >= tuning.end_ns:
            raise ConfigError(f"{flag}: the first forecast is of {first}, which is later")
        if asof_ns[-1] < tuning.end_ns:
            raise ConfigError(
                f"{flag}: the last forecast is of {latest}, so that none is left to judge a choice"
            )
        bars, made = f"all {cells.horizon} bars ahead", f"forecasts are of {first} to {latest}"
        if not own.before.any():
            raise ConfigError(f"{flag}: of no forecast were {bars} known by then; {made}")
        if not own.after.any():
            raise ConfigError(f"{flag}: of no later forecast are {bars} known yet; {made}")
        return own
