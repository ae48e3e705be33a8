"""The command from its options to its folder, with a stand-in for the model."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sandbox.skill import job
from sandbox.skill.__main__ import main
from sandbox.skill.table import FILE, read_source
from tests.conftest import make_checkpoint, make_frame

SHORT = ["--start", "2021-01-04", "--end", "2021-06-30", "--lookback", "20", "--samples", "6",
         "--every", "5"]  # fmt: skip
SMALL = [*SHORT, "--horizon", "2", "--signal", "none", "--end", "2021-02-26"]  # 8 dates
OUT = ["--out", "out"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def quick(monkeypatch, fake_model):
    """Without GARCH and the confidence set, which take seconds, and without the page, which has
    tests of its own."""
    monkeypatch.setattr("sandbox.skill.garch.is_installed", lambda: False)
    for place in ("sandbox.skill.job", "sandbox.skill.evidence"):
        monkeypatch.setattr(f"{place}.has_confidence_sets", lambda: False)
    page = SimpleNamespace(finish=lambda what: None)
    monkeypatch.setattr(job, "report_process", lambda *_: contextlib.nullcontext(page))
    return fake_model


def record_of(folder="out"):
    from pathlib import Path

    return json.loads((Path(folder) / "skill.json").read_text(encoding="utf-8"))


def error_of(capsys, *options, status=2):
    assert main([*options]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


def tables_equal(a, b):
    return pq.read_table(f"{a}/{FILE}").equals(pq.read_table(f"{b}/{FILE}"))


@pytest.mark.usefixtures("fake_model")
def test_a_whole_folder_and_its_words(capsys, tmp_path, monkeypatch):
    """With everything that is installed, and the page."""
    monkeypatch.setattr("sandbox.skill.evidence.MCS_RESAMPLES", 50)
    assert main([*SHORT, "--data", "sample", "--model", "bundled"]) == 0
    folder = tmp_path / "runs" / "skill-bundled-sample"
    assert {path.name for path in folder.iterdir()} == {
        "scores.parquet",
        "skill.json",
        "skill.html",
    }
    record = record_of(folder)
    names = [source["name"] for source in record["sources"]]
    baselines = ["random-walk", "random-walk-no-drift", "block-bootstrap", "volatility-scaled"]
    signals = ["momentum", "reversal", "volatility", "random"]
    assert [n for n in names if n != "garch"] == ["bundled", *baselines, *signals]
    assert record["dates"] == 25 and record["cells"] == 250
    assert record["forecasts"] == {"computed": 250, "reused": 0}
    rows = pq.read_table(folder / FILE).num_rows
    assert rows == 250 * 5 * len(names)  # five bars ahead are known of all
    printed = capsys.readouterr().out
    assert record["verdicts"]["bundled"] in printed
    assert "Page: runs/skill-bundled-sample/skill.html" in printed
    page = (folder / "skill.html").read_text(encoding="utf-8")
    assert "Skill of bundled on sample, 10 symbols" in page
    assert not list(folder.parent.glob(".*"))


@pytest.mark.usefixtures("quick")
def test_a_second_time_nothing_is_computed(capsys):
    assert main([*SMALL, *OUT]) == 0
    assert main([*SMALL, "--out", "again"]) == 0
    assert record_of("again")["forecasts"] == {"computed": 0, "reused": 80}
    assert tables_equal("out", "again")
    assert "0 forecasts computed, 80 taken from the store" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_what_was_interrupted_goes_on(quick, monkeypatch):
    """Of two models the first is done when the second one fails."""
    real = quick.predictor()
    calls = []

    def sample_paths(*args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("the machine is gone")
        return real.sample_paths(*args, **kwargs)

    quick.predictor = lambda **_: SimpleNamespace(sample_paths=sample_paths)
    both = [*SMALL, "--variant", "temperature=0.5", *OUT]
    assert main(both) == 1
    quick.predictor = lambda **_: real
    assert main(both) == 0
    assert record_of()["forecasts"] == {"computed": 80, "reused": 80}


@pytest.mark.usefixtures("quick")
def test_without_a_store_it_goes_piece_by_piece_to_the_same_scores(monkeypatch):
    assert main([*SMALL, *OUT]) == 0
    monkeypatch.setattr(job, "PIECE_BYTES", 20_000)
    monkeypatch.setattr("sandbox.skill.cells.BATCH_BYTES", 50_000)
    assert main([*SMALL, "--store", "none", "--out", "pieces"]) == 0
    for source in ("bundled", "random-walk"):
        whole, pieces = (
            read_source(job.Path(folder) / FILE, source).sort_values(["asof", "symbol", "horizon"])
            for folder in ("out", "pieces")
        )
        pd.testing.assert_frame_equal(
            whole.reset_index(drop=True), pieces.reset_index(drop=True), check_exact=True
        )


@pytest.mark.usefixtures("quick")
def test_settings_are_compared_on_the_same_cells():
    """A variant with a longer lookback begins later, and so do all."""
    late = ["--data", "sample:AAPL,NVDA", "--start", "2015-01-01", "--end", "2015-06-30"]
    options = [
        *SMALL,
        *late,
        "--every",
        "1",
        "--variant",
        "lookback=40",
        "temperature=0.5,top_p=0.9",
    ]
    assert main([*options, *OUT]) == 0
    record = record_of()
    names = [s["name"] for s in record["sources"] if s["kind"] == "model"]
    assert names == ["bundled", "bundled lookback=40", "bundled temperature=0.5,top_p=0.9"]
    cells = [
        read_source(job.Path("out") / FILE, name)[["symbol", "asof", "horizon"]] for name in names
    ]
    assert cells[0].equals(cells[1]) and cells[0].equals(cells[2])
    assert record["settings"]["bundled lookback=40"]["lookback"] == 40
    assert "bundled lookback=40" in record["spans"]["whole"]["against"]["bundled"]
    first = pd.Timestamp(record["over_time"]["times"][0], unit="s")
    assert first.date().isoformat() == "2015-03-02"  # the fortieth session of the data


@pytest.mark.usefixtures("quick")
def test_the_preset_asks_the_published_models_after_their_data(monkeypatch, capsys):
    asked = []

    def find(name):
        asked.append(name)
        own = make_checkpoint()
        own.name, own.fingerprint = name, f"{len(asked):064d}"
        return own

    monkeypatch.setattr("kronos.find", find)
    options = ["--preset", "published", "--data", "sample:AAPL", "--samples", "2", "--every", "20",
               "--signal", "none", *OUT]  # fmt: skip
    assert main(options) == 0
    assert asked == ["mini", "small", "base"]
    record = record_of()
    assert record["spans"]["whole"]["first"] == "2024-07-01"
    assert record["config"]["models"] == ["mini", "small", "base"]
    assert "nothing is claimed, as there are 7 dates" in record["verdicts"]["base"]
    assert main([*options, "--model", "small"]) == 0  # what is said goes over it
    assert list(record_of()["models"]) == ["small"]
    assert "known is published" in error_of(capsys, "--preset", "publshed")


@pytest.mark.hub
def test_the_published_models_on_candles_that_they_have_not_seen():
    options = ["--data", "sample:AAPL", "--samples", "4", "--every", "5", "--end", "2024-12-31"]
    assert main(["--preset", "published", *options, *OUT]) == 0
    record = record_of()
    assert list(record["models"]) == ["mini", "small", "base"]
    assert record["judged"] == "unseen" and record["dates"] >= 20


@pytest.mark.usefixtures("quick")
def test_what_is_left_out_is_said(capsys):
    assert main([*SMALL, *OUT]) == 0
    printed = capsys.readouterr().out
    assert "Left out: the GARCH(1,1) baseline, as arch is not installed" in printed
    assert "Left out: the model confidence set, as arch is not installed" in printed
    assert len(record_of()["left_out"]) == 2


@pytest.mark.usefixtures("quick")
def test_one_symbol_is_scored_without_ranks():
    assert main([*SHORT, "--data", "sample:AAPL", *OUT]) == 0
    record = record_of()
    assert record["spans"][record["judged"]]["figures"]["bundled"]["2"]["rank_ic"]["mean"] is None
    assert "cannot be told from so few symbols" in record["verdicts"]["bundled"]


@pytest.mark.usefixtures("quick")
def test_a_constant_series_is_scored(tmp_path):
    still = make_frame([(5.0,) * 4] * 200, "2020-09-01")
    still.rename_axis("timestamp").reset_index().to_csv(tmp_path / "STILL.csv", index=False)
    assert main([*SMALL, "--data", f"csv:{tmp_path}/STILL.csv", *OUT]) == 0
    figures = record_of()["spans"]["whole"]["figures"]
    assert figures["random-walk"]["2"]["crps"] == 0
    assert figures["bundled"]["2"]["crps"] > 0


@pytest.mark.usefixtures("quick")
def test_a_horizon_longer_than_the_data_left():
    late = ["--start", "2024-12-02", "--end", "2024-12-31", "--every", "1"]
    assert main([*SHORT, *late, "--horizon", "40", "--signal", "none", *OUT]) == 0
    record = record_of()
    assert record["headline"] == 20
    assert any("No outcome is known later than 20 bars ahead" in note for note in record["notes"])
    assert any("is not known yet" in note for note in record["notes"])


@pytest.mark.usefixtures("quick")
def test_no_outcome_yet(capsys):
    line = error_of(capsys, *SMALL, "--start", "2024-12-31", "--end", "2024-12-31", status=1)
    assert "no outcome is known yet: the last bar is of 2024-12-31" in line
    assert not job.Path("runs").exists()


@pytest.mark.usefixtures("quick")
def test_models_of_different_contexts_share_the_shorter_one(monkeypatch, capsys):
    def find(name):
        own = make_checkpoint()
        own.name, own.max_context = name, {"mini": 2048, "small": 512}[name]
        return own

    monkeypatch.setattr("kronos.find", find)
    line = error_of(capsys, "--model", "mini", "small", "--lookback", "600")
    assert line == "error: --lookback 600: model small sees 512 bars at most"
    line = error_of(capsys, "--model", "mini", "small", "--variant", "lookback=600")
    assert line == "error: --lookback 600: model small sees 512 bars at most"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samples", "1"], "--samples 1: scores of a distribution need 2 or more"),
        (["--every", "0"], "--every 0: input should be greater than or equal to 1"),
        (["--model", "bundled", "bundled"], "--model bundled: it is given twice"),
        (["--signal", "momentun"], "a naive signal is one of momentum, reversal, volatility, "
         "random, or none; did you mean 'momentum'?"),
        (["--signal", "none", "random"], "--signal none: no other signal can be named beside it"),
        (["--variant", "temprature=1"], "'temprature' is no setting of a variant, there are "
         "lookback, samples, temperature"),
        (["--variant", "horizon=3"], "'horizon' is no setting of a variant"),
        (["--variant", "top_p=2"], "--variant 'top_p=2': input should be less than or equal to 1"),
        (["--variant", "lookback=x"], "lookback 'x' is not a whole number"),
        (["--variant", "samples=1"], "scores of a distribution need 2 samples or more"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(options, words, capsys):
    assert words in error_of(capsys, *options)


@pytest.mark.usefixtures("quick")
def test_too_short_a_history(capsys):
    early = ["--start", "2015-01-01", "--end", "2015-01-31"]
    line = error_of(capsys, *SMALL, *early, "--lookback", "90", status=1)
    assert "no symbol has 90 bars of history by 2015-01-" in line
    line = error_of(capsys, *SMALL, "--variant", "lookback=3000", "--model", "x", status=2)
    assert "sees 512 bars at most" in line


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_no_skill_is_not_replaced(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    line = error_of(capsys, *SMALL, "--out", "mine", status=1)
    assert "exists and is not a folder of sandbox.skill: choose another --out" in line
    assert (tmp_path / "mine" / "notes.txt").read_text() == "dear"


@pytest.mark.usefixtures("quick")
def test_a_folder_is_replaced_only_where_it_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "skill.json").write_text("an older one")
    assert main([*SMALL, "--data", "sample:AAPL", *OUT]) == 0
    assert record_of()["cells"] == 8
    for _ in range(2):
        assert main([*SMALL, "--data", "sample:AAPL"]) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "skill-bundled-sample-AAPL", "skill-bundled-sample-AAPL-2",
    }  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_naive_signals_beside_the_model_keep_their_expected_return():
    """Momentum's score is the mean step times the bars: its mean is that, whatever is drawn."""
    assert main([*SHORT, "--horizon", "2", "--signal", "momentum", *OUT]) == 0
    rows = read_source(job.Path("out") / FILE, "momentum")
    one = rows[(rows["symbol"] == "AAPL") & (rows["horizon"] == 2)].iloc[3]
    from feeds import load

    closes = load("sample:AAPL")["AAPL"]["close"].loc[: one["asof"]].iloc[-20:]
    assert one["mean"] == pytest.approx(2 * closes.pct_change().mean(), rel=1e-3)
    assert np.isnan(one["energy"])
