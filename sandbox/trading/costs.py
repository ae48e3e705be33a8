"""What one side of a trade costs: commission, sell tax, slippage, market impact, volume cap.

`CostModel` turns a size and a price into money; `PRESETS` holds the usual ones with their sources.
It knows neither orders nor bars: the broker says what is traded and how liquid the symbol is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from feeds.steps import Steps
from sandbox.config import Bps, NotNegative, Pct, Positive, check_ranges
from sandbox.errors import ConfigError
from sandbox.words import nearest

BPS = 1e-4
STEP_ROUNDING = 1e-6  # of a price's step
ROUNDING = 1e-9  # shares of a price, a size or the cash that are nothing but rounding
LIQUIDITY_BARS = 20  # bars that volatility and mean volume are taken over


@dataclass(frozen=True, kw_only=True, slots=True)
class Liquidity:
    """How a symbol traded in the bars before a fill."""

    volatility: float = 0.0  # standard deviation of close-to-close returns, per bar
    mean_volume: float = 0.0  # per bar; 0: not known

    @classmethod
    def of(cls, closes: np.ndarray, volumes: np.ndarray) -> Liquidity:
        """Of the last bars, `[n]` each; nothing is known from fewer than three."""
        if len(closes) < 3:
            return cls()
        prices = closes.tolist()  # 20 numbers: plain Python beats numpy
        returns = [after / before - 1 for before, after in pairwise(prices)]
        mean = sum(returns) / len(returns)
        variance = sum((change - mean) ** 2 for change in returns) / (len(returns) - 1)
        return cls(volatility=math.sqrt(variance), mean_volume=sum(volumes.tolist()) / len(volumes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a trade of any size is priced from."""

    buying: bool
    reference_price: float  # before slippage and impact
    limit: float  # the worst price taken: infinity (to buy) or 0 (to sell) where any is
    liquidity: Liquidity


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """A trade of one size, priced. Money is in quote currency."""

    price: float
    slippage: float  # money lost to it
    impact: float  # money lost to it
    fees: float  # commission with its minimum, and tax


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """One side of a trade. The impact is the square-root law: k * volatility * sqrt(size / ADV)."""

    commission_bps: Bps = 0.0  # of the value traded, each side
    min_commission: NotNegative = 0.0  # quote currency, per order and bar it fills in
    sell_tax_bps: Bps = 0.0  # of the value sold
    slippage_bps: Bps = 0.0  # of the price, against the trader
    impact: NotNegative = 0.0  # k of the square-root law, whose result is a share of the price
    volume_cap_pct: Pct | None = None  # of the bar's volume that one portfolio fills; None: all
    price_limit_pct: Positive | None = None  # no buy so far above the last close, no sell below
    lot_size: Positive = 1.0  # orders are multiples of this

    def __post_init__(self) -> None:
        check_ranges(self)

    def of(self, symbol: str) -> CostModel:
        """Of one symbol: with the steps of its market, where they are known."""
        return self

    def without_costs(self) -> CostModel:
        """The same market where trading costs nothing and any size fills.

        Lots, steps and price limits stay: they are what can be traded, not what trading takes.
        """
        return CostModel(lot_size=self.lot_size, price_limit_pct=self.price_limit_pct)

    def takes(self, size: float, price: float) -> bool:
        """Whether an order of so many units at a price is large enough."""
        return True

    def price_on_step(self, price: float, *, up: bool) -> float:
        """The price itself where an order can have it, else the next one up or down."""
        return price

    def quote(self, size: float, terms: Terms) -> Quote:
        """What `size` units cost, never beyond the limit.

        Where slippage and impact do not fit in front of the limit, slippage gives way first.
        """
        reference = terms.reference_price
        slippage, impact = self.slippage_bps * BPS, self._impact(size, terms.liquidity)
        room = abs(terms.limit / reference - 1)
        if slippage + impact > room:
            impact = min(impact, room)
            slippage = room - impact
        if terms.buying:
            price = min(reference * (1 + (slippage + impact)), terms.limit)
        else:
            price = max(reference * (1 - (slippage + impact)), terms.limit)
        return Quote(
            price=price,
            slippage=size * reference * slippage,
            impact=size * reference * impact,
            fees=self._fees(size * price, selling=not terms.buying),
        )

    def affordable(self, cash: float, wanted: float, terms: Terms) -> float:
        """The largest size up to `wanted`, in whole lots, that the cash pays for, all costs in it.

        What a size costs grows with it, so the number of lots can be found by halving.
        """

        def pays(size: float) -> bool:
            quote = self.quote(size, terms)
            return size * quote.price + quote.fees <= cash

        if pays(wanted):
            return wanted
        enough, too_many = 0, math.ceil(wanted / self.lot_size)
        while too_many - enough > 1:
            middle = (enough + too_many) // 2
            if pays(middle * self.lot_size):
                enough = middle
            else:
                too_many = middle
        return enough * self.lot_size

    def is_locked(self, price: float, close_before: float, *, buying: bool) -> bool:
        """Whether a price is at the exchange's limit for the day, against who wants to trade."""
        if self.price_limit_pct is None:
            return False
        change_pct = 100 * (price / close_before - 1)
        against = change_pct if buying else -change_pct
        return against >= self.price_limit_pct * (1 - ROUNDING)

    def within_volume(self, wanted: float, volume: float, filled: float) -> float:
        """What a bar's volume leaves of a size, in whole lots, where some is filled already."""
        if self.volume_cap_pct is None:
            return wanted
        room = volume * self.volume_cap_pct / 100 - filled
        return wanted if wanted <= room else min(wanted, self.whole_lots(max(room, 0.0)))

    def lot_cost(self, price: float) -> float:
        """What one lot costs to buy at a price, with slippage and fees; impact is left out."""
        anything = Terms(buying=True, reference_price=price, limit=math.inf, liquidity=Liquidity())
        quote = self.quote(self.lot_size, anything)
        return self.lot_size * quote.price + quote.fees

    def _impact(self, size: float, liquidity: Liquidity) -> float:
        if not (self.impact and liquidity.mean_volume):
            return 0.0
        return self.impact * liquidity.volatility * math.sqrt(size / liquidity.mean_volume)

    def _fees(self, value: float, *, selling: bool) -> float:
        tax = value * self.sell_tax_bps * BPS if selling else 0.0
        return max(self.min_commission, value * self.commission_bps * BPS) + tax

    def whole_lots(self, size: float) -> float:
        """The size without what is less than a lot; a size that is whole already stays as it is."""
        lots = size / self.lot_size
        if abs(lots - round(lots)) <= max(1e-6, 1e-12 * lots):
            return size
        return math.floor(lots) * self.lot_size


