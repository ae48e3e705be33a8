"""`python -m sandbox.run ... --backend ray`: the same run, over processes of Ray's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ["strategies/topk.py", "--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "30",
       "--samples", "4", "--no-controls"]  # fmt: skip


def run(tmp_path, name, *options):
    folder = tmp_path / name
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.run", *RUN, *options, "--out", str(folder),
         "--store", str(tmp_path / f"store-{name}")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "127.0.0.1:1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.mark.ray
def test_a_run_over_ray_is_the_run_of_this_machine(tmp_path):
    """Also where the environment names a cluster, since the command does not."""
    local, _ = run(tmp_path, "local")
    over_ray, errors = run(tmp_path, "ray", "--backend", "ray")
    for name in ("trades.csv", "equity.csv", "weights.csv"):
        assert (over_ray / name).read_bytes() == (local / name).read_bytes()
    said = [line for line in errors.splitlines() if line.strip() and "━" not in line]
    assert said == []  # nothing of Ray's own beside the progress bars
    assert "forecasts computed" in (over_ray / "log.txt").read_text()
