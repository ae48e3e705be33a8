"""Backtrader's analyzers in a run: asked for by name, and plain JSON values in metrics.json."""

import datetime
import json
from collections import OrderedDict

import backtrader as bt
import numpy as np
import pytest

from sandbox import Strategy
from sandbox.errors import ConfigError, StrategyError
from sandbox.run import job
from sandbox.run.__main__ import main
from sandbox.trading.analyzers import KNOWN, asked_analyzers, plain


class Holding(Strategy):
    """Buys on its second bar, sells on its fifth."""

    def next(self):
        if len(self) == 2:
            self.buy(size=10)
        if len(self) == 5:
            self.close()


class Idle(Strategy):
    def next(self):
        pass


@pytest.mark.parametrize("strategy", [Holding, Idle])
@pytest.mark.parametrize("bars", [1, 2, 40])
@pytest.mark.parametrize("name", list(KNOWN))
def test_every_one_runs_on_every_run_and_is_plain_json(name, bars, strategy, market, trade):
    book = trade(market("AB", bars=bars), strategy, analyzers=asked_analyzers([name]))
    assert list(book.analyses) == [name]
    json.dumps(book.analyses, allow_nan=False)
    assert ("error" in book.analyses[name]) == (name == "VWR" and bars == 1)


def test_the_known_are_backtrader_s():
    assert {"SharpeRatio", "DrawDown", "TradeAnalyzer", "TimeReturn", "SQN", "VWR"} <= set(KNOWN)
    assert "Analyzer" not in KNOWN
    assert "OrderedDict" not in KNOWN


def test_what_they_find_is_that_of_the_run_and_not_of_the_bars_before_it(market, trade):
    frames = market("A", bars=60)
    start = frames["A"].index[40]
    asked = asked_analyzers(["TimeReturn:timeframe=Days", "TimeReturn:timeframe=Years", "DrawDown"])

    class Buying(Strategy):
        def next(self):
            if not self.position:
                self.buy(size=10)

    book = trade(frames, Buying, start=start, analyzers=asked)
    by_day = book.analyses["TimeReturn:timeframe=Days"]
    assert list(by_day) == [f"{time:%Y-%m-%d}T00:00:00" for time in frames["A"].index[40:]]
    value = book.equity["value"].to_numpy()
    returns = value / np.concatenate([[10_000.0], value[:-1]]) - 1
    assert list(by_day.values()) == pytest.approx(list(returns))
    assert list(book.analyses["TimeReturn:timeframe=Years"].values()) == pytest.approx(
        [value[-1] / 10_000 - 1]
    )
    deepest = 100 * (1 - value / np.maximum.accumulate(np.maximum(value, 10_000))).max()
    assert book.analyses["DrawDown"]["max"]["drawdown"] == pytest.approx(deepest)


def test_one_that_a_strategy_adds_in_its_init_is_there_and_later_ones_are_refused(market, trade):
    class Adding(Strategy):
        def __init__(self):
            self.cerebro.addanalyzer(bt.analyzers.SQN, _name="mine")

        def next(self):
            pass

    assert list(trade(market("A", bars=5), Adding).analyses) == ["mine"]
    for when in ("start", "next", "stop"):

        def late(self):
            self.cerebro.addanalyzer(bt.analyzers.SQN)

        strategy = type("Late", (Idle,), {when: late})
        with pytest.raises(StrategyError) as error:
            trade(market("A", bars=5), strategy)
        assert str(error.value) == (
            "addanalyzer(SQN) after the start has no effect: add it in __init__, or ask for it "
            "with --analyzer"
        )


