"""A trial's process holds what a run's does: a strategy finds no other candles, and no proof."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.errors import StrategyError
from sandbox.run.trials import Trials
from tests.conftest import make_market
from tests.sandbox.lookahead.lookahead_cases import BARS, first, proved

HEAD = """
import gc, json, multiprocessing, os, sys, threading
import numpy as np
import pandas as pd
from sandbox import Strategy

def source_on_the_stack():
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if type(value).__name__ == "FrameSource":
                return value
        frame = frame.f_back

def peek(data):
    "The next close, from what the candles come from."
    closes = source_on_the_stack().handed_out[data.symbol]["close"].to_numpy()
    return closes[len(data) : len(data) + 1]

def ahead_of(frame, data):
    "The next close of the symbol in a frame that holds more than it should."
    later = frame.index.searchsorted(data.asof, side="right")
    return frame["close"].to_numpy()[later : later + 1]

def trade(strategy, closes):
    data = strategy.data
    strategy.order_target_weights({data: 0.9} if (closes > data.close[0]).any() else {})
"""

LONGEST_FRAME = """
def longest(frames, data):
    own = [f for f in frames if isinstance(f, pd.DataFrame) and "close" in f and len(f)
           and f.index[0] <= data.asof and np.isclose(f["close"], data.close[0]).any()]
    return max(own, key=len)
"""

# Each takes the candles from where the proof could have left those that it did not alter.
HOARDS = {
    "gc": """
class Cheat(Strategy):
    def next(self):
        trade(self, ahead_of(longest(gc.get_objects(), self.data), self.data))
""",
    "stack": """
class Cheat(Strategy):
    def next(self):
        found, frame = [], sys._getframe()
        while frame is not None:
            for value in list(frame.f_locals.values()):
                value = getattr(value, "_frames", getattr(value, "frames", value))
                if isinstance(value, dict):
                    found += value.values()
            frame = frame.f_back
        trade(self, ahead_of(longest(found, self.data), self.data))
""",
    "arrays": """
class Cheat(Strategy):
    def next(self):
        arrays = [a for o in gc.get_objects() for a in gc.get_referents(o)
                  if isinstance(a, np.ndarray) and a.ndim == 2 and a.shape[1] == 6]
        own = [a for a in arrays if np.isclose(a[:, 3], self.data.close[0], rtol=1e-12).any()]
        rows = max(own, key=len)
        at = int(np.argmax(np.isclose(rows[:, 3], self.data.close[0], rtol=1e-12)))
        trade(self, rows[at + 1 : at + 2, 3])
""",
}

# Each is honest where it finds that it is being tested, and looks ahead everywhere else.
SUSPICIONS = {
    "modules": '"sandbox.lookahead" in sys.modules or "sandbox.lookahead.rerun" in sys.modules',
    "any module": 'any("lookahead" in m or "altered" in m for m in sys.modules)',
    "main": '"lookahead" in getattr(sys.modules["__main__"], "__file__", "")',
    "argv": 'any("lookahead" in text for text in [*sys.argv, *sys.orig_argv])',
    "environment": 'any("TRIAL" in name or "LOOKAHEAD" in name for name in os.environ)',
    "classes": 'any(t.__module__ in ("sandbox.lookahead", "sandbox.lookahead.rerun") '
    "for t in gc.get_objects() if isinstance(t, type))",
    "stack": 'stack_has("lookahead", "rerun", "trials")',
    "base class": "type(self).__mro__[1] is not Strategy",
    "process": 'multiprocessing.current_process().name == "MainProcess"',
    "threads": 'any("trials" in str(f.f_code) for f in sys._current_frames().values())',
    "signal": '"Lazy" in type(self._desk.signal).__name__',
}
STACK_HAS = """
def stack_has(*names):
    frame = sys._getframe()
    while frame is not None:
        if any(f"{name}.py" in frame.f_code.co_filename for name in names):
            return True
        frame = frame.f_back
    return False
"""


@pytest.fixture(scope="module")
def frames():
    return make_market("A", BARS)


def written(folder, text):
    path = folder / "cheat.py"
    path.write_text(HEAD + text)
    return path


@pytest.mark.parametrize("cheat", HOARDS)
def test_no_other_candles_are_found(frames, tmp_path, cheat):
    found = first(proved(written(tmp_path, LONGEST_FRAME + HOARDS[cheat]), frames))
    assert found.check == "future"


@pytest.mark.parametrize("suspicion", SUSPICIONS)
def test_nothing_tells_that_it_is_a_proof(frames, tmp_path, suspicion):
    text = f"""{STACK_HAS}
class Cheat(Strategy):
    def next(self):
        proved = {SUSPICIONS[suspicion]}
        trade(self, np.array([]) if proved and len(self) % 2 else
              np.array([1e9]) if proved else peek(self.data))
