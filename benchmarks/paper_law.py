"""Paper equals backtest: replays with faults and kills, then the same candles in a backtest.

    python benchmarks/paper_law.py --kills 200 --faults 0.2

Each round starts a replay with seeded faults and a paper account on it, kills the account's process
again and again at random instants and starts it anew, until all markets have ended. Then
`trades.csv` and `equity.csv` of the account and of `python -m sandbox.run` on its recorded candles
are compared byte for byte, and the recorded candles with those that were replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np

import feeds

ROOT = Path(__file__).resolve().parent.parent
END_SECS = 900  # for a sitting to come to its end
NAMES = ("trades.csv", "equity.csv")


@dataclass(kw_only=True)
class Round:
    """What came of one replay."""

    kills: int = 0
    sittings: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    bars: int = 0
    fills: int = 0
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is traded, on which candles."""

    strategy: str = "strategies/topk.py"
    options: tuple[str, ...] = ("--signal", "momentum", "--param", "k=3", "rebalance=bar")
    data: str = "sample:AAPL,MSFT,NVDA,JPM,XOM"
    start: str = "2019-01-02"
    end: str = "2020-12-31"
    speed: str = "max"


def play(case: Case, folder: Path, *, seed: int, rate: float, kills: int) -> Round:
    """One replay, its account and its backtest, in a folder of their own."""
    chance = random.Random(seed)
    outcome = Round()
    state, paper, run = folder / "account.sqlite", folder / "paper", folder / "run"
    with replaying(case, seed, rate) as address:
        port = address.rpartition(":")[2]
        command = [
            "-m", "sandbox.paper", case.strategy, *case.options, "--exchange", f"replay:{port}",
            "--state", str(state), "--out", str(paper), "--quiet",
        ]  # fmt: skip
        while True:
            outcome.sittings += 1
            process = _start(command, folder / "paper.out")
            killed = outcome.kills < kills and _killed(process, chance, state)
            with suppress(OSError):  # it ends by itself when nobody has asked for a while
                outcome.faults = _faults(address)
            if killed:
                outcome.kills += 1
                continue
            if status := process.wait(END_SECS):
                tail = (folder / "paper.out").read_text().splitlines()[-3:]
                raise RuntimeError(f"paper ended with {status}: {tail}")
            if paper.exists():
                break
        with suppress(OSError):
            outcome.faults = _faults(address)
    data = f"paper:{state}"
    _done(["-m", "sandbox.run", case.strategy, *case.options, "--data", data, "--store", "none",
           "--out", str(run)])  # fmt: skip
    for name in NAMES:
        if (paper / name).read_bytes() != (run / name).read_bytes():
            outcome.differences.append(f"{name} differs in {folder}")
    outcome.differences += _unlike_truth(case, data)
    outcome.fills = len((run / "trades.csv").read_text().splitlines()) - 1
    outcome.bars = len((run / "equity.csv").read_text().splitlines()) - 1
    return outcome


@contextmanager
def replaying(case: Case, seed: int, rate: float) -> Iterator[str]:
    """The address of a replay of the case's candles."""
    options = ["--data", case.data, "--start", case.start, "--end", case.end, "--speed", case.speed]
    if rate:
        options += ["--faults", f"{seed}:{rate}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.replay", *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(), cwd=ROOT,
    )  # fmt: skip
    with process:  # closes its output
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise RuntimeError("the replay did not start")
            yield found.group()
        finally:
            process.terminate()


def _faults(address: str) -> Counter[str]:
    with urlopen(f"{address}/sandbox/faults", timeout=10) as answer:
        return Counter(json.load(answer))


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=output, env=environment(), cwd=ROOT
        )


def _killed(process: subprocess.Popen[bytes], chance: random.Random, state: Path) -> bool:
    """Kill it at a random instant: half the time while it starts, else soon after it writes."""
    before = _stamp(state)
    if chance.random() < 0.5:
        _wait(process, lambda: False, chance.uniform(0.2, 6.0))
    else:
        _wait(process, lambda: _stamp(state) != before, 60.0)
        _wait(process, lambda: False, chance.uniform(0.0, 0.5))
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return True


def _wait(process: subprocess.Popen[bytes], done: Callable[[], bool], secs: float) -> None:
    ends = time.monotonic() + secs
    while time.monotonic() < ends and process.poll() is None and not done():
        time.sleep(0.005)


def _stamp(state: Path) -> tuple[int, int]:
    """Changes with every transaction."""
    for path in (state.with_name(f"{state.name}-wal"), state):
        if path.exists():
            found = path.stat()
            return found.st_mtime_ns, found.st_size
    return 0, 0


def _done(command: list[str]) -> None:
    subprocess.run(
        [sys.executable, *command], env=environment(), cwd=ROOT, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _unlike_truth(case: Case, data: str) -> Iterator[str]:
    """Where the recorded candles are not those that were replayed."""
    truth = feeds.load(case.data, end=case.end)
    recorded = feeds.load(data)
    for symbol, frame in recorded.frames.items():
        same = truth[symbol].loc[frame.index[0] :]
        if not frame.index.equals(same.index):
            yield f"{symbol}: {len(frame)} bars were recorded, {len(same)} replayed"
            continue
        prices = [name for name in frame.columns if name != "amount"]  # ccxt drops the amount
        if not np.array_equal(frame[prices].to_numpy(), same[prices].to_numpy()):
            yield f"{symbol}: recorded candles differ"


def environment() -> dict[str, str]:
    """Of a process that runs this project's commands."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="in all rounds together")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--faults", type=float, default=0.2, help="share of what is asked and sent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signal", default="momentum")
    args = parser.parse_args()
    case = Case(options=("--signal", args.signal, *Case.options[2:]))
    total, faults = Round(), Counter[str]()
    for nth in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            kills = args.kills // args.rounds
            done = play(case, Path(folder), seed=args.seed + nth, rate=args.faults, kills=kills)
        faults += done.faults
        for name in ("kills", "sittings", "bars", "fills", "differences"):
            setattr(total, name, getattr(total, name) + getattr(done, name))
        print(
            f"round {nth + 1}: {done.kills} kills, {sum(done.faults.values()):,} faults, "
            f"{done.fills:,} fills, differences: {done.differences or 'none'}", flush=True,
        )  # fmt: skip
    print(
        f"{total.kills} kills, {faults.total():,} faults, {total.sittings} sittings, "
        f"{total.bars:,} equity rows, {total.fills:,} fills, {len(total.differences)} differences"
    )
    for kind, count in faults.most_common():
        print(f"  {kind}: {count:,}")


if __name__ == "__main__":
    main()
