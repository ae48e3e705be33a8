"""What is printed may find no reader and what is written no room: one line, and no traceback."""

import os
import re
import subprocess
import sys

import pytest

from sandbox import reporting
from sandbox.errors import RunFolderError
from sandbox.run import job
from sandbox.run.folder import run_folder

TOPK = str(job.ROOT / "strategies" / "topk.py")
RUN = ["sandbox.run", TOPK, "--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20",
       "--signal", "momentum", "--out", "x"]  # fmt: skip
ALONE = ["--no-controls", "--no-benchmark"]
LS = ["sandbox.store", "ls"]
PROOF = ["sandbox.lookahead", TOPK, *RUN[2:-2], "--cuts", "1"]


@pytest.fixture
def shell(tmp_path):
    """Runs a command with what a shell puts after it: its status, its errors."""

    def shell(options, after):
        line = f'"$0" -m "$@" {after}'
        environment = {**os.environ, "PYTHONPATH": str(job.ROOT), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONUNBUFFERED", None)  # what is left to write at the end is of interest
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line, sys.executable, *options], cwd=tmp_path,
            env=environment, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
        )  # fmt: skip
        # a bar of progress may still be empty
        told = [one for one in done.stderr.splitlines() if not re.search("━| bars/s ", one)]
        return done.returncode, told

    return shell


@pytest.mark.parametrize("command", [LS, [*RUN, *ALONE], PROOF])
def test_a_reader_that_goes_away_is_no_traceback(shell, command):
    assert shell(command, "| true") == (1, [])


@pytest.mark.parametrize("command", [LS, PROOF])
def test_a_full_disk_under_the_output_is_one_line(shell, command):
    told = "error: the output cannot be written: No space left on device"
    assert shell(command, "> /dev/full") == (1, [told])


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_run_needs_no_open_streams(shell, tmp_path, closed):
    assert shell(RUN, closed) == (0, [])
    assert (tmp_path / "x" / "report.html").is_file()


ENDINGS = {
    "sys.exit(0)": "SystemExit: 0 (",
    "os._exit(0)": "the process that worked on it ended by itself with status 0",
    "os.kill(os.getpid(), 9)": "the process that worked on it was killed by SIGKILL, which the",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks nowhere else")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_strategy_that_ends_its_process_is_named(shell, tmp_path, ending):
    begins = "import os, sys\nfrom sandbox import Strategy\nclass Odd(Strategy):\n"
    code = f"{begins}    def next(self): {ending}\n"
    (tmp_path / "odd.py").write_text(code)
    status, [line] = shell([RUN[0], "odd.py", *RUN[2:]], ">&-")
    assert status == 1
    found = re.fullmatch(r"error: odd(:[\w-]+)?: (.*)", line)  # or its control, beside it
    assert found and found[2].startswith(ENDINGS[ending])
    assert [path.name for path in tmp_path.iterdir() if path.name != "odd.py"] == []


def test_a_thread_that_a_strategy_leaves_behind_is_not_waited_for(shell, tmp_path):
    code = (
        "import threading, time\nfrom sandbox import Strategy\nclass Busy(Strategy):\n"
        "    def start(self): threading.Thread(target=time.sleep, args=(300,)).start()\n"
        "    def next(self): self.forecasts()\n"
    )
    (tmp_path / "busy.py").write_text(code)
    assert shell([RUN[0], "busy.py", *RUN[2:]], ">&-") == (0, [])


def test_a_run_folder_cannot_be_a_whole_disk():
    with (
        pytest.raises(RunFolderError, match=r"^/proc is a whole disk"),
        run_folder("x", job.Path("/proc")),
    ):
        raise AssertionError("begun in vain")


def test_a_place_under_a_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for place, told in (("file", "is not a run folder"), ("file/x", "Not a directory")):
        with pytest.raises(RunFolderError, match=told), run_folder("x", tmp_path / place):
            raise AssertionError("begun in vain")


def test_what_a_killed_run_was_replacing_comes_back(tmp_path):
    """Killed between the two renames, and killed after them."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    old = tmp_path / f".mine.old-{gone.pid}"
    for kept in (False, True):
        with run_folder("x", tmp_path / "mine") as draft:
            draft.write_json("config.json", {"kept": kept})
        (tmp_path / "mine").rename(old)
        if kept:
            (tmp_path / "mine").mkdir()
            (tmp_path / "mine" / "config.json").touch()
        with pytest.raises(ValueError, match="half way"), run_folder("x", tmp_path / "mine"):
            raise ValueError("half way")
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]
        text = (tmp_path / "mine" / "config.json").read_text()
        assert text == ("" if kept else '{\n  "kept": false\n}\n')


def test_a_report_that_is_killed_says_so(tmp_path, monkeypatch):
    dies = tmp_path / "dies"
    dies.write_text("#!/bin/sh\nkill -9 $$\n")
    dies.chmod(0o755)
    monkeypatch.setattr(reporting.sys, "executable", str(dies))
    told = r"^the report could not be written: its process was killed by SIGKILL, which the system"
    with pytest.raises(RunFolderError, match=told):
        job.write_report(tmp_path)
