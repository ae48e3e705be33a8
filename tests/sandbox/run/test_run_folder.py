"""A run folder is whole or absent."""

import os
import subprocess

import pandas as pd
import pytest

from sandbox.errors import RunFolderError
from sandbox.run.folder import run_folder
from sandbox.words import safe_name


def everything_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_that_fails_leaves_nothing(tmp_path):
    def fail():
        with run_folder("x", tmp_path / "mine") as draft:
            draft.write_json("config.json", {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert everything_in(tmp_path) == []


def test_nothing_is_to_be_seen_before_the_end(tmp_path):
    with run_folder("x", tmp_path / "mine") as draft:
        draft.write_json("config.json", {"a": 1})
        assert not (tmp_path / "mine").exists()
    assert everything_in(tmp_path) == ["mine"]
    assert draft.folder == tmp_path / "mine"


def test_a_failed_run_leaves_the_older_one_in_its_place(tmp_path):
    with run_folder("x", tmp_path / "mine") as draft:
        draft.write_json("config.json", {"run": 1})

    def fail():
        with run_folder("x", tmp_path / "mine") as draft:
            draft.write_json("config.json", {"run": 2})
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert '"run": 1' in (tmp_path / "mine" / "config.json").read_text()
    with run_folder("x", tmp_path / "mine") as draft:
        draft.write_json("config.json", {"run": 3})
    assert '"run": 3' in (tmp_path / "mine" / "config.json").read_text()
    assert everything_in(tmp_path) == ["mine"]


def test_default_names_count_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        with run_folder("topk-sample:ph") as draft:
            draft.log("hello")
    assert everything_in(tmp_path / "runs") == [
        "topk-sample-ph",
        "topk-sample-ph-2",
        "topk-sample-ph-3",
    ]


def test_what_is_no_run_folder_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with (
        pytest.raises(RunFolderError, match="photos exists and is not a run folder"),
        run_folder("x", tmp_path / "photos"),
    ):
        pass
    assert everything_in(tmp_path / "photos") == ["cat.jpg"]


def test_the_draft_of_a_killed_run_is_swept_away_and_that_of_a_living_one_is_not(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, living = (tmp_path / f".mine.partial-{pid}" for pid in (gone.pid, os.getppid()))
    dead.mkdir()
    living.mkdir()
    with run_folder("x", tmp_path / "mine") as draft:
        draft.write_json("config.json", {})
    assert everything_in(tmp_path) == [living.name, "mine"]


def test_times_are_written_as_utc_and_numbers_to_twelve_digits(tmp_path):
    table = pd.DataFrame({"time": [pd.Timestamp("2024-01-02 21:00", tz="UTC")], "x": [1 / 3]})
    with run_folder("x", tmp_path / "mine") as draft:
        draft.write_csv("table.csv", table)
    text = (tmp_path / "mine" / "table.csv").read_text()
    assert text == "time,x\n2024-01-02T21:00:00Z,0.333333333333\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [("topk-sample:ph", "topk-sample-ph"), ("../../etc", "etc"), ("<b>", "b"), ("..", "run")],
)
def test_names_are_safe(text, name):
    assert safe_name(text) == name
