"""`python -m sandbox.tries`: how much has been tried on which data; `forget` leaves a mark.

`add` is what commands call that may not know this room.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.cli import guarded
from sandbox.cli import parser as new_parser
from sandbox.cores import end_with
from sandbox.errors import ConfigError
from sandbox.files import RUNS
from sandbox.interrupts import leave
from sandbox.tries.adding import FORM, document_of, tried_skill
from sandbox.tries.contents import Contents, warnings_of
from sandbox.tries.listing import Group, chosen, groups, known_data, known_folders, tried_here
from sandbox.tries.registry import FILE, Registry
from sandbox.words import did_you_mean

SHORT = 8  # digits of a hash that are shown
STDIN = "-"


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: args.work(args, Console()), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sandbox.tries",
        f"Show how many different things runs and skill have tried on which data ({FILE}, beside "
        "their folders), or forget some of them, which leaves a mark.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ls = commands.add_parser("ls", help="list data, windows, and how much was tried there")
    ls.set_defaults(work=_list)
    forget = commands.add_parser(
        "forget", help="count some tries no more; reports say how many were forgotten, and when"
    )
    forget.set_defaults(work=_forget)
    which = forget.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", metavar="SPEC", help="those on this data; or how its hash begins")
    which.add_argument("--run", metavar="NAME", help="those that a run's or skill's folder added")
    which.add_argument("--all", action="store_true", help="all of them")
    add = _add_parser(commands)
    for command in (ls, forget, add):
        command.add_argument(
            "--runs", type=Path, default=RUNS, metavar="DIR",
            help=f"the folder that run folders are in (default: {RUNS})",
        )  # fmt: skip
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return parser


def _add_parser(commands: Any) -> argparse.ArgumentParser:
    add: argparse.ArgumentParser = commands.add_parser(
        "add", help="count what another command has finished; commands call it, not people",
        description="Count what another command has finished, from a JSON document.",
        epilog=FORM, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add.set_defaults(work=_add)
    add.add_argument(
        "file", nargs="?", default=STDIN, metavar="FILE",
        help="with the document (default: - is what comes in)",
    )  # fmt: skip
    add.add_argument(
        "--folder", required=True, metavar="NAME", help="that it is in, seen from that of --runs"
    )
    add.add_argument(
        "--parent", type=int, metavar="PID", help="the process that started this one: end with it"
    )
    return add


def _add(args: argparse.Namespace, console: Console) -> None:
    if args.parent is not None:
        end_with(args.parent)
    tried = tried_skill(document_of(*_text_of(args.file)), args.folder)
    registry = Registry(args.runs)
    for line in (registry.add(tried), _how_many(tried_here(registry.read(), tried))):
        if line:
            _say(console, line)


def _text_of(file: str) -> tuple[str, str]:
    """What is in it, and what it is called in messages."""
    try:
        if file == STDIN:
            return sys.stdin.buffer.read().decode(), "what came in"
        return Path(file).read_text(encoding="utf-8"), file
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 ({error.reason})") from None


def _how_many(things: int) -> str:
    here = "on this data in this window"
    if things == 1:
        return f"This is the first thing that was tried {here}."
    return f"{things:,} different things have been tried {here}."


def _list(args: argparse.Namespace, console: Console) -> None:
    registry = Registry(args.runs)
    contents = registry.read()
    found = groups(contents)
    if found:
        console.print(_table(found, registry.path))
    elif not contents.unreadable:
        _say(console, f"Nothing is counted in {registry.path}.")
    for line in (*_marks(contents), *warnings_of(contents, str(registry.path))):
        _say(console, line)


def _table(found: Sequence[Group], path: Path) -> Table:
    table = Table(title=f"Tries in {path}", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("Data", overflow="fold")
    table.add_column("Window", no_wrap=True)
    table.add_column("Tries", justify="right", no_wrap=True)
    table.add_column("By skill", justify="right", no_wrap=True)
    table.add_column("Best Sharpe", justify="right", no_wrap=True)
    table.add_column("Of", overflow="fold")
    table.add_column("Last (UTC)", no_wrap=True)
    for group in found:
        table.add_row(
            Text(f"{group.spec}\n{group.data_hash[:SHORT]}"),
            f"{group.first_bar[:10]}\n{group.last_bar[:10]}",
            f"{group.things:,}",
            f"{group.scored:,}" if group.scored else "-",
            "-" if group.best_sharpe is None else f"{group.best_sharpe:.2f}",
            Text(group.best if group.best_sharpe is not None else "-"),
            group.last[:16].replace("T", "\n"),
        )
    return table


def _marks(contents: Contents) -> list[str]:
    """How many tries were forgotten on which data, and when."""
    said = []
    for mark in contents.forgotten:
        by_spec: dict[str, int] = {}
        for each in mark.tries:
            by_spec[each.run.spec] = by_spec.get(each.run.spec, 0) + 1
        parts = ", ".join(f"{counted_tries(count)} on {spec}" for spec, count in by_spec.items())
        said.append(f"Forgotten on {mark.when[:16].replace('T', ' ')}: {parts}.")
    return said


def counted_tries(count: int) -> str:
    return f"{count:,} {'try' if count == 1 else 'tries'}"


def _forget(args: argparse.Namespace, console: Console) -> None:
    registry = Registry(args.runs)
    contents = registry.read()
    if contents.unreadable:
        raise ConfigError(f"{registry.path} cannot be read: {contents.unreadable}")
    keys = chosen(contents.tries, data=args.data, folder=args.run)
    if not keys:
        raise ConfigError(_nothing(args, contents, registry.path))
    gone = registry.forget(set(keys), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    verb = "counts" if gone == 1 else "count"
    _say(
        console,
        f"{counted_tries(gone)} of {registry.path} {verb} no more. The file keeps the "
        f"{'line' if gone == 1 else 'lines'} and this mark; reports say so.",
    )


def _nothing(args: argparse.Namespace, contents: Contents, path: Path) -> str:
    tries = contents.tries.values()
    for flag, asked, known in (
        ("--data", args.data, known_data(tries)),
        ("--run", args.run, known_folders(tries)),
    ):
        if asked is not None and known:
            return f"{flag} {asked}: {path} counts no try of it{did_you_mean(asked, known)}"
    return f"nothing is counted in {path}"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    leave(main())
