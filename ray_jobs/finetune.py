"""`python -m ray_jobs.finetune --data SPEC --from MODEL --train A:B --validate B:C --out DIR`

Fine-tunes a checkpoint over the workers of a Ray cluster. What comes back is a folder that
`--model` takes, or the base itself where nothing beat it.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ray_jobs.options import PeriodOptions, TrainingOptions, WorkerOptions
from ray_jobs.packages import expect_packages
from sandbox.cli import add_data_options, guarded, option, records_of
from sandbox.cli import parser as new_parser
from sandbox.config import CandleOptions, Config
from sandbox.interrupts import leave

INTERRUPTED = "the same command goes on from the last step that was saved"


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(Config):
    """What decides a fine-tuned checkpoint."""

    candles: CandleOptions
    periods: PeriodOptions
    training: TrainingOptions
    workers: WorkerOptions


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _fine_tune(args), debug=args.debug, interrupted=INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "ray_jobs.finetune",
        "Fine-tune a checkpoint on candles, over the workers of a Ray cluster.",
        "--data SPEC --from MODEL --train A:B --validate B:C --out DIR [options]",
    )
    parser.add_argument(
        "--from", dest="base", default="bundled", metavar="MODEL",
        help="checkpoint to start from: bundled, mini, small, base, a folder or hub ids "
        "(default: bundled)",
    )  # fmt: skip
    parser.add_argument(
        "--train", required=True, metavar="A:B",
        help="dates that targets to learn from lie in, from A on, before B",
    )  # fmt: skip
    parser.add_argument(
        "--validate", required=True, metavar="B:C", help="the same of targets to stop by"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to fill")
    add_data_options(parser)
    add_training_options(parser)
    add_worker_options(parser)
    return parser


def add_training_options(parent: argparse._ActionsContainer) -> None:
    add = partial(option, parent.add_argument_group("training"), of=FineTuneConfig)
    add("objective", "the losses: published, or sandbox, which the bundled model was finished on "
        "(default: those of the base)", metavar="NAME")  # fmt: skip
    add("stages", "what is trained: both, predictor, tokenizer", metavar="NAME")
    add("epochs", "through the training windows", type=int, metavar="N")
    add("batch_size", "windows a step, over all workers", type=int, metavar="N")
    add("accumulation", "batches a step and worker, for less memory", type=int, metavar="N")
    add("steps_per_epoch", "at most (default: every window once)", type=int, metavar="N")
    add("learning_rate", "of the predictor, at its highest", type=float, metavar="X")
    add("tokenizer_learning_rate", "of the tokenizer", type=float, metavar="X")
    add("patience", "stop after so many epochs that were no better", type=int, metavar="N")
    add("lookback", "bars that a window is normalised on", type=int, metavar="BARS")
    add("horizon", "bars after them; one more target follows", type=int, metavar="BARS")
    add("stride", "bars between a symbol's training windows", type=int, metavar="BARS")
    add("validation_stride", "the same to validate on (default: each bar is a target once)",
        type=int, metavar="BARS")  # fmt: skip
    add("bf16", "compute in bfloat16 where that is safe", action="store_true")
    add("seed", "the same seed trains the same weights", type=int, metavar="N")


def add_worker_options(parent: argparse._ActionsContainer) -> None:
    add = partial(option, parent.add_argument_group("workers"), of=FineTuneConfig)
    add("ray_address", "auto or HOST:PORT of a Ray cluster (default: a Ray of this machine)",
        metavar="ADDRESS")  # fmt: skip
    add("workers", "that share every batch", type=int, metavar="N")
    add("worker_gpus", "0 or 1 GPU of each (default: 1 if there is any)", type=int, metavar="N")
    add("worker_threads", "threads, and CPUs, of each", type=int, metavar="N")
    add("retries", "after a worker that died", type=int, metavar="N")
    add("storage", "folder of unfinished work, which all machines share (default: beside --out)",
        metavar="DIR")  # fmt: skip


def _fine_tune(args: argparse.Namespace) -> None:
    expect_packages()
    config = records_of(args, FineTuneConfig)
    from kronos import find
    from ray_jobs.board import side_by_side
    from ray_jobs.cluster import connected
    from ray_jobs.places import kept_place
    from ray_jobs.training import FineTuning
    from sandbox.forecast.data import load_data

    out = kept_place(args.out, "--out")
    if config.workers.storage is not None:
        kept_place(Path(config.workers.storage), "--storage")
    candles, _ = load_data(config.candles)
    for note in (*candles.repairs, *candles.timing):
        print(note)
    train, validate = config.periods.periods
    tuning = FineTuning.of(
        find(args.base), candles, config.training, train, validate, config.workers, out
    )
    if (card := tuning.finished()) is None:
        with connected(config.workers.ray_address):
            ((_, card),) = side_by_side({out.name: tuning.run}, 1)
    print(tuning.in_words(card))


if __name__ == "__main__":
    leave(main())
