"""`python -m sandbox.store`: what forecasts are kept, and which of their files can go."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.cli import guarded
from sandbox.cli import parser as new_parser
from sandbox.errors import ConfigError
from sandbox.interrupts import leave
from sandbox.store.sets import ForecastStore
from sandbox.store.upkeep import SetSummary, leftovers, merge, remove, small_parts, summary

SHORT = 8  # digits of a set's name or a fingerprint that are shown, and enough to name a set
SYMBOLS_SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: args.work(args, Console()), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("sandbox.store", "Show and tidy the forecasts that runs have kept.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ls = commands.add_parser("ls", help="list the sets of forecasts")
    ls.set_defaults(work=_list)
    info = commands.add_parser("info", help="show one set in full")
    info.add_argument("set", metavar="SET", help="its name, or how the name begins")
    info.set_defaults(work=_info)
    gc = commands.add_parser("gc", help="remove what no run needs, and merge small parts")
    gc.add_argument(
        "--older-than",
        type=_days,
        metavar="DAYS",
        help="also sets that no run has used for so long",
    )
    gc.add_argument("--dry-run", action="store_true", help="show what would go, remove nothing")
    gc.set_defaults(work=_gc)
    for command in (ls, info, gc):
        command.add_argument(
            "--store", type=Path, default=Path("store"), metavar="DIR", help="(default: store)"
        )
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return parser


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days, 0 or more")
    return days


def _list(args: argparse.Namespace, console: Console) -> None:
    sets = [summary(folder) for folder in ForecastStore(args.store).folders()]
    if not sets:
        _say(console, f"No forecasts are kept in {args.store}.")
        return
    table = Table(title=f"Forecasts in {args.store}", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("Set", "Model", "Settings", "Forecasts", "As of", "Size", "Used (UTC)"):
        side: Literal["left", "right"] = "right" if heading in ("Forecasts", "Size") else "left"
        table.add_column(heading, justify=side, no_wrap=heading != "Settings", overflow="fold")
    for found_set in sorted(sets, key=lambda found_set: -found_set.used):
        table.add_row(*map(Text, _row(found_set)))
    console.print(table)
    _warn_of_damage(sets, console)


def _row(found_set: SetSummary) -> tuple[str, ...]:
    return (
        found_set.folder.name[:SHORT],
        _model(found_set.settings),
        _shown_settings(found_set.settings),
        f"{found_set.forecasts:,}\n{len(found_set.symbols):,} symbols",
        f"{found_set.first_asof}\n{found_set.last_asof}" if found_set.first_asof else "-",
        _size(found_set.size_bytes),
        _when(found_set.used).replace(" ", "\n"),
    )


def _info(args: argparse.Namespace, console: Console) -> None:
    chosen = summary(_chosen(ForecastStore(args.store), args.set))
    table = Table(title=f"Set {chosen.folder.name}", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _facts(chosen).items():
        table.add_row(name, Text(value))
    console.print(table)
    _warn_of_damage([chosen], console)


def _chosen(store: ForecastStore, begins: str) -> Path:
    folders = store.folders()
    fitting = [folder for folder in folders if begins and folder.name.startswith(begins)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(folder.name for folder in fitting)
        raise ConfigError(f"{begins!r} is the beginning of several sets: {names}")
    names = ", ".join(folder.name[:SHORT] for folder in folders) or "none"
    raise ConfigError(f"no set in {store.folder} begins with {begins!r}; there are {names}")


def _facts(found_set: SetSummary) -> dict[str, str]:
    settings = dict(found_set.settings)
    sampling = settings.pop("sampling", {})
    shown = ", ".join(found_set.symbols[:SYMBOLS_SHOWN])
    more = len(found_set.symbols) - SYMBOLS_SHOWN
    return {
        "folder": str(found_set.folder),
        **{name: str(value) for name, value in (settings | sampling).items()},
        "forecasts": f"{found_set.forecasts:,}",
        "symbols": f"{len(found_set.symbols)}: {shown}" + (f" and {more} more" if more > 0 else ""),
        "as of": f"{found_set.first_asof} to {found_set.last_asof}"
        if found_set.first_asof
        else "-",
        "parts": f"{found_set.parts:,}, {found_set.damaged} of them damaged",
        "size": _size(found_set.size_bytes),
        "last used": f"{_when(found_set.used)} UTC",
    }


def _gc(args: argparse.Namespace, console: Console) -> None:
    store = ForecastStore(args.store)
    left_over = leftovers(store, now=time.time(), older_than_days=args.older_than)
    if not args.dry_run:
        remove(left_over)
    small = small_parts(store)  # of what is left
    merged = sum(map(len, small)) if args.dry_run else sum(map(merge, small))
    if left_over:
        table = Table(title="Would be removed" if args.dry_run else "Removed")
        table.add_column("File", overflow="fold")
        table.add_column("Size", justify="right")
        table.add_column("Why", overflow="fold")
        for file in left_over:
            row = str(file.path.relative_to(args.store)), _size(file.size_bytes), file.why
            table.add_row(*map(Text, row))
        console.print(table)
    total = _size(sum(file.size_bytes for file in left_over))
    done = "Would remove" if args.dry_run else "Removed"
    _say(console, f"{done} {len(left_over)} files, {total}, from {args.store}.")
    if merged:
        done = "Would merge" if args.dry_run else "Merged"
        _say(console, f"{done} {merged:,} small parts into {len(small):,}.")


def _warn_of_damage(sets: Sequence[SetSummary], console: Console) -> None:
    for found_set in sets:
        if found_set.damaged:
            _say(
                console,
                f"{found_set.damaged} parts of {found_set.folder.name[:SHORT]} are damaged and "
                "left aside; `python -m sandbox.store gc` removes them.",
            )


def _model(settings: Mapping[str, Any]) -> str:
    if not settings:
        return "?\n(settings.json is gone)"
    return f"{settings.get('model')}\n{str(settings.get('fingerprint'))[:SHORT]}"


def _shown_settings(settings: Mapping[str, Any]) -> str:
    sampling = settings.get("sampling") or {}
    names = {"lookback": "L", "horizon": "P", "samples": "S", "temperature": "T"}
    shown = [
        f"{names.get(name, name)}={str(value).removesuffix('.0')}"
        for name, value in sampling.items()
    ]
    return " ".join([*shown, str(settings.get("dtype", ""))])


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    leave(main())
