"""Small fine-tunings for the tests of this folder, and what stands in for Ray Train's workers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

import kronos
from feeds import Candles
from ray_jobs import training, worker
from ray_jobs.errors import received
from ray_jobs.options import Period, TrainingOptions, WorkerOptions
from ray_jobs.training import FineTuning
from tests.conftest import make_market

TRAIN = Period(np.datetime64("2023-02-01", "us"), np.datetime64("2023-06-01", "us"))
VALIDATE = Period(np.datetime64("2023-06-01", "us"), np.datetime64("2023-08-01", "us"))
SMALL = {
    "stages": "predictor", "epochs": 2, "steps_per_epoch": 10, "batch_size": 8, "lookback": 8,
    "horizon": 3, "learning_rate": 1e-3, "seed": 3,
}  # fmt: skip


def some_candles(**changed):
    """Of three symbols over 160 weekdays."""
    return Candles({**make_market("ABC", 160), **changed}, "made")


def a_tuning(base: Path, out: Path, candles=None, workers=None, **changes):
    return FineTuning.of(
        kronos.find(str(base)), candles or some_candles(), TrainingOptions(**SMALL | changes),
        TRAIN, VALIDATE, WorkerOptions(**workers or {}), out,
    )  # fmt: skip


def work_here(monkeypatch):
    """One worker, in the test's own process; what it reports to Ray is in the list returned."""
    reports = []
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(worker.torch, "set_num_threads", lambda _: None)  # other tests' too
    monkeypatch.setattr(worker.ray.train, "get_context", lambda: context)
    monkeypatch.setattr(worker.ray.train, "report", reports.append)
    monkeypatch.setattr(worker.ray.train.torch, "prepare_model", lambda model: model)

    def trained(self, job, gpus, loop):
        outcome = loop({"job": job})
        if worker.ERROR in outcome:
            raise received(outcome[worker.ERROR])
        return outcome[worker.STAGES]

    monkeypatch.setattr(training.FineTuning, "_trained", trained)
    return reports


def files_of(folder: Path) -> dict[str, bytes]:
    """The weights of a checkpoint's folder."""
    names = [f"{net}/{name}" for net in ("model", "tokenizer") for name in kronos.hub.FILES]
    return {name: (folder / name).read_bytes() for name in names}
