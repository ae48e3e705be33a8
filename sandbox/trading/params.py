"""A strategy's parameters: which it declares, those that are given, and which values it takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from sandbox.config import Param
from sandbox.errors import ConfigError
from sandbox.trading.schedule import PERIODS
from sandbox.words import did_you_mean

if TYPE_CHECKING:
    from sandbox.trading.strategy import Strategy

Allowed = Collection[str] | tuple[float, float]  # words, or the least and the most of a number


def params_for(
    strategies: Mapping[str, type[Strategy]], given: Mapping[str, Param]
) -> dict[str, dict[str, Param]]:
    """Every parameter of each strategy of a run, by the strategy's name."""
    own = given_params(strategies, given)
    return {name: typed_params(cls, own[name]) for name, cls in strategies.items()}


def given_params(
    strategies: Mapping[str, type[Strategy]], given: Mapping[str, Param]
) -> dict[str, dict[str, Param]]:
    """What is given to each strategy of a run, by the strategy's name, as it was given.

    `k` goes to every strategy that declares it, `topk.k` to that one, whatever `k` is.
    """
    declared = {name: declared_params(cls) for name, cls in strategies.items()}
    for text in given:
        check_is_declared(text, declared)
    return {
        name: {text: given[text] for text in given if text in params}
        | {param: given[f"{name}.{param}"] for param in params if f"{name}.{param}" in given}
        for name, params in declared.items()
    }


def typed_params(strategy: type[Strategy], given: Mapping[str, Param]) -> dict[str, Param]:
    """Every parameter the strategy declares, those given in the type of their default.

    A default of None takes a value as it comes, and stays None without one.
    """
    declared = declared_params(strategy)
    for name in given:
        check_is_declared(name, {strategy.__name__: declared})
    params = {
        name: like(default, given[name], name) if name in given else default
        for name, default in declared.items()
    }
    check_params(strategy, params)
    return params


def declared_params(strategy: type[Strategy]) -> dict[str, Any]:
    return dict(strategy.params._getitems())


def check_is_declared(
    text: str, declared: Mapping[str, Mapping[str, Any]], option: str = "--param"
) -> None:
    """`text` is a parameter's name, or a strategy's and a parameter's with a dot between."""
    strategy, dot, name = text.rpartition(".")
    if dot and strategy not in declared:
        hint = did_you_mean(strategy, declared) or f"; it has {', '.join(declared)}"
        raise ConfigError(f"{option} {text}: no strategy {strategy!r} in this run{hint}")
    asked = [strategy] if dot else list(declared)
    known = list(dict.fromkeys(param for one in asked for param in declared[one]))
    if name not in known:
        has = f"it has {', '.join(known)}" if len(asked) == 1 else f"they have {', '.join(known)}"
        hint = did_you_mean(name, known) or f"; {has}"
        who = " and ".join(asked)
        verb = "has" if len(asked) == 1 else "have"
        raise ConfigError(f"{option} {text}: {who} {verb} no parameter {name!r}{hint}")


def check_params(strategy: type[Strategy], params: Mapping[str, Any]) -> None:
    """Refuses a value that the strategy's `allowed` leaves out."""
    for name, allowed in (("rebalance", PERIODS), *strategy.allowed):
        if params[name] is not None and (complaint := _complaint(params[name], allowed)):
            raise ConfigError(f"{name}={params[name]} of {strategy.__name__}: {complaint}")


def _complaint(value: Any, allowed: Allowed) -> str:
    words = [word for word in allowed if isinstance(word, str)]
    if words:
        hint = did_you_mean(str(value), words)
        return "" if value in words else f"one of {', '.join(words)} is needed{hint}"
    least, most = (float(bound) for bound in allowed)
    if least <= value <= most:
        return ""
    return f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"


def like(default: Any, value: Param, name: str, option: str = "--param") -> Param:
    """The value in the default's type; a number is not cut to fit."""
    if isinstance(default, bool):
        words = {"true": True, "false": False, "1": True, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ConfigError(f"{option} {name}={value}: true or false")
    if isinstance(default, str):
        return str(value)
    if not isinstance(default, int | float):
        return value
    kind = type(default)
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or (kind is int and number != float(value)):
        raise ConfigError(
            f"{option} {name}={value}: {'a whole' if kind is int else 'a'} number is needed"
        )
    return number
