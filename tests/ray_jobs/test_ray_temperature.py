"""`temperature: A:B` in the commands of this folder."""

import pytest

from ray_jobs import infer
from ray_jobs.walk_plan import WalkForwardConfig

pytestmark = pytest.mark.ray


def test_a_bad_ramp_is_one_line_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert infer.main(["--temperature", "1:2:3"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: --temperature '1:2:3': write one number, or two as 0.6:1.0")
    assert not list(tmp_path.iterdir())


def test_a_walk_forward_trades_with_it(tmp_path):
    file = tmp_path / "walk.yaml"
    file.write_text(
        "data: sample\nfolds: {start: 2020-01-01, end: 2020-12-31, test: 6 months, "
        "validate: 3 months}\nrun: {temperature: 0.6:1.0}\n"
    )
    config = WalkForwardConfig.read(file).run_config("bundled")
    assert config.sampling.temperature_ends == (0.6, 1.0)