@dataclass(frozen=True, kw_only=True)
class MarketCosts(CostModel):
    """Of one symbol, whose exchange takes orders in steps."""

    steps: Steps

    def takes(self, size: float, price: float) -> bool:
        slack, steps = 1 - ROUNDING, self.steps
        return size >= steps.min_size * slack and (
            not steps.min_notional or size * price >= steps.min_notional * slack
        )

    def price_on_step(self, price: float, *, up: bool) -> float:
        step = self.steps.price
        if not step or abs(price / step - round(price / step)) <= STEP_ROUNDING:
            return price
        return max(math.ceil(price / step) if up else math.floor(price / step), 1) * step


@dataclass(frozen=True, kw_only=True)
class ExchangeCosts(CostModel):
    """Of an exchange that says in what steps each symbol is traded."""

    markets: Mapping[str, Steps]

    @cached_property
    def _by_symbol(self) -> Mapping[str, CostModel]:
        general = {field.name: getattr(self, field.name) for field in fields(CostModel)}
        return {
            symbol: MarketCosts(**general | {"lot_size": steps.size or self.lot_size}, steps=steps)
            for symbol, steps in self.markets.items()
        }

    def of(self, symbol: str) -> CostModel:
        return self._by_symbol.get(symbol, self)

    def without_costs(self) -> CostModel:
        return with_steps(super().without_costs(), self.markets)


def with_steps(costs: CostModel, markets: Mapping[str, Steps]) -> CostModel:
    """The same costs, with the steps of some symbols' markets in place of the general lot."""
    if not markets:
        return costs
    general = {field.name: getattr(costs, field.name) for field in fields(CostModel)}
    return ExchangeCosts(**general, markets=markets)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A cost model that has a name, and where its figures are from."""

    model: CostModel
    source: str  # one line


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "us": Preset(
            model=CostModel(
                commission_bps=1.0, min_commission=1.0, sell_tax_bps=0.28, slippage_bps=5.0,
                impact=1.0, volume_cap_pct=10.0,
            ),
            source=(
                "Interactive Brokers' fixed US tariff, USD 0.005 a share and USD 1 at least, is "
                "within 1 bps for shares over USD 50; SEC fee 0.28 bps on sells; slippage is "
                "half a spread and some delay on large names"
            ),
        ),
        "ph": Preset(
            model=CostModel(
                commission_bps=29.5, sell_tax_bps=60.0, slippage_bps=10.0, impact=1.0,
                volume_cap_pct=10.0,
            ),
            source=(
                "Philippine Stock Exchange: broker 25 bps and 12 % VAT on it, 1.5 bps of fees, "
                "sales tax 60 bps on sells (50 before 2018, 10 since July 2025)"
            ),
        ),
        "cn": Preset(
            model=CostModel(
                commission_bps=10.0, min_commission=5.0, sell_tax_bps=5.0, slippage_bps=5.0,
                impact=1.0, volume_cap_pct=10.0, price_limit_pct=9.5, lot_size=100.0,
            ),
            source=(
                "the Kronos demo's Chinese shares: 0.1 % to buy, 0.15 % to sell, CNY 5 at least, "
                "price limit 9.5 %, lots of 100"
            ),
        ),
        "crypto": Preset(
            model=CostModel(
                commission_bps=10.0, slippage_bps=2.0, impact=1.0, volume_cap_pct=10.0,
                lot_size=1e-6,
            ),
            source="Binance spot's regular tier: 10 bps for a taker, fractions down to 0.000001",
        ),
        "none": Preset(model=CostModel(), source="no cost at all, and any size fills"),
    }
)  # fmt: skip


def cost_model(preset: str, **overrides: float | None) -> CostModel:
    """A preset, with the fields that are given (not None) in place of its own."""
    if preset not in PRESETS:
        near = nearest(preset, PRESETS)
        hint = f", did you mean {near}?" if near else ""
        raise ConfigError(f"costs {preset!r}: not known{hint} (one of {', '.join(PRESETS)})")
    known = [field.name for field in fields(CostModel)]
    for name in overrides:
        if name not in known:
            raise ConfigError(f"cost {name!r}: not known (one of {', '.join(known)})")
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    return replace(PRESETS[preset].model, **given)
