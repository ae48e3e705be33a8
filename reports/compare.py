"""`python -m reports.compare RUN RUN ...`: portfolios of several runs side by side.

A table in the terminal and one self-contained page. Reads run folders.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.commands import guarded
from reports.comparison import Compared, comparison_html, differences, read_all, warning
from reports.files import write_whole
from reports.formats import fine_percent, ratio, signed_percent, whole_percent
from reports.interrupts import leave

_COLUMNS = (
    ("CAGR", "cagr_pct", signed_percent),
    ("gross", "gross_cagr_pct", signed_percent),
    ("Sharpe", "sharpe", ratio),
    ("Drawdown", "max_drawdown_pct", signed_percent),
    ("Turnover", "turnover_pct_per_year", whole_percent),
    ("Costs", "cost_drag_pct_per_year", fine_percent),
)


def print_comparison(compared: Sequence[Compared], console: Console) -> None:
    """What differs, a warning where it matters, and a table of the figures."""
    differing = differences(compared)
    if differing:
        settings_table = Table(title="What differs", title_justify="left")
        settings_table.add_column("setting")
        for each in compared:
            settings_table.add_column(_plain(each.label), overflow="fold")
        for name, values in differing.items():
            settings_table.add_row(_plain(name), *map(_plain, values))
        console.print(settings_table)
    warned = warning(differing)
    if warned:
        console.print(f"Warning: {warned}", markup=False, style="yellow")
    console.print(_figures(compared))


def _figures(compared: Sequence[Compared]) -> Table:
    title = "Figures a year, net of costs but for gross"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold", max_width=24)
    table.add_column("portfolio", overflow="fold", min_width=11, max_width=24)
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in compared:
        for portfolio in each.shown:
            figures = each.figures(portfolio.name)
            cells = [
                "-" if figures[key] is None else text(figures[key]) for _, key, text in _COLUMNS
            ]
            table.add_row(_plain(each.label), _plain(portfolio.name), *cells)
        table.add_section()
    return table


def _plain(text: str) -> Text:
    """Text that rich does not read as markup."""
    return Text("".join(c if c.isprintable() else "?" for c in text))


def _compare(folders: Sequence[Path], out: Path) -> None:
    compared = read_all(folders)
    print_comparison(compared, Console(highlight=False))
    write_whole(out, comparison_html(compared))
    print(out)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.compare",
        description="Compare portfolios of several runs: a table here, and a page.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN")
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"), help="the page (default: compare.html)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    # `runs/*` names the registry of tries as well
    folders = [path for path in args.folders if not path.match("tries.*jsonl")]
    if len(folders) < 2:
        parser.error(f"one run, {', '.join(map(str, folders))}: name two or more to compare")
    return guarded(lambda: _compare(folders, args.out), debug=args.debug)


if __name__ == "__main__":
    leave(main())
