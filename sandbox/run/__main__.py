"""`python -m sandbox.run STRATEGY.py [STRATEGY.py ...]`: backtest strategies side by side."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.cli import (
    TRIALS_SOCKET,
    add_run_options,
    add_strategy_files,
    config_of,
    guarded,
    option,
)
from sandbox.cli import parser as new_parser
from sandbox.interrupts import leave
from sandbox.progress import progress_bar

if TYPE_CHECKING:
    from sandbox.run.job import Finished


MOST_COMBINATIONS_SHOWN = 20  # of a sweep, in the table on screen
INTERRUPTED = "no run folder was written; finished forecasts stay in the store"


def main(argv: Sequence[str] | None = None) -> int:
    if os.environ.get(TRIALS_SOCKET):  # a proof started this process, to try strategies in it
        from sandbox.run.trials import serve

        return serve(int(os.environ.pop(TRIALS_SOCKET)))
    args = _parser().parse_args(argv)
    return guarded(lambda: _run(args), debug=args.debug, interrupted=INTERRUPTED)


def _run(args: argparse.Namespace) -> None:
    config = config_of(args)
    from sandbox.run.job import run_job  # brings the heavy libraries, which --help can do without
    from sandbox.run.trials import Trials  # noqa: F401 - what a trial has loaded, a run has, too

    show(run_job(config, out=args.out, bar=progress_bar), Console())


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sandbox.run",
        "Backtest strategies side by side, with a benchmark and the same strategies on naive "
        "signals, and write a report.",
        "STRATEGY.py [STRATEGY.py ...] [options]; --help lists them",
    )
    add_strategy_files(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="the run folder; an older run there is replaced (default: runs/STRATEGY-DATA)",
    )  # fmt: skip
    add_run_options(parser)
    compared = parser.add_argument_group("compared with")
    option(compared, "benchmark", "one symbol to hold (default: all in equal parts)", metavar="S")
    compared.add_argument(
        "--no-benchmark", dest="with_benchmark", action="store_false",
        default=argparse.SUPPRESS, help="leave the benchmark out",
    )  # fmt: skip
    compared.add_argument(
        "--no-controls", dest="controls", action="store_false", default=argparse.SUPPRESS,
        help="leave out the same strategies on the naive signals and without costs",
    )  # fmt: skip
    option(
        compared, "analyzers", "Backtrader's, into metrics.json: SharpeRatio "
        "TimeReturn:timeframe=Months", flag="--analyzer", nargs="+", action="extend",
        metavar="NAME",
    )  # fmt: skip
    return parser


def show(run: Finished, console: Console) -> None:
    """The figures, what to know before believing them, and where the report is."""
    console.print(run.title, markup=False, highlight=False, soft_wrap=True)
    seen_until = run.metrics["seen_until"]
    split = any(portfolio["unseen"] for portfolio in run.metrics["portfolios"].values())
    if split:
        console.print(_table(run, "unseen", f"After {seen_until}, unseen by the model"), "")
    console.print(
        _table(run, "whole", f"Whole window, maybe seen to {seen_until}" if split else None)
    )
    lines = [
        entry["sentence"]
        for what in ("verdicts", "costs")
        for entry in run.metrics.get(what, {}).values()
    ]
    for line in (*lines, *run.notes, f"Report: {run.folder / 'report.html'}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(run: Finished, span: str, title: str | None) -> Table:
    """Strategies, each followed by its run without costs, and benchmark; then their controls."""
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
        title=title, title_justify="left",
    )  # fmt: skip
    table.add_column("Portfolio", overflow="fold")  # it is names that give way, not figures
    for label, _, _ in _COLUMNS:
        table.add_column(label, justify="right", no_wrap=True)
    portfolios = run.metrics["portfolios"]
    controls = [name for name, portfolio in portfolios.items() if portfolio["role"] == "control"]
    front = _front(run)
    for name in [*front, *controls]:
        figures = portfolios[name][span]
        if controls and name == controls[0]:
            table.add_section()
        cells = (_cell(figures[key], shown) for _, key, shown in _COLUMNS)
        table.add_row(Text(name), *cells)  # a name may hold what rich reads as markup
    hidden = len(portfolios) - len(front) - len(controls)
    if hidden:
        table.caption = f"and {hidden:,} more combinations, in the report"
    return table


def _front(run: Finished) -> list[str]:
    """All but the controls: the combinations of a sweep best first, as many as can be read."""
    portfolios, front = run.metrics["portfolios"], []
    swept = {name: sweep["ranked"] for name, sweep in run.metrics.get("sweeps", {}).items()}
    for name, portfolio in portfolios.items():
        if portfolio.get("sweep_of"):
            front += swept.pop(portfolio["sweep_of"], [])[:MOST_COMBINATIONS_SHOWN]
        elif portfolio["role"] in ("strategy", "benchmark"):
            front.append(name)
            front += [
                other for other, its in portfolios.items()
                if its["role"] == "costs-free" and its["repeats"] == name
            ]  # fmt: skip
    return front


def _growth(pct: float) -> str:
    return f"{pct:+,.1f} %" if abs(pct) < 100 else f"{pct:+,.0f} %"


def _depth(pct: float) -> str:
    return f"{round(pct, 1) or 0.0:.1f} %"  # no minus before a zero


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Gross", "gross_return_pct", _growth),
    ("Net", "total_return_pct", _growth),
    ("CAGR", "cagr_pct", "{:+,.1f} %".format),
    ("Sharpe", "sharpe", "{:.2f}".format),
    ("Drawdown", "max_drawdown_pct", _depth),
    ("Costs/yr", "cost_drag_pct_per_year", "{:.2f} %".format),
)


def _cell(value: float | None, shown: Callable[[Any], str]) -> str:
    return "-" if value is None else shown(value)


if __name__ == "__main__":
    leave(main())
