"""Sweeps: which combinations there are, and what is refused."""

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from sandbox import Strategy
from sandbox.cli import parse_sweep
from sandbox.errors import ConfigError
from sandbox.run import job
from sandbox.run.__main__ import main
from sandbox.run.sweep import MOST_COMBINATIONS, combinations
from tests.conftest import write_no_report

TOPK = str(job.ROOT / "strategies" / "topk.py")
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20", "--signal", "momentum"]


class Top(Strategy):
    params = (("k", 3), ("drop", 1), ("part", 0.5), ("rebalance", "week"))
    allowed = (("k", (1, 10)),)


class Other(Strategy):
    params = (("k", 4), ("fast", False))


BOTH = {"top": Top, "other": Other}


def tried(*texts, classes=BOTH, given=(), preset=()):
    return combinations(classes, dict(given), parse_sweep(texts), dict(preset))


def test_all_combinations_of_all_values_in_order():
    found = tried("top.k=2,3", "top.drop=1,2", classes={"top": Top})
    assert [one.name for one in found] == [
        "top[k=2,drop=1]", "top[k=2,drop=2]", "top[k=3,drop=1]", "top[k=3,drop=2]",
    ]  # fmt: skip
    assert found[1].params == {"rebalance": "week", "k": 2, "drop": 2, "part": 0.5}
    assert all(one.strategy == "top" and one.swept for one in found)


def test_without_a_strategy_s_name_each_that_has_it_is_swept():
    names = [one.name for one in tried("k=2,3", "other.fast=true,false")]
    assert names == [
        "top[k=2]", "top[k=3]", "other[k=2,fast=True]", "other[k=2,fast=False]",
        "other[k=3,fast=True]", "other[k=3,fast=False]",
    ]  # fmt: skip


def test_a_strategy_that_is_not_swept_is_traded_once_with_what_is_given():
    one, *rest = tried("top.k=2,3", given={"other.k": 7}, preset={"k": 50, "fast": True})[::-1]
    assert (one.name, one.swept, dict(one.params)) == (
        "other", False, {"rebalance": "bar", "k": 7, "fast": True},
    )  # fmt: skip
    assert [one.params["k"] for one in rest] == [3, 2]  # over the preset


