"""`python -m ray_jobs.walk_forward --config FILE.yaml [--name NAME] [--plan]`

Fold by fold: weights are fine-tuned on the past, and forecast and trade a part that they have not
seen. `runs/NAME/` then holds each fold's checkpoint, the scores of forecasts before and after, a
backtest of the fine-tuned and of the unchanged weights, and a report. `--model walkforward:NAME`
trades the stitched forecasts in other runs.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_jobs.packages import expect_packages
from sandbox.cli import guarded
from sandbox.cli import parser as new_parser
from sandbox.errors import RunFolderError
from sandbox.files import RUNS, package_versions, write_whole
from sandbox.interrupts import leave
from sandbox.words import counted, safe_name

if TYPE_CHECKING:
    import pandas as pd

    from ray_jobs.folds import Fold
    from ray_jobs.walk_plan import Plan
    from sandbox.forecast.book import SignalSource

INTERRUPTED = "finished folds are kept, and the same command goes on from there"
SCORES, REPORT = "scores.csv", "report.html"
FINE_TUNED, ZERO_SHOT = "fine-tuned", "zero-shot"
CPUS_FOR_SEVERAL = 4  # fewer are left to one fold at a time
FIRST_BARS = (1, 5)  # ahead, at which forecasts are scored beside the last


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _walk(args), debug=args.debug, interrupted=INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "ray_jobs.walk_forward",
        "Fine-tune fold by fold over a Ray cluster, and trade the parts that no fold has seen.",
    )
    parser.add_argument(
        "--config", required=True, type=Path, metavar="FILE.yaml",
        help="data, base, folds, training, workers, run: see ray_jobs/walk_forward.yaml",
    )  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="of the folder (default: that of the file)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (default: runs/NAME)")
    parser.add_argument("--plan", action="store_true", help="show the folds, and do nothing")
    parser.add_argument(
        "--ray-address", metavar="ADDRESS",
        help="auto or HOST:PORT of a Ray cluster (default: a Ray of this machine)",
    )  # fmt: skip
    return parser


def _walk(args: argparse.Namespace) -> None:
    expect_packages()
    from ray_jobs.places import is_a_job, kept_place
    from ray_jobs.walk_plan import Plan, WalkForwardConfig
    from sandbox.run.prepare import prepare

    config = WalkForwardConfig.read(args.config)
    if args.name is not None:
        config = replace(config, walk=replace(config.walk, name=args.name))
    if args.ray_address is not None:
        config = replace(config, workers=replace(config.workers, ray_address=args.ray_address))
    out = args.out or RUNS / safe_name(config.walk.name)
    if is_a_job() and "store" not in config.run:  # the usual one would be lost with the job
        config = replace(config, run={**config.run, "store": str(out / "store")})
    if not args.plan:
        out = kept_place(out, "--out")
        kept_place(Path(config.run_config(config.walk.base).model.store), "run: store")
        if config.workers.storage is not None:
            kept_place(Path(config.workers.storage), "workers: storage")
    plan = Plan.of(config, out)
    prepare(config.run_config(plan.base.name))  # raises for what could not be traded later
    if args.plan:
        print("\n".join(plan.lines()))
        return
    left = unfinished(plan)  # raises for folds that other settings have filled
    _begin(plan)
    train_folds(plan, left)
    print("\n".join(fold_lines(plan, cards(plan))))
    scores = score_folds(plan)
    print("\n".join(score_lines(scores)))
    for name, model in models(plan).items():
        _trade(plan, name, model)
    print("\n".join(_report(out)))


def _begin(plan: Plan) -> None:
    from sandbox.forecast.folds import PLAN
    from sandbox.run.folder import PACKAGES

    content = plan.record() | {"versions": package_versions(PACKAGES)}
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        write_whole(plan.folder / PLAN, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunFolderError(f"{plan.folder} cannot be written: {reason}") from error


def cards(plan: Plan) -> list[dict[str, Any]]:
    """Of the folds' checkpoints, in their order."""
    from sandbox.checkpoints.card import read_card

    return [read_card(plan.place(fold)) for fold in plan.folds]


def train_folds(plan: Plan, left: Sequence[Fold]) -> None:
    """Fill the folders of the folds that are left."""
    if not left:
        return
    from ray_jobs.board import side_by_side
    from ray_jobs.cluster import connected

    with connected(plan.config.workers.ray_address):
        trainings = {f"fold {fold.name}": partial(_train, plan, fold) for fold in left}
        for _ in side_by_side(trainings, folds_at_once(plan)):
            pass


def unfinished(plan: Plan) -> list[Fold]:
    """The folds whose folders are not filled yet; where each begins from the one before, all after
    the first of them, too. Raises ConfigError for a folder that holds another checkpoint."""
    left: list[Fold] = []
    for fold in plan.folds:
        if (left and plan.in_turn) or plan.tuning(fold).finished() is None:
            left.append(fold)
    return left


