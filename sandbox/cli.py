"""What the command lines share: options, and errors as one line with an exit status.

Exit status: 0 all is well, 1 the run failed or was interrupted (Ctrl-C, SIGTERM, SIGHUP: see
`sandbox.interrupts`) or nobody reads its output any more, 2 the command line or an option is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from feeds import FeedError
from sandbox import interrupts
from sandbox.config import (
    FORMER_NAMES,
    LOCAL,
    NO_CALENDAR,
    Config,
    CostsName,
    RunConfig,
    SignalName,
    option_hint,
    options_in,
)
from sandbox.errors import ConfigError, SandboxError
from sandbox.memory import is_shortage, ran_out
from sandbox.presets import PRESETS, preset_options

# A variable of the environment that makes a run's process one that tries strategies for a proof:
# the number of the socket to take them from.
TRIALS_SOCKET = "SANDBOX_TRIALS"

_UNSET: Any = argparse.SUPPRESS  # an option that is not given keeps the default of its record

AnyConfig = TypeVar("AnyConfig", bound=Config)


class _Parser(argparse.ArgumentParser):
    """Names the option that a misspelt one is nearest to."""

    def error(self, message: str) -> NoReturn:
        wrong = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        if wrong.startswith("--"):
            message += option_hint(wrong, self._option_string_actions)
        super().error(message)


def parser(module: str, description: str, arguments: str | None = None) -> argparse.ArgumentParser:
    """`arguments`: what the usage line shows, where all the options would fill a screen."""
    prog = f"python -m {module}"
    usage = arguments and f"{prog} {arguments}"
    new = _Parser(prog=prog, usage=usage, description=description)
    new.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return new


def option(
    target: argparse._ActionsContainer,
    name: str,
    help_text: str,
    flag: str = "",
    of: type[Config] = RunConfig,
    **kind: Any,
) -> None:
    """An option of a command's records, whose default it shows and leaves unset."""
    default = of.options()[name].default
    shown = "" if default in (None, False, ()) else f" (default: {default})"
    flag = flag or f"--{name.replace('_', '-')}"
    target.add_argument(flag, dest=name, default=_UNSET, help=help_text + shown, **kind)


def add_strategy_files(target: argparse._ActionsContainer) -> None:
    target.add_argument(
        "strategies", nargs="*", metavar="STRATEGY.py", help="files with one sandbox.Strategy each"
    )


def add_run_options(target: argparse._ActionsContainer) -> None:
    """What decides a backtest: strategy, data, window, model, account and costs."""
    add_strategy_options(target)
    add_data_options(target)
    add_window_options(target)
    add_model_options(target)
    add_backend_options(target)
    add_cost_options(target)


def add_data_options(target: argparse._ActionsContainer) -> None:
    group = target.add_argument_group("data")
    option(
        group, "data", "sample, sample:ph, sample:AAPL,NVDA, csv:FILES, parquet:FILES, "
        "qlib:DIR?instruments=...&freq=day, "
        "ccxt:EXCHANGE?symbols=...&timeframe=...&since=..., paper:STATE", metavar="SPEC",
    )  # fmt: skip
    option(
        group, "stamps", "what the times in files are: when a bar opened or when it closed "
        "(default: as recognised; dates are whole days)", metavar="open|close",
    )  # fmt: skip
    option(group, "repair", "mend bad candles instead of refusing them", action="store_true")
    option(
        group, "calendar", "trading calendar that bars follow, such as XNYS; none: they go on as "
        "observed (default: that of the data's exchange, where they name it)", metavar="NAME",
    )  # fmt: skip


def add_window_options(target: argparse._ActionsContainer) -> None:
    group = target.add_argument_group("window")
    option(group, "start", "first session traded", type=a_date, metavar="DATE")
    option(group, "end", "last session traded", type=a_date, metavar="DATE")


