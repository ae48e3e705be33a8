"""The published small weights give the published regression values (run with `-m hub`).

Weights come from the hub or its cache, the three tables from the reference's repository; tables
are kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kronos import CheckpointError, KronosPredictor, load

pytestmark = pytest.mark.hub

COMMIT = "67b630e67f6a18c9e9be918d9b4337c960db1e9a"
URL = f"https://raw.githubusercontent.com/shiyu-coder/Kronos/{COMMIT}/tests/data"
SHA256 = {
    "regression_input.csv": "aa5efe0121b7cc098db1a169ed38f9878681ef14a93c85d54a618fd073048899",
    "regression_output_256.csv": "5064d09ef7fe186b9c2aeed9dfdf234721b4b182a8305d92db9d3d5d6b37f29e",
    "regression_output_512.csv": "bb69a96cbfcf385ba433b8db7e9630b45a4b3032d091d12a7b0bac5996bad18b",
}
COLUMNS = ["open", "high", "low", "close", "volume", "amount"]
BARS_AHEAD = 8
WINDOWS = 4
WINDOW_BARS_AHEAD = 30


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "kronos-sandbox" / f"regression-{COMMIT[:7]}"


def read_table(name: str) -> pd.DataFrame:
    """A table of the reference's own regression test, checked; skips where it is out of reach."""
    path = cache_folder() / name
    if not path.exists():
        try:
            with urllib.request.urlopen(f"{URL}/{name}", timeout=20) as answer:
                content = answer.read()
        except OSError as error:
            pytest.skip(f"{URL}/{name} is out of reach and {path} is not there: {error}")
        assert hashlib.sha256(content).hexdigest() == SHA256[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name], f"{path} was changed"
    return pd.read_csv(path, parse_dates=["timestamps"])


@pytest.fixture(scope="module")
def predictor() -> KronosPredictor:
    try:
        checkpoint = load("small")
    except CheckpointError as error:
        if "neither in the hub's cache nor within reach" not in str(error):
            raise
        pytest.skip(str(error))
    assert checkpoint.max_context == 512
    return checkpoint.predictor("cpu")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return read_table("regression_input.csv")


def greedy(
    predictor: KronosPredictor, bars: pd.DataFrame, start: int, length: int, steps: int
) -> pd.DataFrame:
    """The `steps` bars from row `start` on, from the `length` rows before it."""
    past, future = bars.iloc[start - length : start], bars.iloc[start : start + steps]
    return predictor.predict(
        past[COLUMNS], past["timestamps"], future["timestamps"], steps,
        T=1.0, top_k=1, top_p=1.0, sample_count=1, verbose=False,
    )  # fmt: skip


@pytest.mark.parametrize("length", [512, 256])
def test_greedy_bars(predictor: KronosPredictor, bars: pd.DataFrame, length: int) -> None:
    want = read_table(f"regression_output_{length}.csv")
    got = greedy(predictor, bars, length, length, BARS_AHEAD)
    assert list(got.index) == list(want["timestamps"])
    np.testing.assert_allclose(got[COLUMNS].to_numpy(), want[COLUMNS].to_numpy(), rtol=1e-5)


@pytest.mark.parametrize(("length", "mean_error"), [(512, 0.008979), (256, 0.003741)])
def test_mean_squared_error_over_four_windows(
    predictor: KronosPredictor, bars: pd.DataFrame, length: int, mean_error: float
) -> None:
    prices, errors = COLUMNS[:4], []
    eligible = bars.iloc[length : len(bars) - WINDOW_BARS_AHEAD]
    for start in eligible.sample(n=WINDOWS, random_state=123).sort_index().index:
        got = greedy(predictor, bars, start, length, WINDOW_BARS_AHEAD)[prices].to_numpy()
        want = bars.iloc[start : start + WINDOW_BARS_AHEAD][prices].to_numpy()
        errors.append(float(((got - want) ** 2).mean()))
    assert float(np.mean(errors)) == pytest.approx(mean_error, abs=1e-6)
