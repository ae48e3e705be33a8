"""Strategy files and their parameters."""

from pathlib import Path

import pytest

from sandbox.cli import parse_params
from sandbox.errors import ConfigError, StrategyError
from sandbox.trading.params import params_for, typed_params
from sandbox.trading.strategy_file import load_strategy

GOOD = """
from sandbox import Strategy

class Mine(Strategy):
    params = {"k": 3, "cut": 0.5, "loud": False, "mode": "a", "symbol": None}
    allowed = (("cut", (0, 1)), ("mode", ("a", "b=c", "7")))
"""
OTHER = """
from sandbox import Strategy

class Other(Strategy):
    params = {"k": 9, "width": 2.0, "rebalance": "week"}
"""
STRATEGIES = Path(__file__).parents[3] / "strategies"


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    return load_strategy(tmp_path / "mine.py")


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    return load_strategy(tmp_path / "other.py")


def test_params_take_the_type_of_their_default(mine):
    given = parse_params(["k=5", "cut=1", "loud=true", "mode=b=c", "symbol=7"])
    assert typed_params(mine, given) == {
        "rebalance": "bar", "k": 5, "cut": 1.0, "loud": True, "mode": "b=c", "symbol": "7",
    }  # fmt: skip
    assert typed_params(mine, {}) == {
        "rebalance": "bar", "k": 3, "cut": 0.5, "loud": False, "mode": "a", "symbol": None,
    }  # fmt: skip


def test_values_may_come_from_a_file_that_has_types(mine):
    given = {"k": 5.0, "cut": 1, "loud": True, "mode": 7}
    typed = typed_params(mine, given)
    assert [(type(typed[name]), typed[name]) for name in given] == [
        (int, 5), (float, 1.0), (bool, True), (str, "7")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kk", "5", "--param kk: Mine has no parameter 'kk'; did you mean 'k'?"),
        ("zzz", "5", "--param zzz: Mine has no parameter 'zzz'; it has rebalance, k, cut, loud, "
                     "mode, symbol"),
        ("k", "five", "--param k=five: a whole number is needed"),
        ("k", 5.5, "--param k=5.5: a whole number is needed"),
        ("k", True, "--param k=True: a whole number is needed"),
        ("cut", "much", "--param cut=much: a number is needed"),
        ("cut", "1.5", "cut=1.5 of Mine: from 0 to 1"),
        ("cut", "nan", "cut=nan of Mine: from 0 to 1"),
        ("k", float("inf"), "--param k=inf: a whole number is needed"),
        ("loud", "perhaps", "--param loud=perhaps: true or false"),
        ("mode", "c", "mode=c of Mine: one of a, b=c, 7 is needed"),
        ("rebalance", "weekly", "rebalance=weekly of Mine: one of bar, day, week, month is needed; "
                                "did you mean 'week'?"),
    ],
)  # fmt: skip
def test_a_wrong_param_is_explained(mine, name, value, message):
    with pytest.raises(ConfigError) as error:
        typed_params(mine, {name: value})
    assert str(error.value) == message


@pytest.mark.parametrize("text", ["k", "=5"])
def test_a_param_is_written_as_name_and_value(text):
    with pytest.raises(ConfigError, match=f"^--param '{text}': write it as name=value$"):
        parse_params([text])


def test_a_param_goes_to_every_strategy_that_declares_it(mine, other):
    given = parse_params(["k=5", "cut=0.1", "width=3"])
    params = params_for({"mine": mine, "other": other}, given)
    assert {name: params["mine"][name] for name in ("k", "cut")} == {"k": 5, "cut": 0.1}
    assert params["other"] == {"rebalance": "week", "k": 5, "width": 3.0}


