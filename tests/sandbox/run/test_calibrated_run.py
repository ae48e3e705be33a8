"""Runs and single forecasts whose forecasts are calibrated, from the command line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sandbox.forecast.__main__ import main as forecast
from sandbox.run.__main__ import main
from tests.conftest import FakePredictor
from tests.sandbox.run.test_run_cli import ALONE, TOPK, no_report, own_folder  # noqa: F401

pytestmark = pytest.mark.usefixtures("own_folder", "no_report")

DATA = ["--data", "sample:AAPL,NVDA,XOM,JPM", "--lookback", "20", "--horizon", "3"]
SHORT = [*DATA, "--start", "2021-01-04", "--end", "2021-02-26", "--param", "k=2"]


class Narrow(FakePredictor):
    """Moves of 0.2 % a bar, whatever the prices did."""

    def sample_paths(self, x, x_stamp, y_stamp, keys, *, sample_count, seed, progress, **_):
        self.asked.append(len(x))
        paths = np.empty((len(x), sample_count, y_stamp.shape[1], 6), dtype=np.float32)
        for nth, key in enumerate(keys):
            steps = np.random.default_rng([key, seed]).normal(0, 0.002, paths.shape[1:3])
            paths[nth] = (x[nth, -1, 3] * np.exp(np.cumsum(steps, axis=1)))[..., None]
        if progress:
            progress(len(x))
        return paths


@pytest.fixture(autouse=True)
def narrow(fake_model):
    model = Narrow()
    fake_model.predictor, fake_model.asked = (lambda **_: model), model.asked
    return fake_model


def tables(folder):
    return [(Path(folder) / name).read_text() for name in ("trades.csv", "weights.csv")]


def test_a_calibrated_run_says_so_and_is_repeated_by_its_config(capsys, narrow):
    assert main([TOPK, *SHORT, *ALONE, "--calibrate", "--out", "first"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "All forecasts are calibrated by what came after past ones." in output
    record = json.loads(Path("first/config.json").read_text())
    assert record["config"]["calibrate"] is True
    assert any("are calibrated" in note for note in record["notes"])
    asked = sum(narrow.asked)
    assert asked > 600  # of four symbols as of three years' weeks
    assert main(["--config", "first/config.json", "--out", "again"]) == 0
    assert sum(narrow.asked) == asked  # past forecasts stay in the store
    assert tables("again") == tables("first")


def test_raw_and_calibrated_runs_are_not_mixed_up(narrow):
    """Not even in the backtests that are kept: the one without costs trades on forecasts, too."""
    for out, more in (("raw", []), ("calibrated", ["--calibrate"]), ("raw-again", [])):
        assert main([TOPK, *SHORT, *more, "--no-benchmark", "--out", out]) == 0
    raw, moved, again = (
        pd.read_csv(f"{out}/equity.csv").set_index("strategy")["value"]
        for out in ("raw", "calibrated", "raw-again")
    )
    pd.testing.assert_series_equal(raw, again)
    changed = {name for name in set(raw.index) if (raw[name] != moved[name]).any()}
    assert changed == {"topk", "topk:costs-free"}  # controls trade on naive signals


def test_nothing_but_a_models_forecasts_is_calibrated(capsys):
    assert main([TOPK, *SHORT, "--signal", "momentum", "--calibrate"]) == 2
    assert "--calibrate: momentum is a naive signal" in capsys.readouterr().err
    assert main([TOPK, *SHORT, "--samples", "1", "--calibrate"]) == 2
    assert "--samples 1 with --calibrate" in capsys.readouterr().err


def test_a_single_forecast_is_that_of_a_run(capsys):
    words = ["--symbol", "NVDA", "--asof", "2021-02-01", *DATA, "--samples", "20"]
    shown = {}
    for out, more in (("raw", []), ("calibrated", ["--calibrate"])):
        assert forecast([*words, *more, "--out", out]) == 0
        shown[out] = capsys.readouterr().out
    assert "All forecasts are calibrated" in shown["calibrated"]
    assert "calibrated" not in shown["raw"].replace("raw/", "")

    def width(text):
        row = next(line for line in text.splitlines() if "2021-02-04" in line)
        numbers = [part for part in row.replace("│", " ").split() if "." in part]
        return float(numbers[-1]) - float(numbers[0])

    assert width(shown["calibrated"]) > 4 * width(shown["raw"])


def test_a_single_forecast_is_raw_where_too_little_has_come(capsys):
    words = ["--symbol", "NVDA", "--asof", "2015-04-01", *DATA, "--calibrate"]
    assert forecast(words) == 0
    assert "All forecasts, the last as of 2015-04-01 20:00, are raw" in capsys.readouterr().out
