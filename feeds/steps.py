"""What sizes and prices an exchange takes orders in, symbol by symbol."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The rules of one symbol's market; 0 where the exchange states none."""

    size: float = 0.0  # an order's size is a multiple of this, in units traded
    price: float = 0.0  # a price is a multiple of this, in quote currency
    min_size: float = 0.0  # of an order, in units traded
    min_notional: float = 0.0  # size times price of an order, at least, in quote currency

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise SpecError(f"{name} {value}: a market's step is 0 or more", value=value)