def add_model_options(
    parent: argparse._ActionsContainer, *, store: bool = True, calibrate: bool = True
) -> None:
    target = parent.add_argument_group("model")
    option(
        target, "model", "bundled, mini, small, base, a folder, hub ids or walkforward:NAME",
        metavar="NAME",
    )  # fmt: skip
    option(target, "lookback", "bars the model sees", type=int, metavar="BARS")
    option(target, "horizon", "bars it forecasts", type=int, metavar="BARS")
    option(target, "samples", "paths it draws for each forecast", type=int, metavar="N")
    option(
        target, "temperature", "below 1: nearer to the likeliest; A:B goes from A at the first bar "
        "ahead to B at the last", metavar="X|A:B",
    )  # fmt: skip
    option(target, "top_p", "share of likelihood drawn from; 1 keeps the tails", type=float)
    option(target, "top_k", "tokens drawn from; 0 is all", type=int)
    option(target, "device", "cpu, cuda or mps (default: the best there is)")
    option(target, "dtype", "numbers the model computes with")
    option(target, "seed", "the same seed draws the same paths", type=int)
    if calibrate:
        option(
            target, "calibrate", "move forecasts to where past ones, whose outcomes are known, "
            "should have been", action="store_true",
        )  # fmt: skip
    if store:
        option(target, "store", "folder that keeps forecasts; none keeps none", metavar="DIR")


def add_backend_options(parent: argparse._ActionsContainer, default: str = LOCAL) -> None:
    target = parent.add_argument_group("backend")
    target.add_argument(
        "--backend", default=_UNSET if default == LOCAL else default, metavar="NAME",
        help=f"what computes forecasts: local, ray (default: {default})",
    )  # fmt: skip
    option(
        target, "ray_address", "auto or HOST:PORT of a Ray cluster (default: a Ray of this machine "
        "for the run)", metavar="ADDRESS",
    )  # fmt: skip
    option(target, "replicas", "of the model (default: as many as fit)", type=int, metavar="N")
    option(
        target, "replica_gpus", "GPUs of a replica, also a part of one (default: 1 if there is "
        "any)", type=float, metavar="X",
    )  # fmt: skip
    option(target, "replica_threads", "threads, and CPUs, of a replica", type=int, metavar="N")


def add_strategy_options(parent: argparse._ActionsContainer, *, sweep: bool = True) -> None:
    target = parent.add_argument_group("strategy")
    target.add_argument(
        "--param", action="extend", nargs="+", default=[], metavar="K=V",
        help="parameters: k=5 for every strategy that has it, topk.k=5 for one",
    )  # fmt: skip
    if sweep:
        target.add_argument(
            "--sweep", action="extend", nargs="+", default=[], metavar="K=V,V",
            help="parameters to try all combinations of: k=2,3,5 topk.n_drop=1,2",
        )  # fmt: skip
    names = ", ".join(get_args(SignalName))
    option(target, "signal", f"what forecasts: {names}", metavar="NAME")
    target.add_argument("--preset", metavar="NAME", help=f"named settings: {', '.join(PRESETS)}")
    target.add_argument(
        "--config", type=Path, metavar="FILE",
        help="options from a YAML file, or a run folder's config.json to repeat it",
    )  # fmt: skip


def add_cost_options(parent: argparse._ActionsContainer) -> None:
    target = parent.add_argument_group("account and costs (default: those of the data's market)")
    option(target, "cash", "at the start, in quote currency", type=float)
    option(target, "costs", f"a market's: {', '.join(get_args(CostsName))}", metavar="NAME")
    option(target, "commission_bps", "of the value traded, a side", type=float, metavar="BPS")
    option(target, "min_commission", "an order, in quote currency", type=float, metavar="X")
    option(target, "sell_tax_bps", "of the value sold", type=float, metavar="BPS")
    option(target, "slippage_bps", "of the price, a side", type=float, metavar="BPS")
    option(target, "impact", "k of k * sigma * sqrt(size / ADV)", type=float, metavar="K")
    option(target, "volume_cap_pct", "of a bar's volume filled, at most", type=float, metavar="PCT")
    option(target, "lot_size", "orders are multiples of this", type=float, metavar="UNITS")


def a_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date, write 2020-01-31") from None


def config_of(args: argparse.Namespace) -> RunConfig:
    """The options given, over those of `--config`, over those of `--preset`, over the defaults."""
    in_file = options_of_file(args)
    options = in_file | given_options(args, RunConfig)
    options["params"] = _mapping(in_file, "params") | parse_params(getattr(args, "param", []))
    options["sweep"] = _mapping(in_file, "sweep") | parse_sweep(getattr(args, "sweep", []))
    return RunConfig.of(**preset_options(options.get("preset")) | options)


