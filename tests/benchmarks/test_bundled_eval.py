"""The measures of the bundled checkpoint, each by hand on numbers small enough to see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.bundled_eval import (
    LOOKBACK,
    cases_between,
    forecast_returns,
    random_walk,
)


def a_frame(sessions: pd.DatetimeIndex, drift: float = 0.01) -> pd.DataFrame:
    close = 100 * (1 + drift) ** np.arange(len(sessions))
    columns = dict.fromkeys(("open", "high", "low", "close"), close)
    return pd.DataFrame(
        columns | {"volume": 1.0, "amount": close}, index=sessions + pd.Timedelta(hours=7)
    )


def test_random_walk_draws_past_steps_only() -> None:
    x = np.ones((2, 4, 6), np.float32)
    x[:, :, 3] = [100, 110, 121, 133.1]
    walk = random_walk(x, horizon=2, samples=5, seed=0)
    assert walk.shape == (2, 5, 2)
    assert walk[..., 0] == pytest.approx(0.1, abs=1e-6)
    assert walk[..., 1] == pytest.approx(0.21, abs=1e-6)


def test_horizon_counts_the_symbol_s_own_bars() -> None:
    sessions = pd.bdate_range("2018-06-01", "2019-03-29", tz="UTC", name="time")
    gap = sessions[sessions != pd.Timestamp("2019-01-03", tz="UTC")]
    frames = {"FULL": a_frame(sessions), "GAP": a_frame(gap)}
    cases = cases_between(frames, "2019-01-01", "2019-02-01", stride=1, horizon=5)
    assert cases.x.shape[1:] == (LOOKBACK, 6)
    assert cases.y_stamp.shape[1:] == (5, 5)
    assert cases.outcome == pytest.approx(
        np.tile(1.01 ** np.arange(1, 6) - 1, (len(cases.x), 1)), rel=1e-4
    )
    at = cases.dates.tolist().index(np.datetime64("2019-01-02", "s").item())
    assert cases.symbols[at] == "FULL"
    assert cases.y_stamp[at, 0].tolist() == [0, 0, 3, 3, 1]
    own = [i for i, name in enumerate(cases.symbols) if name == "GAP"]
    assert cases.y_stamp[own[1], 0].tolist() == [0, 0, 4, 4, 1]
    assert max(cases.dates) == np.datetime64("2019-01-24", "s")


def test_forecasts_are_returns_against_the_last_close() -> None:
    sessions = pd.bdate_range("2018-06-01", "2019-03-29", tz="UTC", name="time")
    cases = cases_between({"A": a_frame(sessions)}, "2019-01-01", "2019-02-01", 1, 5)

    def flat(x: np.ndarray, *_: object, sample_count: int, **__: object) -> np.ndarray:
        return np.repeat(np.repeat(x[:, None, -1:], sample_count, 1), 5, 2) * 2

    assert forecast_returns(flat, cases, samples=3, seed=0, batch=4) == pytest.approx(1.0)


def test_driftless_walk_has_no_mean_step() -> None:
    x = np.ones((1, 4, 6), np.float32)
    x[:, :, 3] = [100, 110, 121, 133.1]
    assert random_walk(x, 2, 5, 0, drift=False) == pytest.approx(0, abs=1e-6)
