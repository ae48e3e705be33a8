"""What a run says of portfolios whose figures mislead, and its run without costs."""

import json
from pathlib import Path

import pandas as pd
import pytest

from sandbox.run import job
from sandbox.run.__main__ import main
from tests.conftest import write_no_report

TOPK = str(job.ROOT / "strategies" / "topk.py")
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20", "--signal", "momentum"]
BODY = """
import datetime
import backtrader as bt
from sandbox import Strategy

class Mine(Strategy):
    def __init__(self):
        {init}
    def next(self):
        self.forecasts()
        {next}
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_report(monkeypatch):
    """The report takes seconds, and has tests of its own."""
    figures = {"seen_until": None, "portfolios": {}, "verdicts": {}}
    write_no_report(
        monkeypatch, lambda folder: (folder / "metrics.json").write_text(json.dumps(figures))
    )


def run(capsys, *options, init="pass", next="pass"):
    Path("mine.py").write_text(BODY.format(init=init, next=next))
    assert main(["mine.py", *SHORT, *options, "--out", "x"]) == 0
    return capsys.readouterr().out


def test_a_stop_is_told_with_its_bar_and_the_figures_run_to_the_end(capsys):
    stop = "len(self) >= 265 and self.cerebro.runstop()"  # 260 bars of warm-up
    shown = run(capsys, next=stop)
    told = "stopped itself with runstop() at bar 5 of 38 (2021-01-08 21:00)"
    assert f"mine {told} and decided nothing after it" in shown
    assert "So did mine:reversal at bar 5 of 38 (2021-01-08 21:00), mine:volatility" in shown
    page = Path("x/report.html").read_text()
    assert told in page
    rows = pd.read_csv("x/equity.csv").groupby("strategy").size()
    assert set(rows) == {38}


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("error", ["StopIteration", "GeneratorExit", "bt.errors.StrategySkipError"])
def test_an_error_that_python_or_backtrader_has_for_stopping_is_no_quiet_end(capsys, error):
    Path("mine.py").write_text(BODY.format(init="pass", next=f"raise {error}"))
    assert main(["mine.py", *SHORT, "--out", "x"]) == 1
    told = capsys.readouterr().err
    assert f"mine: {error.rpartition('.')[2]}: " in told
    assert "mine.py:11" in told
    assert not Path("x").exists()


@pytest.mark.usefixtures("no_report")
def test_a_timer_that_never_fired_is_told(capsys):
    shown = run(capsys, init="self.add_timer(when=datetime.time(23, 30))")
    assert "A timer of mine (when=23:30) never fired: no bar closes that late" in shown
    assert shown.count("never fired") == 1  # not once more for each control


@pytest.mark.usefixtures("no_report")
def test_a_portfolio_that_could_not_pay_for_a_lot_says_so_with_the_figures(capsys):
    shown = run(
        capsys, "--cash", "20", next="self.order_target_weights({self.datas[0]: 0.5})"
    )  # AAPL
    [line] = [line for line in shown.splitlines() if line.startswith("mine bought nothing")]
    trades = pd.read_csv("x/trades.csv")
    assert trades.empty
    assert line.startswith("mine bought nothing: the cheapest lot it wanted, 1 of AAPL, would have")
    assert line.endswith(", and 9.90 was there for it (cash 20.00).")
    assert "benchmark bought nothing: the cheapest lot it wanted, 1 of NVDA" in shown
    assert "For the same reason mine:reversal, mine:volatility" in shown


@pytest.mark.usefixtures("no_report")
def test_one_that_works_out_its_own_sizes_and_so_never_orders_is_told_as_well(capsys):
    sizes = "int(self.broker.getcash() / self.data.close[0]) and self.buy(size=1)"
    shown = run(capsys, "--cash", "5", "--no-controls", next=sizes)
    [line] = [line for line in shown.splitlines() if line.startswith("mine bought nothing")]
    assert line.startswith("mine bought nothing: no lot was ever cheaper than ")
    assert line.endswith("and its cash is 5.00.")
    shown = run(capsys, "--no-controls")  # a strategy that wants nothing is not short of money
    assert "bought nothing" not in shown


@pytest.mark.usefixtures("no_report")
def test_the_run_without_costs_is_the_run_of_a_market_without_costs():
    assert main([TOPK, *SHORT, "--out", "one"]) == 0
    assert main([TOPK, *SHORT, "--costs", "none", "--no-controls", "--out", "two"]) == 0
    for table in ("equity", "trades", "weights"):
        one, two = (pd.read_csv(f"{name}/{table}.csv") for name in ("one", "two"))
        free = one[one["strategy"] == "topk:costs-free"].drop(columns="strategy")
        alone = two[two["strategy"] == "topk"].drop(columns="strategy")
        assert len(free)
        pd.testing.assert_frame_equal(
            free.reset_index(drop=True), alone.reset_index(drop=True), check_dtype=False
        )
    record = json.loads(Path("one/config.json").read_text())
    [entry] = [entry for entry in record["portfolios"] if entry["role"] == "costs-free"]
    assert (entry["name"], entry["repeats"], entry["signal"]) == (
        "topk:costs-free", "topk", "momentum",
    )  # fmt: skip


@pytest.mark.usefixtures("no_report")
def test_a_strategy_that_asks_for_no_forecast_has_a_run_without_costs():
    body = BODY.replace("self.forecasts()", "self.position or self.buy(size=1)")
    Path("mine.py").write_text(body.format(init="pass", next="pass"))
    assert main(["mine.py", *SHORT, "--out", "x"]) == 0
    names = [entry["name"] for entry in json.loads(Path("x/config.json").read_text())["portfolios"]]
    assert names == ["mine", "benchmark", "mine:costs-free"]


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("options", "there"),
    [
        ([], True),
        (["--no-controls"], False),
        (["--costs", "none"], False),
        (["--costs", "none", "--lot-size", "10"], False),  # a lot is no cost
        (["--costs", "none", "--slippage-bps", "1"], True),
        (["--costs", "none", "--volume-cap-pct", "10"], True),
    ],
)
def test_it_is_left_out_where_there_is_nothing_to_leave_out(options, there):
    assert main([TOPK, *SHORT, *options, "--out", "x"]) == 0
    roles = [entry["role"] for entry in json.loads(Path("x/config.json").read_text())["portfolios"]]
    assert ("costs-free" in roles) is there


def test_lots_and_price_limits_stay():
    from sandbox.trading.costs import PRESETS

    free = PRESETS["cn"].model.without_costs()
    assert (free.lot_size, free.price_limit_pct) == (100.0, 9.5)
    assert free.volume_cap_pct is None
    costs = (free.commission_bps, free.min_commission, free.sell_tax_bps, free.slippage_bps)
    assert (*costs, free.impact) == (0, 0, 0, 0, 0)
