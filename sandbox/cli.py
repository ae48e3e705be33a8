"""What the command lines share: options, and errors as one line with an exit status.

Exit status: 0 all is well, 1 the run failed, 2 the command line or an option is wrong.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from feeds import FeedError
from sandbox.config import RunConfig
from sandbox.errors import ConfigError, SandboxError

_UNSET: Any = argparse.SUPPRESS  # an option not given leaves RunConfig's default in charge


def parser(module: str, description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def option(target: argparse._ActionsContainer, name: str, help_text: str, **kind: Any) -> None:
    """An option of `RunConfig`, whose default it shows and leaves unset."""
    default = RunConfig.model_fields[name].default
    shown = "" if default is None or default is False else f" (default: {default})"
    flag = f"--{name.replace('_', '-')}"
    target.add_argument(flag, dest=name, default=_UNSET, help=help_text + shown, **kind)


def add_data_options(target: argparse._ActionsContainer) -> None:
    option(target, "data", "where candles come from: sample, sample:ph, csv:FILES", metavar="SPEC")
    option(target, "repair", "mend bad candles instead of refusing them", action="store_true")


def add_model_options(target: argparse._ActionsContainer) -> None:
    option(target, "model", "name of the checkpoint", metavar="NAME")
    option(target, "lookback", "bars the model sees", type=int, metavar="BARS")
    option(target, "horizon", "bars it forecasts", type=int, metavar="BARS")
    option(target, "samples", "paths it draws for each forecast", type=int, metavar="N")
    option(target, "temperature", "below 1: nearer to the likeliest", type=float, metavar="X")
    option(target, "top_p", "share of likelihood drawn from; 1 keeps the tails", type=float)
    option(target, "top_k", "tokens drawn from; 0 is all", type=int)
    option(target, "device", "cpu, cuda or mps (default: the best there is)")
    option(target, "dtype", "numbers the model computes with")
    option(target, "seed", "the same seed draws the same paths", type=int)


def a_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date, write 2020-01-31") from None


def config_of(args: argparse.Namespace, **more: Any) -> RunConfig:
    """The options given, checked; the rest at `RunConfig`'s defaults."""
    given = {name: value for name, value in vars(args).items() if name in RunConfig.model_fields}
    return RunConfig.of(**given | more)


def guarded(work: Callable[[], None], *, debug: bool) -> int:
    """Do the work; an error becomes one line and an exit status."""
    try:
        work()
    except KeyboardInterrupt:
        return _fail("interrupted", 1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(_line(error), 2 if isinstance(error, ConfigError) else 1)
    return 0


def _fail(line: str, status: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return status


def _line(error: Exception) -> str:
    from kronos import KronosError

    text = " ".join(str(error).split())
    if isinstance(error, SandboxError | FeedError | KronosError):
        return text
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}; --debug shows more"
