"""Calibrated forecasts are scored beside the raw ones that they come from."""

import json
from pathlib import Path

import pandas as pd
import pytest
from skill_cases import error_of, record_of

from sandbox.skill.__main__ import main
from tests.sandbox.skill.test_skill_tuning import BARS, OPTIONS, quick  # noqa: F401

COLD = [*OPTIONS, "--temperature", "0.4", "--calibrate", "--out", "out"]


def held(record, name):
    return record["spans"][record["judged"]]["figures"][name]["3"]["inside"]["90"]


def test_both_are_scored_on_the_same_cells_and_the_calibrated_bands_hold():
    assert BARS == 260
    assert main(COLD) == 0
    record = record_of()
    names = [own["name"] for own in record["sources"] if own["kind"] == "model"]
    assert names == ["bundled", "bundled calibrated"]
    assert record["settings"]["bundled calibrated"]["calibrated"] is True
    assert "calibrated" not in record["settings"]["bundled"]
    scores = pd.read_parquet("out/scores.parquet")
    cells = {name: own[["symbol", "asof", "horizon"]] for name, own in scores.groupby("source")}
    first, second = (cells[name].reset_index(drop=True) for name in names)
    pd.testing.assert_frame_equal(first, second)
    assert held(record, "bundled") < 0.6
    assert held(record, "bundled calibrated") > held(record, "bundled") + 0.1
    assert any("are raw: to calibrate one takes" in note for note in record["notes"])
    assert list(record["verdicts"]) == names
    assert [thing["name"] for thing in record["tries"]["things"]] == names


def test_the_signal_for_qlib_is_of_the_calibrated_one():
    assert main([*COLD, "--to-qlib", "signal.csv"]) == 0
    both = {}
    for name in ("signal.csv", "raw.csv"):
        if name == "raw.csv":
            assert main([*COLD[:-3], "--out", "raw", "--to-qlib", name]) == 0
        both[name] = pd.read_csv(name)
    mine, raw = both.values()
    assert len(mine) == len(raw)
    assert (mine["score"] != raw["score"]).any()


def test_what_is_tuned_is_chosen_raw_and_shown_calibrated_besides():
    tuned = ["--tune", "temperature=0.4,1", "--tune-until", "2023-08-31"]
    assert main([*COLD, *tuned]) == 0
    record = record_of()
    chosen = "bundled temperature=1"
    names = [own["name"] for own in record["sources"] if own["kind"] == "model"]
    assert names == ["bundled", "bundled calibrated", chosen, f"{chosen} calibrated"]
    assert record["tuning"]["models"]["bundled"]["source"] == chosen
    assert main([*COLD[:-3], "--out", "plain", *tuned]) == 0
    plain = json.loads(Path("plain/skill.json").read_text())
    assert plain["tuning"] == record["tuning"]


def test_past_forecasts_need_a_store(capsys):
    line = error_of(capsys, *COLD, "--store", "none")
    assert line == "error: --calibrate: it takes a --store, where past forecasts are kept"


@pytest.mark.parametrize("every", ["1", "7"])
def test_which_dates_are_asked_for_changes_no_score(every):
    assert main(COLD) == 0
    assert main([*COLD[:-1], "other", "--every", every]) == 0
    both = [pd.read_parquet(f"{out}/scores.parquet") for out in ("out", "other")]
    keys = ["source", "symbol", "asof", "horizon"]
    mine, theirs = (own[own["source"].str.startswith("bundled")].set_index(keys) for own in both)
    shared = mine.index.intersection(theirs.index)
    assert len(shared) > 100
    pd.testing.assert_series_equal(mine.loc[shared, "crps"], theirs.loc[shared, "crps"])
