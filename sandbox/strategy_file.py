"""From a path to a strategy class, and from `k=v` texts to the parameters it declares."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sandbox.config import Param
from sandbox.errors import ConfigError, StrategyError
from sandbox.strategy import Strategy


def load_strategy(path: str | Path) -> type[Strategy]:
    """The one class derived from `sandbox.Strategy` that the file defines."""
    module = _import(Path(path))
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Strategy) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        what = "no class" if not found else f"{len(found)} classes"
        raise StrategyError(f"{path}: {what} derived from sandbox.Strategy, one is needed")
    return found[0]


def parse_params(texts: Iterable[str]) -> dict[str, str]:
    """`["k=5", "n_drop=2"]` to a mapping of texts."""
    params: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--param {text!r}: write it as name=value")
        params[name] = value
    return params


def typed_params(strategy: type[Strategy], params: Mapping[str, Param]) -> dict[str, Param]:
    """Every parameter the strategy declares, those given in the type of its default."""
    declared: dict[str, Any] = dict(strategy.params._getitems())
    for name in params:
        if name not in declared:
            raise ConfigError(_unknown(strategy, name, list(declared)))
    return {
        name: _like(default, params[name], name) if name in params else default
        for name, default in declared.items()
    }


def _import(path: Path) -> ModuleType:
    if not path.is_file():
        raise StrategyError(f"{path}: no such strategy file")
    name = f"strategy file {path.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Backtrader looks a strategy's module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise StrategyError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def _like(default: Any, value: Param, name: str) -> Param:
    if isinstance(default, bool):
        words = {"true": True, "false": False, "1": True, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ConfigError(f"--param {name}={value}: true or false")
    try:
        return type(default)(value) if isinstance(default, int | float) else value
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[type(default)]
        raise ConfigError(f"--param {name}={value}: {kind} is needed") from None


def _unknown(strategy: type[Strategy], name: str, declared: list[str]) -> str:
    near = difflib.get_close_matches(name, declared, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(declared) or 'none'}"
    return f"--param {name}: {strategy.__name__} has no such parameter; {hint}"
