"""Backtrader's analyzers: asked for by name, and what they found as plain JSON values.

SharpeRatio
TimeReturn:timeframe=Months
SharpeRatio:timeframe=Days,annualize=true
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import new_class
from typing import Any

import backtrader as bt
import numpy as np

from sandbox.errors import ConfigError
from sandbox.words import did_you_mean

# AnnualReturn reads an observer that a run has not; the others read the account
KNOWN: Mapping[str, type[bt.Analyzer]] = {
    name: found
    for name, found in sorted(vars(bt.analyzers).items())
    if isinstance(found, type) and issubclass(found, bt.Analyzer) and found.__name__ == name
    and found.__module__.startswith("backtrader.analyzers.") and name != "AnnualReturn"
}  # fmt: skip
TIMEFRAMES: Mapping[str, int] = {
    name: getattr(bt.TimeFrame, name) for name in ("Minutes", "Days", "Weeks", "Months", "Years")
}
NOT_HERE = ("data", "legacyannual")  # a feed, and AnnualReturn
_WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True, kw_only=True)
class AskedAnalyzer:
    """One that a run is to have."""

    label: str  # as it was asked for; the name of its result
    cls: type[bt.Analyzer]
    params: Mapping[str, Any]


def asked_analyzers(texts: Iterable[str]) -> tuple[AskedAnalyzer, ...]:
    """`["SharpeRatio:timeframe=Days"]`, checked; each once."""
    return tuple(_asked(text) for text in dict.fromkeys(texts))


def _asked(text: str) -> AskedAnalyzer:
    name, _, rest = text.partition(":")
    if name == "AnnualReturn":
        raise ConfigError(f"--analyzer {text}: use TimeReturn:timeframe=Years, which is the same")
    if name not in KNOWN:
        hint = did_you_mean(name, KNOWN) or f" (one of {', '.join(KNOWN)})"
        raise ConfigError(f"--analyzer {text}: Backtrader has no analyzer {name!r}{hint}")
    params = dict(_param(text, pair, KNOWN[name]) for pair in rest.split(",") if pair)
    return AskedAnalyzer(label=text, cls=_defined_or_not(KNOWN[name]), params=params)


def _defined_or_not(cls: type[bt.Analyzer]) -> type[bt.Analyzer]:
    """The analyzer, whose result is the error where a run has too few bars to compute it from."""

    def stop(self: Any) -> None:
        try:
            cls.stop(self)
        except (ArithmeticError, ValueError, LookupError) as error:
            text = f"{type(error).__name__}: {error}"
            self.get_analysis = lambda: {"error": text}

    own = {"stop": stop, "__module__": cls.__module__}  # whose imports Backtrader puts there
    return new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(own))


def _param(text: str, pair: str, cls: type[bt.Analyzer]) -> tuple[str, Any]:
    name, equals, word = pair.partition("=")
    known = [key for key in cls.params._getkeys() if key[0] != "_" and key not in NOT_HERE]
    if not equals or not name:
        raise ConfigError(f"--analyzer {text}: write parameters as NAME:key=value,key=value")
    if name not in known:
        hint = did_you_mean(name, known) or f"; it has {', '.join(known) or 'none'}"
        raise ConfigError(f"--analyzer {text}: {cls.__name__} has no parameter {name!r}{hint}")
    if name == "timeframe":
        if word not in TIMEFRAMES:
            raise ConfigError(f"--analyzer {text}: timeframe is one of {', '.join(TIMEFRAMES)}")
        return name, TIMEFRAMES[word]
    return name, _value(text, word)


def _value(text: str, word: str) -> Any:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"--analyzer {text}: {word!r} is neither a number nor true, false, none")
    return int(number) if number.is_integer() and word.lstrip("+-").isdigit() else number


def analyses_of(strategy: bt.Strategy) -> dict[str, Any]:
    """What each analyzer of a strategy that has run found, by the analyzer's name."""
    return {name: plain(found.get_analysis()) for name, found in strategy.analyzers.getitems()}


def plain(value: Any) -> Any:
    """As JSON has it: texts for keys and times, None for what is not a finite number."""
    if isinstance(value, Mapping):
        return {_key(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _key(value)


def _key(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
