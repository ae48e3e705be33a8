"""Where trainings stand: workers tell one actor, and the driver draws what it knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn

from sandbox.progress import live_bars

LOOK_SECS = 0.5  # between looks at the board
Result = TypeVar("Result")


class Standing(NamedTuple):
    """Of one training, as its first worker told it."""

    stage: str
    step: int  # done, of this stage
    steps: int  # of this stage, were it not stopped early
    loss: float  # of the last step, over all workers
    rate: float  # steps a second in this process
    validation_loss: float | None  # of the last epoch, or the base's


class Board:
    """What workers told last, by the name of their training. An actor; see `new_board`."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}

    def tell(self, training: str, standing: Standing) -> None:
        self._standings[training] = standing

    def standings(self) -> dict[str, Standing]:
        return self._standings


def new_board() -> Any:
    """A board on the driver's machine, so that no other machine takes it away."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()


def side_by_side(
    trainings: Mapping[str, Callable[[str, Any], Result]], at_once: int
) -> Iterator[tuple[str, Result]]:
    """What trainings return, as they are done; meanwhile a line is drawn for each that runs.

    Each is called in a thread, with its name and the board that it is to tell under that name.
    Raises what a training raised; those that run then end with their connection to Ray.
    """
    board = new_board()
    threads = ThreadPoolExecutor(at_once)
    try:
        futures = {threads.submit(train, name, board): name for name, train in trainings.items()}
        yield from _watched(board, futures)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _watched(board: Any, names: Mapping[Future[Result], str]) -> Iterator[tuple[str, Result]]:
    with _drawn() as draw:
        left: Collection[Future[Result]] = names
        while left:
            done, left = wait(left, timeout=LOOK_SECS, return_when=FIRST_COMPLETED)
            draw(ray.get(board.standings.remote()))
            for future in done:
                yield names[future], future.result()


Draw = Callable[[Mapping[str, Standing]], None]


@contextmanager
def _drawn() -> Iterator[Draw]:
    """A function that draws a bar for every training."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with live_bars(*columns) as bars:
        tasks: dict[str, TaskID] = {}
        waiting = bars.add_task("waiting for workers", total=None, told="")

        def draw(standings: Mapping[str, Standing]) -> None:
            if not bars.live.is_started:
                bars.start()
            if standings:
                bars.update(waiting, visible=False)
            for name, at in sorted(standings.items()):
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=at.steps, told="")
                bars.update(
                    tasks[name], description=f"{name} {at.stage}", completed=at.step,
                    total=at.steps, told=in_words(at),
                )  # fmt: skip

        yield draw


def in_words(at: Standing) -> str:
    """Loss, rate and time left, for a line."""
    validation = "" if at.validation_loss is None else f"  validation {at.validation_loss:.4f}"
    if not at.rate:
        return f"loss -{validation}"
    left = time.strftime("%H:%M:%S", time.gmtime((at.steps - at.step) / at.rate))
    return f"loss {at.loss:.4f}{validation}  {at.rate:.1f} steps/s  {left}"
