"""Paper equals backtest: a replay with faults and kills, with no network but this machine."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.paper_law import Case, play
from sandbox.paper import command
from sandbox.paper.__main__ import main
from sandbox.replay.serve import serving
from tests.ray_jobs.nodes import may_be_apart

HERE = Path(__file__).parent
SHORT = Case(
    start="2020-07-01", end="2020-12-31", data="sample:AAPL,NVDA,XOM",
    options=("--signal", "momentum", "--param", "k=1", "rebalance=bar"),
)  # fmt: skip
ENOUGH_FAULTS = 60
PUBLIC = re.compile(
    r"(GET http://127\.0\.0\.1:\d+/api/v3/(exchangeInfo|time|klines)(\?[^ ]*)?"
    r"|WS ws://127\.0\.0\.1:\d+/stream/ws(/\d+)?)"
)


def alone(case, folder, *, seed, rate, kills):
    """A round in a network namespace with loopback alone."""
    words = json.dumps([asdict(case), str(folder), seed, rate, kills])
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", sys.executable,
         str(HERE / "loopback_only.py"), words],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    not (shutil.which("unshare") and may_be_apart()), reason="no network namespaces here"
)
def test_the_law_under_faults_and_kills_with_loopback_alone(tmp_path):
    done = alone(SHORT, tmp_path, seed=5, rate=0.25, kills=3)
    assert done["differences"] == []
    assert (done["kills"], done["reached"]) == (3, False)
    assert sum(done["faults"].values()) > ENOUGH_FAULTS
    assert done["fills"] > 200


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["kronos", "reversal"])
def test_the_law_over_a_year(signal, tmp_path):
    options = ("--signal", signal, "--samples", "4", "--param", "k=2", "rebalance=day")
    case = Case(start="2020-01-02", end="2020-12-31", options=options)
    done = play(case, tmp_path, seed=11, rate=0.2, kills=5)
    assert done.differences == []
    assert done.kills == 5
    assert done.faults.total() > ENOUGH_FAULTS


def test_nothing_but_public_addresses_is_asked(tmp_path, monkeypatch):
    """Also where keys lie about in the environment."""
    feeds_opened = []

    def opened(*words):
        feeds_opened.append(open_feed(*words))
        return feeds_opened[-1]

    open_feed = command.open_feed
    monkeypatch.setattr(command, "open_feed", opened)
    for name in ("BINANCE_APIKEY", "BINANCE_SECRET", "CCXT_APIKEY", "APIKEY"):
        monkeypatch.setenv(name, "not-for-you")
    import feeds

    candles = feeds.load("sample:AAPL,NVDA", start="2019-01-01", end="2020-06-30")
    strategy = HERE.parents[2] / "strategies" / "topk.py"
    with serving(candles) as served:
        words = [str(strategy), "--signal", "momentum", "--exchange", f"replay:{served.port}",
                 "--state", str(tmp_path / "a.sqlite"), "--out", str(tmp_path / "run")]  # fmt: skip
        assert main(words) == 0
    asked = feeds_opened[0].requests
    assert len(asked) > 10
    assert [address for address in asked if not PUBLIC.fullmatch(address)] == []
    assert "not-for-you" not in " ".join(asked)
