"""A walk's forecasts scored, against the same figures computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from feeds import bar_times
from kronos.errors import InputError
from sandbox.config import Sampling
from sandbox.forecast.book import ForecastBook
from sandbox.forecast.paths import KeptPaths
from sandbox.forecast.windows import Windows
from sandbox.skill.scores import fair_crps, rank_correlation
from sandbox.skill.walk import score_forecasts
from tests.conftest import make_frame, make_market

SAMPLING = Sampling(lookback=3, horizon=4, samples=2)
CLOSES = (100.0, 110.0, 121.0, 121.0, 242.0, 121.0, 60.5)


def frame_of(closes, start="2023-01-02"):
    return make_frame([(close,) * 4 for close in closes], start)


def book_of(frames, asofs, returns):
    """Forecasts whose sampled closes are `returns [W, S, P]` over the close at asof."""
    windows = Windows.of(frames, SAMPLING, asofs)
    paths = np.repeat(
        (windows.closes()[:, None, None] * (1 + np.asarray(returns)))[..., None], 6, axis=3
    )
    return ForecastBook(windows, KeptPaths(paths), computed=len(windows))


def test_one_symbol_by_hand():
    frames = {"A": frame_of(CLOSES)}
    asofs = bar_times(frames)[[2, 3]]
    # after 121: 0, +100 %, 0, -50 %; after the second 121: +100 %, 0, -50 %
    samples = np.broadcast_to([[0.0], [0.5]], (2, 2, 4))  # 0 and +50 % at every bar
    found = score_forecasts(book_of(frames, asofs, samples), frames, asofs, [1, 2, 4])
    # mean distance of 0 and 0.5 to what came, less half of how far they are apart: 0.25
    at_one = ((0.25 - 0.25) + (0.75 - 0.25)) / 2
    at_two = ((0.75 - 0.25) + (0.25 - 0.25)) / 2
    assert found["horizon"].tolist() == [1, 2, 4]
    assert found["forecasts"].tolist() == [2, 2, 1]  # four bars after the second are not there
    assert found["crps"].tolist() == pytest.approx([at_one, at_two, 0.75 - 0.25])
    assert found[["rank_ic", "rank_ic_t"]].isna().all(axis=None)  # one symbol has no rank
    assert found["dates"].tolist() == [0, 0, 0]


def test_an_outcome_counts_the_symbol_s_own_bars():
    other = frame_of([100.0] * 7)
    frames = {"A": frame_of(CLOSES).drop(other.index[3]), "B": other}
    asofs = bar_times(frames)[[2]]
    found = score_forecasts(book_of(frames, asofs, np.zeros((2, 2, 4))), frames, asofs, [1])
    # A has no bar on the day after asof: its next one doubled; B stood still
    assert found["forecasts"].tolist() == [2]
    assert found["crps"].tolist() == pytest.approx([(1 + 0) / 2])


def test_an_outcome_after_the_last_known_time_is_not_scored():
    frames = {"A": frame_of(CLOSES)}
    times = bar_times(frames)
    book = book_of(frames, times[[2, 3]], np.zeros((2, 2, 4)))

    def forecasts(until):
        return score_forecasts(book, frames, times[[2, 3]], [1, 2], until)["forecasts"].tolist()

    assert forecasts(times[5]) == [2, 2]
    assert forecasts(times[5] - pd.Timedelta(seconds=1)) == [2, 1]
    assert forecasts(times[3]) == [1, 0]
    assert forecasts(times[2]) == [0, 0]


def test_many_symbols_equal_scores_of_all_forecasts_at_once():
    frames = make_market([f"S{n:02d}" for n in range(12)], 30)
    frames["S00"] = frames["S00"].iloc[:10]  # it ends early
    asofs = bar_times(frames)[5:25:4]
    generator = np.random.default_rng(0)
    windows = Windows.of(frames, SAMPLING, asofs)
    returns = generator.normal(0, 0.02, (len(windows), 2, 4))
    book = book_of(frames, asofs, returns)
    found = score_forecasts(book, frames, asofs, [1, 4]).set_index("horizon")
    for h in (1, 4):
        scores, each = [], []
        for asof in asofs:
            samples, outcome = [], []
            for symbol, frame in frames.items():
                forecast = book.at(symbol, asof)
                at = frame.index.get_indexer([asof])[0]
                if forecast is not None and at + h < len(frame):
                    samples.append(forecast.returns(h))
                    outcome.append(frame["close"].iloc[at + h] / frame["close"].iloc[at] - 1)
            scores += fair_crps(np.array(samples), np.array(outcome)).tolist()
            each.append(rank_correlation(np.mean(samples, axis=1), np.array(outcome)))
        assert found.loc[h, "forecasts"] == len(scores)
        assert found.loc[h, "crps"] == pytest.approx(np.mean(scores))
        assert found.loc[h, "rank_ic"] == pytest.approx(np.mean(each))
        t = np.mean(each) / (np.std(each, ddof=1) / math.sqrt(len(asofs)))
        assert found.loc[h, "rank_ic_t"] == pytest.approx(t)
        assert found.loc[h, "dates"] == len(asofs)


def test_a_time_without_forecasts_adds_nothing():
    frames = {"A": frame_of(CLOSES)}
    times = bar_times(frames)
    book = book_of(frames, times[[2]], np.zeros((1, 2, 4)))
    wide = score_forecasts(book, frames, times, [1])
    pd.testing.assert_frame_equal(wide, score_forecasts(book, frames, times[[2]], [1]))
    none = score_forecasts(book, frames, times[:0], [1])
    assert none["forecasts"].tolist() == [0]
    assert none["crps"].isna().all()


def test_bad_input_is_refused():
    frames = {"A": frame_of(CLOSES)}
    times = bar_times(frames)
    book = book_of(frames, times[[2]], np.zeros((1, 2, 4)))
    for horizons in ([], [0], [1, 1], [1.5]):
        with pytest.raises(ValueError, match="different whole numbers of bars from 1 up"):
            score_forecasts(book, frames, times, horizons)
    with pytest.raises(ValueError, match="without a zone"):
        score_forecasts(book, frames, times.tz_localize(None), [1])
    with pytest.raises(ValueError, match="without a zone"):
        score_forecasts(book, frames, times, [1], pd.Timestamp("2023-01-05"))
    longer = {"A": frame_of(CLOSES * 2)}
    with pytest.raises(InputError, match="from 1 to 4, got 5"):
        score_forecasts(book, longer, times, [5])
