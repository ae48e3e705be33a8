"""The main job from the command line, with a stand-in for the model."""

import json

import pandas as pd
import pytest

from sandbox import job
from sandbox.run import main

pytestmark = pytest.mark.usefixtures("fake_model")

TOPK = str(job.ROOT / "strategies" / "topk.py")
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20", "--samples", "2"]
NEVER = "from sandbox import Strategy\nclass Never(Strategy):\n    def next(self): pass\n"


@pytest.fixture
def no_report(monkeypatch):
    """The tear sheet takes seconds, and has tests of its own."""
    monkeypatch.setattr(job, "_write_report", lambda _: None)


def test_a_run_ends_in_a_folder_with_everything(tmp_path, capsys, fake_model):
    out = tmp_path / "mine"
    assert main([TOPK, *SHORT, "--param", "k=2", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "config.json", "equity.csv", "trades.csv", "metrics.json", "report.html", "log.txt",
    }  # fmt: skip
    equity = pd.read_csv(out / "equity.csv")
    assert list(equity) == ["time", "strategy", "cash", "value", "gross_value"]
    times = equity.groupby("strategy")["time"].agg(list)
    assert times["topk"] == times["benchmark"]
    assert times["topk"][0] == "2021-01-04T21:00:00Z"
    assert times["topk"][-1].startswith("2021-02-26")
    record = json.loads((out / "config.json").read_text())
    assert record["config"]["params"] == {"k": 2, "n_drop": 1}
    assert record["config"]["commission_bps"] == 5.0
    assert record["model"]["fingerprint"] == fake_model.fingerprint
    assert len(record["data"]["hash"]) == 64
    shown = capsys.readouterr().out
    assert "the benchmark after costs" in shown
    assert "Ten giants" in shown
    assert f"Report: {out}/report.html" in shown


@pytest.mark.usefixtures("no_report")
def test_the_same_run_writes_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        assert main([TOPK, *SHORT, "--out", str(tmp_path / name)]) == 0
    for table in ("equity.csv", "trades.csv", "metrics.json", "config.json"):
        one, two = ((tmp_path / name / table).read_bytes() for name in ("one", "two"))
        assert one == two, table


@pytest.mark.usefixtures("no_report")
def test_a_later_end_does_not_change_what_was_decided_before(tmp_path):
    longer = [*SHORT, "--end", "2021-04-30"]
    for name, options in (("one", SHORT), ("two", longer)):
        assert main([TOPK, *options, "--out", str(tmp_path / name)]) == 0
    one, two = (pd.read_csv(tmp_path / name / "trades.csv") for name in ("one", "two"))
    for name in ("topk", "benchmark"):
        early, all_ = one[one["strategy"] == name], two[two["strategy"] == name]
        pd.testing.assert_frame_equal(
            early.reset_index(drop=True), all_.iloc[: len(early)].reset_index(drop=True)
        )


@pytest.mark.usefixtures("no_report")
def test_the_philippine_sample_runs_to_its_own_end(tmp_path):
    options = ["--data", "sample:ph:ALI,BDO,SM", "--start", "2021-11-02", "--lookback", "20"]
    assert main([TOPK, *options, "--out", str(tmp_path / "ph")]) == 0
    record = json.loads((tmp_path / "ph" / "config.json").read_text())
    assert record["window"]["last_bar"].startswith("2021-12-15")
    assert record["config"]["commission_bps"] == 60.0


@pytest.mark.usefixtures("no_report")
def test_a_model_that_may_have_seen_the_candles_says_so(tmp_path, capsys, fake_model):
    fake_model.seen_until = pd.Timestamp("2024-02-01").date()
    assert main([TOPK, *SHORT, "--out", str(tmp_path / "x")]) == 0
    assert "may have seen these very candles" in capsys.readouterr().out


def test_a_report_that_fails_leaves_no_run_folder(tmp_path, capsys, monkeypatch):
    def broken(_):
        raise OSError("disk full")

    monkeypatch.setattr(job, "_write_report", broken)
    assert main([TOPK, *SHORT, "--out", str(tmp_path / "x")]) == 1
    assert "OSError: disk full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--lookback", "1"], 2, "--lookback 1: input should be greater than or equal to 2"),
        (["--param", "kk=3"], 2, "--param kk: TopK has no such parameter; did you mean 'k'?"),
        (["--lookback", "600"], 2, "--lookback 600: model fake sees 512 bars at most"),
        (["--start", "2030-01-01", "--end", "2031-01-01"], 1,
         "no candles to trade from 2030-01-01 to 2031-01-01: sample has 2015-01-02 to 2024-12-31, "
         "set --start and --end"),
        (["--start", "2015-01-05", "--end", "2015-01-30"], 1,
         "no symbol has 90 bars of history by 2015-01-30: set a smaller --lookback or a later "
         "--end"),
        (["--data", "smaple"], 1, "data spec 'smaple' is not known"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path, capsys, monkeypatch, options, status, message):
    monkeypatch.chdir(tmp_path)
    assert main([TOPK, *options]) == status
    *progress, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {message}")
    assert "Traceback" not in "".join(progress)


@pytest.mark.usefixtures("no_report")
def test_an_error_in_the_strategy_names_its_line(tmp_path, capsys):
    (tmp_path / "bad.py").write_text(NEVER.replace("pass", "1 / 0"))
    assert main([str(tmp_path / "bad.py"), *SHORT, "--out", str(tmp_path / "x")]) == 1
    assert "ZeroDivisionError: division by zero" in (error := capsys.readouterr().err)
    assert "bad.py:3); --debug shows more" in error


@pytest.mark.parametrize("options", [[], [TOPK, "--start", "soon"], [TOPK, "--what"]])
def test_a_wrong_command_line_is_usage(capsys, options):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert "usage: python -m sandbox.run" in capsys.readouterr().err
