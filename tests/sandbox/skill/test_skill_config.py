"""Options from a file: under those of the command line, over those of a preset."""

from __future__ import annotations

import pytest

from sandbox.skill.__main__ import PRESETS, _parser, main
from sandbox.skill.options import skill_config
from sandbox.skill.table import FILE
from tests.sandbox.skill.skill_cases import error_of, record_of, without_slow_parts

SMALL = [
    "--data", "sample:AAPL,NVDA", "--start", "2024-11-01", "--end", "2024-12-20", "--lookback",
    "20", "--horizon", "2", "--samples", "4", "--every", "5", "--signal", "momentum",
    "--variant", "temperature=0.5,top_p=0.9",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    without_slow_parts(monkeypatch)


def config_of(tmp_path, text, *options):
    (tmp_path / "skill.yaml").write_text(text)
    args = _parser().parse_args([*options, "--config", str(tmp_path / "skill.yaml")])
    return skill_config(args, PRESETS)


@pytest.mark.usefixtures("fake_model")
def test_a_folders_own_record_repeats_it_to_the_byte(tmp_path):
    assert main([*SMALL, "--out", "first"]) == 0
    again = ["--config", "first/skill.json", "--out", "second", "--store", "none"]
    assert main(again) == 0
    first, second = (tmp_path / name / FILE for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    ours, theirs = record_of("first"), record_of("second")
    assert ours["config"] | {"store": "none"} == theirs["config"]
    assert ours["verdicts"] == theirs["verdicts"] and ours["tries"] == theirs["tries"]


def test_the_command_line_goes_over_the_file_over_a_preset_over_defaults(tmp_path):
    text = "preset: published\nstart: 2024-09-02\nlookback: 40\ntop-p: 0.9\n"
    config = config_of(tmp_path, text, "--lookback", "50", "--model", "small")
    assert config.skill.models == ("small",)
    assert f"{config.window.start} {config.window.end}" == "2024-09-02 2199-12-31"
    assert (config.sampling.lookback, config.sampling.top_p) == (50, 0.9)
    assert config.sampling.samples == 32
    named = config_of(tmp_path, "models: bundled\n", "--preset", "published")
    assert named.skill.models == ("bundled",)
    assert f"{named.window.start}" == "2024-07-01"


def test_a_file_may_name_options_as_the_command_line_does(tmp_path):
    text = "model: [mini, small]\nsignal: none\nvariant: 'temperature=0.6,top_p=0.9'\n"
    config = config_of(tmp_path, text)
    assert config.skill.models == ("mini", "small")
    assert config.skill.signals == ("none",)
    assert config.skill.variants == ("temperature=0.6,top_p=0.9",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: mini\nmodels: small\n", "it has both model and models, name one"),
        ("models: []\n", "--models []: "),
        ("evry: 5\n", "--evry: no such option; did you mean every?"),
        ("strategies: [topk.py]\n", "--strategies: no such option"),
        ("preset: publshed\n", "--preset publshed: not known; known is published; did you mean"),
        ("preset: [1]\n", "--preset [1]: not known"),
        ("every: none\n", "--every 'none': input should be a valid integer"),
        ("- 1\n", "a mapping of options is needed"),
        ("{", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, capsys, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    assert words in error_of(capsys, "--config", "mine.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml"}


def test_a_file_that_is_not_there(capsys):
    assert "--config absent.yaml: No such file" in error_of(capsys, "--config", "absent.yaml")
