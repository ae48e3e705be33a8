"""Ray's actors and workers beside this machine's own processes, with the start taken apart.

    python -m benchmarks.ray_scaling                  # forecasts, then training
    python -m benchmarks.ray_scaling --only training

Forecasts: the local backend with one and two processes, then one and two replicas of one thread on
Ray, in turn, of the same windows. A rate is that from the first piece to the last, as in a long
job, and the whole time stands beside it. Processor time is that of the processes that compute.
Training: steps a second of one worker with the whole batch and of two with half of it each, after
the first ten. What other programs took of the cores stands with each figure: on a busy machine
ratios lie.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import ray

import kronos
from benchmarks.kronos_speed import CONTEXT, SIZES, build
from feeds import bar_times, load
from kronos import KronosPredictor
from ray_jobs.backend import RayBackend
from ray_jobs.cluster import connected
from ray_jobs.options import Period, TrainingOptions, WorkerOptions
from ray_jobs.training import FineTuning
from sandbox.config import BackendOptions, ModelOptions, Sampling
from sandbox.forecast.backend import Backend, LocalBackend
from sandbox.forecast.windows import Windows

SAMPLING = Sampling()
LOCAL, RAY = "local, processes of one thread", "Ray, replicas of one thread"
WARM_UP_STEPS = 10
TRAIN = Period(np.datetime64("2013-01-01", "us"), np.datetime64("2018-07-01", "us"))
VALIDATE = Period(np.datetime64("2018-07-01", "us"), np.datetime64("2018-08-15", "us"))


@dataclass(frozen=True)
class Taken:
    """Of one way: seconds in all, from the first piece on, of processors, and others' cores."""

    windows: int
    after_first: int  # windows
    wall: float
    steady: float  # from the first piece on
    processor: float
    others: float  # cores that other programs took

    @property
    def rate(self) -> float:
        return self.after_first / self.steady if self.steady > 0 else self.windows / self.wall

    @property
    def rate_of_processors(self) -> float:
        return self.windows / self.processor


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_scaling", description=__doc__)
    parser.add_argument("--model", default="bundled", choices=["bundled", *SIZES])
    parser.add_argument("--windows", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=60, help="of training")
    parser.add_argument("--only", choices=["forecasts", "training"])
    args = parser.parse_args(argv)
    if args.only != "training":
        forecasts(args.model, args.windows)
    if args.only != "forecasts":
        training(args.steps)


def forecasts(model: str, count: int) -> None:
    windows = _windows(count)
    net, tokenizer = _nets(model)
    checkpoint = _Nets(net, tokenizer)
    predictor = KronosPredictor(net, tokenizer, "cpu", CONTEXT)
    ways: dict[tuple[str, int], Callable[[], Backend]] = {
        (LOCAL, 1): lambda: LocalBackend(predictor, 1),
        (LOCAL, 2): lambda: LocalBackend(predictor, 2),
        (RAY, 1): lambda: _on_ray(checkpoint, 1),
        (RAY, 2): lambda: _on_ray(checkpoint, 2),
    }
    print(f"{model}: {len(windows):,} forecasts of {SAMPLING.shape_in_words}")
    found = {}
    for (kind, number), backend in ways.items():
        with connected(None) if kind == RAY else nullcontext():
            name, before = f"{kind}: {number}", _store_bytes() if kind == RAY else 0.0
            found[kind, number] = taken = _taken(backend(), windows)
            base = found[LOCAL, number]
            print(
                f"  {name}: {taken.rate:,.1f} a second once it runs ({taken.wall:.1f} s in all), "
                f"{taken.rate_of_processors:,.1f} per processor second, others took "
                f"{taken.others:.2f} cores; of local {taken.rate / base.rate:.2f}, per processor "
                f"second {taken.rate_of_processors / base.rate_of_processors:.2f}",
                flush=True,
            )
            if kind == RAY:
                grown = (_store_bytes() - before) / len(windows)
                path = SAMPLING.path_bytes
                print(f"    object store: {grown:,.0f} bytes a forecast, its paths are {path:,}")


