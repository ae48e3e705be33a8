"""Forecasts and training steps a second of the published sizes, and what two universes would take.

    python -m benchmarks.model_rates                                   # this machine's processor
    python -m benchmarks.model_rates --device cuda --dtype float32 bfloat16 --price 3

Random weights of the published sizes: the time of a forecast does not depend on what they say.
Forecasts are the runtime's default (90 bars seen, 5 ahead, 32 samples), through the code that runs
use; a training step is ours, of the `sandbox` objective. Hours are extrapolated from one rate, with
all devices busy: imports, candles and the store come on top.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.kronos_speed import CONTEXT, SIZES, build
from kronos import KronosPredictor
from kronos.training.objectives import predictor_objective
from kronos.training.schedule import TrainConfig, one_cycle
from kronos.training.steps import make_optimizer, train_step
from sandbox.config import Sampling

SAMPLING = Sampling()
TRAIN_WINDOW, TRAIN_BATCH = 101, 48  # bars, windows: the defaults of ray_jobs.finetune
LEAST_SECS = 4.0  # of a measurement
UNIVERSES = {
    "5,000 symbols x 5 years, daily": 5_000 * 1_250,
    "500 pairs x 1 year of 5-minute bars": 500 * 365 * 288,
}  # forecasts, one as of each bar


@dataclass(frozen=True)
class Rates:
    """Of one size, device and kind of numbers."""

    forecasts: float  # a second
    tokens: float  # sampled a second, both of a bar
    steps: float  # of training, a second


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_rates", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--size", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--batch", type=int, default=64, help="windows at a time")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--price", type=float, help="of a device's hour, for the cost")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    print(f"{_device_name(args.device)}, torch {torch.__version__}, {args.threads} threads")
    for size in args.size:
        for dtype in args.dtype:
            rates = measured(size, args.device, dtype, args.batch)
            print(
                f"{size} {dtype}: {rates.forecasts:,.1f} forecasts a second ({rates.tokens:,.0f} "
                f"tokens), {rates.steps:,.2f} training steps of {TRAIN_BATCH} windows",
                flush=True,
            )
            for name, forecasts in UNIVERSES.items():
                hours = forecasts / rates.forecasts / 3600
                cost = (
                    "" if args.price is None else f", {hours * args.price:,.0f} at {args.price:g}"
                )
                print(f"    {name}: {hours:,.1f} device hours{cost}")


def measured(size: str, device: str, dtype: str, batch: int) -> Rates:
    model, tokenizer = build(size)
    predictor = KronosPredictor(model, tokenizer, device, CONTEXT, dtype=dtype)
    x, stamps = _windows(batch, SAMPLING.lookback + SAMPLING.horizon)
    past = slice(None, SAMPLING.lookback)
    ahead = slice(SAMPLING.lookback, None)

    def forecast() -> None:
        predictor.sample_paths(
            x[:, past], stamps[:, past], stamps[:, ahead], list(range(batch)),
            sample_count=SAMPLING.samples,
        )  # fmt: skip

    forecasts = batch / _seconds(forecast, device)
    return Rates(
        forecasts=forecasts,
        tokens=forecasts * SAMPLING.samples * SAMPLING.horizon * 2,
        steps=1 / _seconds(_stepper(size, device, dtype), device),
    )


def _stepper(size: str, device: str, dtype: str) -> Callable[[], object]:
    """A function that takes a training step."""
    model, tokenizer = build(size)
    objective = predictor_objective("sandbox", model, tokenizer, 90).to(device)
    config = TrainConfig(batch_size=TRAIN_BATCH)
    optimizer = make_optimizer(objective, config)
    x, stamps = _windows(TRAIN_BATCH, TRAIN_WINDOW)
    group = [(torch.from_numpy(x), torch.from_numpy(stamps))]
    rate = one_cycle(10, 100, config)
    return lambda: train_step(
        objective, group, optimizer, config,
        rate=rate, seed=0, where="a timed step", bf16=dtype == "bfloat16",
    )  # fmt: skip


def _windows(count: int, bars: int) -> tuple[np.ndarray, np.ndarray]:
    """Random walks `[count, bars, 6]` and stamps `[count, bars, 5]`."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (count, bars)), axis=1))
    volume = rng.uniform(1e5, 1e6, (count, bars))
    x = np.stack([close, close * 1.01, close * 0.99, close, volume, volume * close], -1)
    stamps = np.zeros((count, bars, 5), np.int64)
    stamps[..., 2] = np.arange(bars) % 5
    stamps[..., 3] = np.arange(bars) % 28 + 1
    stamps[..., 4] = 1
    return x.astype(np.float32), stamps


def _seconds(work: Callable[[], object], device: str) -> float:
    """A call's, the mean after two that warm up."""
    for _ in range(2):
        work()
    _wait(device)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < LEAST_SECS:
        work()
        _wait(device)
        calls += 1
    return (time.perf_counter() - began) / calls


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"processor ({torch.backends.cpu.get_cpu_capability()})"


if __name__ == "__main__":
    main()
