"""How many of torch's threads a piece of work gets, so that its results do not depend on it.

Knows operands and torch's settings; nothing of tokens or candles. Threads wait for one another by
spinning after every product: where another program takes one of their cores, all of them stand
still. One step of one series then takes 290 ms instead of 3. So there are no more threads than
cores that no other program is using.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from kronos.inference.operand import Operand, of_each_size, products

LOAD = Path("/proc/loadavg")  # its fourth field: threads that run or wait for a core / all threads
OWN_THREADS = Path("/proc/self/task")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, this thread's products are split among `count` threads of torch.

    The setting is the calling thread's own. Only a thread that uses torch for the first time while
    the block lasts takes it over.
    """
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def agreeing_threads(operands: Iterable[Operand | nn.Linear]) -> tuple[int, ...]:
    """Which numbers of threads, torch's own and a half, a quarter, … of it, give what one gives.

    How products are split, and with it their last bits, can depend on the number of threads. Tried
    with these operands, one of each size. The most come first and 1 last.
    """
    tried = of_each_size(operands)
    with threads(1):
        wanted = [products(operand) for operand in tried]
    agreeing = []
    count = torch.get_num_threads()
    while count > 1:
        with threads(count):
            if all(
                all(map(torch.equal, products(operand), expected))
                for operand, expected in zip(tried, wanted, strict=True)
            ):
                agreeing.append(count)
        count //= 2
    return (*agreeing, 1)


def free_cores() -> int:
    """Cores that no other process uses at this moment, at least 1.

    All cores where the system does not say (it does on Linux).
    """
    cores = os.cpu_count() or 1
    try:
        running = int(LOAD.read_text().split()[3].partition("/")[0])
        return max(1, min(cores, cores - running + _own_running()))
    except (OSError, ValueError, IndexError):
        return cores


def _own_running() -> int:
    """This process's threads that run or wait for a core; those that wait by spinning run."""
    states = []
    for thread in OWN_THREADS.iterdir():
        with suppress(OSError):  # it has ended
            states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states.count("R")
