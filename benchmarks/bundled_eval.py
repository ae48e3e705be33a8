"""Measures the bundled checkpoint on bars it never saw: `python -m benchmarks.bundled_eval`.

Forecasts of 1, 5 and 10 bars for every symbol of `sample:ph` in 2019, beside a random walk that
draws its steps from the symbol's own last returns: CRPS, rank IC (beside a volatility score and a
reversal score) and the coverage of the 5 to 95 % band. The figures go into the checkpoint's card,
whatever they are. A horizon counts the symbol's own bars, so a session that it missed is not one.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kronos
from feeds import load
from kronos.inference.draws import series_key
from kronos.training.dataset import CandleSeries
from sandbox.checkpoints.card import read_card, write_card
from sandbox.interrupts import leave
from sandbox.skill.scores import Floats, covered, fair_crps, rank_ic

SPEC = "sample:ph"
HORIZONS = (1, 5, 10)  # bars
LOOKBACK = 90  # bars
CLOSE = 3  # column


@dataclass(frozen=True, eq=False)
class Cases:
    """Forecasts to make, N of them, and what came out."""

    symbols: list[str]
    dates: NDArray[np.datetime64]  # [N] session of the last bar that is known
    x: NDArray[np.float32]  # [N, L, 6]
    x_stamp: NDArray[np.int64]  # [N, L, 5]
    y_stamp: NDArray[np.int64]  # [N, P, 5]
    outcome: Floats  # [N, P] simple returns against the last known close


def cases_between(
    frames: Mapping[str, pd.DataFrame], start: str, end: str, stride: int, horizon: int
) -> Cases:
    """Every `stride`-th session of the market in [start, end), for the symbols that traded then.

    A symbol takes part with `LOOKBACK` bars up to that session and `horizon` later ones before
    `end`.
    """
    low, high = np.datetime64(start, "s"), np.datetime64(end, "s")
    series = {name: CandleSeries.of(frame, daily=True) for name, frame in frames.items()}
    sessions = np.unique(np.concatenate([candles.times for candles in series.values()]))
    chosen = sessions[(sessions >= low) & (sessions < high)][::stride]
    rows: list[tuple[str, int]] = []
    for name, candles in series.items():
        last = int(np.searchsorted(candles.times, high)) - horizon
        at = np.flatnonzero(np.isin(candles.times[:last], chosen))
        rows += [(name, int(i)) for i in at if i + 1 >= LOOKBACK]
    past = [(series[name], slice(i + 1 - LOOKBACK, i + 1)) for name, i in rows]
    ahead = [(series[name], slice(i + 1, i + 1 + horizon)) for name, i in rows]
    x = np.stack([candles.values[bars] for candles, bars in past])
    known = x[:, -1, CLOSE].astype(np.float64)
    later = np.stack([candles.values[bars, CLOSE] for candles, bars in ahead]).astype(np.float64)
    return Cases(
        symbols=[name for name, _ in rows],
        dates=np.array([series[name].times[i] for name, i in rows]),
        x=x,
        x_stamp=np.stack([candles.stamps[bars] for candles, bars in past]),
        y_stamp=np.stack([candles.stamps[bars] for candles, bars in ahead]),
        outcome=later / known[:, None] - 1,
    )


def random_walk(
    x: NDArray[np.float32], horizon: int, samples: int, seed: int, *, drift: bool = True
) -> Floats:
    """Returns `[N, S, P]` compounded out of steps drawn from each row's own past returns.

    Without `drift` their mean is taken out of the steps first.
    """
    close = x[..., CLOSE].astype(np.float64)
    steps = close[:, 1:] / close[:, :-1] - 1  # [N, L-1]
    if not drift:
        steps = steps - steps.mean(1, keepdims=True)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, steps.shape[1], (len(x), samples, horizon))
    picked = np.take_along_axis(steps[:, None, :], drawn, axis=2)
    return np.asarray(np.cumprod(1 + picked, axis=-1) - 1, np.float64)


def figures_at(
    bars: int, cases: Cases, paths: Floats, walk: Floats, driftless: Floats
) -> dict[str, Any]:
    """One horizon's figures from simulated returns `[N, S, P]` of the model and of both walks."""
    outcome, ours, theirs = cases.outcome[:, bars - 1], paths[..., bars - 1], walk[..., bars - 1]
    close = cases.x[..., CLOSE].astype(np.float64)
    volatility = np.diff(np.log(close), axis=1).std(1)
    reversal = -(close[:, -1] / close[:, -1 - bars] - 1)
    crps, crps_walk = fair_crps(ours, outcome).mean(), fair_crps(theirs, outcome).mean()
    ic = rank_ic(ours.mean(1), outcome, cases.dates)
    return {
        "bars": bars,
        "crps": float(crps),
        "crps_random_walk": float(crps_walk),
        "crps_driftless": float(fair_crps(driftless[..., bars - 1], outcome).mean()),
        "crps_skill": float(1 - crps / crps_walk),
        "coverage": covered(ours, outcome),
        "coverage_random_walk": covered(theirs, outcome),
        "spread_ratio": float(np.median(ours.std(1) / theirs.std(1))),
        "mean_forecast": float(ours.mean()),
        "mean_outcome": float(outcome.mean()),
        "rank_ic": ic,
        "rank_ic_volatility": rank_ic(volatility, outcome, cases.dates),
        "rank_ic_reversal": rank_ic(reversal, outcome, cases.dates),
        "dates": ic["dates"],
    }


