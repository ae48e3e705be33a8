"""`python -m ray_jobs.walk_forward`: folds trained once, scored, traded, told in a report."""

import json

import pandas as pd
import pytest
import yaml

from ray_jobs import cluster, training
from ray_jobs.walk_forward import folds_at_once, main
from ray_jobs.walk_plan import Plan, WalkForwardConfig
from sandbox.run.__main__ import main as run
from sandbox.run.job import ROOT
from tests.kronos.training.cases import save_tiny_checkpoint
from tests.ray_jobs.trainings import files_of, some_candles, work_here

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("two_cpus"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of Ray's own settings
]
CONFIG = {
    "name": "small",
    "score_every": 4,
    "folds": {
        "start": "2023-06-01", "end": "2023-07-31", "test": "1 month", "validate": "1 month",
    },
    "training": {
        "epochs": 2, "steps_per_epoch": 5, "batch_size": 8, "lookback": 8, "horizon": 3,
        "learning_rate": 1e-3,
    },
    "run": {"lookback": 8, "horizon": 3, "samples": 3, "with_benchmark": True},
}  # fmt: skip


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A function that writes the file, with changes; candles and base are beside it."""
    monkeypatch.chdir(tmp_path)
    save_tiny_checkpoint(tmp_path / "start", seen_until="2023-06-15")
    write_candles(tmp_path, some_candles().frames)

    def write(**changes):
        content = CONFIG | {"data": "parquet:*.parquet", "stamps": "close", "from": "start"}
        for key, value in changes.items():
            both = isinstance(value, dict) and isinstance(content.get(key), dict)
            content[key] = content[key] | value if both else value
        path = tmp_path / "walk.yaml"
        path.write_text(yaml.safe_dump(content))
        return ["--config", str(path)]

    return write


NAMES = "whole", "altered"


def write_candles(folder, frames):
    for symbol, frame in frames.items():
        frame.to_parquet(folder / f"{symbol}.parquet")


def test_it_runs_whole_on_ray(config, tmp_path, capsys):
    assert main(config()) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "runs" / "small"
    plan = json.loads((folder / "walk_forward.json").read_text())
    assert [(fold["validate"], fold["test"]) for fold in plan["folds"]] == [
        (["2023-05-01", "2023-06-01"], ["2023-06-01", "2023-07-01"]),
        (["2023-06-01", "2023-07-01"], ["2023-07-01", "2023-08-01"]),
    ]
    for number, fold in enumerate(plan["folds"], start=1):
        card = json.loads((folder / "folds" / f"{number:02d}" / "card.json").read_text())
        assert card["windows"] == {
            "train": fold["train_windows"], "validate": fold["validation_windows"],
        }  # fmt: skip
        assert f"fold {number:02d}: predictor's validation loss" in out
    scores = pd.read_csv(folder / "scores.csv")
    assert set(zip(scores["fold"], scores["model"], scores["horizon"], strict=True)) == {
        (fold, model, bars)
        for fold in (0, 1, 2) for model in ("fine-tuned", "zero-shot") for bars in (1, 3)
    }  # fmt: skip
    by_fold = scores[scores["fold"] > 0].groupby(["model", "horizon"])["forecasts"].sum()
    whole = scores[scores["fold"] == 0].set_index(["model", "horizon"])["forecasts"]
    assert by_fold.to_dict() == whole.to_dict()
    for name, model in (("fine-tuned", f"walkforward:{folder}"), ("zero-shot", "start")):
        written = json.loads((folder / name / "config.json").read_text())
        assert written["model"]["name"] == model
        assert written["model"]["seen_until"] == "2023-06-15"
    assert (folder / "report.html").stat().st_size > 10_000
    assert f"Report: {folder / 'report.html'}" in out
    assert not [path for path in (folder / "folds").iterdir() if path.name.startswith(".")]


@pytest.fixture
def trained(monkeypatch):
    """Numbers of the folds that were trained, in this process."""
    work_here(monkeypatch)
    numbers = []
    once = training.FineTuning._trained

    def counted(self, job, gpus, loop):
        numbers.append(int(self.out.name))
        return once(self, job, gpus, loop)

    monkeypatch.setattr(training.FineTuning, "_trained", counted)
    monkeypatch.setattr("ray_jobs.walk_forward._trade", lambda *_: None)
    monkeypatch.setattr("ray_jobs.walk_forward._report", lambda _: ["no report"])
    return numbers


def test_finished_folds_are_not_trained_again(config, tmp_path, trained, monkeypatch):
    folder = tmp_path / "runs" / "small" / "folds"
    assert main(config()) == 0
    assert trained == [1, 2]
    first, second = files_of(folder / "01"), files_of(folder / "02")
    (folder / "02" / "card.json").unlink()
    for left in (folder / "02").rglob("*"):
        if left.is_file():
            left.unlink()
    for left in sorted((folder / "02").rglob("*"), reverse=True):
        left.rmdir()
    assert main(config()) == 0
    assert trained == [1, 2, 2]
    assert (files_of(folder / "01"), files_of(folder / "02")) == (first, second)
    monkeypatch.setattr(cluster, "connected", None)  # no Ray is needed any more
    assert main(config(run={"samples": 2})) == 0
    assert trained == [1, 2, 2]


def test_later_candles_change_no_earlier_fold(config, tmp_path, trained):
    """All candles from the end of the first fold's validation on are others."""
    assert main([*config(), "--name", "whole"]) == 0
    for symbol, frame in some_candles().frames.items():
        changed = frame.copy()
        changed.loc[changed.index >= "2023-06-01"] *= 2.0 if symbol == "A" else 0.7
        changed.to_parquet(tmp_path / f"{symbol}.parquet")
    assert main([*config(), "--name", "altered"]) == 0
    runs = tmp_path / "runs"
    folds = [files_of(runs / name / "folds" / "01") for name in NAMES]
    assert folds[0] == folds[1]
    cards = [json.loads((runs / name / "folds/02/card.json").read_text()) for name in NAMES]
    assert len({card["stages"]["predictor"]["base_loss"] for card in cards}) == 2


