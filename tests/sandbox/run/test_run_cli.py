"""The main job from the command line, with a stand-in for the model."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from sandbox.run import job
from sandbox.run.__main__ import _COLUMNS, _depth, main, show
from tests.conftest import write_no_report

pytestmark = pytest.mark.usefixtures("fake_model", "own_folder")

TOPK, UNCERTAINTY = (str(job.ROOT / "strategies" / name) for name in ("topk.py", "uncertainty.py"))
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20", "--samples", "4"]
ALONE = ["--no-controls", "--no-benchmark"]
NEVER = "from sandbox import Strategy\nclass Never(Strategy):\n    def next(self): pass\n"
FIGURES = {"seen_until": None, "portfolios": {}, "verdicts": {}}


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """Runs and the forecast store go where the test is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_report(monkeypatch):
    """The report takes seconds, and has tests of its own."""

    def write(folder):
        (folder / "metrics.json").write_text(json.dumps(FIGURES))

    write_no_report(monkeypatch, write)


def test_a_run_ends_in_a_folder_with_everything(tmp_path, capsys, fake_model):
    out = tmp_path / "mine"
    assert main([TOPK, UNCERTAINTY, *SHORT, "--param", "k=2", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "config.json", "equity.csv", "trades.csv", "weights.csv", "metrics.json", "report.html",
        "fills.html", "tearsheets", "log.txt",
    }  # fmt: skip
    equity = pd.read_csv(out / "equity.csv")
    assert list(equity) == ["time", "strategy", "cash", "value", "gross_value"]
    times = equity.groupby("strategy")["time"].agg(list)
    naive = ("momentum", "reversal", "volatility", "random", "random-walk")
    controls = {f"{name}:{signal}" for name in ("topk", "uncertainty") for signal in naive}
    controls |= {"topk:costs-free", "uncertainty:costs-free"}
    assert set(times.index) == {"topk", "uncertainty", "benchmark"} | controls
    assert all(own == times["topk"] for own in times)
    assert times["topk"][0] == "2021-01-04T21:00:00Z"
    assert times["topk"][-1].startswith("2021-02-26")

    record = json.loads((out / "config.json").read_text())
    roles = {portfolio["name"]: portfolio for portfolio in record["portfolios"]}
    assert roles["topk"]["params"]["k"] == 2
    assert roles["topk:random"]["repeats"] == "topk"
    assert roles["benchmark"]["signal"] is None
    assert record["costs"]["preset"] == "us"
    assert record["model"]["fingerprint"] == fake_model.fingerprint
    assert len(record["data"]["hash"]) == 64
    assert set(json.loads((out / "metrics.json").read_text())["portfolios"]) == set(times.index)

    shown = capsys.readouterr().out
    assert "topk:momentum" in shown
    assert shown.index("\ntopk:costs-free") < shown.index("\nuncertainty ")  # below its strategy
    assert "of topk, which made " in shown
    assert "the same run without any costs, which invests it, made " in shown
    assert "Ten giants" in shown
    assert f"Report: {out}/report.html" in shown


@pytest.mark.usefixtures("no_report")
def test_a_second_run_with_other_portfolio_rules_computes_nothing(tmp_path):
    options = [TOPK, *SHORT, *ALONE]
    assert main([*options, "--out", "one"]) == 0
    assert main([*options, "--param", "k=2", "--cash", "5e4", "--out", "two"]) == 0
    one, two = ((tmp_path / name / "log.txt").read_text() for name in ("one", "two"))
    assert "80 forecasts computed, 0 taken from the store" in one  # 8 weeks of ten symbols
    assert "0 forecasts computed, 80 taken from the store" in two
    assert main([*options, "--store", "none", "--out", "three"]) == 0
    assert "80 forecasts computed" in (tmp_path / "three" / "log.txt").read_text()


@pytest.mark.usefixtures("no_report")
def test_the_same_run_writes_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        assert main([TOPK, *SHORT, "--out", name]) == 0
    for table in ("equity.csv", "trades.csv", "weights.csv", "config.json"):
        one, two = ((tmp_path / name / table).read_bytes() for name in ("one", "two"))
        assert one == two, table


@pytest.mark.usefixtures("no_report")
def test_a_run_is_repeated_from_its_own_record(tmp_path):
    assert main([TOPK, *SHORT, *ALONE, "--param", "k=2", "--seed", "5", "--out", "one"]) == 0
    assert main(["--config", "one/config.json", "--out", "two"]) == 0
    for table in ("equity.csv", "trades.csv", "config.json"):
        assert (tmp_path / "one" / table).read_bytes() == (tmp_path / "two" / table).read_bytes()


@pytest.mark.usefixtures("no_report")
def test_a_later_end_does_not_change_what_was_decided_before(tmp_path):
    longer = [*SHORT, "--end", "2021-04-30"]
    for name, options in (("one", SHORT), ("two", longer)):
        assert main([TOPK, *options, "--out", name]) == 0
    one, two = (pd.read_csv(tmp_path / name / "trades.csv") for name in ("one", "two"))
    for name in ("topk", "topk:random-walk", "benchmark"):
        early, all_ = one[one["strategy"] == name], two[two["strategy"] == name]
        assert len(early)
        pd.testing.assert_frame_equal(
            early.reset_index(drop=True), all_.iloc[: len(early)].reset_index(drop=True)
        )


@pytest.mark.usefixtures("no_report")
def test_the_philippine_sample_runs_to_its_own_end_at_its_own_costs(tmp_path):
    options = ["--data", "sample:ph:ALI,BDO,SM", "--start", "2021-11-02", "--lookback", "20"]
    assert main([TOPK, *options, "--impact", "0", "--out", "ph"]) == 0
    record = json.loads((tmp_path / "ph" / "config.json").read_text())
    assert record["window"]["last_bar"].startswith("2021-12-15")
    assert (record["costs"]["preset"], record["costs"]["sell_tax_bps"]) == ("ph", 60.0)
    assert record["costs"]["impact"] == 0


@pytest.mark.usefixtures("no_report")
def test_the_demo_preset_reaches_strategies_that_have_its_parameters(tmp_path):
    short = SHORT[:4]
    assert main([TOPK, UNCERTAINTY, *short, *ALONE, "--preset", "kronos-demo", "--param",
                 "topk.k=4", "--out", "demo"]) == 0  # fmt: skip
    record = json.loads((tmp_path / "demo" / "config.json").read_text())
    topk, uncertainty = record["portfolios"]
    params = topk["params"]
    assert (params["k"], params["n_drop"], params["hold_thresh"]) == (4, 5, 5)
    assert (params["score"], params["rebalance"]) == ("mean", "bar")
    assert uncertainty["params"]["rebalance"] == "bar"
    assert (record["config"]["horizon"], record["config"]["samples"]) == (10, 5)
    assert (record["costs"]["min_commission"], record["costs"]["slippage_bps"]) == (5.0, 0.0)


@pytest.mark.usefixtures("no_report")
def test_a_naive_signal_asks_no_model(tmp_path, monkeypatch):
    import kronos

    monkeypatch.setattr(kronos, "load", lambda _: pytest.fail("a model was loaded"))
    assert main([TOPK, *SHORT, "--signal", "momentum", "--out", "naive"]) == 0
    record = json.loads((tmp_path / "naive" / "config.json").read_text())
    assert record["model"] is None
    names = [portfolio["name"] for portfolio in record["portfolios"]]
    assert "topk:momentum" not in names
    assert "topk:reversal" in names


@pytest.mark.usefixtures("no_report")
def test_a_strategy_that_asks_for_no_forecast_has_no_controls(tmp_path):
    (tmp_path / "never.py").write_text(NEVER)
    assert main(["never.py", TOPK, *SHORT, "--benchmark", "XOM", "--out", "x"]) == 0
    record = json.loads((tmp_path / "x" / "config.json").read_text())
    names = [portfolio["name"] for portfolio in record["portfolios"]]
    assert [name for name in names if name.startswith("never")] == ["never"]
    assert "topk:random" in names
    trades = pd.read_csv(tmp_path / "x" / "trades.csv")
    assert set(trades.loc[trades["strategy"] == "benchmark", "symbol"]) == {"XOM"}


@pytest.mark.usefixtures("no_report")
def test_two_files_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "topk.py").write_text(NEVER)
    assert main([TOPK, "topk.py", *SHORT, *ALONE, "--out", "x"]) == 0
    equity = pd.read_csv(tmp_path / "x" / "equity.csv")
    assert set(equity["strategy"]) == {"topk", "topk-2"}