class _Nets:
    """Stands for a checkpoint whose weights are random."""

    def __init__(self, model: kronos.Kronos, tokenizer: kronos.KronosTokenizer) -> None:
        self.model, self.tokenizer, self.max_context = model, tokenizer, CONTEXT


def _nets(model: str) -> tuple[kronos.Kronos, kronos.KronosTokenizer]:
    if model == "bundled":
        checkpoint = kronos.load("bundled")
        return checkpoint.model, checkpoint.tokenizer
    return build(model)


def _on_ray(checkpoint: _Nets, replicas: int) -> Backend:
    options = BackendOptions(backend="ray", replicas=replicas)
    return RayBackend(checkpoint, ModelOptions(device="cpu"), options)  # type: ignore[arg-type]


def _windows(count: int) -> Windows:
    frames = load("sample:ph").frames
    times = bar_times(frames)
    found = Windows.of(frames, SAMPLING, times[-(count // 30) :])
    return found.pick(np.arange(min(count, len(found))))


def _taken(backend: Backend, windows: Windows) -> Taken:
    done, first = 0, None
    ticks = _Ticks()
    began = time.perf_counter()
    for rows, _ in backend.sample(windows, SAMPLING, None):
        done += len(rows)
        ticks.look()
        first = first or (time.perf_counter(), len(rows))
    ended = time.perf_counter()
    processor, others = ticks.taken()
    assert first is not None
    return Taken(
        windows=done, after_first=done - first[1], wall=ended - began, steady=ended - first[0],
        processor=processor, others=others / (ended - began),
    )  # fmt: skip


class _Ticks:
    """Processor seconds since it was made: of computing processes, and of everything else."""

    def __init__(self) -> None:
        self._all, self._ours = _busy(), _computing()
        self._now = dict(self._ours)

    def look(self) -> None:
        """While they run: of processes that have ended nothing is known any more."""
        self._now |= _computing()

    def taken(self) -> tuple[float, float]:
        self.look()
        used = sum(seconds - self._ours.get(pid, 0.0) for pid, seconds in self._now.items())
        return used, max(0.0, _busy() - self._all - used)


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _computing() -> dict[int, float]:
    """By process: seconds of this one and those it waited for, and of Ray's that hold a model."""
    found: dict[int, float] = {}
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        if process.pid == psutil.Process().pid:
            found[process.pid] = (
                times.user + times.system + times.children_user + times.children_system
            )
        elif "MapWorker" in words or "RayTrainWorker" in words:
            found[process.pid] = times.user + times.system
    return found


def _store_bytes() -> float:
    """What has been put into Ray's object store so far, on this machine."""
    from ray._private.internal_api import node_stats

    [node] = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"])
    return float(stats.store_stats.cumulative_created_bytes)


def training(steps: int) -> None:
    """Steps a second of one worker and of two."""
    candles = load("sample:ph")
    rates = {}
    with tempfile.TemporaryDirectory() as folder, connected(None):
        for workers in (1, 2):
            options = TrainingOptions(epochs=1, steps_per_epoch=steps, stages="predictor")
            tuning = FineTuning.of(
                kronos.find("bundled"), candles, options, TRAIN, VALIDATE,
                WorkerOptions(workers=workers), Path(folder) / str(workers),
            )  # fmt: skip
            with _timed() as seconds:
                tuning.run(str(workers))
            rates[workers] = _steady_rate(Path(folder) / str(workers) / "losses.csv")
            print(
                f"training, {workers} workers of one thread: {rates[workers]:.2f} steps a second "
                f"({seconds[0]:.1f} s in all), of one worker {rates[workers] / rates[1]:.2f}",
                flush=True,
            )


def _steady_rate(losses: Path) -> float:
    """Steps a second after those that warm up."""
    with losses.open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)][WARM_UP_STEPS:]
    return (len(seconds) - 1) / (seconds[-1] - seconds[0])


@contextmanager
def _timed() -> Iterator[list[float]]:
    began, seconds = time.perf_counter(), [0.0]
    yield seconds
    seconds[0] = time.perf_counter() - began


if __name__ == "__main__":
    main()
    ray.shutdown()
