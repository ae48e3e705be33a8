"""Pages made from run folders written by hand, the odd ones included."""

import base64
import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import reports.report
from reports import sheets
from reports.curves import report_charts
from reports.files import ReportError
from reports.folder import read_run
from reports.quant import sheet
from reports.report import main
from reports.report_view import command
from reports.sheets import sheet_files
from tests.reports.conftest import CASH, days, edit_csv, entry, plan, record, write_run

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "br", "hr", "path", "rect", "img", "link", "use", "input"}
FETCHES = {"link", "img", "iframe", "object", "embed", "image", "audio", "video"}
CREDIT = "https://www.tradingview.com/"  # what the chart library's licence wants linked


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], "", []
        self.scripts, self.policy = [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data


def for_page(page):
    """Only the room's own scripts may run, and nothing is fetched: names stay data."""
    data, *scripts = page.scripts
    assert json.loads(data)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts]
    allowed = " ".join(f"'sha256-{each.decode()}'" for each in hashes)
    assert page.policy.startswith(f"default-src 'none'; script-src {allowed}; style-src")
    assert not FETCHES & set(page.tags)


def page_of(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def data_of(page):
    """The JSON block of a page."""
    [block] = [script for script in page.scripts if script.startswith("{")]
    return json.loads(block)


CHARTS = ["equity", "drawdown", "exposure", "turnover", "rolling-sharpe", "rolling-beta"]


@pytest.fixture
def no_sheets(monkeypatch):
    """Leave out the tear sheets, which take seconds."""
    monkeypatch.setattr(reports.report, "drawing", lambda run: contextlib.nullcontext())


def test_nothing_spills_and_every_page_opens_without_a_network(tmp_path):
    names = ["<script>alert(1)</script>", "../$x$ {{v}}"]
    portfolios = plan(names)
    folder = write_run(tmp_path / "run", portfolios, days(80), notes=["Beware <of> this & that."])
    run = [sys.executable, "-m", "reports.report", str(folder)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder / 'report.html'}\n"
    made = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))
    assert made == [
        "fills.html", "report.html", "tearsheets/script_alert_1_script.html", "tearsheets/x_v.html"
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    page = page_of(folder)
    assert names[0] in page.text
    assert names[1] in page.text
    assert "Beware <of> this & that." in page.text
    assert not FETCHES & set(page.tags)
    assert page.links == [*made[2:], "fills.html", CREDIT]
    for file in made[:2]:
        for_page(Page((folder / file).read_text(encoding="utf-8")))
    for file in made[2:]:
        text = (folder / file).read_text(encoding="utf-8")
        assert not re.search(r"<(link|script|img|iframe)\b", text)
        assert not re.search(r"url\(\s*['\"]?http|@import", text)
        assert "Key Performance Metrics" in text
        assert text.count("<svg") >= 12
        assert 'href="../report.html"' in text


def test_the_page_is_light_and_holds_what_metrics_json_holds(run_folder, no_sheets):
    folder = run_folder(["topk", "uncertainty"], bars=600)
    assert main([str(folder)]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    page = page_of(folder)
    text = page.text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")
    assert (folder / "report.html").stat().st_size < 600_000
    for name in ("topk", "uncertainty"):
        assert metrics["verdicts"][name]["sentence"] in text
        assert f"{metrics['portfolios'][name]['whole']['sharpe']:.2f}" in text
        for against in metrics["verdicts"][name]["against"].values():
            assert f"{against['low']:+.2f} to {against['high']:+.2f}" in text
    assert page.tags.count("figure") == len(CHARTS)
    assert [chart["id"] for chart in data_of(page)["charts"]] == CHARTS
    assert "10 naive controls" in text
    assert "us" in text and "commission bps" in text


def test_the_same_run_makes_the_same_files(run_folder, no_sheets):
    folder = run_folder(bars=60)
    made = []
    for _ in range(2):
        assert main([str(folder)]) == 0
        made.append([(folder / file).read_bytes() for file in ("metrics.json", "report.html")])
    assert made[0] == made[1]


def test_metrics_json_has_the_names_that_its_readers_use(run_folder, no_sheets):
    folder = run_folder()
    assert main([str(folder)]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["benchmark"] == "benchmark"
    assert metrics["bars_per_year"] == 252
    assert metrics["seen_until"] == "2018-12-31"
    assert list(metrics["portfolios"]) == [p["name"] for p in plan(["topk"])]
    control = metrics["portfolios"]["topk:momentum"]
    assert (control["role"], control["signal"], control["repeats"]) == (
        "control",
        "momentum",
        "topk",
    )
    assert (control["seen"], control["unseen"]) == (None, None)
    assert set(control["whole"]) == {
        "total_return_pct", "gross_return_pct", "cagr_pct", "gross_cagr_pct", "sharpe",
        "gross_sharpe", "sortino", "calmar", "max_drawdown_pct", "volatility_pct",
        "turnover_pct_per_year", "hit_rate_pct", "exposure_pct", "cost_drag_pct_per_year",
        "commission_drag_pct_per_year", "slippage_drag_pct_per_year", "impact_drag_pct_per_year",
        "costs_paid", "commission_paid", "slippage_paid", "impact_paid", "fills", "final_value",
    }  # fmt: skip
    assert set(metrics["verdicts"]["topk"]["against"]["benchmark"]) == {
        "sharpe_difference", "low", "high", "share_above_zero"
    }  # fmt: skip


def test_what_the_model_has_seen_is_said_first_and_the_table_split(run_folder, no_sheets):
    model = {"name": "mini", "fingerprint": "ab", "seen_until": "2020-08-14", "max_context": 512,
             "note": "Model: mini was trained."}  # fmt: skip
    folder = run_folder(model=model, notes=["Model: mini was trained.", "Data: survivors."])
    assert main([str(folder)]) == 0
    text = page_of(folder).text
    warned = text.index("Model mini was trained on data to 2020-08-14 and may have seen the days")
    assert warned < text.index("Data: survivors.") < text.index("Kronos did not")
    assert "Model: mini was trained." not in text  # said once
    assert text.index("Unseen: after 2020-08-14") < text.index("Maybe seen: to 2020-08-14")
    assert "Shaded: the model may have seen these days." in text
    assert 'class="seen"' in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bars": 1}, "1 day of trading: nothing is brought to a year"),
        ({"bars": 3}, "3 days of trading: nothing is brought to a year"),
        ({"benchmark": False}, "No benchmark: nothing here tells skill from a rising market."),
        ({"controls": False}, "No naive controls: nothing here tells the model from the strategy"),
        ({"model": None}, "signal kronos, no model"),
        (
            {"model": {"name": "own", "fingerprint": "ab", "seen_until": None}},
            "How far the training data of model own run is not known",
        ),
        (
            {"model": {"name": "mini", "fingerprint": "ab", "seen_until": "2024-06-30"}},
            "no figure here is out of sample.",
        ),
    ],
    ids=["one bar", "three bars", "no benchmark", "no controls", "no model", "unknown", "all seen"],
)
def test_odd_runs_have_a_page_that_says_what_is_missing(run_folder, capsys, options, sentence):
    folder = run_folder(**({"bars": 15} | options))
    assert main([str(folder), "--debug"]) == 0
    page = page_of(folder)
    assert sentence in page.text
    assert "nan" not in page.text.lower().split()
    sheet_text = (folder / "tearsheets" / "topk.html").read_text()
    assert re.search(r"No tear sheet of topk: \d+ days? of 20 that are needed", sheet_text)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{folder / 'report.html'}\n", "")


def test_a_strategy_that_never_traded_has_a_page(run_folder):
    folder = run_folder(bars=60)

    def still(equity):
        ours = equity["strategy"] == "topk"
        equity.loc[ours, ["value", "cash", "gross_value"]] = CASH
        return equity

    edit_csv(folder / "equity.csv", still)
    edit_csv(folder / "trades.csv", lambda trades: trades[trades["strategy"] != "topk"])
    assert main([str(folder), "--debug"]) == 0
    assert "topk never traded: it has no ratios and no tear sheet." in page_of(folder).text
    assert "its value never moved" in (folder / "tearsheets" / "topk.html").read_text()


def test_a_sheet_against_a_benchmark_that_stands_still_is_drawn_without_it():
    index = pd.bdate_range("2023-01-02", periods=60)
    returns = pd.DataFrame({"topk": [0.0, 0.01, -0.01] * 20, "benchmark": 0.0}, index)
    assert "Key Performance Metrics" in sheet(returns, 252, ["topk", "benchmark"])


def test_a_drawdown_that_begins_on_the_first_day_is_on_the_sheet():
    index = pd.bdate_range("2023-01-02", periods=60)
    returns = pd.DataFrame({"topk": -0.001}, index)
    returns.iloc[0] = -0.10
    rows = re.sub(r"\s*(</?t[drh])[^>]*>\s*", r"\1>", sheet(returns, 252, ["topk"]))
    worst = 100 * (0.90 * 0.999**59 - 1)
    shown = re.search(r"<td>Max Drawdown</td><td>([-\d.]+)%", rows)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(worst, abs=0.006)


def test_a_benchmark_that_lacks_days_is_carried_forward_never_back(run_folder, no_sheets):
    folder = run_folder(bars=40, controls=False)
    lacking = [0, 1, 10, 11]  # the first two, and two in the middle

    def drop(equity):
        rows = equity.index[equity["strategy"] == "benchmark"]
        return equity.drop(rows[lacking])

    edit_csv(folder / "equity.csv", drop)
    assert main([str(folder), "--debug"]) == 0
    from reports.folder import read_run

    run = read_run(folder)
    value = run.value["benchmark"]
    assert list(value.iloc[:2]) == [CASH, CASH]
    assert list(value.iloc[10:12]) == [value.iloc[9]] * 2
    assert "benchmark has no value at 4 of the 40 bar times" in page_of(folder).text


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("equity.csv", lambda f: f.iloc[:-1], "topk:random-walk and topk do not share their times"),
        ("equity.csv", lambda f: f[f["strategy"] != "topk"], "equity.csv has no row of topk"),
        ("equity.csv", lambda f: f.iloc[::-1], "the times of topk in equity.csv do not ascend"),
        ("equity.csv", lambda f: f.drop(columns="cash"), "equity.csv: lacks 'cash'"),
        (
            "equity.csv",
            lambda f: f.assign(value="x"),
            "equity.csv: could not convert string to float",
        ),
        ("equity.csv", lambda f: f.assign(value="inf"), "value of topk at 2020-01-02 21:00 is not"),
        ("trades.csv", lambda f: f.assign(time="soon"), "trades.csv: "),
    ],
)
def test_a_broken_table_is_told_in_one_line(run_folder, capsys, file, change, message):
    folder = run_folder(bars=30)
    edit_csv(folder / file, change)
    assert main([str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder}")
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_a_record_that_lacks_a_part_is_told(run_folder, capsys):
    folder = run_folder(bars=30)
    record = json.loads((folder / "config.json").read_text())
    del record["data"]
    (folder / "config.json").write_text(json.dumps(record))
    assert main([str(folder)]) == 1
    assert capsys.readouterr().err == (
        f"error: {folder} is not a run folder: config.json: lacks 'data'\n"
    )


def test_what_is_no_run_folder_is_told(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert f"error: {tmp_path} is not a run folder: config.json: " in capsys.readouterr().err
    portfolios = [entry("benchmark", "benchmark")]
    (tmp_path / "config.json").write_text(json.dumps(record(portfolios, days(3))))
    assert main([str(tmp_path)]) == 1
    assert "names no portfolio with the role strategy" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_told(run_folder, no_sheets, capsys):
    folder = run_folder(bars=30)
    (folder / "report.html").mkdir()
    assert main([str(folder)]) == 1
    assert f"error: {folder / 'report.html'} cannot be written: " in capsys.readouterr().err
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []


def test_file_names_are_safe_and_none_is_taken_twice():
    names = ["topk", "TOPK", "../x", "x", "", "...", "a" * 300, "b:momentum", "ü/ß"]
    files = sheet_files(names)
    assert list(files) == names
    assert len({file.lower() for file in files.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,90}\.html", file) for file in files.values())
    assert files["topk"] == "topk.html"


def test_the_command_repeats_the_settings():
    config = {
        "strategies": ["strategies/topk.py", "my file.py"],
        "params": {"k": 3, "topk.score": "mean"},
        "preset": None, "data": "csv:*.csv", "repair": True, "top_p": 0.9, "controls": False,
        "with_benchmark": True,
    }  # fmt: skip
    assert command(config) == (
        "python -m sandbox.run strategies/topk.py 'my file.py' --data 'csv:*.csv' --repair "
        "--top-p 0.9 --no-controls --param k=3 topk.score=mean"
    )


def test_a_full_disk_under_a_sheet_is_told_without_its_number(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sheets, "_draw", full)
    run = read_run(write_run(tmp_path / "x", plan(["topk"]), days(60)))
    told = r"^the tear sheet of topk could not be drawn: No space left on device$"
    with pytest.raises(ReportError, match=told), sheets.drawing(run):
        pass


def test_a_sheet_s_process_that_is_killed_names_the_sheet(tmp_path, monkeypatch):
    def killed(task):
        if task.name == "second":
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(sheets, "_draw", killed)
    run = read_run(write_run(tmp_path / "x", plan(["first", "second", "third"]), days(60)))
    told = r"^the tear sheet of second could not be drawn: the process that drew it was killed by S"
    with pytest.raises(ReportError, match=told), sheets.drawing(run):
        pass


def test_an_error_beside_the_sheets_does_not_wait_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "_draw", lambda _: time.sleep(60))
    run = read_run(write_run(tmp_path / "x", plan(["topk"]), days(60)))
    began = time.monotonic()
    with pytest.raises(ValueError, match="beside"), sheets.drawing(run):
        raise ValueError("beside")
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("hours", [1, 24])
def test_drawdown_by_bar_is_told_apart_from_that_by_day(tmp_path, hours):
    times = pd.date_range("2020-01-02", periods=60, freq=f"{hours}h", tz="UTC")
    folder = write_run(tmp_path / "x", plan(["topk"]), times)
    charts = report_charts(read_run(folder)).charts
    [drawdown] = [chart for chart in charts if chart.id == "drawdown"]
    assert ("the table has the last value of each day" in drawdown.explanation) is (hours == 1)
