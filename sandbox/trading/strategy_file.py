"""From a path to the strategy class in that file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType

from sandbox.errors import StrategyError
from sandbox.trading.strategy import Strategy
from sandbox.words import did_you_mean


def load_strategy(path: str | Path) -> type[Strategy]:
    """The one class derived from `sandbox.Strategy` that the file defines."""
    path = Path(path)
    _check_is_file(path)
    module = _import(path)
    strategies = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Strategy) and member.__module__ == module.__name__
    ]
    if len(strategies) != 1:
        names = ", ".join(cls.__name__ for cls in strategies)
        what = f"{len(strategies)} classes ({names})" if strategies else "no class"
        raise StrategyError(f"{path}: {what} derived from sandbox.Strategy, one is needed")
    return strategies[0]


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
