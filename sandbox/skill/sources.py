"""What is scored: models with their settings, baselines, naive signals; each samples candles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from sandbox.config import Sampling, SkillConfig
from sandbox.errors import ConfigError
from sandbox.forecast.book import Forecasts, forecasts_of
from sandbox.forecast.naive import NAIVE, naive_closes
from sandbox.forecast.windows import Array, Windows
from sandbox.skill.baselines import PRICES, RANDOM_WALK, Draws, Past, baseline_returns
from sandbox.skill.garch import Garch
from sandbox.words import did_you_mean

Kind = Literal["model", "baseline", "signal"]
NO_SIGNALS = "none"
SIGNALS = tuple(name for name in NAIVE if name != RANDOM_WALK)
VARIED: Mapping[str, type] = {  # settings that a variant may change, and how they are read
    "lookback": int, "samples": int, "temperature": str, "top_p": float, "top_k": int,
    "seed": int,
}  # fmt: skip


class Asked(NamedTuple):
    """A model with settings."""

    name: str  # of the source: `small`, or `small temperature=0.6`
    model: str
    sampling: Sampling
    calibrated: bool = False

    def settings(self) -> dict[str, Any]:
        return asdict(self.sampling) | ({"calibrated": True} if self.calibrated else {})

    def both(self, *, calibrate: bool) -> list[Asked]:
        """The raw one, and to `calibrate` the calibrated one besides."""
        name = f"{self.name} calibrated"
        return [self, self._replace(name=name, calibrated=True)] if calibrate else [self]


def asked(config: SkillConfig) -> list[Asked]:
    """Every model with the settings and with each variant of them, raw and where it is asked for
    calibrated; raises ConfigError."""
    base = config.sampling
    if base.samples < 2:
        raise ConfigError(f"--samples {base.samples}: scores of a distribution need 2 or more")
    variants = {"": base} | {text: variant(text, base) for text in config.skill.variants}
    models = config.skill.models
    for model in models:
        if models.count(model) > 1:
            raise ConfigError(f"--model {model}: it is given twice")
    return [
        own
        for model in models
        for text, sampling in variants.items()
        for own in Asked(f"{model} {text}".strip(), model, sampling).both(
            calibrate=config.model.calibrate
        )
    ]


def variant(text: str, base: Sampling) -> Sampling:
    """`temperature=0.6,top_p=0.9` over the other settings; raises ConfigError."""
    changes: dict[str, str] = {}
    for part in text.split(","):
        key, value = setting(
            part, VARIED, f"--variant {text!r}", "of a variant", "name=value,name=value"
        )
        changes[key] = value
    return varied(f"--variant {text!r}", changes, base)


def setting(part: str, known: Collection[str], where: str, kind: str, form: str) -> tuple[str, str]:
    """`top-p=0.9` as `top_p` and `0.9`; raises ConfigError that begins with `where` it was given
    and says of which `kind` the known settings are, and in what `form` they are written."""
    name, equals, value = part.partition("=")
    key = name.strip().replace("-", "_")
    if not equals or key not in known:
        raise ConfigError(
            f"{where}: {name.strip()!r} is no setting {kind}, there are {', '.join(known)}; write "
            f"it as {form}{did_you_mean(key, known)}"
        )
    return key, value


def varied(where: str, changes: Mapping[str, str], base: Sampling) -> Sampling:
    """Some settings, by names of `VARIED`, over the others; raises ConfigError that begins with
    `where` they were given."""
    numbers = {name: _number(where, name, value) for name, value in changes.items()}
    try:
        changed = replace(base, **numbers)
    except ValueError as error:
        first = error.errors()[0] if hasattr(error, "errors") else {"msg": str(error)}
        text = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {text[:1].lower()}{text[1:]}") from error
    if changed.samples < 2:
        raise ConfigError(f"{where}: scores of a distribution need 2 samples or more")
    return changed


def _number(where: str, name: str, value: str) -> Any:
    try:
        return VARIED[name](value)
    except ValueError:
        kind = "a whole number" if VARIED[name] is int else "a number"
        raise ConfigError(f"{where}: {name} {value!r} is not {kind}") from None


def signal_names(names: Sequence[str]) -> list[str]:
    """The naive signals asked for, each once; raises ConfigError for an unknown one."""
    for name in names:
        if name not in (*NAIVE, NO_SIGNALS):
            raise ConfigError(
                f"--signal {name!r}: a naive signal is one of {', '.join(SIGNALS)}, or "
                f"{NO_SIGNALS}{did_you_mean(name, SIGNALS)}"
            )
    if NO_SIGNALS in names and len(names) > 1:
        raise ConfigError(f"--signal {NO_SIGNALS}: no other signal can be named beside it")
    return [name for name in dict.fromkeys(names) if name in SIGNALS]


class Batch(NamedTuple):
    """Some cells, and what several sources need of them."""

    windows: Windows
    past: Past
    draws: Draws

    @classmethod
    def of(cls, windows: Windows, sampling: Sampling) -> Batch:
        return cls(windows, Past.of(windows), Draws.of(windows, sampling))


class Source(Protocol):
    """Anything that forecasts cells."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def samples(self) -> int: ...

    def returns(self, batch: Batch) -> Array:
        """Sampled candles as simple returns of open, high, low and close against the close at
        asof: `[n, S, P, 4]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    name: str
    samples: int
    book: Forecasts
    kind: Kind = "model"

    def returns(self, batch: Batch) -> Array:
        return self.drawn(batch.windows)

    def drawn(self, windows: Windows) -> Array:
        """As `returns`, which needs no more than the windows."""
        return np.stack(
            [
                forecast.paths[..., :PRICES].astype(np.float64) / forecast.close - 1
                for forecast in forecasts_of(self.book, windows)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class BaselineSource:
    name: str
    samples: int
    kind: Kind = "baseline"

    def returns(self, batch: Batch) -> Array:
        return baseline_returns(self.name, batch.past, batch.draws)


@dataclass(frozen=True, kw_only=True)
class GarchSource:
    name: str
    samples: int
    garch: Garch
    kind: Kind = "baseline"

    def returns(self, batch: Batch) -> Array:
        return self.garch.returns(batch.windows, batch.draws)


@dataclass(frozen=True, kw_only=True)
class SignalSource:
    """A naive signal. Its candles have no wicks, so that they are not scored as whole ones."""

    name: str
    sampling: Sampling
    kind: Kind = "signal"

    @property
    def samples(self) -> int:
        return self.sampling.samples

    def returns(self, batch: Batch) -> Array:
        closes = naive_closes(self.name, batch.windows, self.sampling)
        returns = closes / batch.windows.closes()[:, None, None] - 1
        return np.repeat(returns[..., None], PRICES, axis=-1)
