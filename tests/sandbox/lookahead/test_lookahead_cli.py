"""What the proof against look-ahead tells a trader, in words and by its exit status."""

import math
from pathlib import Path

import pandas as pd
import pytest

from sandbox.lookahead.__main__ import lines, main, of_a_run
from sandbox.lookahead.rerun import first_difference, in_words
from sandbox.trading.ledger import Decision
from tests.sandbox.lookahead.lookahead_cases import FIRST, Never, PeeksOneBar, make_jumps, proved

STRATEGIES = Path(__file__).parents[3] / "strategies"


MONDAY = pd.Timestamp("2023-01-02", tz="UTC")
BUY = Decision(MONDAY.value, "A", "buy", 12.0, "market", math.nan)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "buy 12 A at market"),
        ({"size": 0.25, "side": "sell"}, "sell 0.25 A at market"),
        ({"kind": "limit", "price": 101.5}, "buy 12 A, limit 101.5"),
        ({"kind": "cancel"}, "cancel: buy 12 A"),
    ],
)
def test_a_decision_in_words(changed, words):
    assert in_words(BUY._replace(**changed)) == words


def test_only_what_differs_is_shown():
    other = BUY._replace(symbol="B")
    assert first_difference([BUY, other], [BUY, other]) is None
    assert first_difference([BUY, other], [BUY]) == (MONDAY, ("buy 12 B at market",), ())
    _, one, two = first_difference([BUY, other], [other, BUY])
    assert one == ("buy 12 A at market", "buy 12 B at market")
    assert two == one[::-1]
    nearly = BUY._replace(size=12 + 1e-12)  # more digits where ten do not tell them apart
    assert first_difference([BUY], [nearly])[2] == ("buy 12.000000000001 A at market",)


def test_lines_say_what_differs_and_what_it_means():
    jumps = make_jumps()
    times = jumps["A"].index
    proof = proved(PeeksOneBar, jumps, cuts=1)
    shown = lines("peek", proof, times[FIRST], times[-1])
    assert proof.decisions >= 6
    assert shown[:4] == [
        f"peek: NOT clean. {proof.decisions} decisions compared on 2 altered futures and 1 amount "
        "of history.",
        "  It looks ahead. Candles after 2023-06-09 21:00 were altered (the symbols that rose now "
        "fall, the rest rise), and the decision at 2023-06-09 21:00 changed.",
        "    as run:   buy 99 A at market",
        "    changed:  nothing",
    ]
    assert shown[4].startswith("    Usually:  the strategy or its signal reads a bar that has not")
    shown = lines("never", proved(Never, jumps), times[FIRST], times[-1])
    assert shown == [
        "never: nothing proved. It decided nothing from 2023-05-22 21:00 to 2023-06-30 21:00."
    ]


# The command


SHORT = [
    "--data", "sample:AAPL,NVDA,MSFT", "--start", "2021-01-04", "--end", "2021-03-31",
    "--signal", "momentum", "--lookback", "20", "--cuts", "3",
]  # fmt: skip
PEEK = """
import sys
from sandbox import Strategy
def ahead_of(data):
    frame = sys._getframe()
    while type(source := frame.f_locals.get("source")).__name__ != "FrameSource":
        frame = frame.f_back
    return source.handed_out[data.symbol]["close"].to_numpy()[len(data) : len(data) + 1]
class Peek(Strategy):
    def next(self):
        data = self.data
        ahead = ahead_of(data)
        self.order_target_weights({data: 1.0} if (ahead > data.close[0]).any() else {})
"""


def test_the_command_proves_a_strategy_clean(capsys):
    assert main([str(STRATEGIES / "topk.py"), *SHORT, "--param", "k=2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("topk: clean. ")
    assert shown.endswith(" decisions compared on 12 altered futures and 3 amounts of history.\n")


def test_the_command_fails_on_a_finding(tmp_path, capsys):
    (tmp_path / "peek.py").write_text(PEEK)
    assert main([str(tmp_path / "peek.py"), *SHORT]) == 1
    assert "It looks ahead. Candles after 2021-01-" in capsys.readouterr().out


def test_the_command_fails_where_nothing_is_proved(tmp_path, capsys):
    (tmp_path / "never.py").write_text(
        "from sandbox import Strategy\nclass Never(Strategy):\n    def next(self): pass\n"
    )
    assert main([str(tmp_path / "never.py"), *SHORT]) == 1
    assert capsys.readouterr().out.startswith("never: nothing proved. It decided nothing from ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([str(STRATEGIES / "topk.py"), *SHORT, "--cuts", "0"], "--cuts 0: at least 1 is needed"),
        ([], "no strategy file: name one, such as strategies/topk.py"),
    ],
)
def test_a_wrong_command_is_one_line(capsys, options, message):
    assert main(options) == 2
    assert capsys.readouterr().err.strip().endswith(f"error: {message}")


def test_a_usage_error_is_as_short_as_a_run_s(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["topk.py", "--cut", "nonsense", "--no-such-option"])
    assert stopped.value.code == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2
    assert shown[0] == (
        "usage: python -m sandbox.lookahead STRATEGY.py [STRATEGY.py ...] [options]; --help lists "
        "them"
    )


def test_an_error_of_a_strategy_s_own_says_where(tmp_path, capsys):
    (tmp_path / "bad.py").write_text(
        "from sandbox import Strategy\nclass Bad(Strategy):\n    def next(self): 1 / 0\n"
    )
    assert main([str(tmp_path / "bad.py"), *SHORT]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1
    assert shown[0].startswith("error: bad: ZeroDivisionError: division by zero (")
    assert "bad.py:3" in shown[0]


@pytest.mark.parametrize("cuts", [["--cuts", "2"], ["--cuts=2"], ["--cut", "2"], ["--cu=2"]])
def test_the_trials_have_the_command_line_of_a_run(cuts):
    options = ["topk.py", "--costs", "us", "--param", "k=2"]
    assert of_a_run([*options[:3], *cuts, *options[3:]]) == options
