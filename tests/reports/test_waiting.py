"""A report that has its imports done before the run ends, and begins when it is told to."""

import subprocess
import sys
from pathlib import Path

from tests.reports.conftest import days, plan, write_run

ROOT = Path(__file__).resolve().parents[2]


def waiting():
    """The command that imports, and then waits for a line with the folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "reports.report", "--wait"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_report_that_waits_reads_the_folder_when_it_is_told_to(tmp_path):
    folder = tmp_path / "run"
    with waiting() as process:  # there is no such folder yet
        write_run(folder, plan(["topk"]), days(15))
        output, errors = process.communicate(f"{folder}\n", timeout=120)
    assert (process.returncode, output, errors) == (0, f"{folder / 'report.html'}\n", "")
    assert (folder / "tearsheets" / "topk.html").exists()


def test_a_report_that_waits_in_vain_writes_nothing(tmp_path):
    folder = write_run(tmp_path / "run", plan(["topk"]), days(15))
    with waiting() as process:
        output, errors = process.communicate("", timeout=120)
    assert (process.returncode, output, errors) == (0, "", "")
    assert not (folder / "report.html").exists()
    assert not (folder / "metrics.json").exists()
