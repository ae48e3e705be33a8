"""Options: checked when the run is described, complained about in one line."""

import argparse
import json
from dataclasses import FrozenInstanceError, fields
from typing import get_type_hints

import pytest

from sandbox import RunConfig
from sandbox.cli import config_of
from sandbox.config import CostOptions, ForecastConfig
from sandbox.errors import ConfigError
from sandbox.run.__main__ import _parser
from sandbox.trading.costs import CostModel


def config(*options: str) -> RunConfig:
    return config_of(_parser().parse_args(["s.py", *options]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookback": 1}, "--lookback 1: input should be greater than or equal to 2"),
        ({"top_p": 0.0}, "--top-p 0.0: input should be greater than 0"),
        ({"cash": -5}, "--cash -5: input should be greater than 0"),
        ({"commission_bps": -1}, "--commission-bps -1: input should be greater than or equal to 0"),
        ({"volume_cap_pct": 0}, "--volume-cap-pct 0: input should be greater than 0"),
        ({"signal": "astrology"}, "--signal 'astrology': input should be 'kronos', 'momentum', "
         "'reversal', 'volatility', 'random' or 'random-walk'"),
        ({"costs": "mars"}, "--costs 'mars': input should be 'us', 'ph', 'cn', 'crypto' or 'none'"),
        ({"start": "2024-01-02", "end": "2024-01-01"},
         "--end 2024-01-01 is before --start 2024-01-02"),
        ({"lokback": 90}, "--lokback: no such option; did you mean lookback?"),
        ({"exchange": "XNYS"}, "--exchange: no such option; it is called calendar now"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError) as error:
        RunConfig.of(strategies=["s.py"], **options)
    assert str(error.value) == message


def test_a_config_does_not_change():
    with pytest.raises(FrozenInstanceError):
        RunConfig.of(strategies=["s.py"]).sampling.seed = 1


def test_the_command_line_goes_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("samples: 7\nhorizon: 3\ntop-p: 0.5\nparams: {k: 4, n_drop: 2}\n")
    made = config("--preset", "kronos-demo", "--config", str(file), "--horizon", "2",
                  "--param", "k=9")  # fmt: skip
    sampling, account = made.sampling, made.account
    assert (sampling.temperature, account.costs, account.cash) == (0.6, "cn", 100e6)  # the preset's
    assert (sampling.samples, sampling.top_p) == (7, 0.5)  # the file's
    assert sampling.horizon == 2
    assert made.strategy.params == {"k": "9", "n_drop": 2}


def test_strategies_may_stand_in_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("strategies: [a.py, b.py]\n")
    args = _parser().parse_args(["--config", str(file)])
    assert config_of(args).strategy.strategies == ("a.py", "b.py")
    assert config("--config", str(file)).strategy.strategies == ("s.py",)


def test_options_not_given_are_the_defaults():
    assert config() == RunConfig.of(strategies=("s.py",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead: 1", "--sead: no such option; did you mean seed?"),
        ("- a", "run.yaml: a mapping of options is needed"),
        ("a: [", "run.yaml: not YAML"),
        ("params: 3", "params 3: a mapping is needed"),
        ("!!python/object/apply:os.system ['true']", "run.yaml: not YAML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        config("--config", str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_an_unknown_preset_are_told(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.yaml: No such file"):
        config("--config", str(tmp_path / "absent.yaml"))
    with pytest.raises(ConfigError, match="--preset kronos-dmo: not known; did you mean kronos-"):
        config("--preset", "kronos-dmo")


@pytest.mark.parametrize("text", ["k", "=3"])
def test_a_parameter_is_written_as_name_and_value(text):
    args = argparse.Namespace(param=[text])
    with pytest.raises(ConfigError, match="write it as name=value"):
        config_of(args)


def test_one_strategy_needs_no_list():
    assert RunConfig.of(strategies="mine.py").strategy.strategies == ("mine.py",)


# --- an option that was renamed -----------------------------------------------------------------


def test_the_old_name_of_an_option_leads_to_the_new_one(capsys):
    with pytest.raises(SystemExit):
        config("--exchange", "XNYS")
    assert "--exchange XNYS; it is called --calendar now" in capsys.readouterr().err


@pytest.mark.parametrize(("old", "new"), [("XNYS", "XNYS"), (None, "none")])
def test_the_record_of_an_old_run_repeats_what_it_did(tmp_path, capsys, old, new):
    """Without an exchange it took bars as observed, whatever calendar the data name today."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": {"strategies": ["s.py"], "exchange": old, "seed": 3}}))
    repeated = config("--config", str(file))
    assert (repeated.candles.calendar, repeated.sampling.seed) == (new, 3)
    [line] = capsys.readouterr().err.splitlines()
    assert (
        line == f"note: {file}: exchange is called calendar now, and is read as 'calendar: {new}'"
    )
    assert config("--config", str(file), "--calendar", "XHKG").candles.calendar == "XHKG"


def test_both_names_in_one_file_are_refused(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("exchange: XNYS\ncalendar: XHKG\n")
    with pytest.raises(ConfigError, match="--exchange: no such option; it is called calendar now"):
        config("--config", str(file))


# --- the records that a command takes ------------------------------------------------------------


def test_options_are_flat_and_build_the_same_again():
    made = RunConfig.of(strategies=["s.py"], seed=3, params={"k": 2}, sweep={"n": "1,2"}, cash=5)
    flat = made.flat()
    assert json.loads(json.dumps(flat)) == flat
    assert (flat["seed"], flat["cash"], flat["start"]) == (3, 5.0, "2020-01-02")
    assert set(flat) == set(RunConfig.options())
    assert RunConfig.of(**flat) == made


def test_a_command_takes_the_records_that_it_needs():
    config = ForecastConfig.of(data="sample:ph", model="mini", samples=7)
    assert (config.candles.data, config.model.model, config.sampling.samples) == (
        "sample:ph", "mini", 7,
    )  # fmt: skip
    assert config.sampling == RunConfig.of(samples=7).sampling
    with pytest.raises(ConfigError, match="--cash: no such option"):
        ForecastConfig.of(cash=3)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", [field.name for field in fields(CostOptions)])
def test_what_a_cost_may_be_is_the_same_as_an_option_and_in_the_model(name, value):
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} {value}: "):
        RunConfig.of(**{name: value})
    with pytest.raises(ConfigError, match=f"^{name} {value}: it must be "):
        CostModel(**{name: value})
    model, options = (
        get_type_hints(kind, include_extras=True)[name] for kind in (CostModel, CostOptions)
    )
    assert options == model | None
