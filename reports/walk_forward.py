"""`python -m reports.walk_forward FOLDER`: write a walk-forward's report.html and metrics.json.

From the folder's own files alone; the page opens without a network. metrics.json has what the page
says first.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from reports.commands import guarded, parsed
from reports.files import write_whole
from reports.interrupts import leave
from reports.pages import chart_scripts, render
from reports.walk_charts import walk_charts
from reports.walk_figures import find, verdict
from reports.walk_folder import WalkForward, read_walk_forward
from reports.walk_view import walk_view


def write_walk_report(folder: Path) -> tuple[str, Path]:
    """Write report.html and metrics.json; what the page says first, and its path."""
    walk = read_walk_forward(folder)
    target = folder / "report.html"
    sentence, page = walk_html(walk)
    write_whole(target, page)
    write_whole(folder / "metrics.json", json.dumps({"verdict": sentence}, indent=2) + "\n")
    return sentence, target


def walk_html(walk: WalkForward) -> tuple[str, str]:
    """The sentence at the top of the page, and the whole of it."""
    found = find(walk)
    charts = walk_charts(walk, found)
    view = walk_view(walk, found, charts)
    page = render("walk_forward.html", chart_scripts(), view=view, charts=charts.data())
    return verdict(walk, found), page


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.walk_forward",
        description="Write a walk-forward's report.html: its folds, before and after fine-tuning.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    args = parsed(parser, argv)
    return guarded(lambda: print(*write_walk_report(args.folder), sep="\n"), debug=args.debug)


if __name__ == "__main__":
    leave(main())