def test_folds_may_go_on_from_the_one_before(config, tmp_path, trained):
    assert main(config(folds={"begin_from": "previous"})) == 0
    folds = tmp_path / "runs" / "small" / "folds"
    cards = [json.loads((folds / name / "card.json").read_text()) for name in ("01", "02")]
    assert cards[1]["base"]["name"] == str(folds / "01")
    assert cards[0]["seen_until"] == "2023-06-15"  # the base's, which reaches further
    assert cards[1]["seen_until"] == "2023-06-30"


def test_another_plan_overwrites_nothing(config, tmp_path, trained, capsys):
    assert main(config()) == 0
    plan = (tmp_path / "runs" / "small" / "walk_forward.json").read_bytes()
    assert main(config(training={"epochs": 1})) == 2
    assert "holds a checkpoint of another base, other candles" in capsys.readouterr().err
    assert trained == [1, 2]
    assert (tmp_path / "runs" / "small" / "walk_forward.json").read_bytes() == plan


def test_a_plan_is_shown_and_nothing_done(config, tmp_path, capsys, trained):
    assert main([*config(), "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "fold 01: train 2023-01-02 until before 2023-05-01, validate 2023-05-01 until before "
        "2023-06-01, test 2023-06-01 until before 2023-07-01; "
    )
    assert "10 steps, about" in lines[0]
    assert lines[2].startswith("2 folds, about ")
    assert not (tmp_path / "runs").exists()
    assert not trained


def test_the_stitched_forecasts_can_be_traded_elsewhere(config, tmp_path, trained, capsys):
    assert main(config()) == 0
    benchmark = str(ROOT / "strategies" / "topk.py")
    options = ["--data", "parquet:*.parquet", "--stamps", "close", "--lookback", "8", "--horizon",
               "3", "--samples", "3", "--no-controls", "--start", "2023-06-05", "--end",
               "2023-07-20", "--out", "x"]  # fmt: skip
    assert run([benchmark, *options, "--model", "walkforward:small"]) == 0
    log = (tmp_path / "x" / "log.txt").read_text()
    assert "forecasts computed" in log


def test_few_cpus_take_one_fold_at_a_time(config, tmp_path, monkeypatch):
    plan = Plan.of(WalkForwardConfig.read(tmp_path / config()[1]), tmp_path / "x")
    for resources, wanted in (
        ({"CPU": 3.0}, 1), ({"CPU": 4.0}, 4), ({"CPU": 64.0, "GPU": 2.0}, 2),
    ):  # fmt: skip
        monkeypatch.setattr("ray.cluster_resources", lambda found=resources: found)
        assert folds_at_once(plan) == wanted
    previous = config(folds={"begin_from": "previous"})
    assert folds_at_once(Plan.of(WalkForwardConfig.read(tmp_path / previous[1]), tmp_path)) == 1


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"folds": {"start": "2030-01-01", "end": "2030-02-01"}}, 2, "no bar to test from 2030"),
        (
            {"folds": {"start": "2023-01-20"}},
            2,
            "fold 1 does not fit the data: no bar from 1900-01-01 until before 2022-12-20",
        ),
        (
            {"folds": {"validate": "3 bars"}},
            2,
            "fold 1 does not fit the data: no validation window",
        ),
        (
            {"folds": {"test": "a while"}},
            2,
            "walk.yaml: folds: folds: test 'a while': write a whole",
        ),
        ({"folds": {"window": "sliding"}}, 2, "walk.yaml: folds: --window 'sliding'"),
        ({"folds": {"tests": "1 month"}}, 2, "--tests: no such option; did you mean test?"),
        ({"folds": "monthly"}, 2, "folds must be a mapping of options"),
        (
            {"training": {"epoch": 3}},
            2,
            "walk.yaml: training: --epoch: no such option; did you mean",
        ),
        ({"training": {"batch_size": 7}, "workers": {"workers": 2}}, 2, "must be a multiple of 2"),
        ({"run": {"model": "mini"}}, 2, "run: model is not set there: the folds decide it"),
        ({"run": {"sampels": 3}}, 2, "--sampels: no such option; did you mean samples?"),
        ({"run": {"strategies": "nowhere.py"}}, 1, "nowhere.py: no such strategy file"),
        ({"run": {"params": {"kk": 3}}}, 2, "kk"),
        ({"from": "nothing"}, 1, "unknown model 'nothing'"),
        ({"data": "parquet:none*"}, 1, "none*"),
        ({"score_every": 0}, 2, "walk.yaml: --score-every 0"),
    ],
)
def test_bad_input_is_one_line(config, changes, status, text, capsys, tmp_path):
    assert main(config(**changes)) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert text in lines[-1]
    assert not (tmp_path / "runs").exists()


def test_the_shipped_file_is_a_plan(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = WalkForwardConfig.read(ROOT / "ray_jobs" / "walk_forward.yaml")
    assert len(Plan.of(config, tmp_path).folds) == 4
