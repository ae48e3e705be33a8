"""The markets of an exchange that a run trades: which they are, and in what steps they trade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..candles import unknown_symbol
from ..errors import ExchangeError, SpecError
from ..steps import Steps

COSTS = "crypto"  # cost preset of every real exchange
DECIMAL_PLACES, TICK_SIZE = 2, 4  # ccxt's numbers for how it tells precision
SANDBOX = "sandbox"  # what a replay adds to its markets


@dataclass(frozen=True, kw_only=True)
class Market:
    """One market."""

    symbol: str  # ccxt's
    name: str  # what its candles are called: the data's own symbol in a replay, else ccxt's
    steps: Steps
    costs: str  # cost preset
    calendar: str | None  # trading calendar, in a replay of data that have one
    active: bool  # whether the exchange says that it is traded
    type: str = "spot"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay says of itself."""

    speed: float | None  # seconds of its clock in a second here; None: it jumps
    timeframe: str


def markets_of(
    exchange: str, found: Mapping[str, Mapping[str, Any]], asked: Sequence[str] | None, mode: int
) -> tuple[Market, ...]:
    """The markets `asked` for, by ccxt's symbol or what their candles are called, in that order;
    without any asked for, all of a replay.

    found: ccxt's markets by symbol, mode: how it tells precision. Raises `SymbolError` with the
    nearest name, and `SpecError` where an exchange that is no replay is asked for no symbol.
    """
    if not asked:
        replayed = [symbol for symbol, market in found.items() if _extra(market)]
        if not replayed:
            raise unnamed(exchange)
        return tuple(_market(symbol, found[symbol], mode) for symbol in replayed)
    names = {_extra(market).get("symbol", symbol): symbol for symbol, market in found.items()}
    symbols = dict.fromkeys(_symbol(exchange, wanted, found, names) for wanted in asked)
    return tuple(_market(symbol, found[symbol], mode) for symbol in symbols)


def unnamed(exchange: str) -> SpecError:
    """What is said where no symbol is named of an exchange that has thousands."""
    return SpecError(f"{exchange}: name its symbols, such as BTC/USDT,ETH/USDT (--symbols)")


def replayed(exchange: str, found: Iterable[Mapping[str, Any]]) -> Replayed:
    """What the markets of a replay say of it; raises `ExchangeError` where it is none."""
    extra = next((extra for market in found if (extra := _extra(market))), None)
    if extra is None:
        raise ExchangeError(f"{exchange}: that is no replay: its markets do not say what they are")
    speed = extra.get("speed")
    return Replayed(speed=None if speed is None else float(speed), timeframe=extra["timeframe"])


def is_active(market: Mapping[str, Any] | None) -> bool:
    """Whether a market is there and traded; an exchange that does not say trades it."""
    return market is not None and market.get("active") is not False


def _symbol(
    exchange: str, wanted: str, found: Mapping[str, object], names: Mapping[str, str]
) -> str:
    if wanted in names:
        return names[wanted]
    if wanted in found:
        return wanted
    raise unknown_symbol(wanted, names, exchange)


def _extra(market: Mapping[str, Any]) -> Mapping[str, Any]:
    info = market.get("info")
    extra = info.get(SANDBOX) if isinstance(info, Mapping) else None
    return extra if isinstance(extra, Mapping) else {}


def _market(symbol: str, market: Mapping[str, Any], mode: int) -> Market:
    extra = _extra(market)
    return Market(
        symbol=symbol,
        name=str(extra.get("symbol", symbol)),
        steps=steps_of(market, mode),
        costs=str(extra.get("costs", COSTS)),
        calendar=extra.get("calendar"),
        active=is_active(market),
        type=str(market.get("type") or "spot"),
    )


def steps_of(market: Mapping[str, Any], mode: int) -> Steps:
    """In what steps a market trades; 0 where the exchange does not say. Precision that is told in
    significant digits is no step."""
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    return Steps(
        size=_step(precision.get("amount"), mode),
        price=_step(precision.get("price"), mode),
        min_size=_least(limits.get("amount")),
        min_notional=_least(limits.get("cost")),
    )


def _step(told: Any, mode: int) -> float:
    if told is None:
        return 0.0
    if mode == TICK_SIZE:
        return float(told)
    return float(f"1e{-int(told)}") if mode == DECIMAL_PLACES else 0.0


def _least(limit: Any) -> float:
    return float((limit or {}).get("min") or 0.0)
