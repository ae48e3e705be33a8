"""`--model walkforward:NAME`: each asof by the weights of the fold that tests it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import kronos
from feeds import bar_times
from sandbox.config import BackendOptions, ModelOptions, Sampling
from sandbox.errors import ConfigError, WindowError
from sandbox.forecast.folds import WalkForwardSource, find_walk_forward
from sandbox.forecast.sources import KronosSource
from sandbox.run.__main__ import main as run
from sandbox.run.job import ROOT
from tests.conftest import make_market, write_no_report
from tests.kronos.training.cases import save_tiny_checkpoint

SAMPLING = Sampling(lookback=10, horizon=2, samples=3)
TESTS = (("2023-02-01", "2023-02-20"), ("2023-02-20", "2023-03-10"))
NAME = "walkforward:two"


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """Two folds in runs/two, from a base that had seen all up to the first one's test part."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "two"
    for number in (1, 2):
        save_tiny_checkpoint(folder / "folds" / f"{number:02d}", seed=number)
    plan = {
        "base": {"seen_until": "2023-01-31"},
        "folds": [{"number": nth, "test": list(test)} for nth, test in enumerate(TESTS, start=1)],
    }
    (folder / "walk_forward.json").write_text(json.dumps(plan))
    return folder


@pytest.fixture(scope="module")
def frames():
    return make_market("AB", 52)


def asofs(frames, first="2023-02-01", last="2023-03-09"):
    return pd.DatetimeIndex([time for time in bar_times(frames) if first <= str(time)[:10] <= last])


def source_of(name, store="none"):
    return WalkForwardSource(
        find_walk_forward(name), ModelOptions(store=str(store)), BackendOptions(), None
    )


def fold_source(folder, number, store="none"):
    checkpoint = kronos.find(str(folder / "folds" / f"{number:02d}"))
    return KronosSource.of(checkpoint, ModelOptions(store=str(store)), BackendOptions(), None)


def test_forecasts_are_those_of_the_folds_own_folder(walk, frames):
    times = asofs(frames)
    stitched = source_of(NAME).book(frames, SAMPLING, times)
    assert len(stitched) == stitched.computed == 2 * len(times)
    differ = 0
    for number, (start, end) in enumerate(TESTS, start=1):
        inside = times[
            (times >= pd.Timestamp(start, tz="UTC")) & (times < pd.Timestamp(end, tz="UTC"))
        ]
        own = fold_source(walk, number).book(frames, SAMPLING, times)
        for symbol in frames:
            for asof in times:
                ours, theirs = (book.at(symbol, asof).paths for book in (stitched, own))
                if asof in inside:
                    np.testing.assert_array_equal(ours, theirs)
                    shown = stitched.as_of(asof.value).of(symbol)
                    np.testing.assert_array_equal(shown.paths, theirs)
                else:
                    differ += not np.array_equal(ours, theirs)
    assert differ > len(times)  # the folds' weights do differ


def test_the_store_is_that_of_the_folds_own_folders(walk, frames, tmp_path):
    times, store = asofs(frames), tmp_path / "kept"
    for number in (1, 2):
        fold_source(walk, number, store).book(frames, SAMPLING, times)
    book = source_of(NAME, store).book(frames, SAMPLING, times)
    assert (book.computed, book.reused) == (0, 2 * len(times))
    filled = source_of(NAME, store).fill_store(frames, SAMPLING, times)
    assert (filled.computed, filled.reused) == (0, 2 * len(times))


@pytest.mark.parametrize(
    ("first", "last", "named"),
    [("2023-01-31", "2023-02-10", "2023-01-31"), ("2023-03-01", "2023-03-10", "2023-03-10")],
)
def test_what_no_fold_tests_is_refused(walk, frames, first, last, named):
    with pytest.raises(WindowError, match=rf"as of {named}, and .* 2023-02-01 to 2023-03-09: set"):
        source_of(NAME).book(frames, SAMPLING, asofs(frames, first, last))


