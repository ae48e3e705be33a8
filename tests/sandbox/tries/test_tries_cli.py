"""`python -m sandbox.tries ls|forget`."""

import pytest

from sandbox.tries.__main__ import main
from sandbox.tries.registry import Registry
from tests.sandbox.tries.test_tries_registry import a_run


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return Registry(tmp_path / "runs")


def shown(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_ls_shows_data_window_count_and_best(registry, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    registry.add(a_run(1, 2, 3))
    registry.add(a_run(4, spec="csv:x.csv", data="c5" * 32, when="2026-03-01T09:30:00Z"))
    assert main(["ls"]) == 0
    text = shown(capsys)
    assert "Tries in runs/tries.jsonl" in text
    assert text.index("csv:x.csv") < text.index("sample")  # the last first
    assert "c5c5c5c5" in text and "da7ada7a" in text
    assert "2020-01-02 3" in text and "2020-03-31" in text and "2026-03-01" in text


def test_nothing_to_show(registry, capsys):
    assert main(["ls"]) == 0
    assert shown(capsys) == "Nothing is counted in runs/tries.jsonl."
    assert main(["ls", "--runs", "absent"]) == 0
    assert main(["forget", "--all"]) == 2
    assert "nothing is counted in runs/tries.jsonl" in capsys.readouterr().err
    assert not registry.path.exists()


def test_forget_one_data_one_run_or_all(registry, capsys):
    registry.add(a_run(1, 2, folder="first"))
    registry.add(a_run(3, folder="second"))
    registry.add(a_run(4, spec="csv:x.csv", data="c5" * 32, folder="third"))
    assert main(["forget", "--run", "first"]) == 0
    assert "2 tries of runs/tries.jsonl count no more." in shown(capsys)
    assert main(["forget", "--data", "c5c5c5"]) == 0
    assert "1 try of runs/tries.jsonl counts no more." in shown(capsys)
    assert [each.run.folder for each in registry.read().tries.values()] == ["second"]
    assert main(["forget", "--all"]) == 0
    assert main(["ls"]) == 0
    text = shown(capsys)
    assert "Nothing is counted" in text
    assert text.count("Forgotten on") == 3
    assert ": 2 tries on sample." in text and ": 1 try on csv:x.csv." in text


def test_what_nothing_fits_is_usage_with_a_hint(registry, capsys):
    registry.add(a_run(1))
    before = registry.path.read_bytes()
    assert main(["forget", "--data", "sampel"]) == 2
    assert "--data sampel: runs/tries.jsonl counts no try of it; did you mean 'sample'?" in (
        capsys.readouterr().err
    )
    assert main(["forget", "--run", "tpok"]) == 2
    assert "did you mean 'topk'?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["forget"])
    with pytest.raises(SystemExit, match="2"):
        main(["forget", "--all", "--data", "sample"])
    assert registry.path.read_bytes() == before


def test_damage_and_other_versions_are_told(registry, capsys):
    registry.add(a_run(1))
    with registry.path.open("ab") as file:
        file.write(b"oops\n")
    assert main(["ls"]) == 0
    assert "1 line of runs/tries.jsonl is damaged and left out" in shown(capsys)
    registry.path.write_text("no registry")
    assert main(["ls"]) == 0
    assert "runs/tries.jsonl cannot be read: its first line is damaged" in shown(capsys)
    assert main(["forget", "--all"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert registry.path.read_text() == "no registry"