SamplePaths = Callable[..., NDArray[np.floating[Any]]]


def forecast_returns(
    sample_paths: SamplePaths, cases: Cases, samples: int, seed: int, batch: int = 64
) -> Floats:
    """The model's returns `[N, S, P]` against the last known close; prints progress."""
    out, start, printed = [], time.monotonic(), 0.0
    for first in range(0, len(cases.symbols), batch):
        rows = slice(first, first + batch)
        x = cases.x[rows]
        named = zip(cases.symbols[rows], cases.dates[rows].astype(str), strict=True)
        keys = [series_key(symbol, session) for symbol, session in named]
        paths = sample_paths(
            x,
            cases.x_stamp[rows],
            cases.y_stamp[rows],
            keys,
            T=1.0,
            top_p=1.0,
            sample_count=samples,
            seed=seed,
        )
        known = x[:, -1, CLOSE].astype(np.float64)[:, None, None]
        out.append(np.asarray(paths)[..., CLOSE].astype(np.float64) / known - 1)
        done, spent = min(first + batch, len(cases.symbols)), time.monotonic() - start
        if spent - printed > 5:
            printed, left = spent, (len(cases.symbols) - done) * spent / done
            print(
                f"forecast {done}/{len(cases.symbols)}, {done / spent:.1f} a second, "
                f"{left / 60:.1f} min left",
                flush=True,
            )
    return np.concatenate(out)


@dataclass(frozen=True)
class Plan:
    """Which forecasts are made."""

    start: str = "2019-01-01"  # first session of a forecast
    end: str = "2020-01-01"  # outcomes lie before it
    stride: int = 5  # sessions between forecasts
    samples: int = 32  # paths a forecast
    seed: int = 0


def evaluate(sample_paths: SamplePaths, plan: Plan) -> dict[str, Any]:
    """The card's `evaluation`."""
    frames = load(SPEC).frames
    cases = cases_between(frames, plan.start, plan.end, plan.stride, max(HORIZONS))
    print(f"{len(cases.symbols)} forecasts of {len(set(cases.symbols))} symbols", flush=True)
    paths = forecast_returns(sample_paths, cases, plan.samples, plan.seed)
    walk, driftless = (
        random_walk(cases.x, max(HORIZONS), plan.samples, plan.seed, drift=drift)
        for drift in (True, False)
    )
    return asdict(plan) | {
        "data": SPEC,
        "lookback": LOOKBACK,
        "forecasts": len(cases.symbols),
        "horizons": [figures_at(bars, cases, paths, walk, driftless) for bars in HORIZONS],
    }


def lines(evaluation: Mapping[str, Any]) -> Iterable[str]:
    """The figures for a terminal."""
    for row in evaluation["horizons"]:
        yield (
            f"{row['bars']:>2} bars: CRPS {row['crps']:.5f} (random walk "
            f"{row['crps_random_walk']:.5f}, skill {row['crps_skill']:+.1%}; driftless "
            f"{row['crps_driftless']:.5f}), coverage "
            f"{row['coverage']:.1%} (random walk {row['coverage_random_walk']:.1%}), rank IC "
            f"{row['rank_ic']['mean']:+.4f} (t {row['rank_ic']['t']:+.1f}), volatility "
            f"{row['rank_ic_volatility']['mean']:+.4f}, reversal "
            f"{row['rank_ic_reversal']['mean']:+.4f}"
        )


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure, print, and rewrite the card unless told not to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundled_eval", description=__doc__)
    parser.add_argument("--start", default=Plan.start, help="first session of a forecast")
    parser.add_argument("--end", default=Plan.end, help="outcomes lie before it")
    parser.add_argument(
        "--stride", type=int, default=Plan.stride, help="sessions between forecasts"
    )
    parser.add_argument("--samples", type=int, default=Plan.samples, help="paths a forecast")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--card", type=Path, default=Path("kronos/bundled"), help="card's folder")
    parser.add_argument("--dry-run", action="store_true", help="leave the card as it is")
    options = parser.parse_args(argv)
    plan = Plan(options.start, options.end, options.stride, options.samples, options.seed)
    found = evaluate(kronos.load("bundled").predictor().sample_paths, plan)
    print("\n".join(lines(found)))
    if not options.dry_run:
        write_card(options.card, read_card(options.card) | {"evaluation": found})
    return 0


if __name__ == "__main__":
    leave(main())