def test_it_is_found_by_its_folder_too(walk, frames):
    elsewhere = walk.parent.parent / "moved"
    shutil.move(walk, elsewhere)
    assert find_walk_forward(f"walkforward:{elsewhere}").max_context == 128
    with pytest.raises(ConfigError, match=r"no walk-forward in runs/two; make one with"):
        find_walk_forward(NAME)


def test_the_weights_are_known_by_their_folds(walk):
    found = find_walk_forward(NAME)
    assert str(found.seen_until) == "2023-01-31"
    before = found.fingerprint
    assert before == find_walk_forward(NAME).fingerprint
    save_tiny_checkpoint(walk / "folds" / "02", seed=3)
    assert find_walk_forward(NAME).fingerprint != before
    first, second = (str(found.at(pd.Timestamp(day, tz="UTC")).name)[-2:] for day, _ in TESTS)
    assert (first, second) == ("01", "02")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda walk: (walk / "folds" / "02" / "card.json").unlink(), "fold 2 is not finished"),
        (lambda walk: (walk / "walk_forward.json").write_text("{"), "cannot be read"),
        (lambda walk: (walk / "walk_forward.json").write_text("{}"), "cannot be read: 'folds'"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_line(walk, spoil, text):
    spoil(walk)
    with pytest.raises(ConfigError, match=text):
        find_walk_forward(NAME)


def test_no_name_is_refused():
    with pytest.raises(ConfigError, match="name a walk-forward"):
        find_walk_forward("walkforward:")


def test_a_run_trades_it(walk, monkeypatch, tmp_path, capsys):
    figures = {"seen_until": None, "portfolios": {}, "verdicts": {}}
    write_no_report(
        monkeypatch, lambda folder: (folder / "metrics.json").write_text(json.dumps(figures))
    )
    plan = json.loads((walk / "walk_forward.json").read_text())
    for fold, test in zip(
        plan["folds"], (("2021-01-01", "2021-02-01"), ("2021-02-01", "2021-03-01")), strict=True
    ):
        fold["test"] = test
    (walk / "walk_forward.json").write_text(json.dumps(plan))
    options = ["--data", "sample:AAPL,NVDA", "--start", "2021-01-04", "--samples", "4",
               "--lookback", "20", "--no-controls", "--model", NAME]  # fmt: skip
    topk = str(ROOT / "strategies" / "topk.py")
    assert run([topk, *options, "--end", "2021-02-26", "--out", "x"]) == 0
    written = json.loads((tmp_path / "x" / "config.json").read_text())["model"]
    found = find_walk_forward(NAME)
    assert (written["name"], written["fingerprint"]) == (NAME, found.fingerprint)
    assert run([topk, *options, "--end", "2021-03-26", "--out", "y"]) == 1
    assert "walkforward:two forecasts 2021-01-01 to 2021-02-28" in capsys.readouterr().err


def test_a_single_forecast_is_that_of_its_fold(walk, monkeypatch, tmp_path, capsys):
    from sandbox.forecast.__main__ import main

    plan = json.loads((walk / "walk_forward.json").read_text())
    plan["folds"][0]["test"] = ["2021-01-01", "2021-02-01"]
    plan["folds"][1]["test"] = ["2021-02-01", "2021-03-01"]
    (walk / "walk_forward.json").write_text(json.dumps(plan))
    options = ["--symbol", "AAPL", "--lookback", "20", "--samples", "4", "--out", str(tmp_path)]
    said = []
    for model in (NAME, str(walk / "folds" / "02")):
        assert main([*options, "--model", model, "--asof", "2021-02-10"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1].replace(str(walk), "runs/two")
    assert main([*options, "--model", NAME, "--asof", "2021-03-10"]) == 1
    assert "2021-03-10 is in no test part of walkforward:two" in capsys.readouterr().err
