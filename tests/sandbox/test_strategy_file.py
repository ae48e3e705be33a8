"""Strategy files and their parameters."""

import pytest

from sandbox.errors import ConfigError, StrategyError
from sandbox.strategy_file import load_strategy, parse_params, typed_params

GOOD = """
from sandbox import Strategy

class Mine(Strategy):
    params = {"k": 3, "cut": 0.5, "loud": False, "mode": "a"}
"""


def test_params_take_the_type_of_their_default(tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    mine = load_strategy(tmp_path / "mine.py")
    given = parse_params(["k=5", "cut=1", "loud=true", "mode=b=c"])
    assert typed_params(mine, given) == {"k": 5, "cut": 1.0, "loud": True, "mode": "b=c"}
    assert typed_params(mine, {}) == {"k": 3, "cut": 0.5, "loud": False, "mode": "a"}


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("kk=5", "--param kk: Mine has no such parameter; did you mean 'k'?"),
        ("zzz=5", "--param zzz: Mine has no such parameter; it has k, cut, loud, mode"),
        ("k=five", "--param k=five: a whole number is needed"),
        ("loud=perhaps", "--param loud=perhaps: true or false"),
        ("k", "--param 'k': write it as name=value"),
    ],
)
def test_a_wrong_param_is_explained(tmp_path, param, message):
    (tmp_path / "mine.py").write_text(GOOD)
    with pytest.raises(ConfigError) as error:
        typed_params(load_strategy(tmp_path / "mine.py"), parse_params([param]))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no class derived from sandbox.Strategy, one is needed"),
        (GOOD + "class Other(Mine): pass", "2 classes derived from sandbox.Strategy"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ],
)
def test_a_file_without_one_strategy_is_refused(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(StrategyError, match=message):
        load_strategy(tmp_path / "mine.py")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(StrategyError, match="no such strategy file"):
        load_strategy(tmp_path / "nowhere.py")
