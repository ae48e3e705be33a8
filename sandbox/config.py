"""What a run is made of: one frozen record, checked when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.errors import ConfigError

# Commission and slippage of one side of a trade, in bps of its value, by market.
#   us: a cheap broker, and half a spread on large names
#   ph: broker 28 with its VAT, fees 1.5, and the sales tax of 60 on sells spread over both sides
MARKET_COSTS_BPS: Mapping[str, tuple[float, float]] = {"us": (5.0, 5.0), "ph": (60.0, 10.0)}

Param = bool | int | float | str


class RunConfig(BaseModel):
    """Everything that decides the outcome of a run. Times are UTC, dates are inclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str  # path of the strategy file
    params: Mapping[str, Param] = Field(default_factory=dict)  # the strategy's own parameters
    data: str = "sample"  # data spec
    repair: bool = False  # mend bad candles instead of refusing them
    start: date = date(2020, 1, 2)  # first session that may be traded
    end: date = date(2024, 12, 31)  # last session; the data's own end where that comes first
    model: str = "bundled"  # checkpoint name
    lookback: Annotated[int, Field(ge=2, le=4096)] = 90  # bars the model sees, asof included
    horizon: Annotated[int, Field(ge=1, le=512)] = 5  # bars it forecasts
    samples: Annotated[int, Field(ge=1, le=4096)] = 10  # paths it draws for each forecast
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # 1 keeps the tails
    top_k: Annotated[int, Field(ge=0)] = 0  # 0 keeps every token
    device: str | None = None  # None: the best this machine has
    dtype: str = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    cash: Annotated[float, Field(gt=0, allow_inf_nan=False)] = (
        100_000.0  # at the start, in quote currency
    )
    commission_bps: Annotated[float, Field(ge=0, lt=10_000)] | None = None  # None: the market's
    slippage_bps: Annotated[float, Field(ge=0, lt=10_000)] | None = None  # None: the market's

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self

    @classmethod
    def of(cls, **options: Any) -> RunConfig:
        """Build one, with the first complaint as a single line."""
        try:
            return cls(**options)
        except ValidationError as error:
            raise ConfigError(_first_complaint(error)) from error

    def with_market_costs(self, market: str | None) -> RunConfig:
        """The same run with costs left open filled in by those of the data's market."""
        commission_bps, slippage_bps = MARKET_COSTS_BPS.get(market or "us", MARKET_COSTS_BPS["us"])
        open_costs = {
            name: value
            for name, value in (("commission_bps", commission_bps), ("slippage_bps", slippage_bps))
            if getattr(self, name) is None
        }
        return self.model_copy(update=open_costs)


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return text
    option = str(first["loc"][0]).replace("_", "-")
    return f"--{option} {first['input']!r}: {text[:1].lower()}{text[1:]}"
