"""A signal ends a command with one line, whenever it comes, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import sandbox
from sandbox.run import job

COMMANDS = (
    "sandbox.run", "sandbox.forecast", "sandbox.lookahead", "sandbox.store",
    "sandbox.checkpoints.bundled", "reports.report", "reports.compare", "reports.walk_forward",
    "feeds.sample.build",
    "benchmarks.backend_speed", "benchmarks.bundled_eval", "benchmarks.kronos_speed",
    "benchmarks.sandbox_speed",
)  # fmt: skip
# What a process does when it imports a module for the first time: `{act}`.
ON_IMPORT = """
import os, signal, sys, time
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            {act}
sys.meta_path.insert(0, Watch())
"""
SLOW = """
import os, pathlib, signal, time
from sandbox import Strategy
class Slow(Strategy):
    "Asks for a forecast, so that its controls are traded too, and takes its time."
    def next(self):
        self.forecasts()
        pathlib.Path({begun!r}, str(os.getpid())).touch()
        time.sleep(60)
"""
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20"]
NAIVE = ["--signal", "momentum", "--out", "runs/x"]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a command in a folder of its own and a group of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ, "OMP_NUM_THREADS": "1"})
    started = []

    def start(*command, on_import=None):
        path = [str(job.ROOT)]
        if on_import:
            hook = tmp_path / "hook"
            hook.mkdir()
            code = ON_IMPORT.format(name=on_import[0], act=on_import[1])
            (hook / "sitecustomize.py").write_text(code)
            path.insert(0, str(hook))
        process = subprocess.Popen(
            [sys.executable, *command], env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            preexec_fn=heeds_signals, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def heeds_signals():
    """Also where these tests run in the background, whose jobs a shell has ignore Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def slow(tmp_path):
    """A strategy whose workers say that they have begun, and how many have."""
    begun = tmp_path / "begun"
    begun.mkdir()
    (tmp_path / "slow.py").write_text(SLOW.format(begun=str(begun)))
    return begun


def wait_for(found, *, secs=60.0):
    """What `found` gives once it gives something."""
    deadline = time.monotonic() + secs
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def workers(begun, count=2):
    return wait_for(lambda: (pids := [int(p.name) for p in begun.iterdir()])[count - 1 :] and pids)


def is_gone(pid):
    """Also where nobody has asked for its exit status yet."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_during_the_imports_is_one_line(start, command):
    process = start("-m", command, on_import=("numpy", "os.kill(os.getpid(), signal.SIGINT)"))
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (1, "error: interrupted\n")


@pytest.mark.parametrize("module", ["argparse", "pydantic", "rich", "backtrader", "pyarrow"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_run_is_ended_at_whatever_import_it_is(start, module, name):
    act = f"os.kill(os.getpid(), signal.{name}); os.kill(os.getpid(), signal.{name})"
    topk = str(job.ROOT / "strategies" / "topk.py")
    process = start("-m", "sandbox.run", topk, *SHORT, *NAIVE, on_import=(module, act))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith("error: interrupted" + ("" if name == "SIGINT" else f" by {name}"))
    assert error.count("\n") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks nowhere else")
@pytest.mark.parametrize("presses", [1, 2, 3])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_run_that_is_ended_takes_its_draft_and_its_workers_with_it(
    start, slow, tmp_path, name, presses
):
    run = start("-m", "sandbox.run", "slow.py", *SHORT, *NAIVE)
    pids = workers(slow)
    assert len(left_in(tmp_path / "runs")) == 1
    for _ in range(presses):
        # a terminal sends Ctrl-C to the whole group, `kill` a signal to one process
        (os.killpg if name == "SIGINT" else os.kill)(run.pid, getattr(signal, name))
        time.sleep(0.001)
    _, error = run.communicate(timeout=30)
    assert run.returncode == 1
    [line] = [line for line in error.splitlines() if "rror" in line or "File" in line]
    assert line.startswith("error: interrupted")
    assert "no run folder was written" in line
    assert ("by " + name in line) is (name != "SIGINT")
    assert left_in(tmp_path / "runs") == []
    assert all(map(is_gone, pids))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks nowhere else")
def test_workers_do_not_outlive_a_run_that_is_killed(start, slow):
    run = start("-m", "sandbox.run", "slow.py", *SHORT, *NAIVE)
    pids = workers(slow)
    run.kill()
    run.communicate()
    wait_for(lambda: all(map(is_gone, pids)), secs=5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for it")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_the_report_does_not_outlive_its_run(start, tmp_path, name):
    marker = tmp_path / "reporting"
    act = f"open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    topk = str(job.ROOT / "strategies" / "topk.py")
    options = ["--no-controls", "--no-benchmark"]
    run = start("-m", "sandbox.run", topk, *SHORT, *NAIVE, *options, on_import=("quantstats", act))
    pid = int(wait_for(lambda: marker.exists() and marker.read_text()))
    run.send_signal(getattr(signal, name))
    run.communicate(timeout=30)
    wait_for(lambda: is_gone(pid), secs=5)
    assert name == "SIGKILL" or left_in(tmp_path / "runs") == []


def test_a_signal_that_was_ignored_stays_ignored(start):
    code = """
    import os, signal
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from sandbox.interrupts import end_on_signals
    end_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on")
    """
    out, _ = start("-c", textwrap.dedent(code)).communicate(timeout=60)
    assert out == "goes on\n"


def test_a_signal_waits_for_steps_that_belong_together_and_what_was_printed_is_kept(start):
    code = """
    import os, signal
    from sandbox import interrupts
    interrupts.end_on_signals()
    print("printed before")
    with interrupts.tidied(lambda: print("tidied first")), interrupts.tidied(lambda: 1 / 0):
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGTERM)
            print("held")
            interrupts.say("but for this")
        print("never")
    """
    process = start("-c", textwrap.dedent(code))
    out, error = process.communicate(timeout=60)
    assert out.splitlines() == ["printed before", "held", "tidied first"]
    assert (process.returncode, error) == (1, "error: interrupted by SIGTERM: but for this\n")


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_whose_work_is_done_keeps_its_status(start, status):
    code = f"""
    import atexit, os, signal
    from sandbox import interrupts
    interrupts.end_on_signals()
    atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
    interrupts.leave({status})
    """
    process = start("-c", textwrap.dedent(code))
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (status, "")


def test_the_public_names_are_imported_when_they_are_asked_for(start):
    code = """
    import sys, sandbox
    assert not {"backtrader", "pydantic", "numpy"} & set(sys.modules)
    from sandbox import *
    assert issubclass(Strategy, sandbox.Strategy) and "backtrader" in sys.modules
    assert not hasattr(sandbox, "Strategie")
    """
    process = start("-c", textwrap.dedent(code))
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert set(sandbox.__all__) <= set(dir(sandbox))
