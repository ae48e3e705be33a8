"""Relative paths of what is kept: refused in a job, else those of the working folder."""

from pathlib import Path

import pytest

from ray_jobs.infer import main
from ray_jobs.places import OF_A_JOB, is_a_job, kept_place
from sandbox.errors import ConfigError


@pytest.fixture
def in_a_job(monkeypatch, tmp_path):
    monkeypatch.setenv(OF_A_JOB, "{}")
    monkeypatch.chdir(tmp_path)


def test_a_relative_path_is_of_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(OF_A_JOB, raising=False)
    monkeypatch.chdir(tmp_path)
    assert not is_a_job()
    assert kept_place(Path("runs/a"), "--out") == tmp_path / "runs" / "a"


@pytest.mark.usefixtures("in_a_job")
def test_a_relative_path_is_refused_in_a_job():
    text = r"^--out runs/a: a job's working folder is a temporary copy, .* an absolute path on .*"
    with pytest.raises(ConfigError, match=text):
        kept_place(Path("runs/a"), "--out")


@pytest.mark.usefixtures("in_a_job")
def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    assert kept_place(tmp_path / "a", "--out") == tmp_path / "a"


@pytest.mark.usefixtures("in_a_job", "fake_model")
def test_in_a_job_forecasts_are_not_kept_in_its_working_folder(capsys, tmp_path):
    assert main(["--data", "sample:AAPL", "--backend", "local"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --store store: a job's working folder is a temporary copy")
    assert not list(tmp_path.iterdir())
