"""Rays of this machine: one in this process, and a cluster of two nodes, each for all tests."""

import gc
import os
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.ray_jobs.nodes import may_be_apart, started

HERE = Path(__file__).parent
OF_THIS_FOLDER = ExitStack()  # what ends with its last test: others fork, which Ray does not bear


def pytest_runtest_teardown(nextitem):
    if nextitem is None or HERE not in nextitem.path.parents:
        with warnings.catch_warnings():  # Ray does not wait for the processes that it has ended
            warnings.simplefilter("ignore", ResourceWarning)
            OF_THIS_FOLDER.close()
            gc.collect()


@contextmanager
def ray_of_two_cpus():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    from ray_jobs import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "cores", lambda: 2)
        with cluster.connected(None):
            yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def two_cpus():
    """A Ray with two CPUs, whatever the machine has, for all tests of this folder."""
    OF_THIS_FOLDER.enter_context(ray_of_two_cpus())


@pytest.fixture(scope="session")
def two_nodes(tmp_path_factory):
    """Two nodes with a CPU each: `cluster`, and `private`, a folder of which the second node has
    another one. All other folders are the same to both."""
    if not may_be_apart():
        pytest.skip("no mount namespaces here, for a node with folders of its own")
    private = tmp_path_factory.mktemp("private")
    cluster = OF_THIS_FOLDER.enter_context(started(cpus=1))
    cluster.join(cpus=1, private=[private])
    return SimpleNamespace(cluster=cluster, private=private)