def _train(plan: Plan, fold: Fold, label: str, board: Any) -> None:
    """In a thread of the driver's."""
    tuning = plan.tuning(fold)
    if tuning.finished() is None:
        tuning.run(label, board)


def folds_at_once(plan: Plan) -> int:
    """As many as the cluster has room for; one where each begins from the one before, or where few
    CPUs would be shared by several."""
    import ray

    from ray_jobs.cluster import room_for

    total, workers = ray.cluster_resources(), plan.config.workers
    if plan.in_turn or total.get("CPU", 1.0) < CPUS_FOR_SEVERAL:
        return 1
    gpus = workers.gpus_of_each(total.get("GPU", 0.0))
    return room_for(workers.workers * workers.worker_threads, workers.workers * gpus)


def fold_lines(plan: Plan, cards: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What training did to each fold's validation loss."""
    from ray_jobs.training import stage_in_words

    for fold, card in zip(plan.folds, cards, strict=True):
        for name, stage in card["stages"].items():
            yield f"fold {fold.name}: {name}'s {stage_in_words(stage)}"


def models(plan: Plan) -> dict[str, str]:
    """What is compared, by name: as `--model` takes it."""
    from sandbox.forecast.folds import PREFIX

    return {FINE_TUNED: f"{PREFIX}{plan.folder}", ZERO_SHOT: plan.config.walk.base}


def score_folds(plan: Plan) -> pd.DataFrame:
    """Forecasts of the test parts, before and after fine-tuning, beside what came; into
    `scores.csv`. Fold 0 is all of them together."""
    import pandas as pd

    from sandbox.forecast.folds import source_of

    rows = []
    for name, model in models(plan).items():
        run = plan.config.run_config(model)
        source, _ = source_of(run.model, run.sampling.lookback, run.backend, plan.calendar)
        for number, table in _scores(plan, source, name):
            rows.append(table.assign(fold=number, model=name))
    scores = pd.concat(rows)
    columns = ["fold", "model", *(name for name in scores if name not in ("fold", "model"))]
    scores = scores[columns].sort_values(["fold", "horizon", "model"], ignore_index=True)
    write_whole(plan.folder / SCORES, scores.to_csv(index=False).encode())
    return scores


def _scores(plan: Plan, source: SignalSource, model: str) -> Iterator[tuple[int, pd.DataFrame]]:
    from feeds import bar_times
    from sandbox.progress import progress_bar
    from sandbox.skill.walk import score_forecasts

    sampling = plan.config.run_config("bundled").sampling
    frames = plan.candles.frames
    times = bar_times(frames)
    first, last = plan.folds[0].test.start, plan.folds[-1].test.end
    naive = times.tz_localize(None)
    asofs = times[(naive >= first) & (naive < last)][:: plan.config.walk.score_every]
    with progress_bar(f"Forecasting, {model}", "forecasts") as progress:
        book = source.book(frames, sampling, asofs, progress, plan.candles.members)
    horizons = sorted({h for h in (*FIRST_BARS, sampling.horizon) if h <= sampling.horizon})
    yield 0, score_forecasts(book, frames, asofs, horizons)
    naive = asofs.tz_localize(None)
    for fold in plan.folds:
        inside = asofs[(naive >= fold.test.start) & (naive < fold.test.end)]
        if len(inside):
            yield fold.number, score_forecasts(book, frames, inside, horizons)


def score_lines(scores: pd.DataFrame) -> Iterator[str]:
    """CRPS and rank IC of all test parts together."""
    whole = scores[scores["fold"] == 0]
    groups: Any = whole.groupby("horizon")
    for bars, rows in groups:
        by_model = rows.set_index("model")
        parts = [f"{name} {_score(by_model.loc[name])}" for name in (ZERO_SHOT, FINE_TUNED)]
        yield f"{counted(bars, 'bar')} ahead: {'; '.join(parts)}"


def _score(row: Any) -> str:
    ranked = f", rank IC {row['rank_ic']:+.3f} (t {row['rank_ic_t']:+.1f})"
    return f"CRPS {row['crps']:.5f}" + (ranked if row["rank_ic"] == row["rank_ic"] else "")


def _trade(plan: Plan, name: str, model: str) -> None:
    from sandbox.progress import progress_bar
    from sandbox.run.job import run_job

    run_job(plan.config.run_config(model), out=plan.folder / name, bar=progress_bar)


def _report(folder: Path) -> Sequence[str]:
    """Write it; what it says first, and where it is."""
    from sandbox.reporting import report_process

    with report_process("reports.walk_forward", str(folder)) as process:
        process.finish("the report")
    verdict = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["verdict"]
    return verdict, f"Report: {folder / REPORT}"


if __name__ == "__main__":
    leave(main())