"""
    found = first(proved(written(tmp_path, text), frames))
    assert found.check == "future"


FINGERPRINT = """
class Fingerprint(Strategy):
    def next(self):
        frame, stack = sys._getframe(), []
        while frame is not None:
            stack.append(os.path.basename(frame.f_code.co_filename) + ":" + frame.f_code.co_name)
            frame = frame.f_back
        process = multiprocessing.current_process()
        raise ValueError(json.dumps({
            "stack": stack,
            "modules": sorted(name for name in sys.modules if name.startswith("sandbox")),
            "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "path": sys.path,
            "main": getattr(sys.modules["__main__"], "__file__", None),
            "environment": sorted(os.environ), "cwd": os.getcwd(),
            "process": [process.name, type(process).__name__, process.daemon],
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "frames": len(sys._current_frames()),
            "signal": [type(x).__name__ for x in (self._desk.signal, self._desk.signal._shown)],
            "broker": sorted(vars(self.broker)), "class": [c.__name__ for c in type(self).__mro__],
        }))
"""


def test_a_trial_is_what_a_run_is(tmp_path):
    path = written(tmp_path, FINGERPRINT)
    options = [
        str(path), "--data", "sample:AAPL,NVDA", "--start", "2021-01-04", "--end", "2021-01-29",
        "--signal", "momentum", "--lookback", "20",
    ]  # fmt: skip

    def fingerprint(*command):
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        line = done.stderr.strip().splitlines()[-1]
        return json.loads(line[line.index("{") : line.rindex("}") + 1])

    of_run = fingerprint("sandbox.run", *options)
    of_proof = fingerprint("sandbox.lookahead", *options, "--cuts", "2")
    for what, value in of_run.items():
        assert of_proof[what] == value, what


# What ends a trial


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("os._exit(3)", "the process of a trial ended: it was killed|process that worked on it"),
        ("os.kill(os.getpid(), 9)", "the process of a trial ended: it was killed|was killed by"),
        ("sys.exit('enough')", "SystemExit: enough"),
    ],
)
def test_a_trial_that_ends_early_is_one_line(frames, tmp_path, act, message):
    text = f"class Ends(Strategy):\n    def next(self):\n        {act}\n"
    with pytest.raises(Exception, match=message) as told:
        proved(written(tmp_path, text), frames)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("to_all", [True, False])
def test_ctrl_c_is_one_line_and_leaves_no_process(tmp_path, to_all):
    path = written(
        tmp_path,
        f"""
import time
class Sleeps(Strategy):
    def next(self):
        with open({str(tmp_path / "pid")!r}, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
""",
    )
    options = ["--data", "sample:AAPL", "--start", "2021-01-04", "--end", "2021-01-29"]
    command = [sys.executable, "-m", "sandbox.lookahead", str(path), *options]
    with subprocess.Popen(
        [*command, "--signal", "momentum", "--lookback", "20"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        pid = wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
        assert process.wait(30) == 1
        assert process.stderr.read().splitlines()[-1] == "error: interrupted"
    assert wait_for(lambda: not Path(f"/proc/{pid}").exists())


def wait_for(condition, secs=60):
    until = time.monotonic() + secs
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def test_an_error_that_cannot_be_sent_is_told_in_words(frames, tmp_path):
    text = """
class Odd(Exception):
    def __init__(self, one, two):
        super().__init__("odd")

class Raises(Strategy):
    def next(self):
        raise Odd(1, lambda: 2)
"""
    with pytest.raises(StrategyError, match="Odd: odd"):
        proved(written(tmp_path, text), frames)


def test_candles_that_a_strategy_changes_are_not_those_of_the_next_trial(frames, tmp_path):
    before = frames["A"].copy()
    text = """
class Scribbles(Strategy):
    def next(self):
        source_on_the_stack().handed_out["A"]._mgr.blocks[0].values[:] *= 2
        self.buy(size=1)
"""
    with pytest.raises(StrategyError, match="the books do not add up"):
        proved(written(tmp_path, text), frames)
    assert frames["A"].equals(before)


def test_forecasts_are_made_only_for_who_asks(frames, tmp_path):
    class Counts:
        name, asked = "counts", 0

        def book(self, *args):
            self.asked += 1
            from sandbox.forecast.naive import NaiveSource

            return NaiveSource("momentum").book(*args)

    source = Counts()
    text = "class Blind(Strategy):\n    def next(self):\n        self.buy(size=1)\n"
    assert proved(written(tmp_path, text), frames, source=source).clean
    assert source.asked == 0
    text = """
class Asks(Strategy):
    def next(self):
        f = self.signal.forecast(self.data)
        self.order_target_weights({self.data: 0.5 if f.expected_return() > 0 else 0.1})
"""
    proof = proved(written(tmp_path, text), frames, source=source)
    assert proof.clean, proof.differences
    assert source.asked == 1 + proof.futures + len(proof.history_bars)


def test_a_process_that_forks_no_more_is_one_line(frames, tmp_path):
    path = written(
        tmp_path, "class Buys(Strategy):\n    def next(self):\n        self.buy(size=1)\n"
    )
    dead = Trials()
    dead._process.kill()
    dead._process.wait()
    with dead, pytest.raises(StrategyError, match="the process of a trial could not be started"):
        proved(path, frames, trials=dead)