@pytest.mark.usefixtures("no_report")
def test_a_model_that_may_have_seen_the_candles_says_so(capsys, fake_model):
    fake_model.seen_until = pd.Timestamp("2024-02-01").date()
    assert main([TOPK, *SHORT, *ALONE]) == 0
    assert "may have seen these very candles" in capsys.readouterr().out
    fake_model.seen_until = pd.Timestamp("2021-02-01").date()
    assert main([TOPK, *SHORT, *ALONE]) == 0
    assert "may have seen these candles up to then: figures are split" in capsys.readouterr().out


@pytest.mark.usefixtures("no_report")
def test_orders_that_were_refused_are_told_with_the_reasons_there_are(capsys, tmp_path):
    (tmp_path / "short.py").write_text(NEVER.replace("pass", "self.sell(size=1)"))
    assert main(["short.py", *SHORT, *ALONE]) == 0
    told = capsys.readouterr().out
    assert (
        "short refused: too little cash, less than a lot, or a sale of what it did not hold" in told
    )


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("cash", "told"), [("1e11", True), ("1e5", False)])
def test_orders_that_the_volume_cap_spreads_over_many_bars_are_told(capsys, cash, told):
    assert main([TOPK, *SHORT, *ALONE, "--signal", "momentum", "--cash", cash]) == 0
    note = "a fill is at most 10 % of a bar's volume. What it wanted took many bars, or never came."
    assert (note in capsys.readouterr().out) is told


