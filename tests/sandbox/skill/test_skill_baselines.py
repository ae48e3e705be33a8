"""Baselines: drawn from the past alone, with the drift and spread that each promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feeds import CLOSE, bar_times
from sandbox.config import Sampling
from sandbox.forecast.naive import naive_closes
from sandbox.forecast.windows import Windows
from sandbox.progress import no_bar
from sandbox.skill import garch
from sandbox.skill.baselines import BASELINES, Draws, Past, baseline_returns, in_stretches
from tests.conftest import make_frame, make_market

SAMPLING = Sampling(lookback=40, horizon=3, samples=500)


def windows_of(frames, bars=(60,), sampling=SAMPLING):
    return Windows.of(frames, sampling, bar_times(frames)[list(bars)])


def drawn(name, windows, sampling=SAMPLING):
    return baseline_returns(name, Past.of(windows), Draws.of(windows, sampling))


def garch_of(frames, first_row, sampling=SAMPLING):
    first_ns = int(bar_times(frames).as_unit("ns").asi8[first_row])
    with no_bar("", "") as progress:
        fits = garch.fit_all(frames, first_ns, sampling.lookback, progress)
    return garch.Garch(fits, frames)


def test_the_random_walk_is_the_naive_signal_with_wicks():
    windows = windows_of(make_market(["A", "B"], 70), (60, 65))
    naive = naive_closes("random-walk", windows, SAMPLING) / windows.closes()[:, None, None] - 1
    found = drawn("random-walk", windows)
    assert found[..., CLOSE] == pytest.approx(naive, abs=1e-9)
    assert (found[..., 1] >= found[..., [0, 3]].max(axis=-1) - 1e-12).all()
    assert (found[..., 2] <= found[..., [0, 3]].min(axis=-1) + 1e-12).all()


@pytest.mark.parametrize("name", BASELINES)
def test_only_the_random_walk_drifts(name):
    close = 100 * np.exp(0.01 * np.arange(70) + 0.02 * np.sin(np.arange(70.0)))
    windows = windows_of({"A": make_frame(np.column_stack([close] * 4), "2023-01-02")})
    mean = np.log1p(drawn(name, windows)[0, :, -1, CLOSE]).mean()
    expected = 0.03 if name == "random-walk" else 0.0
    assert mean == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_after_asof_is_seen(name):
    frames = make_market(["A"], 70)
    altered = {"A": frames["A"].copy()}
    altered["A"].iloc[61:] *= 3.0
    before, after = (drawn(name, windows_of(own)) for own in (frames, altered))
    assert np.array_equal(before, after)


def test_volatility_scaled_has_the_spread_of_the_last_20_bars():
    rng = np.random.default_rng(0)
    steps = np.concatenate([rng.normal(0, 0.01, 50), rng.normal(0, 0.04, 20)])
    close = 100 * np.exp(steps.cumsum())
    frames = {"A": make_frame(np.column_stack([close] * 4), "2023-01-02")}
    windows = windows_of(frames, (69,), Sampling(lookback=60, horizon=1, samples=2000))
    sampling = Sampling(lookback=60, horizon=1, samples=2000)
    plain, scaled = (np.log1p(drawn(n, windows, sampling)[0, :, 0, CLOSE]).std()
                     for n in ("block-bootstrap", "volatility-scaled"))  # fmt: skip
    assert scaled == pytest.approx(steps[-20:].std(), rel=0.1)
    assert plain < 0.8 * scaled


def test_stretches_go_on_to_the_next_bar():
    rng = np.random.default_rng(1)
    places = in_stretches(27, Draws(rng.random((1, 400, 10)), rng.random((1, 400, 10))))
    goes_on = (np.diff(places, axis=2) % 27 == 1).mean()
    assert goes_on == pytest.approx(1 - 27 ** (-1 / 3) + 27 ** (-1 / 3) / 27, abs=0.03)
    assert places.min() == 0 and places.max() == 26


def test_a_constant_series_stays_where_it_is():
    frames = {"A": make_frame([(5.0,) * 4] * 70, "2023-01-02")}
    for name in BASELINES:
        assert not drawn(name, windows_of(frames)).any()


def test_garch_follows_the_storm_and_not_the_future():
    pytest.importorskip("arch")
    rng = np.random.default_rng(2)
    storm = np.where(np.arange(700) % 200 < 60, 0.04, 0.008)  # calm and restless stretches
    close = 100 * np.exp((rng.normal(size=700) * storm).cumsum())
    frames = {"A": make_frame(np.column_stack([close] * 4), "2020-01-02")}
    found = garch_of(frames, 400)
    assert found.unfitted == 0 and found.count == 2
    at = windows_of(frames, (455, 590))  # in a storm, and long after one
    spread = found.returns(at, Draws.of(at, SAMPLING))[:, :, 0, CLOSE].std(axis=1)
    assert spread[0] > 1.5 * spread[1]

    altered = {"A": frames["A"].copy()}
    altered["A"].iloc[456:, :4] *= 3.0
    again = windows_of(altered, (455,))
    before = found.returns(windows_of(frames, (455,)), Draws.of(again, SAMPLING))
    after = garch_of(altered, 400).returns(again, Draws.of(again, SAMPLING))
    assert np.array_equal(before, after)


def test_garch_without_a_fit_has_the_variance_of_the_bars():
    pytest.importorskip("arch")
    frames = make_market(["A"], 80) | {"B": make_frame([(5.0,) * 4] * 80, "2023-01-02")}
    found = garch_of(frames, 60)
    assert found.unfitted == found.count == 2  # one of each symbol
    at = windows_of(frames)
    spread = np.log1p(found.returns(at, Draws.of(at, SAMPLING))[:, :, 0, CLOSE]).std(axis=1)
    past = np.diff(np.log(frames["A"]["close"].to_numpy()))[:60].std()
    assert spread == pytest.approx([past, 0], rel=0.15)


def test_garch_begins_where_a_symbol_has_a_lookback():
    pytest.importorskip("arch")
    frames = make_market(["A"], 300)
    late = {"A": frames["A"], "B": make_market(["B"], 300)["B"].iloc[150:]}
    at = Windows.of(late, SAMPLING, pd.DatetimeIndex([late["B"].index[45]]))
    found = garch_of(late, 60)
    assert (found.returns(at, Draws.of(at, SAMPLING))[..., CLOSE].std(axis=1) > 0.01).all()
