"""Ray clusters of a test's own, as `ray start` makes them: a head, and nodes that join it.

All nodes are processes of this machine, on ports that are free, in a folder of their own. A node
can have private folders: what other nodes write there it does not see, as on another machine
without shared storage.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

TRIES = 3  # Ray gives up where its agents take over 15 s, as on a busy machine they may at first
BIN = Path(sys.executable).parent
START_SECS = 90.0
# So that no node is left where the tests are killed; Ray's processes go with the one they began in.
WITH_THIS = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
IS_UP = "Ray runtime started"
STORE_BYTES = 128 << 20  # of a node's object store


class Cluster:
    """Nodes on this machine: a head, what joins it, and jobs that are submitted to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._dashboard = free_port()
        self.address = ""  # HOST:PORT, once there is a head
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self._dashboard}",  # of ray job submit
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        self.env.pop("PYTHONPATH", None)  # a job runs what is submitted with it

    def start_head(self, cpus: int) -> None:
        def options() -> list[str]:
            return [
                "--head", f"--port={free_port()}", "--dashboard-host=127.0.0.1",
                f"--dashboard-port={self._dashboard}", f"--ray-client-server-port={free_port()}",
                f"--temp-dir={self._folder}", "--include-log-monitor=False", "--no-monitor",
                *_limits(cpus),
            ]  # fmt: skip

        said = self._start(options, ())
        self.address = re.findall(r"ray start --address='(\S+)'", said)[0]

    def join(self, cpus: int = 1, private: Sequence[Path] = ()) -> None:
        """Add a node; at each folder in `private` it has an empty one of its own."""
        folder = self._folder / str(len(self._nodes))  # else nodes tidy each other's copies of jobs
        folder.mkdir()
        self._start(
            lambda: [f"--address={self.address}", f"--temp-dir={folder}", *_limits(cpus)], private
        )

    def submit(self, working_dir: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` of a command with that folder, until the job has ended."""
        return self.run(
            "ray", "job", "submit", "--working-dir", ".", "--", *command, cwd=working_dir
        )

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A command beside the head, with the cluster's token."""
        return subprocess.run(
            command, cwd=cwd, env=self.env, capture_output=True, text=True, check=False, timeout=400
        )

    def actors(self) -> list[dict[str, Any]]:
        """All that there were: `class_name`, `node_id` and more of each."""
        asked = Request(
            f"{self.env['RAY_API_SERVER_ADDRESS']}/api/v0/actors",
            headers={"Authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"},
        )
        with urlopen(asked, timeout=60) as answer:
            return json.load(answer)["data"]["result"]["result"]

    def folders(self, name: str) -> list[Path]:
        """Those of that name in the folders that Ray keeps for the nodes."""
        return sorted(self._folder.glob(f"**/{name}"))

    def stop(self) -> None:
        """End every process of its nodes, and nothing else: `ray stop` ends other Rays too."""
        processes = [*self._descendants(), *_processes_of(self._folder)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)
        for node in self._nodes:
            node.wait()

    def _descendants(self) -> Iterator[psutil.Process]:
        for node in self._nodes:
            if node.poll() is None:
                process = psutil.Process(node.pid)
                yield from (process, *process.children(recursive=True))

    def _start(self, options: Callable[[], list[str]], private: Sequence[Path]) -> str:
        """What a node said until it was up."""
        for _ in range(TRIES):
            said = self._folder / f"node-{len(self._nodes)}.txt"
            command = [*WITH_THIS, *apart(private, ["ray", "start", "--block", *options()])]
            with said.open("wb") as log:
                self._nodes.append(
                    subprocess.Popen(
                        command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                    )
                )
            end = time.monotonic() + START_SECS
            while self._nodes[-1].poll() is None and time.monotonic() < end:
                if IS_UP in said.read_text():
                    return said.read_text()
                time.sleep(0.1)
        raise RuntimeError(f"no Ray node: {said.read_text()}")


@contextmanager
def started(cpus: int = 1) -> Iterator[Cluster]:
    """A cluster of one node so far, which ends with the block with all that has joined it."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # short: paths of sockets are limited
    cluster = Cluster(folder)
    try:
        cluster.start_head(cpus)
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def apart(private: Sequence[Path], command: Sequence[str]) -> list[str]:
    """The command with an empty folder of its own at each of these."""
    if not private:
        return list(command)
    mounts = "".join('mount -t tmpfs none "$1"; shift; ' for _ in private)
    own_user = [] if os.getuid() == 0 else ["--map-root-user"]
    shell = ["sh", "-ec", f'{mounts}exec "$@"', "sh"]
    return ["unshare", "--mount", *own_user, *shell, *map(str, private), *command]


def may_be_apart() -> bool:
    """Whether this machine lets a process have folders of its own."""
    if shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        return not subprocess.run(
            apart([Path(folder)], ["true"]), capture_output=True, check=False
        ).returncode


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def _limits(cpus: int) -> list[str]:
    """What keeps nodes of one machine out of each other's way."""
    return [
        f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--num-gpus=0",
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
        "--disable-usage-stats",
    ]  # fmt: skip


def _processes_of(folder: Path) -> Iterator[psutil.Process]:
    """Those that were started with that folder, wherever they have been left."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            yield process
