"""What the commands of this room share: an error is one line and exit status 1."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from reports.files import ReportError
from reports.interrupts import end_with


def parsed(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """The options of a command that another process may start, and which then ends with it."""
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="the process that started this one: end with it"
    )
    args = parser.parse_args(argv)
    if args.parent is not None:
        end_with(args.parent)
    return args


def guarded(work: Callable[[], None], *, debug: bool) -> int:
    """Do the work; an error becomes one line and exit status 1."""
    try:
        work()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # nobody reads the output any more (`| head`); Python would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, ReportError)
        line = " ".join(str(error).split())
        print(f"error: {'' if known else type(error).__name__ + ': '}{line}", file=sys.stderr)
        return 1
    return 0
