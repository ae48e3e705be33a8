"""From a path to a strategy class, and from `k=v` texts to the parameters it declares."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sandbox.config import Param
from sandbox.errors import ConfigError, StrategyError
from sandbox.trading.strategy import Strategy, check_params, did_you_mean


def load_strategy(path: str | Path) -> type[Strategy]:
    """The one class derived from `sandbox.Strategy` that the file defines."""
    path = Path(path)
    _check_is_file(path)
    module = _import(path)
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Strategy) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found)
        what = f"{len(found)} classes ({names})" if found else "no class"
        raise StrategyError(f"{path}: {what} derived from sandbox.Strategy, one is needed")
    return found[0]


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


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise StrategyError(f"{path}: a folder, and a strategy file is needed")
    if not path.is_file():
        siblings = sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = did_you_mean(str(path), map(str, siblings))
        raise StrategyError(f"{path}: no such strategy file{hint}")
    if path.suffix != ".py":
        raise StrategyError(f"{path}: not a Python file, its name must end in .py")


def _import(path: Path) -> ModuleType:
    name = f"strategy file {path.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Backtrader looks a strategy's module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise StrategyError(_what_failed(path, error)) from error
    return module


def _what_failed(path: Path, error: BaseException) -> str:
    """One line with the line of the file that is to blame."""
    own = str(path.absolute())  # what Python calls it, however it was named
    if isinstance(error, SyntaxError) and error.filename == own:
        return f"{path}:{error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    text = " ".join(str(error).split())
    return f"{where}: {type(error).__name__}{f': {text}' if text else ''}"


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