def test_what_is_no_json_becomes_some():
    class Odd:
        def __str__(self):
            return "odd"

    found = plain(
        OrderedDict(
            [
                (datetime.datetime(2020, 1, 2, 21), float("nan")),
                (datetime.date(2020, 1, 2), np.float64(1.5)),
                (1, (np.int64(2), float("inf"), None, True)),
                ("nested", bt.AutoOrderedDict()),
                ("array", np.array([[1.0, np.nan]])),
                ("odd", Odd()),
            ]
        )
    )
    assert found == {
        "2020-01-02T21:00:00": None, "2020-01-02": 1.5, "1": [2, None, None, True], "nested": {},
        "array": [[1.0, None]], "odd": "odd",
    }  # fmt: skip
    json.dumps(found, allow_nan=False)


def test_a_strategy_without_any_finds_nothing(market, trade):
    assert trade(market("A", bars=5), Idle).analyses == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SharpRatio", "Backtrader has no analyzer 'SharpRatio'; did you mean 'SharpeRatio'?"),
        ("Analyzer", "Backtrader has no analyzer 'Analyzer'; did you mean "),
        ("", "Backtrader has no analyzer '' (one of Calmar, DrawDown, "),
        ("SharpeRatio:timefram=Days", "SharpeRatio has no parameter 'timefram'; did you mean "
         "'timeframe'?"),
        ("SharpeRatio:timeframe=Day", "timeframe is one of Minutes, Days, Weeks, Months, Years"),
        ("SharpeRatio:riskfreerate=low", "'low' is neither a number nor true, false, none"),
        ("SharpeRatio:riskfreerate=nan", "'nan' is neither a number nor true, false, none"),
        ("SharpeRatio:riskfreerate", "write parameters as NAME:key=value,key=value"),
        ("AnnualReturn", "use TimeReturn:timeframe=Years"),
        ("TimeReturn:data=3", "TimeReturn has no parameter 'data'"),
        ("SQN:x=1", "SQN has no parameter 'x'; it has none"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_one_line(text, message):
    with pytest.raises(ConfigError) as error:
        asked_analyzers([text])
    assert str(error.value).startswith(f"--analyzer {text}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_parameters_are_numbers_words_and_time_frames():
    [asked] = asked_analyzers(["SharpeRatio:timeframe=Weeks,riskfreerate=0.02,factor=52,fund=none"])
    assert asked.params == {
        "timeframe": bt.TimeFrame.Weeks, "riskfreerate": 0.02, "factor": 52, "fund": None,
    }  # fmt: skip
    assert len(asked_analyzers(["SQN", "SQN"])) == 1


def test_results_are_part_of_metrics_json_and_of_the_record(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [
        str(job.ROOT / "strategies" / "topk.py"), "--start", "2021-01-04", "--end", "2021-02-26",
        "--lookback", "20", "--signal", "momentum", "--no-controls",
    ]  # fmt: skip
    assert main([*options, "--analyzer", "SharpeRatio:timeframe=Days", "DrawDown", "--analyzer",
                 "TimeReturn:timeframe=Days", "--out", "one"]) == 0  # fmt: skip
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    for name in ("topk", "benchmark"):
        found = metrics["portfolios"][name]["analyzers"]
        assert list(found) == [
            "SharpeRatio:timeframe=Days",
            "DrawDown",
            "TimeReturn:timeframe=Days",
        ]
        assert isinstance(found["SharpeRatio:timeframe=Days"]["sharperatio"], float)
        drawdown = metrics["portfolios"][name]["whole"]["max_drawdown_pct"]
        assert found["DrawDown"]["max"]["drawdown"] == pytest.approx(-drawdown)
        assert len(found["TimeReturn:timeframe=Days"]) == 38
    page = (tmp_path / "one" / "report.html").read_text()
    assert "DrawDown max drawdown" in page
    assert "TimeReturn:timeframe=Days 2021" not in page  # too many rows for a page
    assert main(["--config", "one/config.json", "--out", "two"]) == 0
    one, two = ((tmp_path / run / "metrics.json").read_bytes() for run in ("one", "two"))
    assert one == two
    capsys.readouterr()
    assert main([*options, "--analyzer", "Drawdown"]) == 2
    assert "did you mean 'DrawDown'?" in capsys.readouterr().err
