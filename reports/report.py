"""`python -m reports.report RUN_FOLDER`: write its report.html, tear sheets and metrics.json.

From the run folder's own files alone. Every page opens without a network.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reports.body import report_page
from reports.costs import all_costs
from reports.folder import ReportError, read_run, write_whole
from reports.interrupts import end_with, leave
from reports.metrics import all_figures
from reports.sheets import drawing
from reports.verdicts import judged


def write_report(folder: Path) -> Path:
    """Write metrics.json, report.html and tearsheets/ into `folder`; the path of report.html."""
    run = read_run(folder)
    target = folder / "report.html"
    with drawing(run):
        metrics: dict[str, Any] = all_figures(run)
        metrics |= judged(run, metrics)
        metrics["costs"] = all_costs(run, metrics)
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
        write_whole(folder / "metrics.json", text + "\n")
        write_whole(target, report_page(run, metrics))
    return target


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.report",
        description="Write a run folder's report.html, tear sheets and metrics.json.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="the process that started this one: end with it"
    )
    args = parser.parse_args(argv)
    if args.parent is not None:
        end_with(args.parent)
    return guarded(lambda: print(write_report(args.folder)), debug=args.debug)


if __name__ == "__main__":
    leave(main())
