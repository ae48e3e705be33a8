"""Ray for a command: a cluster that runs already, or one on this machine for as long as needed.

Ray waits without a word for an address that is dead and for GPUs that do not exist. Here both are
looked at first, and said in one line.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Else whatever asks Ray for something after the connection has ended starts another one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
import ray

from ray_jobs.places import is_a_job
from sandbox.cores import cores, without_forks
from sandbox.errors import ConfigError, WorkerError
from sandbox.interrupts import tidied
from sandbox.memory import available_bytes

PROBE_SECS = 3.0
LEAST_STORE_BYTES = 128 << 20  # of Ray's object store
SHARE_FOR_STORE = 0.15  # of free memory; unless told Ray takes a third of it
AUTO = "auto"
STARTS = 3  # of a Ray of this machine
SLOW = "timed out during startup"  # what Ray says of itself after half a minute


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray, for as long as the block lasts.

    address: `auto` for the cluster that this machine belongs to, `HOST:PORT`, None for the cluster
    that this job was submitted to, or else for a Ray of this machine's cores that ends with the
    block. A process that is connected already stays so. Nothing is forked meanwhile: a copy of
    this process leaves its connections to Ray waiting for an answer for ever.
    Raises ConfigError for an address where nothing answers.
    """
    if address is None and is_a_job():
        address = AUTO  # Ray tells a job its cluster
    _check(address)
    if ray.is_initialized():
        yield
        return
    with without_forks(), tidied(_shut_down):
        try:
            _connect(address)
            yield
        finally:
            _shut_down()


def room_for(cpus: float, gpus: float) -> int:
    """How many things of so many CPUs and GPUs each the cluster holds side by side; 1 at least."""
    total = ray.cluster_resources()
    room = total.get("CPU", 1.0) // cpus
    if gpus:
        room = min(room, total.get("GPU", 0.0) // gpus)
    return max(1, int(room))


def expect_resources(count: int, cpus: float, gpus: float, thing: str = "replica") -> None:
    """Raises ConfigError where the cluster does not have what so many replicas (or other
    things) take: Ray would wait for it without end."""
    needs = {"CPU": ("CPUs", cpus), "GPU": ("GPUs", gpus)}
    total = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind, (word, each) in needs.items():
        have, largest = total.get(kind, 0.0), max((n.get(kind, 0.0) for n in nodes), default=0.0)
        if each > largest:
            raise ConfigError(
                f"a {thing} is to have {each:g} {word}, and the largest machine of this Ray "
                f"cluster has {largest:g}: ask for fewer"
            )
        if count * each > have:
            raise ConfigError(
                f"{count} {thing}s of {each:g} {word} each are asked for, and this Ray cluster "
                f"has {have:g} {word} in all: ask for fewer {thing}s, or fewer {word} for each"
            )


def _check(address: str | None) -> None:
    if address is None or address == AUTO:
        return
    if "://" in address:
        raise ConfigError(
            f"--ray-address {address}: a client's address is not taken, since this process "
            "would compute far from its data; run the command on the cluster: ray job submit "
            "--working-dir . -- python -m ..."
        )
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ConfigError(f"--ray-address {address!r}: write auto or HOST:PORT")
    try:
        with socket.create_connection((host, int(port)), PROBE_SECS):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"--ray-address {address}: nothing answers there ({why})") from error


def _connect(address: str | None) -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of restarts that are bounded
    try:
        _initialise(address)
    except ConnectionError as error:
        if "InvalidAuthToken" in str(error):
            raise ConfigError(
                f"--ray-address {address}: this Ray asks for its token: set RAY_AUTH_MODE=token, "
                "and RAY_AUTH_TOKEN to the token of its head"
            ) from error
        where = "of this machine" if address == AUTO else f"at {address}"
        raise ConfigError(
            f"--ray-address {address}: no Ray {where}; start one with `ray start --head`"
        ) from error
    except Exception as error:  # a node that is slow to start is a bare Exception
        first_line = str(error).strip().partition("\n")[0]
        raise WorkerError(f"Ray did not start: {first_line}") from error


def _initialise(address: str | None) -> None:
    """A Ray of this machine is tried again where it was slow to start, as beside other work."""
    for left in reversed(range(STARTS if address is None else 1)):
        own = _own_cluster() if address is None else {"address": address}
        try:
            with _no_output():
                ray.init(logging_level=logging.ERROR, log_to_driver=False, **own)
            return
        except Exception as error:
            if not left or SLOW not in str(error):
                raise
            _shut_down()


def _own_cluster() -> dict[str, Any]:
    """How a Ray of this machine's cores is started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    store = max(LEAST_STORE_BYTES, int((available_bytes() or 0) * SHARE_FOR_STORE))
    return {
        "address": "local",  # else it joins one of RAY_ADDRESS, or that `ray start` left here
        "num_cpus": cores(), "include_dashboard": False, "object_store_memory": store,
    }  # fmt: skip


@contextmanager
def _no_output() -> Iterator[None]:
    """Ray's own libraries say on standard error how they were told to say less."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _shut_down() -> None:
    with suppress(Exception):
        ray.shutdown()
