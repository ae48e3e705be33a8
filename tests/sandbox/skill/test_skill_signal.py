"""`--to-qlib`: the command from its options to the file that Qlib ranks by."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from feeds import load, times_ns
from feeds.members import were_members
from kronos.prepare import session_dates
from sandbox.config import RunConfig
from sandbox.run.prepare import prepare
from sandbox.skill import job
from sandbox.skill.__main__ import main
from sandbox.skill.to_qlib import signal_frame
from strategies.topk import SCORES, TopK
from tests.conftest import make_frame
from tests.qlib_directory import walk_table, write_directory
from tests.sandbox.skill.skill_cases import error_of, without_slow_parts, write_candles

TOPK = str(Path(__file__).resolve().parents[3] / "strategies" / "topk.py")
SAMPLING = ["--lookback", "20", "--horizon", "3", "--samples", "4"]
DATA = ["--data", "sample:AAPL,NVDA,JPM", "--signal", "none", *SAMPLING]
LATE = [*DATA, "--start", "2024-12-17", "--end", "2024-12-31"]
SIGNAL = ["--to-qlib", "signal.parquet", "--out", "out"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    without_slow_parts(monkeypatch)


def ranked_by_topk(data, start, **more):
    """What the strategy has to rank by in a run with the same options, at every bar of it."""
    config = RunConfig.of(
        strategies=(TOPK,), data=data, start=start, lookback=20, horizon=3, samples=4,
        params={"rebalance": "bar"}, controls=False, with_benchmark=False, store="none", **more,
    )  # fmt: skip
    run = prepare(config)
    book, score = run.books(lambda *_: None)["kronos"], SCORES[TopK.params.score]
    rows = [
        (symbol, asof, score(forecast))
        for symbol, frame in run.candles.frames.items()
        for asof in frame.index
        if (forecast := book.at(symbol, asof)) is not None
    ]
    return signal_frame(pd.DataFrame(rows, columns=["symbol", "asof", "score"]), run.candles)


def read(path="signal.parquet"):
    return pd.read_parquet(path)


def at(symbol, day, path="signal.parquet"):
    """Whether there is a score."""
    return (pd.Timestamp(day), symbol) in read(path).index


def test_the_file_holds_what_topk_ranks_by_to_the_last_bar(capsys):
    """With the bundled model, and candles that end at the last asof."""
    assert main([*LATE, *SIGNAL]) == 0
    signal = read()
    wanted = ranked_by_topk(DATA[1], "2024-12-17")
    pd.testing.assert_frame_equal(signal, wanted, check_exact=True)
    days = signal.index.get_level_values("datetime").unique()
    assert (f"{days[0]:%Y-%m-%d}", f"{days[-1]:%Y-%m-%d}") == ("2024-12-17", "2024-12-31")
    assert len(signal) == 3 * len(days) and signal["score"].nunique() == len(signal)
    printed = capsys.readouterr().out
    assert (
        f"Signal for Qlib: signal.parquet, {len(signal)} scores of 3 symbols, 2024-12-17 to "
        "2024-12-31" in printed
    )
    scored = pd.read_parquet("out/scores.parquet")
    assert scored["asof"].max() < pd.Timestamp("2024-12-31", tz="UTC")


@pytest.mark.usefixtures("fake_model")
def test_a_file_is_csv_where_it_is_named_so_and_takes_the_place_of_an_older_one(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "signal.csv").write_text("old")
    assert main([*LATE, "--to-qlib", "new/signal.csv", "--out", "out"]) == 0
    assert main([*LATE, *SIGNAL]) == 0
    text = pd.read_csv("new/signal.csv", index_col=[0, 1], parse_dates=["datetime"])
    pd.testing.assert_frame_equal(text, read(), check_index_type=False)


@pytest.mark.usefixtures("fake_model")
def test_it_has_each_nth_bar_time_and_is_the_same_in_pieces(monkeypatch):
    third = [*DATA, "--start", "2024-12-02", "--end", "2024-12-31", "--every", "5"]
    assert main([*third, *SIGNAL]) == 0
    whole = read()
    days = whole.index.get_level_values("datetime").unique()
    assert [f"{day:%d}" for day in days] == ["02", "09", "16", "23", "31"]
    monkeypatch.setattr(job, "PIECE_BYTES", 1_000)
    assert main([*third, "--store", "none", "--to-qlib", "again.parquet", "--out", "out"]) == 0
    pd.testing.assert_frame_equal(whole, read("again.parquet"), check_exact=True)


@pytest.mark.usefixtures("fake_model")
def test_symbols_that_end_are_there_to_their_last_bar(tmp_path, market):
    """Nothing comes after it, so that it is in no table of scores."""
    frames = market(["LONG", "SHORT"], 80)
    frames["SHORT"] = frames["SHORT"].iloc[:60]
    spec = write_candles(tmp_path, frames)
    options = ["--data", spec, "--start", "2023-02-01", *SAMPLING]
    assert main([*options, "--signal", "none", *SIGNAL]) == 0
    assert len(read()) == 140 - 2 * 22  # January has 22 weekdays, and the lookback 20 bars
    for symbol, frame in frames.items():
        assert at(symbol, session_dates(times_ns(frame)[-1:])[0]), symbol


@pytest.mark.usefixtures("fake_model")
def test_symbols_of_qlib_are_there_while_they_are_members(tmp_path):
    days = pd.bdate_range("2020-01-01", periods=60)
    tables = {f"SH60000{number}": walk_table(days, number) for number in range(3)}
    pool = {"SH600000": [(f"{days[0]:%Y-%m-%d}", f"{days[-1]:%Y-%m-%d}")],
            "SH600001": [(f"{days[30]:%Y-%m-%d}", f"{days[40]:%Y-%m-%d}")]}  # fmt: skip
    folder = write_directory(tmp_path / "qlib", tables, {"pool": pool})
    spec = f"qlib:{folder}?instruments=pool&freq=day"
    assert main(["--data", spec, "--start", "2020-01-01", *SAMPLING, *SIGNAL]) == 0
    members = load(spec).members
    index = read().index
    assert set(index.get_level_values("instrument")) == {"SH600000", "SH600001"}
    own = index[index.get_level_values("instrument") == "SH600001"]
    assert list(own.get_level_values("datetime")) == list(days[30:41])
    closes_ns = times_ns(load(spec)["SH600001"])
    assert were_members(members, "SH600001", closes_ns).sum() == 11
    assert at("SH600000", days[-1])


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "mini", "small"], "a signal is of one model with one setting, and these are "
         "2 ('mini', 'small'): name one --model, and no --variant"),
        (["--variant", "temperature=0.5"], "these are 2 ('bundled', 'bundled temperature=0.5')"),
        (["--preset", "published"], "these are 3 ('mini', 'small', 'base')"),
        (["--to-qlib", "signal.pkl"], "--to-qlib signal.pkl: a Qlib signal is written as .parquet "
         "or .csv"),
        (["--to-qlib", "folder.csv"], "--to-qlib folder.csv: that is a folder, name a file"),
        (["--to-qlib", "file/x.csv"], "/file is not a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_anything_is_computed(
    options, words, capsys, tmp_path
):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    line = error_of(capsys, *LATE, *SIGNAL, *options)
    assert words in line
    assert {path.name for path in tmp_path.iterdir()} == {"folder.csv", "file"}


@pytest.mark.usefixtures("fake_model")
def test_a_place_that_is_lost_meanwhile_costs_the_signal_alone(capsys, tmp_path, monkeypatch):
    def lost(scores, candles, path):
        raise job.WindowError(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr("sandbox.skill.expected.write_signal", lost)
    line = error_of(capsys, *LATE, *SIGNAL, status=1)
    assert line.endswith("No space left on device; all else is in out")
    assert (tmp_path / "out" / "scores.parquet").is_file()


@pytest.mark.usefixtures("fake_model")
def test_nothing_to_score_is_no_signal_either(capsys, tmp_path):
    line = error_of(capsys, *DATA, "--start", "2024-12-31", *SIGNAL, status=1)
    assert "no outcome is known yet" in line
    assert not list(tmp_path.glob("signal*"))


@pytest.mark.usefixtures("fake_model")
def test_a_constant_series_has_scores(tmp_path):
    spec = write_candles(tmp_path, {"STILL": make_frame([(5.0,) * 4] * 60, "2023-01-02")})
    options = ["--data", spec, "--start", "2023-03-01", *SAMPLING]
    assert main([*options, *SIGNAL]) == 0
    assert read()["score"].abs().lt(0.1).all()
