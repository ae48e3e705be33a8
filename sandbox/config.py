"""What a run is made of: one frozen record, checked when it is built.

Built from defaults, a preset, a file and the command line, each over the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sandbox.errors import ConfigError
from sandbox.words import nearest

Param = bool | int | float | str
SignalName = Literal["kronos", "momentum", "reversal", "volatility", "random", "random-walk"]
CostsName = Literal["us", "ph", "cn", "crypto", "none"]
NO_STORE = "none"
NO_CALENDAR = "none"
FORMER_NAMES = {"exchange": "calendar"}  # of options, and what they are called now
COLUMNS = 6  # of a bar: open, high, low, close, volume, amount
WINDOW_BYTES = 64  # of a window's row, asof and place in the list of symbols


def _listed(value: Any) -> Any:
    """One path as a list of one: a file may say `strategies: mine.py`."""
    return (value,) if isinstance(value, str) else value


def _values(value: Any) -> Any:
    """One value as a list of one, and a text such as `2,3,5` split at its commas."""
    if isinstance(value, str):
        return value.split(",")
    return [value] if isinstance(value, bool | int | float) else value


Bps = Annotated[float, Field(ge=0, lt=10_000)]
Values = Annotated[tuple[Param, ...], BeforeValidator(_values), Field(min_length=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # in quote currency


class RunConfig(BaseModel):
    """Everything that decides the outcome of a run. Times are UTC, dates are inclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategies: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()  # paths of files
    params: Mapping[str, Param] = Field(default_factory=dict)  # k, or topk.k for one of several
    sweep: Mapping[str, Values] = Field(default_factory=dict)  # as params, with all values to try
    preset: str | None = None  # named settings that the rest goes over
    data: str = "sample"  # data spec
    repair: bool = False  # mend bad candles instead of refusing them
    stamps: Literal["open", "close"] | None = None  # what a file's times are; None: as recognised
    start: date = date(2020, 1, 2)  # first session that may be traded
    end: date = date(2024, 12, 31)  # last session; the data's own end where that comes first

    signal: SignalName = "kronos"
    model: str = "bundled"  # checkpoint name
    lookback: Annotated[int, Field(ge=2, le=4096)] = 90  # bars the signal sees, asof included
    horizon: Annotated[int, Field(ge=1, le=512)] = 5  # bars it forecasts
    samples: Annotated[int, Field(ge=1, le=4096)] = 32  # paths it draws for each forecast
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # 1 keeps the tails
    top_k: Annotated[int, Field(ge=0)] = 0  # 0 keeps every token
    calendar: str | None = None  # trading calendar of the bars, such as XNYS; None: as observed
    device: str | None = None  # None: the best this machine has
    dtype: Literal["float32", "bfloat16"] = "float32"  # numbers the model computes with
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    store: str = "store"  # folder that keeps forecasts, or "none"

    cash: Annotated[float, Field(gt=0, allow_inf_nan=False)] = (
        100_000.0  # at the start, in quote currency
    )
    costs: CostsName | None = None  # a market's preset; None: that of the data
    commission_bps: Bps | None = None  # this and the rest of the block: None is the preset's
    min_commission: Amount | None = None  # an order and bar, in quote currency
    sell_tax_bps: Bps | None = None
    slippage_bps: Bps | None = None
    impact: Annotated[float, Field(ge=0, le=100)] | None = None  # k of k * sigma * sqrt(size / ADV)
    volume_cap_pct: Annotated[float, Field(gt=0, le=100)] | None = None  # of a bar's volume
    lot_size: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    benchmark: str | None = None  # a symbol to hold; None: the whole universe in equal parts
    with_benchmark: bool = True
    # the same strategies on the naive signals, and once more without any costs
    controls: bool = True
    # Backtrader's, such as SharpeRatio or TimeReturn:timeframe=Months
    analyzers: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"--end {self.end} is before --start {self.start}")
        return self

    @classmethod
    def of(cls, **options: Any) -> RunConfig:
        """Build one, with the first complaint as a single line."""
        try:
            return cls(**options)
        except ValidationError as error:
            raise ConfigError(_first_complaint(error)) from error

    def cost_overrides(self) -> dict[str, float | None]:
        """What was said about single costs; None leaves the preset's."""
        return {name: getattr(self, name) for name in COST_OPTIONS}


COST_OPTIONS = (
    "commission_bps", "min_commission", "sell_tax_bps", "slippage_bps", "impact",
    "volume_cap_pct", "lot_size",
)  # fmt: skip


def options_in(path: Path) -> dict[str, Any]:
    """Options from a YAML or JSON file; a run folder's config.json repeats that run."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    if isinstance(content, dict) and isinstance(content.get("config"), dict):
        content = content["config"]
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: a mapping of options is needed, such as 'seed: 1'")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return text
    option = str(first["loc"][0])
    flag = f"--{option.replace('_', '-')}"
    if first["type"] == "extra_forbidden":
        return f"{flag}: no such option{option_hint(option, RunConfig.model_fields)}"
    return f"{flag} {first['input']!r}: {text[:1].lower()}{text[1:]}"


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


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How forecasts are drawn."""

    lookback: int = 90  # bars the model sees, asof included
    horizon: int = 5  # bars it forecasts
    samples: int = 16  # paths a forecast
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> Sampling:
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})

    @property
    def path_bytes(self) -> int:
        """Of the paths of one forecast, in float32."""
        return 4 * self.samples * self.horizon * COLUMNS

    @property
    def window_bytes(self) -> int:
        """Of one window, without its candles: the times to come, once shared and once its own."""
        return WINDOW_BYTES + 2 * 8 * self.horizon

    @property
    def shape_in_words(self) -> str:
        return f"{self.samples:,} paths of {self.horizon:,} bars each"
