"""Options: checked when the run is described, complained about in one line."""

import argparse
import json

import pytest
from pydantic import ValidationError

from sandbox import RunConfig
from sandbox.cli import config_of
from sandbox.errors import ConfigError
from sandbox.run.__main__ import _parser


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
    with pytest.raises(ValidationError):
        RunConfig.of(strategies=["s.py"]).seed = 1


def test_the_command_line_goes_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("samples: 7\nhorizon: 3\ntop-p: 0.5\nparams: {k: 4, n_drop: 2}\n")
    made = config("--preset", "kronos-demo", "--config", str(file), "--horizon", "2",
                  "--param", "k=9")  # fmt: skip
    assert (made.temperature, made.costs, made.cash) == (0.6, "cn", 100e6)  # the preset's
    assert (made.samples, made.top_p) == (7, 0.5)  # the file's
    assert made.horizon == 2
    assert made.params == {"k": "9", "n_drop": 2}


def test_strategies_may_stand_in_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("strategies: [a.py, b.py]\n")
    args = _parser().parse_args(["--config", str(file)])
    assert config_of(args).strategies == ("a.py", "b.py")
    assert config("--config", str(file)).strategies == ("s.py",)


def test_options_not_given_are_the_defaults():
    assert config() == RunConfig(strategies=("s.py",))


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
    assert RunConfig.of(strategies="mine.py").strategies == ("mine.py",)


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
    assert (repeated.calendar, repeated.seed) == (new, 3)
    [line] = capsys.readouterr().err.splitlines()
    assert (
        line == f"note: {file}: exchange is called calendar now, and is read as 'calendar: {new}'"
    )
    assert config("--config", str(file), "--calendar", "XHKG").calendar == "XHKG"


def test_both_names_in_one_file_are_refused(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("exchange: XNYS\ncalendar: XHKG\n")
    with pytest.raises(ConfigError, match="--exchange: no such option; it is called calendar now"):
        config("--config", str(file))
