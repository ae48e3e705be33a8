"""What a run is made of: records of options, each frozen and checked when it is built.

A command takes the records it needs: a run all of them, a forecast those of candles, model and
sampling. To a user options are flat (`seed: 1`, `--seed 1`), whichever record they belong to. A
command's are built from defaults, a preset, a file and the command line, each over the one before.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from sandbox.errors import ConfigError
from sandbox.words import nearest

Param = bool | int | float | str
SignalName = Literal["kronos", "momentum", "reversal", "volatility", "random", "random-walk"]
CostsName = Literal["us", "ph", "cn", "crypto", "none"]
NO_STORE = NO_CALENDAR = "none"
FORMER_NAMES = {"exchange": "calendar"}  # of options, and what they are called now
MOST_TEMPERATURE = 10.0
COLUMNS = 6  # of a bar: open, high, low, close, volume, amount


def _listed(value: Any) -> Any:
    """One path as a list of one: a file may say `strategies: mine.py`."""
    return (value,) if isinstance(value, str) else value


def _values(value: Any) -> Any:
    """One value as a list of one, and a text such as `2,3,5` split at its commas."""
    if isinstance(value, str):
        return value.split(",")
    return [value] if isinstance(value, bool | int | float) else value


def _ramp(text: str) -> float | str:
    """`A:B` with both numbers written one way, or the number where they are equal."""
    first, last = _ramp_ends(text)
    return first if first == last else f"{first}:{last}"


def _ramp_ends(text: str) -> tuple[float, float]:
    try:
        first, last = map(float, text.split(":"))
    except ValueError:
        first = last = math.nan
    if not (0 < first <= MOST_TEMPERATURE and 0 < last <= MOST_TEMPERATURE):
        raise ValueError(
            "write one number, or two as 0.6:1.0 for the first and the last bar ahead, each above "
            f"0 and at most {MOST_TEMPERATURE:g}"
        )
    return first, last


def _kind_of_temperature(value: Any) -> str:
    return "ramp" if isinstance(value, str) and ":" in value else "number"


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Values = Annotated[tuple[Param, ...], BeforeValidator(_values), Field(min_length=1)]
Bps = Annotated[float, Field(ge=0, lt=10_000)]
Pct = Annotated[float, Field(gt=0, le=100)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# one number, or the text `A:B`
Temperature = Annotated[
    Annotated[float, Field(gt=0, le=MOST_TEMPERATURE), Tag("number")]
    | Annotated[str, AfterValidator(_ramp), Tag("ramp")],
    Discriminator(_kind_of_temperature),
]


@dataclass(frozen=True, kw_only=True)
class StrategyOptions:
    """Which strategies, with which parameters, on which signal."""

    strategies: Texts = ()  # paths of files
    params: Mapping[str, Param] = Field(default_factory=dict)  # k, or topk.k for one of several
    sweep: Mapping[str, Values] = Field(default_factory=dict)  # as params, with all values to try
    preset: str | None = None  # named settings that the rest goes over
    signal: SignalName = "kronos"


@dataclass(frozen=True, kw_only=True)
class CandleOptions:
    """Where candles come from, and how they are read."""

    data: str = "sample"  # data spec
    repair: bool = False  # mend bad candles instead of refusing them
    stamps: Literal["open", "close"] | None = None  # what a file's times are; None: as recognised
    # trading calendar of the bars, such as XNYS; "none": as observed; None: that of the data
    calendar: str | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is traded. Dates are UTC and inclusive."""

    start: date = date(2020, 1, 2)  # first session that may be traded
    end: date = date(2024, 12, 31)  # last session; the data's own end where that comes first

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"--end {self.end} is before --start {self.start}")
        return self


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which weights forecast, what computes, and where forecasts are kept."""

    model: str = "bundled"  # checkpoint name
    device: str | None = None  # None: the best this machine has
    dtype: Literal["float32", "bfloat16"] = "float32"  # numbers the model computes with
    store: str = "store"  # folder that keeps forecasts, or "none"
    calibrate: bool = False  # move forecasts to where past ones should have been


LOCAL = "local"  # the backend that is always there


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """What computes forecasts: this machine, or replicas of the model on a Ray cluster."""

    backend: str = LOCAL  # or the name of an installed one, such as ray
    ray_address: str | None = None  # auto, HOST:PORT; None: a Ray of this machine for the run
    replicas: Annotated[int, Field(ge=1)] | None = None  # None: as many as there is room for
    replica_gpus: Annotated[float, Field(ge=0)] | None = None  # of each; None: 1 if there is any
    replica_threads: Annotated[int, Field(ge=1)] = 1  # and CPUs of each


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How forecasts are drawn."""

    lookback: Annotated[int, Field(ge=2, le=4096)] = 90  # bars the signal sees, asof included
    horizon: Annotated[int, Field(ge=1, le=512)] = 5  # bars it forecasts
    samples: Annotated[int, Field(ge=1, le=4096)] = 32  # paths it draws for each forecast
    # below 1: nearer to the likeliest; A:B goes from A at the first bar ahead to B at the last one
    temperature: Temperature = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # 1 keeps the tails
    top_k: Annotated[int, Field(ge=0)] = 0  # 0 keeps every token
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @property
    def temperature_ends(self) -> float | tuple[float, float]:
        """The temperature of all bars, or those of the first and of the last one."""
        text = self.temperature
        return _ramp_ends(text) if isinstance(text, str) else text

    @property
    def path_bytes(self) -> int:
        """Of the paths of one forecast, in float32."""
        return 4 * self.samples * self.horizon * COLUMNS

    @property
    def shape_in_words(self) -> str:
        return f"{self.samples:,} paths of {self.horizon:,} bars each"