def records_of(args: argparse.Namespace, kind: type[AnyConfig]) -> AnyConfig:
    """The records of a command that takes its options from its command line alone."""
    return kind.of(**given_options(args, kind))


def options_of_file(args: argparse.Namespace) -> dict[str, Any]:
    """Those of the file that `--config` names; none without it."""
    file = getattr(args, "config", None)
    return _with_new_names(options_in(file), file) if file else {}


def given_options(args: argparse.Namespace, kind: type[Config]) -> dict[str, Any]:
    """The options of those records that the command line has."""
    known = kind.options()
    return {
        name: value
        for name, value in vars(args).items()
        if name in known and value not in (None, []) and name != "sweep"
    }


def _with_new_names(options: dict[str, Any], file: Path) -> dict[str, Any]:
    """What a file written before an option was renamed means today, which a line says.

    A run without an exchange took the times of its bars as observed, whatever the data were.
    """
    for former, now in FORMER_NAMES.items():
        if former in options and now not in options:
            value = options.pop(former)
            options[now] = NO_CALENDAR if value is None else value
            read = f"{former} is called {now} now, and is read as '{now}: {options[now]}'"
            print(f"note: {file}: {read}", file=sys.stderr)
    return options


def parse_params(texts: Iterable[str]) -> dict[str, str]:
    """`["k=5", "topk.n_drop=2"]` to a mapping of texts."""
    params: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--param {text!r}: write it as name=value")
        params[name] = value
    return params


def parse_sweep(texts: Iterable[str]) -> dict[str, list[str]]:
    """`["k=2,3", "topk.n_drop=1,2"]` to a mapping of lists of texts."""
    sweep: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name or not all(values.split(",")):
            raise ConfigError(f"--sweep {text!r}: write it as name=value,value")
        if name in sweep:
            raise ConfigError(f"--sweep {name} is given twice: name all its values once")
        sweep[name] = values.split(",")
    return sweep


def _mapping(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = options.get(name) or {}
    if not isinstance(given, dict):
        like = "k: 5" if name == "params" else "k: [2, 3, 5]"
        raise ConfigError(f"{name} {given!r}: a mapping is needed, such as '{like}'")
    return given


def guarded(work: Callable[[], None], *, debug: bool, interrupted: str = "") -> int:
    """Do the work; an error becomes one line and an exit status.

    `interrupted` is what the line of an interrupted command says besides that it was.
    """
    interrupts.say(interrupted)
    try:
        work()
        if sys.stdout is not None:
            sys.stdout.flush()  # at the end of the process nobody could tell of a full disk
    except KeyboardInterrupt:
        return _fail(interrupts.line(), 1)
    except Exception as error:
        if _output_is_lost(error):
            return 1 if isinstance(error, BrokenPipeError) else _fail(_unwritten(error), 1)
        if debug:
            traceback.print_exc()
        return _fail(_line(error), 2 if isinstance(error, ConfigError) else 1)
    return 0


def _output_is_lost(error: Exception) -> bool:
    """Whether what was printed cannot be written: the reader has gone (`| head`), the disk is full.

    What is left of it is dropped then, since Python would try again at its end, with a traceback.
    """
    if sys.stdout is None or not isinstance(error, OSError):
        return False
    try:
        sys.stdout.flush()
        lost = isinstance(error, BrokenPipeError)
    except OSError:
        lost = True
    if lost:
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return lost


def _unwritten(error: Exception) -> str:
    return f"the output cannot be written: {getattr(error, 'strerror', None) or error}"


def _fail(line: str, status: int) -> int:
    with contextlib.suppress(OSError):  # a terminal that is gone reads no line
        print(f"error: {line}", file=sys.stderr)
    return status


def _line(error: Exception) -> str:
    from kronos import KronosError

    text = " ".join(str(error).split())
    if isinstance(error, SandboxError | FeedError | KronosError):
        return text
    if is_shortage(error):
        return f"{ran_out(error)}; --debug shows more"
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}; --debug shows more"
