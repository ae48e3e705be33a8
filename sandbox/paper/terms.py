"""What a paper account trades and on what terms: fixed when it is opened, compared ever after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sandbox.config import RunConfig
from sandbox.errors import AccountError
from sandbox.forecast.model import Weights
from sandbox.paper.schema import VERSION
from sandbox.run.portfolios import Loaded
from sandbox.trading.broker import Account

# What is told of a difference, and what the account's table has it under.
COMPARED: Mapping[str, tuple[str, ...]] = {
    "strategy": ("strategy", "name"),
    "strategy file (its SHA-256)": ("strategy", "sha256"),
    "parameters": ("strategy", "params"),
    "exchange": ("exchange",),
    "timeframe": ("timeframe",),
    "symbols": ("symbols",),
    "signal": ("signal",),
    "model": ("model",),
    "sampling": ("sampling",),
    "calendar": ("calendar",),
    "cash": ("cash",),
    "costs": ("costs",),
}
REPLAY = "replay"  # which port it listens at is no matter


@dataclass(frozen=True, kw_only=True)
class Traded:
    """What trades, as it was loaded."""

    config: RunConfig
    strategy: Loaded
    weights: Weights | None  # None where no model is asked
    calendar: str | None  # by name
    account: Account
    exchange: str
    timeframe: str
    length_ns: int  # of a bar
    symbols: tuple[str, ...]


def terms_of(traded: Traded, started_ns: int) -> dict[str, Any]:
    """The account's terms, as plain JSON values."""
    strategy, weights = traded.strategy, traded.weights
    return {
        "version": VERSION,
        "strategy": {
            "name": strategy.name,
            "file": str(strategy.path),
            "sha256": strategy.sha256,
            "params": dict(strategy.params),
        },
        "exchange": exchange_kind(traded.exchange),
        "timeframe": traded.timeframe,
        "length_ns": traded.length_ns,
        "symbols": list(traded.symbols),
        "signal": traded.config.strategy.signal,
        "model": weights
        and {
            "name": weights.name,
            "fingerprint": weights.fingerprint,
            "dtype": traded.config.model.dtype,
            **({"calibrate": True} if traded.config.model.calibrate else {}),
            "seen_until": weights.seen_until and weights.seen_until.isoformat(),
        },
        "sampling": asdict(traded.config.sampling),
        "calendar": traded.calendar,
        "cash": traded.account.cash,
        "costs": asdict(traded.account.costs),
        "started_ns": started_ns,
    }


def exchange_kind(name: str) -> str:
    """`replay:8123` is a replay at whichever port."""
    return REPLAY if name.startswith(f"{REPLAY}:") else name


def expect_same(recorded: Mapping[str, Any], now: Mapping[str, Any], file: str) -> None:
    """Raises AccountError that names everything in which an account is another one."""
    if recorded.get("version") != VERSION:
        raise AccountError(
            f"{file} is an account of version {recorded.get('version')}, this program reads "
            f"{VERSION}: go on with the program that opened it, or open a new one with --state"
        )
    differences = list(_differences(recorded, now))
    if differences:
        raise AccountError(
            f"{file} is the account of something else: {'; '.join(differences)}. Go on with it as "
            "it was opened, or open another one with --state FILE"
        )


def _differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for words, path in COMPARED.items():
        before, after = _at(recorded, path), _at(now, path)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            for name in sorted(before.keys() | after.keys()):
                own, other = before.get(name), after.get(name)
                if own != other:
                    yield f"{words}: {name} {_short(own)}, now {_short(other)}"
        else:
            yield f"{words} {_short(before)}, now {_short(after)}"


def _at(terms: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = terms
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
