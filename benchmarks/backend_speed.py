"""Threads of one process or processes of one thread: forecasts a second, quiet and beside a spin.

    python -m benchmarks.backend_speed                 # many windows, then a single series
    python -m benchmarks.backend_speed --model mini    # random weights of a published size

Every round computes the same forecasts in each way, in turn, on the machine as it is and beside a
process that spins. What other programs took of the cores meanwhile is printed with each figure. A
round is quiet if they took next to nothing while a way that fills all cores was at work; medians
are given of all rounds and of the quiet ones. Ratios are to all threads in one process.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

import kronos
from benchmarks.kronos_speed import CONTEXT, SIZES, Workload, build
from feeds import bar_times, load
from kronos import KronosPredictor
from kronos.inference.sampler import Sampler
from kronos.inference.sampling import SamplingParams
from kronos.inference.threads import threads
from sandbox.config import Sampling
from sandbox.cores import cores, end_with
from sandbox.forecast.backend import LocalBackend
from sandbox.forecast.windows import Windows
from sandbox.interrupts import tidied

QUIET_CORES = 0.2  # that other programs may take in a round that counts as quiet
SPIN = "while True: pass"
TICKS_A_SEC = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Way:
    """One way to compute the forecasts, and whether it keeps all cores at work."""

    name: str
    run: Callable[[], object]
    fills: bool = True


@dataclass(frozen=True)
class Timing:
    """One way in one round."""

    secs: float
    others: float  # cores that other programs took meanwhile, on average


@contextmanager
def spinning(count: int) -> Iterator[list[int]]:
    """The ids of `count` processes that spin for as long as the block lasts."""
    command = [sys.executable, "-c", SPIN]
    begin = partial(end_with, os.getpid())
    loops = [subprocess.Popen(command, preexec_fn=begin) for _ in range(count)]

    def end() -> None:
        for loop in loops:
            loop.kill()
            loop.wait()

    with tidied(end):
        try:
            yield [loop.pid for loop in loops]
        finally:
            end()


def busy_secs() -> float:
    """That all cores have worked since the machine was started."""
    user, nice, system, _, _, *more = Path("/proc/stat").read_text().split(None, 9)[1:9]
    return sum(map(int, (user, nice, system, *more))) / TICKS_A_SEC


def secs_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SEC


def own_secs(loops: list[int]) -> float:
    """Of this process, of those that it has waited for, and of what it has spinning."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(map(secs_of, loops))


def timed(way: Way, loops: list[int]) -> Timing:
    busy, own, began = busy_secs(), own_secs(loops), time.perf_counter()
    way.run()
    secs = time.perf_counter() - began
    others = (busy_secs() - busy - own_secs(loops) + own) / secs
    return Timing(secs, max(0.0, others))


def one_round(ways: Sequence[Way], first: int, loops: list[int]) -> list[Timing]:
    """Each way once, beginning with the one at place `first`; the timings in the ways' order."""
    places = [(first + nth) % len(ways) for nth in range(len(ways))]
    timings = {place: timed(ways[place], loops) for place in places}
    return [timings[place] for place in range(len(ways))]


def is_quiet(ways: Sequence[Way], timings: Sequence[Timing]) -> bool:
    pairs = zip(ways, timings, strict=True)
    return all(timing.others <= QUIET_CORES for way, timing in pairs if way.fills)


def summarise(ways: Sequence[Way], rounds: Sequence[list[Timing]], count: int, unit: str) -> None:
    """Medians, and how often as fast as the first way that is."""
    secs = [median(timings[place].secs for timings in rounds) for place in range(len(ways))]
    for way, own in zip(ways, secs, strict=True):
        print(f"    {way.name:28} {count / own:8.1f} {unit}/s   {secs[0] / own:5.2f}x")