@dataclass(frozen=True, kw_only=True)
class CostOptions:
    """Single costs in place of those of a market's preset; None leaves the preset's."""

    commission_bps: Bps | None = None
    min_commission: NotNegative | None = None  # an order and bar, in quote currency
    sell_tax_bps: Bps | None = None
    slippage_bps: Bps | None = None
    impact: NotNegative | None = None  # k of k * sigma * sqrt(size / ADV)
    volume_cap_pct: Pct | None = None  # of a bar's volume
    lot_size: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class AccountOptions:
    """What a portfolio starts with, and which market's costs it pays."""

    cash: Positive = 100_000.0  # in quote currency
    costs: CostsName | None = None  # a market's preset; None: that of the data


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """What the strategies are compared with, and what else is measured."""

    benchmark: str | None = None  # a symbol to hold; None: the whole universe in equal parts
    with_benchmark: bool = True
    # the same strategies on the naive signals, and once more without any costs
    controls: bool = True
    analyzers: Texts = ()  # Backtrader's, such as SharpeRatio or TimeReturn:timeframe=Months


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The records of options that a command takes: the fields of a class derived from this one."""

    @classmethod
    def of(cls, **options: Any) -> Self:
        """From options by their names; raises `ConfigError` with the first complaint, one line."""
        try:
            records = {
                place: record(**{name: options[name] for name in _fields(record).keys() & options})
                for place, record in cls.records().items()
            }
        except ValidationError as error:
            raise ConfigError(_first_complaint(error)) from error
        known = cls.options()
        for name in options:
            if name not in known:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag}: no such option{option_hint(name, known)}")
        return cls(**records)

    @classmethod
    def records(cls) -> dict[str, Any]:
        """Each field's class."""
        return get_type_hints(cls)

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """The options of all records by their names."""
        return {
            name: field
            for record in cls.records().values()
            for name, field in _fields(record).items()
        }

    def flat(self) -> dict[str, Any]:
        """All options as plain JSON values, from which `of` builds the same."""
        return {
            name: value
            for place, record in self.records().items()
            for name, value in _plain(record).dump_python(getattr(self, place), mode="json").items()
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """Everything that decides the outcome of a run."""

    strategy: StrategyOptions
    candles: CandleOptions
    window: Window
    model: ModelOptions
    backend: BackendOptions
    sampling: Sampling
    account: AccountOptions
    cost_overrides: CostOptions
    comparison: ComparisonOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferConfig(Config):
    """What decides the forecasts of a universe."""

    candles: CandleOptions
    window: Window
    model: ModelOptions
    backend: BackendOptions
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class SkillOptions:
    """What is scored, beside what, and how often."""

    models: Annotated[Texts, Field(min_length=1)] = ("bundled",)  # checkpoint names
    variants: Texts = ()  # further settings of the models: temperature=0.6,top_p=0.9
    signals: Texts = ("momentum", "reversal", "volatility", "random")  # naive ones; "none"
    every: Annotated[int, Field(ge=1)] = 1  # bar times from one asof to the next
    tune: Texts = ()  # settings of which the best combination is chosen: temperature=0.6,1.0
    tune_until: date | None = None  # the last day that they are chosen by; they are judged after it


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkillConfig(Config):
    """What decides the scores of forecasts. The model of `model` is each of `skill.models`."""

    skill: SkillOptions
    candles: CandleOptions
    window: Window
    model: ModelOptions
    backend: BackendOptions
    sampling: Sampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForecastConfig(Config):
    """What decides a forecast."""

    candles: CandleOptions
    model: ModelOptions
    sampling: Sampling


class _Yaml(yaml.SafeLoader):
    """Reads `1:2` as the text it is, where YAML 1.1 takes it for a number to the base of sixty."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        return node.value if ":" in node.value else super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        return node.value if ":" in node.value else super().construct_yaml_float(node)


_Yaml.add_constructor("tag:yaml.org,2002:int", _Yaml.construct_yaml_int)
_Yaml.add_constructor("tag:yaml.org,2002:float", _Yaml.construct_yaml_float)


def options_in(path: Path) -> dict[str, Any]:
    """Options from a YAML or JSON file; a run folder's config.json repeats that run."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Yaml)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    if isinstance(content, dict) and isinstance(content.get("config"), dict):
        content = content["config"]
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: a mapping of options is needed, such as 'seed: 1'")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def option_hint(name: str, known: Iterable[str]) -> str:
    """What an unknown option is called now, or is near to; empty where nothing is near.

    `name` and the `known` ones are all flags (`--top-p`) or all names of fields (`top_p`).
    """
    known = list(known)
    for former, now in FORMER_NAMES.items():
        renamed = name.replace(former, now)
        if name.lstrip("-") == former and renamed in known:
            return f"; it is called {renamed} now"
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def check_ranges(record: object) -> None:
    """Refuses a number that the type of its field in a plain dataclass does not allow.

    Pydantic's dataclasses, such as those above, check themselves. Raises `ConfigError`.
    """
    for name, (allowed, words) in _ranges(type(record)).items():  # type: ignore[arg-type]
        value = getattr(record, name)
        try:
            allowed.validate_python(value)
        except ValidationError:
            raise ConfigError(f"{name} {value}: it must be {words}") from None


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return text
    flag = f"--{str(first['loc'][0]).replace('_', '-')}"
    return f"{flag} {first['input']!r}: {text[:1].lower()}{text[1:]}"


def _fields(record: Any) -> dict[str, FieldInfo]:
    fields: dict[str, FieldInfo] = record.__pydantic_fields__
    return fields


@lru_cache
def _plain(record: Any) -> TypeAdapter[Any]:
    return TypeAdapter(record)


@lru_cache
def _ranges(cls: Any) -> dict[str, tuple[TypeAdapter[Any], str]]:
    """By field: what checks its values, and which are allowed, in words."""
    hints = get_type_hints(cls, include_extras=True)
    words = {name: _range_in_words(hint) for name, hint in hints.items()}
    return {name: (TypeAdapter(hints[name]), text) for name, text in words.items() if text}


_BOUNDS = {"ge": "{:g} or more", "gt": "above {:g}", "lt": "below {:g}", "le": "at most {:g}"}


def _range_in_words(hint: Any) -> str:
    """`0 or more and below 10000`; empty where a type has no bounds."""
    infos = [
        info
        for kind in (hint, *get_args(hint))
        for info in getattr(kind, "__metadata__", ())
        if isinstance(info, FieldInfo)
    ]
    bounds = [
        text.format(getattr(limit, name))
        for info in infos
        for limit in info.metadata
        for name, text in _BOUNDS.items()
        if hasattr(limit, name)
    ]
    return " and ".join(bounds)
