"""`python -m reports.report RUN_FOLDER`: write its report.html, tear sheets and metrics.json.

From the run folder's own files alone. Every page opens without a network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reports.body import report_page
from reports.costs import all_costs
from reports.folder import ReportError, read_run, write_whole
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
    args = parser.parse_args(argv)
    return guarded(lambda: print(write_report(args.folder)), debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