def compare(title: str, ways: Sequence[Way], count: int, unit: str, rounds: int) -> None:
    """The ways on the machine as it is, and beside a process that spins."""
    for way in ways:  # warm up
        way.run()
    for loops in (0, 1):
        print(f"{title}, " + ("beside a process that spins" if loops else "nothing beside it"))
        every = []
        with spinning(loops) as pids:
            for nth in range(rounds):
                every.append(one_round(ways, nth % len(ways), pids))
                show(ways, every[-1])
        quiet = [timings for timings in every if is_quiet(ways, timings)]
        print(f"  medians of all {rounds} rounds")
        summarise(ways, every, count, unit)
        print(f"  medians of the {len(quiet)} quiet rounds")
        if quiet:
            summarise(ways, quiet, count, unit)


def show(ways: Sequence[Way], timings: Sequence[Timing]) -> None:
    figures = "; ".join(
        f"{way.name} {timing.secs:.3f} s, others {timing.others:.2f}"
        for way, timing in zip(ways, timings, strict=True)
    )
    kind = "quiet" if is_quiet(ways, timings) else "not quiet"
    print(f"  {figures}; load {os.getloadavg()[0]:.1f}: {kind}", flush=True)


def predictor_of(model: str) -> KronosPredictor:
    if model in SIZES:
        return KronosPredictor(*build(model), device="cpu", max_context=CONTEXT)
    return kronos.find(model).predictor(device="cpu")


def many(args: argparse.Namespace) -> None:
    """A request of many windows, as a backtest makes it."""
    sampling = Sampling(lookback=args.lookback, horizon=args.horizon, samples=args.samples)
    frames = load("sample").frames
    every = Windows.of(frames, sampling, bar_times(frames))
    spread = np.linspace(0, len(every) - 1, args.windows).astype(int)
    windows, predictor = every.pick(spread), predictor_of(args.model)

    def forecast(processes: int) -> None:
        for _ in LocalBackend(predictor, processes).sample(windows, sampling, None):
            pass

    def with_one_thread() -> None:
        with threads(1):
            forecast(1)

    ways = [
        Way(f"1 process, up to {torch.get_num_threads()} threads", partial(forecast, 1)),
        Way(f"1 thread each, {cores()} processes", partial(forecast, cores())),
        Way("1 thread, 1 process", with_one_thread, fills=False),
    ]
    title = f"{args.windows} windows of {args.lookback} bars, {args.samples} x {args.horizon} ahead"
    compare(title, ways, args.windows, "forecasts", args.rounds)


class AllThreads(Sampler):
    """Computes with all threads, whatever else runs."""

    def _threads_now(self) -> int:
        return torch.get_num_threads()


def single(args: argparse.Namespace) -> None:
    """One series in the caller's process, as in `predict` and live."""
    predictor = predictor_of(args.model)
    work = Workload(1, args.lookback, args.horizon, args.samples, None, None)
    nets = predictor.model, predictor.tokenizer

    def forecast(sampler: Sampler) -> None:
        for _ in range(args.calls):
            sampler.sample(work.batch(), SamplingParams(), args.samples)

    sampler = Sampler(*nets, CONTEXT)

    def with_one_thread() -> None:
        with threads(1):
            forecast(sampler)

    ways = [
        Way(f"{torch.get_num_threads()} threads", partial(forecast, AllThreads(*nets, CONTEXT))),
        Way("1 thread", with_one_thread, fills=False),
        Way("as it decides", partial(forecast, sampler), fills=False),
    ]
    compare(f"One series, {work.label}", ways, args.calls, "calls", args.rounds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", default="bundled", help=f"bundled or one of {', '.join(SIZES)}")
    parser.add_argument("--windows", type=int, default=1024, help="forecasts a request")
    parser.add_argument("--lookback", type=int, default=90, help="bars")
    parser.add_argument("--horizon", type=int, default=10, help="bars")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--calls", type=int, default=5, help="of one series, in one timing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("many", "single"), help="one of the two comparisons")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    load = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {cores()} cores, model {args.model}, load {load:.1f}")
    if args.only != "single":
        many(args)
    if args.only != "many":
        single(args)


if __name__ == "__main__":
    main()