def test_a_param_of_one_strategy_goes_before_that_of_all(mine, other):
    strategies = {"mine": mine, "my.other": other}
    for texts in (["my.other.k=7", "k=5"], ["k=5", "my.other.k=7"]):
        params = params_for(strategies, parse_params(texts))
        assert (params["mine"]["k"], params["my.other"]["k"]) == (5, 7)
    params = params_for(strategies, {"mine.rebalance": "day"})
    assert (params["mine"]["rebalance"], params["my.other"]["rebalance"]) == ("day", "week")


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("widht", "--param widht: mine and other have no parameter 'widht'; did you mean 'width'?"),
        ("mine.width", "--param mine.width: mine has no parameter 'width'; it has rebalance, k, "
                       "cut, loud, mode, symbol"),
        ("mime.k", "--param mime.k: no strategy 'mime' in this run; did you mean 'mine'?"),
        ("topk.k", "--param topk.k: no strategy 'topk' in this run; it has mine, other"),
    ],
)  # fmt: skip
def test_a_param_that_nobody_has_is_told_with_the_nearest(mine, other, param, message):
    with pytest.raises(ConfigError) as error:
        params_for({"mine": mine, "other": other}, {param: "1"})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "{path}: no class derived from sandbox.Strategy, one is needed"),
        (GOOD + "class Other(Mine): pass",
         "{path}: 2 classes (Mine, Other) derived from sandbox.Strategy, one is needed"),
        ("x = 1\nclass Mine:\n    def next(self)\n", "{path}:3: SyntaxError: expected ':'"),
        ("if x:\nx = 1\n", "{path}:2: IndentationError: "
                           "expected an indented block after 'if' statement on line 1"),
        ("x = 1\nimport nowhere_at_all",
         "{path}:2: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f():\n    raise ValueError('two\\nlines')\nf()", "{path}:2: ValueError: two lines"),
        ("\nimport json\njson.loads('{')", "{path}:3: JSONDecodeError: Expecting property name "
                                           "enclosed in double quotes: line 1 column 2 (char 1)"),
        ("raise SystemExit", "{path}:1: SystemExit"),
    ],
)  # fmt: skip
def test_a_file_without_one_strategy_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(StrategyError) as error:
        load_strategy(path)
    assert str(error.value) == message.format(path=path)


def test_an_imported_strategy_is_not_the_file_s_own(tmp_path):
    text = GOOD + "from strategies.topk import TopK\n"
    (tmp_path / "mine.py").write_text(text)
    assert load_strategy(tmp_path / "mine.py").__name__ == "Mine"


def test_a_missing_file_is_told_with_the_nearest(tmp_path):
    with pytest.raises(StrategyError, match=r"nowhere.py: no such strategy file$"):
        load_strategy(tmp_path / "nowhere.py")
    with pytest.raises(StrategyError, match=r"top.py: no such strategy file; did you mean '.*topk"):
        load_strategy(STRATEGIES / "top.py")
    with pytest.raises(StrategyError, match=r"x.py: no such strategy file$"):
        load_strategy(tmp_path / "no_folder" / "x.py")


def test_what_is_no_python_file_is_told(tmp_path):
    with pytest.raises(StrategyError, match="a folder, and a strategy file is needed"):
        load_strategy(tmp_path)
    (tmp_path / "mine.txt").write_text(GOOD)
    with pytest.raises(StrategyError, match=r"not a Python file, its name must end in .py"):
        load_strategy(tmp_path / "mine.txt")


@pytest.mark.parametrize("name", ["topk", "uncertainty", "benchmark"])
def test_our_own_files_load_with_their_defaults(name):
    cls = load_strategy(STRATEGIES / f"{name}.py")
    assert typed_params(cls, {})["rebalance"] in ("bar", "week")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = 1 / 0\n", "mine.py:2: ZeroDivisionError: division by zero"),
        ("x = 1\ndef f(:\n", "mine.py:2: SyntaxError: invalid syntax"),
    ],
)
def test_the_line_to_blame_is_named_for_a_relative_path_too(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(text)
    with pytest.raises(StrategyError, match=f"^{message}$"):
        load_strategy("mine.py")
