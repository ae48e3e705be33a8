"""Addresses of a Ray cluster that cannot be used, no Ray installed: one line each."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_jobs import cluster, finetune, walk_forward
from ray_jobs.cluster import connected
from sandbox.config import BackendOptions, ModelOptions
from sandbox.cores import can_fork, without_forks
from sandbox.errors import ConfigError
from sandbox.forecast.backend import find_backend

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("ray://host:10001", "ray job submit --working-dir"),
        ("host", "write auto or HOST:PORT"),
        ("host:", "write auto or HOST:PORT"),
        ("host:0", "write auto or HOST:PORT"),
        ("host:70000", "write auto or HOST:PORT"),
        (":6379", "write auto or HOST:PORT"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(address, text):
    with pytest.raises(ConfigError, match=text), connected(address):
        pass


def test_a_dead_address_is_said_at_once():
    """Ray itself waits two minutes."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        begun = time.monotonic()
        text = f"^--ray-address {address}: nothing answers there"
        with pytest.raises(ConfigError, match=text), connected(address):
            pass
    assert time.monotonic() - begun < 30


def test_a_cluster_that_asks_for_its_token_is_said(monkeypatch):
    def refuse(**_):
        raise ConnectionError("... RPC error: InvalidAuthToken: ... is missing or incorrect ...")

    monkeypatch.setattr(cluster.ray, "init", refuse)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "_shut_down", lambda: None)
    text = "^--ray-address auto: this Ray asks for its token: set RAY_AUTH_MODE=token, and RAY_A"
    with pytest.raises(ConfigError, match=text), connected("auto"):
        pass


def test_a_backend_that_nobody_knows_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'rya': no such backend, there are local, .*'ray'"):
        find_backend(None, ModelOptions(), BackendOptions(backend="rya"))


def test_this_machine_is_the_backend_unless_told():
    assert find_backend(None, ModelOptions(), BackendOptions()) is None


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from sandbox.run.__main__ import main
sys.exit(main(["strategies/topk.py", "--backend", "ray", "--out", "/nowhere/x"]))
"""


def test_without_ray_the_extra_is_named():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --backend ray: ray is not installed; get it with pip install 'kronos-sandbox[ray]'"
    ]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (finetune, ["--train", "2015-01-01:2016-01-01", "--validate", "2016-01-01:2017-01-01",
                    "--out", "x"]),
        (walk_forward, ["--config", str(ROOT / "ray_jobs" / "walk_forward.yaml")]),
    ],
)  # fmt: skip
def test_training_without_ray_names_what_to_install(command, options, monkeypatch, capsys):
    monkeypatch.setattr("ray_jobs.packages.PACKAGES", ("ray", "no_such_package"))
    assert command.main(options) == 2
    assert capsys.readouterr().err == (
        "error: no_such_package not installed; get it with pip install 'kronos-sandbox[ray]'\n"
    )


@pytest.mark.ray
@pytest.mark.usefixtures("two_cpus")
def test_nothing_is_forked_while_this_process_is_connected():
    """gRPC's connections do not survive it: whoever waited for an answer waited for ever."""
    assert not can_fork()
    with without_forks():
        pass
    assert not can_fork()
