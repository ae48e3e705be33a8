"""Ctrl-C in the middle of a training: one line, no process left, and the command goes on later."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.kronos.training.cases import save_tiny_checkpoint

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
TUNE = ["--data", "sample:AAPL,NVDA", "--train", "2010-01-01:2018-01-01", "--validate",
        "2018-01-01:2018-07-01", "--stages", "predictor", "--epochs", "1000", "--batch-size", "8",
        "--lookback", "8", "--horizon", "3"]  # fmt: skip


def until(found, seconds=200.0):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_ctrl_c_stops_the_workers_and_keeps_what_was_saved(tmp_path):
    save_tiny_checkpoint(tmp_path / "from")
    command = [sys.executable, "-m", "ray_jobs.finetune", *TUNE, "--from", "from", "--out", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    losses = tmp_path.glob(".out.training/*/losses.csv")
    try:
        until(lambda: any(tmp_path.glob(".out.training/*/losses.csv")) or process.poll())
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, error
    assert error.strip().splitlines()[-1] == (
        "error: interrupted: the same command goes on from the last step that was saved"
    )
    assert "Traceback" not in error
    assert not out
    _, left = psutil.wait_procs(workers, timeout=30)
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "out").exists()
    assert next(losses).parent.joinpath("predictor.safetensors").exists()