def test_values_that_are_the_same_are_tried_once():
    assert [one.name for one in tried("top.part=0.5,.5,5e-1,1")][:2] == [
        "top[part=0.5]", "top[part=1.0]",
    ]  # fmt: skip
    assert len(tried("top.part=0.5,.5", classes={"top": Top})) == 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["k"], "--sweep 'k': write it as name=value,value"),
        (["k=1,,2"], "--sweep 'k=1,,2': write it as name=value,value"),
        (["k="], "--sweep 'k=': write it as name=value,value"),
        (["k=1,2", "k=3"], "--sweep k is given twice: name all its values once"),
        (["kk=1,2"], "--sweep kk: top and other have no parameter 'kk'; did you mean 'k'?"),
        (["topp.k=1,2"], "--sweep topp.k: no strategy 'topp' in this run; did you mean 'top'?"),
        (["top.k=1,x"], "--sweep k=x: a whole number is needed"),
        (["other.fast=maybe"], "--sweep fast=maybe: true or false"),
        (["top.k=1,99"], "k=99 of Top: from 1 to 10"),
        (["k=1,2", "top.k=3"],
         "--sweep k and --sweep top.k vary the same parameter: name one of them"),
        (["top.drop=" + ",".join(map(str, range(60))), "top.part=1,2,3,4"],
         "--sweep makes 240 combinations, at most 200 are traded (240 of top): name fewer values"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(texts, message):
    with pytest.raises(ConfigError) as error:
        tried(*texts)
    assert str(error.value) == message


@pytest.mark.parametrize("given", ["k", "top.k"])
@pytest.mark.parametrize("swept", ["k", "top.k"])
def test_a_parameter_is_given_or_swept(given, swept):
    with pytest.raises(ConfigError) as error:
        tried(f"{swept}=1,2", given={given: 3})
    assert str(error.value) == (
        f"--param {given} sets what --sweep {swept} varies: k of top can be given by one of them"
    )


def test_an_absurd_product_is_refused_before_it_is_made():
    values = ",".join(map(str, range(1000)))
    began = time.perf_counter()
    with pytest.raises(ConfigError, match="makes 1,000,000,000 combinations"):
        tried(*(f"top.{name}={values}" for name in ("k", "drop", "part")))
    assert time.perf_counter() - began < 5
    assert len(tried(f"top.part={','.join(map(str, range(MOST_COMBINATIONS)))}",
                     classes={"top": Top})) == MOST_COMBINATIONS  # fmt: skip


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_folder")
def test_a_sweep_is_traded_reported_and_repeated_from_its_record(tmp_path, capsys):
    options = [TOPK, *SHORT, "--sweep", "topk.k=2,3", "rebalance=bar,week"]
    assert main([*options, "--out", "one"]) == 0
    shown = capsys.readouterr().out
    names = [f"topk[k={k},rebalance={often}]" for k in (2, 3) for often in ("bar", "week")]
    assert all(name in shown for name in names)
    assert "is the best of the 4 combinations of topk that were tried" in shown
    assert "topk was traded with 4 combinations of parameters, without controls" in shown
    equity = pd.read_csv("one/equity.csv")
    assert list(dict.fromkeys(equity["strategy"])) == [*names, "benchmark"]
    # each trades as it would alone, though forecasts were made for other bars as well
    for name, params in ((names[0], "rebalance=bar"), (names[1], "rebalance=week")):
        alone = [TOPK, *SHORT, "--param", "k=2", params, "--no-controls", "--out", "alone"]
        assert main(alone) == 0
        capsys.readouterr()
        own, swept = pd.read_csv("alone/trades.csv"), pd.read_csv("one/trades.csv")
        own, swept = (
            table[table["strategy"] == who].drop(columns="strategy").reset_index(drop=True)
            for table, who in ((own, "topk"), (swept, name))
        )
        assert len(own)
        pd.testing.assert_frame_equal(own, swept)
    assert main(["--config", "one/config.json", "--out", "two"]) == 0
    for file in ("equity.csv", "trades.csv", "config.json", "metrics.json"):
        assert Path("one", file).read_bytes() == Path("two", file).read_bytes()
    page = Path("one/report.html").read_text()
    assert "--sweep topk.k=2,3 rebalance=bar,week" in page


@pytest.mark.usefixtures("own_folder")
def test_a_sweep_from_a_file_and_a_strategy_beside_it(tmp_path, monkeypatch, capsys):
    write_no_report(monkeypatch, lambda folder: (folder / "metrics.json").write_text(
        json.dumps({"seen_until": None, "portfolios": {}, "verdicts": {}})))  # fmt: skip
    Path("still.py").write_text(
        "from sandbox import Strategy\nclass Still(Strategy):\n    def next(self):\n"
        "        self.forecasts()\n"
    )
    Path("run.yaml").write_text("sweep: {topk.k: [2, 3], topk.score: 'last,mean'}\n")
    options = [TOPK, "still.py", *SHORT, "--config", "run.yaml", "--out", "x"]
    assert main(options) == 0
    record = json.loads(Path("x/config.json").read_text())
    found = {entry["name"]: entry for entry in record["portfolios"]}
    swept = [name for name, entry in found.items() if entry["sweep_of"] == "topk"]
    assert len(swept) == 4
    assert found["topk[k=3,score=mean]"]["params"]["score"] == "mean"
    assert {entry["repeats"] for entry in found.values() if entry["role"] == "control"} == {"still"}
    Path("run.yaml").write_text("sweep: 3\n")
    assert main(options) == 2
    assert "sweep 3: a mapping is needed, such as 'k: [2, 3, 5]'" in capsys.readouterr().err


def test_how_many_were_tried_in_all_is_told_where_several_are_swept():
    from types import SimpleNamespace

    from sandbox.run.record import _of_sweeps

    def told(*of):
        strategies = [SimpleNamespace(sweep_of=name) for name in of]
        return list(_of_sweeps(SimpleNamespace(strategies=strategies)))

    assert told(None) == []
    [one] = told("topk", "topk", None)
    assert one.startswith("topk was traded with 2 combinations of parameters, without controls")
    *_, last = told("topk", "topk", "other")
    assert last.startswith("3 combinations were tried in all")
