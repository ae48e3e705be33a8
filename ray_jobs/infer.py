"""`python -m ray_jobs.infer --data SPEC --model NAME`: forecasts of a universe, into the store.

Runs and skill reports find them there. No more than a piece of them is in memory at a time.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from pathlib import Path

from ray_jobs.places import kept_place
from sandbox.cli import (
    add_backend_options,
    add_data_options,
    add_model_options,
    add_window_options,
    guarded,
    records_of,
)
from sandbox.cli import parser as new_parser
from sandbox.config import NO_STORE, InferConfig
from sandbox.errors import ConfigError
from sandbox.interrupts import leave
from sandbox.progress import progress_bar

INTERRUPTED = "finished forecasts are in the store, and the same command goes on from there"


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _infer(args), debug=args.debug, interrupted=INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "ray_jobs.infer", "Compute a universe's forecasts over a Ray cluster, into the store."
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N",
        help="as of each Nth bar time from the start on (default: 1)",
    )  # fmt: skip
    add_data_options(parser)
    add_window_options(parser)
    add_model_options(parser, calibrate=False)
    add_backend_options(parser, default="ray")
    return parser


def _infer(args: argparse.Namespace) -> None:
    config = records_of(args, InferConfig)
    if args.every < 1:
        raise ConfigError(f"--every {args.every}: at least 1")
    if config.model.store == NO_STORE:
        raise ConfigError("--store none: forecasts that are kept nowhere are computed in vain")
    kept_place(Path(config.model.store), "--store")
    from sandbox.forecast.data import bar_times_inside, load_data
    from sandbox.forecast.folds import source_of

    candles, calendar = load_data(config.candles)
    asofs = bar_times_inside(candles, config.window)[:: args.every]
    source, _ = source_of(config.model, config.sampling.lookback, config.backend, calendar)
    with progress_bar("Forecasting", "forecasts") as progress:
        frames, members = candles.frames, candles.members
        filled = source.fill_store(frames, config.sampling, asofs, progress, members)
    for note in (*candles.timing, *filled.notes):
        print(note)
    print(
        f"{filled.computed:,} forecasts computed, {filled.reused:,} were in the store: "
        f"{filled.folder}"
    )


if __name__ == "__main__":
    leave(main())
