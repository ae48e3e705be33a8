"""`--temperature A:B` from the options to what the model is asked, the store and the record."""

import json
from pathlib import Path

import numpy as np
import pytest

from sandbox import RunConfig
from sandbox.config import ForecastConfig, InferConfig, Sampling, SkillConfig
from sandbox.errors import ConfigError
from sandbox.forecast import __main__ as forecast
from sandbox.forecast.backend import sample_windows
from sandbox.forecast.sources import KronosSource
from sandbox.forecast.windows import Windows
from sandbox.paper import __main__ as paper
from sandbox.run import __main__ as run
from sandbox.skill import __main__ as skill
from sandbox.store.sets import ForecastStore, Settings
from tests.conftest import FakePredictor, make_checkpoint, make_market

ROOT = Path(__file__).resolve().parents[2]
TOP_K = str(ROOT / "strategies" / "topk.py")
COMMANDS = {
    "run": lambda *more: run.main([TOP_K, *more]),
    "forecast": lambda *more: forecast.main(["--symbol", "AAPL", *more]),
    "skill": lambda *more: skill.main([*more]),
    "paper": lambda *more: paper.main(
        [TOP_K, "--exchange", "replay:1", "--symbols", "A", "--timeframe", "1d", *more]
    ),
}
BAD = ["1:", ":1", "0.5:abc", "0:1", "1:0", "1:2:3", "nan:1", "0.5:11", "-1:1"]


@pytest.mark.parametrize(
    ("given", "kept", "ends"),
    [
        (1, 1.0, 1.0), (0.6, 0.6, 0.6), ("0.6", 0.6, 0.6), ("0.7:0.7", 0.7, 0.7),
        ("0.6:1.0", "0.6:1.0", (0.6, 1.0)), ("0.60:1", "0.6:1.0", (0.6, 1.0)),
        ("1e0:.5", "1.0:0.5", (1.0, 0.5)),
    ],
)  # fmt: skip
def test_a_number_stays_one_and_a_ramp_is_written_one_way(given, kept, ends):
    config = ForecastConfig.of(temperature=given)
    assert config.sampling.temperature == kept
    assert type(config.sampling.temperature) is type(kept)
    assert config.sampling.temperature_ends == ends
    options = json.loads(json.dumps(config.flat()))
    assert options["temperature"] == kept
    assert ForecastConfig.of(**options) == config


@pytest.mark.parametrize("kind", [RunConfig, InferConfig, ForecastConfig, SkillConfig])
@pytest.mark.parametrize("text", BAD)
def test_a_bad_ramp_is_one_line(kind, text):
    with pytest.raises(ConfigError) as error:
        kind.of(temperature=text)
    assert str(error.value) == (
        f"--temperature {text!r}: write one number, or two as 0.6:1.0 for the first and the last "
        "bar ahead, each above 0 and at most 10"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("warm", "input should be a valid number"),
        (0, "input should be greater than 0"),
        (11, "input should be less than or equal to 10"),
    ],
)
def test_a_bad_number_is_one_line_as_before(value, words):
    with pytest.raises(ConfigError, match=rf"^--temperature '?{value}'?: {words}"):
        RunConfig.of(temperature=value)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_it_before_anything_is_done(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert COMMANDS[command]("--temperature", "1:2:3") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: --temperature '1:2:3': write one number, or two as 0.6:1.0")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["1:2", "0.6:1.0", "1:1.5", "'0.6:1.0'"])
def test_a_yaml_file_has_it_without_quotes(text, tmp_path):
    """YAML 1.1 takes 1:2 for 62."""
    file = tmp_path / "run.yaml"
    file.write_text(f"temperature: {text}\nstart: 2020-01-02\ncash: 12_000.5\nparams: {{k: 3}}\n")
    config = run.config_of(run._parser().parse_args(["s.py", "--config", str(file)]))
    first, last = map(float, text.strip("'").split(":"))
    assert config.sampling.temperature_ends == (first, last)
    assert (config.account.cash, config.strategy.params) == (12_000.5, {"k": 3})


class Asked(FakePredictor):
    """Notes the temperatures it was asked for."""

    def __init__(self):
        super().__init__()
        self.temperatures = []

    def sample_paths(self, *args, **more):
        self.temperatures.append(more["T"])
        return super().sample_paths(*args, **more)


def test_the_model_is_asked_for_a_number_or_for_both_ends():
    frames, predictor = make_market("A", bars=30), Asked()
    for temperature in (0.6, "0.6:1.2", "0.8:0.8"):
        sampling = Sampling(lookback=10, horizon=3, samples=4, temperature=temperature)
        windows = Windows.of(frames, sampling, frames["A"].index[20:21])
        sample_windows(predictor, windows, sampling, None)
    assert predictor.temperatures == [0.6, (0.6, 1.2), 0.8]


def id_of(**changes):
    sampling = Sampling(**changes)
    return Settings(model="m", fingerprint="ab" * 32, dtype="float32", sampling=sampling).id


def test_sets_of_plain_temperatures_are_found_under_the_names_they_have():
    """Of stores that were written before there were ramps."""
    assert id_of() == id_of(temperature=1) == id_of(temperature="1:1") == "35d0b9eaddda7869"
    assert id_of(temperature=0.6, lookback=64) == "02125ff9292f3ca3"


def test_a_ramp_has_a_set_of_its_own(tmp_path):
    ids = {id_of(temperature=t) for t in (0.6, 1.0, "0.6:1.0", "1.0:0.6", "0.60:1")}
    assert len(ids) == 4
    frames, store = make_market("A", bars=30), ForecastStore(tmp_path)

    def computed(temperature):
        sampling = Sampling(lookback=10, horizon=3, samples=4, temperature=temperature)
        source = KronosSource(make_checkpoint(), store=store)
        return source.book(frames, sampling, frames["A"].index).computed

    assert [computed(t) for t in (0.6, "0.6:1.0", "0.6:1", 0.6, "0.6:0.6")] == [21, 21, 0, 0, 0]
    kept = [json.loads((folder / "settings.json").read_text()) for folder in store.folders()]
    assert {own["sampling"]["temperature"] for own in kept} == {0.6, "0.6:1.0"}


def test_the_bundled_model_forecasts_with_it():
    """A:A to the bit as A; A:B as A at the first bar, and otherwise after it."""
    from kronos import find

    predictor = find("bundled").predictor(device="cpu")
    frames = make_market("AB", bars=40)
    drawn = {}
    for temperature in (0.5, "0.5:0.5", "0.5:1.5"):
        sampling = Sampling(lookback=30, horizon=4, samples=16, temperature=temperature)
        windows = Windows.of(frames, sampling, frames["A"].index[-1:])
        drawn[temperature] = sample_windows(predictor, windows, sampling, None)
    assert np.array_equal(drawn[0.5], drawn["0.5:0.5"])
    assert np.array_equal(drawn[0.5][:, :, 0], drawn["0.5:1.5"][:, :, 0])
    assert not np.array_equal(drawn[0.5][:, :, 1:], drawn["0.5:1.5"][:, :, 1:])
    spread = {t: paths[:, :, -1, 3].std(axis=1).mean() for t, paths in drawn.items()}
    assert spread["0.5:1.5"] > spread[0.5]