def test_the_table_shows_the_judged_days_first_and_no_figure_is_cut_at_80_columns():
    figures = dict.fromkeys([key for _, key, _ in _COLUMNS], 12.5)
    names = ("a-strategy-of-a-long-name", "a-strategy-of-a-long-name:random-walk")
    portfolios = {
        name: {"role": role, "whole": figures, "unseen": figures | {"sharpe": 3.25}}
        for name, role in zip(names, ("strategy", "control"), strict=True)
    }
    metrics = {"seen_until": "2018-12-31", "portfolios": portfolios, "verdicts": {}}
    run = job.Finished(folder=Path("x"), name="x", title="x on y", metrics=metrics, notes=())
    text = io.StringIO()
    show(run, Console(file=text, width=80))
    told = text.getvalue()
    assert told.startswith("x on y\n")
    unseen, whole = told.index("After 2018-12-31, unseen"), told.index("Whole window, maybe seen")
    assert unseen < told.index("3.25") < whole < told.rindex("12.50")
    for heading, _, _ in _COLUMNS:
        assert told.count(f" {heading}") == 2
    assert "\N{HORIZONTAL ELLIPSIS}" not in told


@pytest.mark.parametrize(("pct", "shown"), [(-0.04, "0.0 %"), (-0.06, "-0.1 %"), (0.0, "0.0 %")])
def test_a_small_drawdown_is_no_minus_nothing(pct, shown):
    assert _depth(pct) == shown


def test_a_report_that_fails_leaves_no_run_folder(tmp_path, capsys, monkeypatch):
    def broken(_):
        raise OSError("disk full")

    write_no_report(monkeypatch, broken)
    assert main([TOPK, *SHORT, *ALONE, "--out", "runs/x"]) == 1
    assert "OSError: disk full" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.usefixtures("no_report")
def test_a_symbol_that_is_halted_across_the_end_has_not_ended(tmp_path, market):
    frames = market("AB", bars=40)
    frames["B"] = frames["B"].drop(frames["B"].index[20:30])
    for symbol, frame in frames.items():
        frame.to_csv(tmp_path / f"{symbol}.csv", index_label="time")
    halted, back = (f"{frames['A'].index[nth]:%Y-%m-%d}" for nth in (25, 35))
    options = [str(job.ROOT / "strategies" / "benchmark.py"), "--data", "csv:*.csv", *ALONE,
               "--start", "2023-01-09", "--lookback", "3", "--signal", "momentum"]  # fmt: skip
    assert main([*options, "--end", halted, "--out", "one"]) == 0
    assert main([*options, "--end", back, "--out", "two"]) == 0
    one, two = (pd.read_csv(tmp_path / name / "trades.csv") for name in ("one", "two"))
    assert set(one["symbol"]) == {"A", "B"}
    assert set(one["side"]) == {"buy"}
    pd.testing.assert_frame_equal(one, two)
