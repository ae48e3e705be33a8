"""`python -m reports.skill FOLDER`: write the page of a skill folder, skill.html.

From its skill.json alone; the page opens without a network.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from pathlib import Path

from reports.commands import guarded, parsed
from reports.files import write_whole
from reports.interrupts import leave
from reports.pages import chart_scripts, render
from reports.skill_folder import PAGE, Skill, read_skill
from reports.skill_pictures import skill_charts
from reports.skill_view import skill_view


def write_skill_page(folder: Path) -> Path:
    """Write skill.html; its path."""
    target = folder / PAGE
    write_whole(target, skill_html(read_skill(folder)))
    return target


def skill_html(skill: Skill) -> str:
    charts = skill_charts(skill)
    view = skill_view(skill, charts)
    return render("skill.html", chart_scripts(), view=view, charts=charts.data())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.skill",
        description="Write a skill folder's page: what its models know, and how surely.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    args = parsed(parser, argv)
    return guarded(lambda: print(write_skill_page(args.folder)), debug=args.debug)


if __name__ == "__main__":
    leave(main())
