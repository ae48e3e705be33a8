"""A job on a Ray cluster of two nodes, submitted from a checkout: the forecasts and the weights of
this machine."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_jobs.finetune import main as main_of_finetune
from ray_jobs.infer import main
from tests.kronos.training.cases import save_tiny_checkpoint
from tests.ray_jobs.nodes import apart, may_be_apart
from tests.ray_jobs.trainings import work_here

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of Ray's own settings
]
ROOT = Path(__file__).resolve().parents[2]
INFER = ["--data", "sample:AAPL,NVDA", "--start", "2021-01-04", "--end", "2021-01-29", "--lookback",
         "20", "--samples", "2", "--device", "cpu"]  # fmt: skip
TUNE = ["--data", "sample:AAPL,NVDA", "--train", "2015-01-01:2018-01-01", "--validate",
        "2018-01-01:2018-07-01", "--stages", "predictor", "--epochs", "1", "--steps-per-epoch", "4",
        "--batch-size", "8", "--lookback", "8", "--horizon", "3"]  # fmt: skip
NOT_SHIPPED = [".git/objects/pack", "runs/mine/log.txt", "store/part", "ray_jobs/__pycache__/x.pyc"]
PACKAGES = ["kronos", "feeds", "sandbox", "ray_jobs"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What a job needs of this one, and what a user's has in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    for name in NOT_SHIPPED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not for a cluster")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that both nodes see, with a checkpoint to start from."""
    folder = tmp_path_factory.mktemp("tuning")
    save_tiny_checkpoint(folder / "from", dropout=0.0)
    return folder


@pytest.fixture(scope="module")
def job(two_nodes, checkout, store, shared):
    """A job that is first refused a relative path and storage that is not shared, then given what
    it needs."""
    infer = " ".join(["python -m ray_jobs.infer --replicas 2", *INFER])
    tune = " ".join(["python -m ray_jobs.finetune --workers 2", *TUNE, f"--from {shared}/from"])
    commands = [
        infer, f"{infer} --store {store}",
        f"{tune} --out {shared}/none --storage {two_nodes.private}", f"{tune} --out {shared}/out",
    ]  # fmt: skip
    done = two_nodes.cluster.submit(checkout, "sh", "-c", "; ".join(commands))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def forecasts_in(store):
    """Of its one set, by their keys."""
    [folder] = {path.parent for path in store.glob("*/*.parquet")}
    return pa.concat_tables(pq.read_table(part) for part in folder.glob("*.parquet")).sort_by("key")


def test_a_job_keeps_the_forecasts_that_this_machine_computes(job, store, tmp_path):
    assert f"38 forecasts computed, 0 were in the store: {store}" in job
    assert main([*INFER, "--backend", "local", "--store", str(tmp_path / "local")]) == 0
    assert forecasts_in(store).equals(forecasts_in(tmp_path / "local"))


@pytest.mark.usefixtures("job")
def test_both_nodes_had_a_replica(two_nodes):
    replicas = [x for x in two_nodes.cluster.actors() if "Replica" in x["class_name"]]
    assert len({replica["node_id"] for replica in replicas}) == 2


def test_a_relative_path_is_refused_in_a_job(job, two_nodes):
    assert "\nerror: --store store: a job's working folder is a temporary copy, " in job
    assert not two_nodes.cluster.folders("_ray_pkg_*/store")


def test_workers_on_two_nodes_train_what_one_trains(job, shared, tmp_path, monkeypatch, two_cpus):
    work_here(monkeypatch)
    alone, both = tmp_path / "alone", shared / "out"
    assert f"wrote {both}: --model {both}" in job
    assert main_of_finetune([*TUNE, "--from", str(shared / "from"), "--out", str(alone)]) == 0
    losses = [pd.read_csv(folder / "losses.csv") for folder in (alone, both)]
    assert len(losses[0]) == len(losses[1]) == 4
    np.testing.assert_allclose(losses[0]["loss"], losses[1]["loss"], atol=1e-4)
    stages = [json.loads((folder / "card.json").read_text())["stages"] for folder in (alone, both)]
    best = [stage["predictor"]["best_loss"] for stage in stages]
    assert best[0] == pytest.approx(best[1], abs=1e-4)


def test_storage_that_one_node_does_not_see_is_refused_before_training(job, shared, two_nodes):
    assert "\nerror: 1 of 2 workers do not see the files that this command wrote" in job
    assert not (shared / "none").exists()
    assert not list(two_nodes.private.glob("*/losses.csv"))


@pytest.mark.usefixtures("job")
def test_a_job_is_shipped_the_code_and_nothing_that_git_ignores(two_nodes):
    shipped = [path for path in two_nodes.cluster.folders("_ray_pkg_*") if path.is_dir()]
    assert len(shipped) == 2  # on either node
    for folder in shipped:
        assert (folder / "kronos" / "bundled" / "model" / "model.safetensors").exists()
        assert not [name for name in NOT_SHIPPED if (folder / name).exists()]


@pytest.mark.skipif(not may_be_apart(), reason="no mount namespaces here")
def test_a_private_folder_hides_what_others_have_there(tmp_path):
    shared, private = tmp_path / "shared", tmp_path / "private"
    for folder in (shared, private):
        folder.mkdir()
        (folder / "of-another").touch()
    command = apart([private], ["sh", "-c", f"ls {shared} {private}; touch {private}/mine"])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{private}:\n\n{shared}:\nof-another\n"
    assert [path.name for path in private.iterdir()] == ["of-another"]
