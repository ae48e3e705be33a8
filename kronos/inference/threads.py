"""How many of torch's threads a piece of work gets, so that its results do not depend on it.

Knows operands and torch's settings; nothing of tokens or candles. Threads wait for one another by
spinning after every product: where another program takes one of their cores for a moment, all of
them stand still. One step of one series then takes 290 ms instead of 3. What is small anyway is
computed with one thread, which waits for nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from kronos.inference.operand import Operand, of_each_size, products

# Multiplications of a tile. Up to here, about 0.2 s on one core, two threads save 0.06 s at most on
# a machine that does nothing else, and cost seconds on one that does: see benchmarks/RESULTS.md.
LITTLE_WORK = 4_000_000_000


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


def agreeing_threads(operands: Iterable[Operand | nn.Linear]) -> int:
    """How many threads, torch's own number or a half, a quarter, … of it, give what one gives.

    How products are split, and with it their last bits, can depend on the number of threads. Tried
    with these operands, one of each size.
    """
    tried = of_each_size(operands)
    with threads(1):
        wanted = [products(operand) for operand in tried]
    count = torch.get_num_threads()
    while count > 1:
        with threads(count):
            if all(
                all(map(torch.equal, products(operand), expected))
                for operand, expected in zip(tried, wanted, strict=True)
            ):
                return count
        count //= 2
    return 1
