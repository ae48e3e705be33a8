"""Parameter sweeps: every combination of the values to try, as strategies of one run.

`--sweep topk.k=2,3 topk.n_drop=1,2` makes `topk[k=2,n_drop=1]` and three more of the strategy topk.
Each strategy that declares a swept parameter has the combinations of its own ones; the forecasts
are the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from sandbox.config import Param
from sandbox.errors import ConfigError
from sandbox.trading.params import (
    check_is_declared,
    declared_params,
    given_params,
    like,
    typed_params,
)
from sandbox.trading.strategy import Strategy

MOST_COMBINATIONS = 200  # of a run: a backtest each, over the cores

Classes = Mapping[str, type[Strategy]]
Axes = dict[str, list[Param]]  # parameter -> the values to try


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One set of parameters of one strategy of a run."""

    name: str  # in tables and file names
    strategy: str
    params: Mapping[str, Param]  # all that it declares
    swept: bool  # one of several


def combinations(
    classes: Classes,
    given: Mapping[str, Param],
    sweep: Mapping[str, Sequence[Param]],
    preset: Mapping[str, Param],
) -> list[Combination]:
    """Every strategy in its order, once or with each of its combinations.

    What is `given` goes over the `preset`; a parameter that is both given and swept is an error.
    """
    axes = _axes(classes, given, sweep)
    counts = {name: math.prod(map(len, own.values())) for name, own in axes.items() if own}
    if sum(counts.values()) > MOST_COMBINATIONS:
        raise ConfigError(
            f"--sweep makes {sum(counts.values()):,} combinations, at most {MOST_COMBINATIONS} "
            f"are traded ({', '.join(f'{count:,} of {name}' for name, count in counts.items())}): "
            "name fewer values"
        )
    own = given_params(classes, dict(preset) | dict(given))
    return [
        combination
        for name, cls in classes.items()
        for combination in _combinations(name, cls, own[name], axes[name])
    ]


def _combinations(
    name: str, cls: type[Strategy], given: Mapping[str, Param], axes: Axes
) -> Iterator[Combination]:
    for values in product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        pairs = ",".join(f"{param}={value}" for param, value in chosen.items())
        yield Combination(
            name=f"{name}[{pairs}]" if chosen else name,
            strategy=name,
            params=typed_params(cls, dict(given) | chosen),
            swept=bool(chosen),
        )


def _axes(
    classes: Classes, given: Mapping[str, Param], sweep: Mapping[str, Sequence[Param]]
) -> dict[str, Axes]:
    """By strategy: what it sweeps, each value once and in its parameter's own type."""
    declared = {name: declared_params(cls) for name, cls in classes.items()}
    axes: dict[str, Axes] = {name: {} for name in classes}
    for text, values in sweep.items():
        check_is_declared(text, declared, "--sweep")
        strategy, _, param = text.rpartition(".")
        having = [name for name in classes if param in declared[name]]
        for name in [strategy] if strategy else having:
            _refuse_contradiction(text, name, param, given, sweep)
            default = declared[name][param]
            typed = [like(default, value, param, "--sweep") for value in values]
            axes[name][param] = list(dict.fromkeys(typed))
    return axes


def _refuse_contradiction(
    text: str, name: str, param: str, given: Mapping[str, Param], sweep: Mapping[str, object]
) -> None:
    both = [word for word in (param, f"{name}.{param}") if word in given]
    if both:
        raise ConfigError(
            f"--param {both[0]} sets what --sweep {text} varies: {param} of {name} can be given "
            "by one of them"
        )
    if text == param and f"{name}.{param}" in sweep:
        raise ConfigError(
            f"--sweep {param} and --sweep {name}.{param} vary the same parameter: name one of them"
        )
