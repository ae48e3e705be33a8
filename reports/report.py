"""`python -m reports.report RUN_FOLDER`: write its report.html, tear sheets and metrics.json.

From the run folder's own files alone. Every page opens without a network.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports import fills
from reports.commands import guarded, parsed
from reports.costs import all_costs
from reports.curves import report_charts
from reports.files import write_whole
from reports.fills import fills_page
from reports.folder import Run, read_run
from reports.interrupts import leave
from reports.metrics import all_figures
from reports.pages import chart_scripts, fills_script, load_templates, render
from reports.quant import load_quantstats
from reports.report_view import report_view
from reports.sheets import drawing
from reports.tries import all_tries
from reports.verdicts import judged


def write_report(folder: Path) -> Path:
    """Write metrics.json, report.html, fills.html and tearsheets/; the path of report.html."""
    run = read_run(folder)
    target = folder / "report.html"
    with drawing(run):
        metrics: dict[str, Any] = all_figures(run)
        metrics |= judged(run, metrics)
        metrics["costs"] = all_costs(run, metrics)
        metrics["tries"] = all_tries(run, metrics)
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
        write_whole(folder / "metrics.json", text + "\n")
        write_whole(folder / fills.FILE, fills_html(run))
        write_whole(target, report_html(run, metrics))
    return target


def report_html(run: Run, metrics: Mapping[str, Any]) -> str:
    """The whole of report.html."""
    charts = report_charts(run)
    view = report_view(run, metrics, charts)
    return render("report.html", chart_scripts(), view=view, charts=charts.data())


def fills_html(run: Run) -> str:
    """The whole of fills.html."""
    view, data = fills_page(run)
    return render("fills.html", [fills_script()], view=view, data=data)


def _awaited_folder() -> Path | None:
    """Import and compile what takes long, then wait for a line with the folder's name."""
    load_quantstats()
    load_templates()
    line = sys.stdin.readline()
    return Path(line.removesuffix("\n")) if line else None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.report",
        description="Write a run folder's report.html, fills.html, tear sheets and metrics.json.",
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="RUN_FOLDER")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="import what takes long, then wait for a line on the standard input with the folder; "
        "where it ends without one, write nothing",
    )
    args = parsed(parser, argv)
    if args.wait == (args.folder is not None):
        parser.error("a RUN_FOLDER is needed, or --wait without one")
    folder = _awaited_folder() if args.wait else args.folder
    if folder is None:
        return 0
    return guarded(lambda: print(write_report(folder)), debug=args.debug)


if __name__ == "__main__":
    leave(main())
