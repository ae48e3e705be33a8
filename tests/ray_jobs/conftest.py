"""One Ray of this machine for all tests."""

import gc
import os
import warnings

import pytest


@pytest.fixture(scope="session")
def two_cpus():
    """A Ray with two CPUs, whatever the machine has."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    from ray_jobs import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "cores", lambda: 2)
        with cluster.connected(None):
            yield
    with warnings.catch_warnings():  # Ray does not wait for the processes that it has ended
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert not ray.is_initialized()
