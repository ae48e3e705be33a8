"""`python -m sandbox.run STRATEGY.py`: backtest a strategy against its benchmark."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sandbox.cli import a_date, add_data_options, add_model_options, config_of, guarded, option
from sandbox.cli import parser as new_parser
from sandbox.progress import progress_bar
from sandbox.strategy_file import parse_params

if TYPE_CHECKING:
    from sandbox.job import Finished


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _run(args), debug=args.debug)


def _run(args: argparse.Namespace) -> None:
    config = config_of(args, params=parse_params(args.param))
    from sandbox.job import run_job  # brings the model's libraries, which --help can do without

    show(run_job(config, out=args.out, bar=progress_bar), Console())


def _parser() -> argparse.ArgumentParser:
    made = new_parser("sandbox.run", "Backtest a strategy against its benchmark.")
    made.add_argument("strategy", metavar="STRATEGY.py", help="file with one sandbox.Strategy")
    made.add_argument(
        "--param", action="append", default=[], metavar="K=V", help="a parameter of the strategy"
    )
    made.add_argument(
        "--out", type=Path, metavar="DIR",
        help="the run folder; an older run there is replaced (default: runs/STRATEGY-DATA)",
    )  # fmt: skip
    add_data_options(made)
    option(made, "start", "first session traded", type=a_date, metavar="DATE")
    option(made, "end", "last session traded", type=a_date, metavar="DATE")
    add_model_options(made)
    option(made, "cash", "at the start, in quote currency", type=float)
    option(made, "commission_bps", "a side (default: the data's market)", type=float, metavar="BPS")
    option(made, "slippage_bps", "a side (default: the data's market)", type=float, metavar="BPS")
    return made


def show(run: Finished, console: Console) -> None:
    """The figures, what to know before believing them, and where the report is."""
    console.print(_table(run))
    for line in (verdict(run), *run.notes, f"Report: {run.folder / 'report.html'}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def verdict(run: Finished) -> str:
    figures = run.metrics["strategies"]
    ours = figures[run.name]["total_return_pct"]
    theirs = figures[run.metrics["benchmark"]]["total_return_pct"]
    beat = "beat" if run.metrics["beat_benchmark"] else "did not beat"
    return f"{run.name} {beat} the benchmark after costs: {ours:+.1f} % against {theirs:+.1f} %."


def _table(run: Finished) -> Table:
    figures = run.metrics["strategies"]
    benchmark = run.metrics["benchmark"]
    table = Table()
    table.add_column("After costs")
    for name in (run.name, benchmark):
        table.add_column(name, justify="right")
    for label, key, shown in _ROWS:
        table.add_row(label, *(_cell(figures[name][key], shown) for name in (run.name, benchmark)))
    return table


_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Total return", "total_return_pct", "{:+,.1f} %".format),
    ("CAGR", "cagr_pct", "{:+,.1f} %".format),
    ("Sharpe", "sharpe", "{:.2f}".format),
    ("Max drawdown", "max_drawdown_pct", "{:.1f} %".format),
    ("Costs paid", "costs_paid", "{:,.0f}".format),
    ("Turnover a year", "turnover_pct_per_year", "{:,.0f} %".format),
    ("Fills", "fills", "{:,}".format),
)


def _cell(value: float | None, shown: Callable[[Any], str]) -> str:
    return "-" if value is None else shown(value)


if __name__ == "__main__":
    sys.exit(main())
