"""`python -m reports.paper STATE.sqlite`: a paper account's page, kept up to date, on this machine.

The first line of output is the page's address. The account is only read, and may be traded, killed
and started again meanwhile.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from reports.commands import guarded, parsed
from reports.files import ReportError
from reports.interrupts import leave

LAST_PORT = 65_535


def show(path: Path, port: int) -> None:
    """Serve the page until the process ends; ReportError where that cannot be."""
    try:
        from reports.paper_server import run
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise ReportError(
            "a dashboard needs aiohttp; install the extra: pip install 'kronos-sandbox[paper]'"
        ) from error
    run(path, port, lambda address: print(f"dashboard on {address}", flush=True))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.paper",
        description="Show a paper account as a page on 127.0.0.1 that is kept up to date.",
    )
    parser.add_argument("account", type=Path, metavar="STATE.sqlite")
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="of the page; 0, as set: a free one"
    )
    args = parsed(parser, argv)
    if not 0 <= args.port <= LAST_PORT:
        parser.error(f"argument --port: must be from 0 to {LAST_PORT}, got {args.port}")
    if args.parent is not None:
        # Ctrl-C is for the process that trades, which shows its last bar before it ends
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return guarded(lambda: show(args.account, args.port), debug=args.debug)


if __name__ == "__main__":
    leave(main())
