"""`python -m sandbox.skill`: does a model know anything? Its forecasts scored beside baselines'."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.cli import (
    a_date,
    add_backend_options,
    add_data_options,
    add_model_options,
    add_window_options,
    guarded,
    option,
)
from sandbox.cli import parser as new_parser
from sandbox.config import SkillConfig
from sandbox.interrupts import leave
from sandbox.progress import progress_bar
from sandbox.skill.options import skill_config

if TYPE_CHECKING:
    from sandbox.skill.job import Finished

INTERRUPTED = "no folder was written; finished forecasts stay in the store"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # the published checkpoints on candles that none of them has seen
    "published": {
        "models": ("mini", "small", "base"), "start": date(2024, 7, 1), "end": date(2199, 12, 31),
    },
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _skill(args), debug=args.debug, interrupted=INTERRUPTED)


def _skill(args: argparse.Namespace) -> None:
    config = skill_config(args, PRESETS)
    from sandbox.skill.job import run_skill  # brings the heavy libraries

    run = run_skill(config, out=args.out, bar=progress_bar, to_qlib=args.to_qlib)
    show(run, Console())


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sandbox.skill",
        "Score the forecasts of one or several models beside those of baselines, and write a page "
        "that says what they know, how surely, and what they do not.",
        "[options]; --help lists them",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="the folder; an older one of this command there is replaced (default: "
        "runs/skill-MODEL-DATA)",
    )  # fmt: skip
    parser.add_argument(
        "--preset", metavar="NAME",
        help="published: mini, small and base on candles from 2024-07-01 on",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="options from a YAML file, or a folder's skill.json to repeat it",
    )  # fmt: skip
    parser.add_argument(
        "--to-qlib", type=Path, metavar="FILE",
        help="the expected returns of the one model at the last bar of the horizon as Qlib's "
        "signal, .parquet or .csv: of all bar times asked for, also of the latest ones",
    )  # fmt: skip
    option(
        parser, "every", "a forecast as of each Nth bar time", of=SkillConfig, type=int, metavar="N"
    )
    option(
        parser, "variants", "the same models once more with other settings: "
        "temperature=0.6,top_p=0.9", flag="--variant", of=SkillConfig, nargs="+",
        action="extend", metavar="K=V,K=V",
    )  # fmt: skip
    option(
        parser, "tune", "settings of which the best combination is chosen, by CRPS: "
        "lookback=32,64,90 temperature=0.6,1.0", of=SkillConfig, nargs="+", action="extend",
        metavar="K=V,V",
    )  # fmt: skip
    option(
        parser, "tune_until", "the last day that --tune chooses by: the choice is judged on later "
        "dates", of=SkillConfig, type=a_date, metavar="DATE",
    )  # fmt: skip
    option(
        parser, "signals", "naive signals beside the models, or none", flag="--signal",
        of=SkillConfig, nargs="+", action="extend", metavar="NAME",
    )  # fmt: skip
    add_data_options(parser)
    add_window_options(parser)
    add_model_options(parser)
    _let_several(parser, "--model", "models")
    add_backend_options(parser)
    return parser


def _let_several(parser: argparse.ArgumentParser, flag: str, name: str) -> None:
    """Let an option that the commands share take several values, under a name of its own."""
    shared = parser._option_string_actions[flag]
    shared.dest, shared.nargs = name, "+"
    shared.help = f"one or several: {shared.help}"


def show(run: Finished, console: Console) -> None:
    """What the models know, their figures beside the baselines', and where the page is."""
    record = run.record
    console.print(record["title"], "", markup=False, highlight=False, soft_wrap=True)
    for sentence in record["verdicts"].values():
        console.print(sentence, "", markup=False, highlight=False, soft_wrap=True)
    for own in (record["tuning"] or {"models": {}})["models"].values():
        console.print(own["sentence"], "", markup=False, highlight=False, soft_wrap=True)
    console.print(_table(record))
    forecasts = record["forecasts"]
    lines = [
        *(f"Left out: {what}." for what in record["left_out"]),
        *record["notes"],
        *run.lines,
        f"{forecasts['computed']:,} forecasts computed, {forecasts['reused']:,} taken from the "
        "store",
        f"Page: {run.folder / 'skill.html'}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(record: Mapping[str, Any]) -> Table:
    """Sources and their figures at the last bar of the horizon, on the dates that are judged."""
    span, h = record["spans"][record["judged"]], str(record["headline"])
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
        title=f"{h} bars ahead, {span['first']} to {span['last']}, {span['dates']:,} dates",
        title_justify="left",
    )  # fmt: skip
    table.add_column("Source", overflow="fold")
    for head in ("CRPS", "90 % held", "Brier", "Volatility R2", "Rank IC", "t"):
        table.add_column(head, justify="right", no_wrap=True)
    kind = None
    for source in record["sources"]:
        if kind not in (None, source["kind"]):
            table.add_section()
        kind = source["kind"]
        figures = span["figures"][source["name"]][h]
        table.add_row(
            Text(source["name"]),
            _cell(figures["crps"], "{:.5f}"),
            _cell(figures["inside"]["90"], "{:.1%}"),
            _cell(figures["brier"], "{:.4f}"),
            _cell(figures["volatility"]["r2"], "{:+.3f}"),
            _cell(figures["rank_ic"]["mean"], "{:+.3f}"),
            _cell(figures["rank_ic"]["t"], "{:+.1f}"),
        )
    return table


def _cell(value: float | None, text: str) -> str:
    return "-" if value is None else text.format(value)


if __name__ == "__main__":
    leave(main())
