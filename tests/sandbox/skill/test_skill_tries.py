"""A finished skill run is counted: each model with settings once, in the registry beside it."""

from __future__ import annotations

import json

import pytest

from sandbox.run.tried import registry_folder as of_runs
from sandbox.skill.__main__ import main
from sandbox.skill.tried import add_options
from sandbox.tries.lines import line
from sandbox.tries.registry import Registry
from tests.sandbox.skill.skill_cases import OUT, record_of, without_slow_parts

DATA = ["--data", "sample:AAPL,NVDA", "--start", "2024-11-01", "--end", "2024-12-31"]
SMALL = [*DATA, "--lookback", "20", "--horizon", "2", "--samples", "4", "--every", "5"]

pytestmark = pytest.mark.usefixtures("fake_model")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    without_slow_parts(monkeypatch, counted=True)


def tries(folder):
    return list(Registry(folder).read().tries.values())


def test_each_model_with_settings_is_one_and_nothing_else_is(tmp_path, fake_model, capsys):
    assert main([*SMALL, "--variant", "temperature=0.5", "seed=3"]) == 0
    found = tries(tmp_path / "runs")
    names = [each.tried.name for each in found]
    assert names == ["bundled", "bundled temperature=0.5", "bundled seed=3"]
    one, run = found[1]
    assert (one.model, one.fingerprint) == ("bundled", fake_model.fingerprint)
    assert one.settings == {
        "lookback": 20, "horizon": 2, "samples": 4, "temperature": 0.5, "top_p": 1.0, "top_k": 0,
        "seed": 0, "dtype": "float32", "calendar": "XNYS",
    }  # fmt: skip
    record = record_of("runs/skill-bundled-sample-AAPL-NVDA")
    assert (run.spec, run.folder) == ("sample:AAPL,NVDA", "skill-bundled-sample-AAPL-NVDA")
    assert run.data_hash == record["data"]["hash"]
    assert (run.first_bar[:10], run.last_bar[:10]) == ("2024-11-01", "2024-12-31")
    assert "3 different things have been tried on this data in this window." in (
        capsys.readouterr().out
    )


def test_a_repeat_is_no_new_try_nor_is_what_changes_no_forecast(tmp_path):
    assert main([*SMALL, *OUT]) == 0
    before = (tmp_path / "tries.jsonl").read_bytes()
    for more in ([], ["--signal", "none"], ["--every", "4"], ["--store", "none"]):
        assert main([*SMALL, *more, "--out", "again"]) == 0
    assert main(["--config", "out/skill.json", "--out", "again"]) == 0
    assert (tmp_path / "tries.jsonl").read_bytes() == before
    for more in (["--seed", "1"], ["--horizon", "3"], ["--calendar", "none"]):
        assert main([*SMALL, *more, "--out", "other"]) == 0
    assert len({each.tried.thing for each in tries(tmp_path)}) == 4
    assert main([*SMALL, "--end", "2024-12-15", "--out", "other"]) == 0  # another window
    assert len({each.tried.thing for each in tries(tmp_path)}) == 4 == len(tries(tmp_path)) - 1


def test_a_run_that_fails_is_not_counted(tmp_path):
    assert main([*SMALL, "--start", "2024-12-31", *OUT]) == 1
    assert not (tmp_path / "tries.jsonl").exists()


def test_a_registry_that_cannot_be_written_is_a_line_and_can_be_counted_later(tmp_path, capsys):
    (tmp_path / "tries.jsonl").mkdir()
    assert main([*SMALL, *OUT]) == 0
    printed = capsys.readouterr().out
    assert "Not counted among the tries: " in printed
    assert "tries.jsonl cannot be written (Is a directory). Reports will say too few." in printed
    assert not any((tmp_path / "tries.jsonl").iterdir())
    (tmp_path / "tries.jsonl").rmdir()
    from sandbox.tries.__main__ import main as of_tries

    assert of_tries(["add", "--runs", ".", "--folder", "out", "out/skill.json"]) == 0
    assert [each.run.folder for each in tries(tmp_path)] == ["out"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (line({"kind": "registry", "version": 2, "set_aside": []}), "it is of version 2, and 1 is"),
        (b"my own notes\n", "its first line is damaged"),
    ],
)
def test_a_registry_of_another_version_or_damaged_is_set_aside(tmp_path, capsys, content, why):
    (tmp_path / "tries.jsonl").write_bytes(content)
    assert main([*SMALL, *OUT]) == 0
    printed = capsys.readouterr().out
    assert f"could not be read ({why}" in printed
    assert "it is kept as tries.set-aside-1.jsonl, and tries are counted anew." in printed
    assert (tmp_path / "tries.set-aside-1.jsonl").read_bytes() == content
    assert len(tries(tmp_path)) == 1


def test_a_damaged_line_is_left_out_and_kept(tmp_path):
    assert main([*SMALL, *OUT]) == 0
    with (tmp_path / "tries.jsonl").open("ab") as file:
        file.write(b'{"sha256":"half a li')
    assert main([*SMALL, "--seed", "1", *OUT]) == 0
    contents = Registry(tmp_path).read()
    assert (len(contents.tries), contents.damaged) == (2, 1)


def test_in_a_walk_forward_it_is_counted_where_runs_are(tmp_path):
    (tmp_path / "runs" / "walk").mkdir(parents=True)
    (tmp_path / "runs" / "walk" / "walk_forward.json").write_text("{}")
    record = tmp_path / "runs" / "walk" / "skill" / "skill.json"
    assert add_options(record) == [
        "add", "--runs", str(of_runs(record.parent)), "--folder", "walk/skill", str(record),
    ]  # fmt: skip
    assert of_runs(record.parent) == tmp_path / "runs"


def test_the_folder_holds_what_was_counted(tmp_path):
    assert main([*SMALL, *OUT]) == 0
    document = record_of()["tries"]
    assert document["kind"] == "skill"
    [each] = tries(tmp_path)
    assert document["things"] == [
        {name: getattr(each.tried, name) for name in ("name", "model", "settings", "fingerprint")}
    ]
    [_, row] = (tmp_path / "tries.jsonl").read_text().splitlines()
    assert json.loads(row)["entry"]["kind"] == "skill"
