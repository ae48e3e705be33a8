"""What the skill command cannot judge, or not much: one clear line, or a meaning that it states."""

from __future__ import annotations

import pandas as pd
import pytest

from sandbox.skill.__main__ import main
from tests.conftest import make_frame
from tests.qlib_directory import walk_table, write_directory
from tests.sandbox.skill.skill_cases import (
    OUT,
    error_of,
    record_of,
    without_slow_parts,
    write_candles,
)

SMALL = ["--lookback", "20", "--horizon", "2", "--samples", "4", "--signal", "none"]

pytestmark = pytest.mark.usefixtures("fake_model")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    without_slow_parts(monkeypatch)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2024-12-31", "2024-12-31", "no outcome is known yet: the last bar is of 2024-12-31, and "
         "forecasts would begin at 2024-12-31; set an earlier --start"),
        ("2030-01-01", "2031-01-01", "no candles from 2030-01-01 to 2031-01-01: sample has "),
        ("2015-01-02", "2015-01-10", "no symbol has 20 bars of history by 2015-01-09: set a "),
    ],
)  # fmt: skip
def test_a_window_that_holds_nothing_to_score(capsys, tmp_path, start, end, words):
    line = error_of(capsys, *SMALL, "--start", start, "--end", end, status=1)
    assert words in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dates", "claimed"),
    [("2024-01-30", False), ("2024-01-31", True)],  # 19 and 20 sessions
)
def test_nothing_is_claimed_of_fewer_than_20_dates(dates, claimed):
    assert main([*SMALL, "--start", "2024-01-03", "--end", dates, *OUT]) == 0
    record = record_of()
    assert record["dates"] == 19 + claimed
    said = "bundled: nothing is claimed, as there are 19 dates and 20 are needed"
    assert record["verdicts"]["bundled"].startswith(said) is not claimed
    figures = record["spans"]["whole"]["figures"]["bundled"]["2"]
    assert (figures["rank_ic"]["t"] is not None) is claimed
    tests = record["spans"]["whole"]["against"]["bundled"]["random-walk"]["2"]
    assert (tests["crps"]["t"] is not None) is claimed


def test_one_symbol_has_no_ranks_in_words_and_figures():
    assert main([*SMALL, "--data", "sample:AAPL", "--start", "2024-09-02", *OUT]) == 0
    record = record_of()
    figures = record["spans"]["whole"]["figures"]["bundled"]["2"]
    assert figures["rank_ic"]["mean"] is None and figures["crps"] > 0
    assert "cannot be told from so few symbols" in record["verdicts"]["bundled"]


def test_a_constant_series_is_said_to_have_a_baseline_without_error(tmp_path):
    """The model's own error is above 0, and no per cent of the other's."""
    spec = write_candles(tmp_path, {"STILL": make_frame([(5.0,) * 4] * 90, "2023-01-02")})
    assert main([*SMALL, "--data", spec, "--start", "2023-02-01", *OUT]) == 0
    record = record_of()
    own = record["spans"]["whole"]["figures"]["bundled"]["2"]["crps"]
    against = record["spans"]["whole"]["against"]["bundled"]["random-walk-no-drift"]["2"]["crps"]
    assert against["skill_pct"] is None and against["lead"] == pytest.approx(-own)
    said = record["verdicts"]["bundled"]
    assert f"surely worse than random-walk's (CRPS {own:.2g} higher, t " in said
    assert "on both sides" not in said


def test_two_models_share_the_cells_of_the_shorter_context(monkeypatch, capsys):
    from tests.conftest import make_checkpoint

    def find(name):
        own = make_checkpoint()
        own.name, own.max_context = name, {"long": 2048, "short": 64}[name]
        return own

    monkeypatch.setattr("kronos.find", find)
    both = ["--model", "long", "short", "--start", "2024-11-01"]
    line = error_of(capsys, *SMALL, *both, "--lookback", "65")
    assert line == "error: --lookback 65: model short sees 64 bars at most"
    assert main([*SMALL, *both, "--lookback", "64", *OUT]) == 0
    record = record_of()
    assert [record["models"][name]["max_context"] for name in ("long", "short")] == [2048, 64]
    assert {own["lookback"] for own in record["settings"].values()} == {64}


def qlib_directory(folder):
    days = pd.bdate_range("2020-01-01", periods=60)
    pool = {"SH600000": [(f"{days[0]:%Y-%m-%d}", f"{days[-1]:%Y-%m-%d}")]}
    return write_directory(folder, {"SH600000": walk_table(days, 1)}, {"pool": pool})


@pytest.mark.parametrize(
    ("spoilt", "query", "words"),
    [
        ("calendars/day.txt", "instruments=pool", "it has no calendar (calendars/day.txt)"),
        ("", "instruments=csi300", "no instruments 'csi300'; it has pool"),
        ("", "instruments=pool&freq=1min", "no calendar of freq=1min; it has day"),
        ("features/sh600000/close.day.bin", "instruments=pool", "SH600000"),
    ],
)
def test_a_qlib_directory_that_cannot_be_read(tmp_path, capsys, spoilt, query, words):
    folder = qlib_directory(tmp_path / "qlib")
    if spoilt:
        (folder / spoilt).unlink()
    line = error_of(capsys, *SMALL, "--data", f"qlib:{folder}?{query}", status=1)
    assert words in line
    assert {path.name for path in tmp_path.iterdir()} == {"qlib"}
