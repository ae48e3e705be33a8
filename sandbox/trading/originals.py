"""Whether the code that fills orders and keeps the books is still the one that was imported.

A strategy could put functions of its own in place of the broker's, on the class, on the object or
in a module. A picture of that code is taken when this module is imported, before any strategy file
is, and compared at the end of every run.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from sandbox.errors import StrategyError

MODULES = (
    "sandbox.trading.audit", "sandbox.trading.audit_fills", "sandbox.trading.broker",
    "sandbox.trading.clock", "sandbox.trading.costs", "sandbox.trading.engine",
    "sandbox.trading.execution",
    "sandbox.trading.feed", "sandbox.trading.ledger", "sandbox.trading.matching",
    "sandbox.trading.orders", "sandbox.trading.originals", "sandbox.trading.seals",
    "sandbox.trading.source",
    "backtrader.broker", "backtrader.brokers.bbroker", "backtrader.cerebro", "backtrader.feed",
    "backtrader.order", "backtrader.position", "backtrader.linebuffer",
)  # fmt: skip
NOT_CODE = {
    "__annotations__", "__dict__", "__doc__", "__slotnames__", "__warningregistry__", "__weakref__",
}  # fmt: skip

Picture = Mapping[str, tuple[Any, ...]]  # by dotted name; things that are compared by identity


class Originals:
    """A picture of the code, and what differs from it later."""

    def __init__(self, modules: tuple[str, ...] = MODULES) -> None:
        self._modules = modules
        self._picture = MappingProxyType(dict(_picture(modules)))

    def check(self, portfolio: str, *things: object) -> None:
        """Raises the error that names what is not the original, of the code or of the things."""
        name = self._replaced() or next(filter(None, map(self._shadowed, things)), None)
        if name is not None:
            raise StrategyError(
                f"{portfolio}: {name} was replaced during the run: a strategy trades by its orders "
                "alone, and must leave the code that fills them as it is"
            )

    def _replaced(self) -> str | None:
        now = dict(_picture(self._modules))
        for name in {**self._picture, **now}:
            was, is_now = self._picture.get(name, ()), now.get(name, ())
            if len(was) != len(is_now) or any(
                one is not other for one, other in zip(was, is_now, strict=True)
            ):
                return name
        return None

    def _shadowed(self, thing: object) -> str | None:
        """A method that the object has one of its own in place of, or its whole class."""
        cls = type(thing)
        dotted = f"{cls.__module__}.{cls.__qualname__}"
        if self._picture.get(dotted) != (cls,):
            return f"the class of an object, {dotted},"
        names = (name for name in vars(thing) if inspect.isroutine(getattr(cls, name, None)))
        return next((f"{dotted}.{name}" for name in names), None)


def _picture(modules: tuple[str, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for module_name in modules:
        module = sys.modules.get(module_name)
        if isinstance(module, ModuleType):
            yield from _members(module_name, vars(module), module_name)


def _members(
    prefix: str, members: Mapping[str, Any], module_name: str
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name, member in list(members.items()):
        if name in NOT_CODE or isinstance(member, Originals | dict | list):
            continue  # Backtrader keeps caches and counts on its classes
        dotted = f"{prefix}.{name}"
        yield dotted, _parts(member)
        if isinstance(member, type) and member.__module__ == module_name:
            yield from _members(dotted, vars(member), module_name)


def _parts(member: Any) -> tuple[Any, ...]:
    """What a member consists of: of a function also its code and defaults, which can be set."""
    if isinstance(member, property):
        return (*_parts(member.fget), *_parts(member.fset))
    function = getattr(member, "__func__", member)
    if isinstance(function, FunctionType):
        return function, function.__code__, function.__defaults__, function.__kwdefaults__
    return (function,)
