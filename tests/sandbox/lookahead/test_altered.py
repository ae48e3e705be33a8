"""Candles altered after a cut: valid, as they were up to it, and as different as they should be."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import times_ns
from sandbox.lookahead.altered import ALTERATIONS, BARS_AFTER_CUT, altered_future, altered_market
from tests.conftest import make_market

BARS = 130


@pytest.fixture(scope="module")
def frames():
    return make_market("ABC", BARS)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000), cut=st.integers(0, 38), begins=st.integers(0, 39),
    ends=st.integers(1, 40), way=st.sampled_from(ALTERATIONS),
)  # fmt: skip
def test_altered_candles_are_valid_and_begin_after_the_cut(seed, cut, begins, ends, way):
    frames = make_market("ABC", 40, seed)
    times = frames["A"].index
    frames["B"] = frames["B"].iloc[begins:]
    frames["C"] = frames["C"].iloc[:ends]
    altered = altered_future(frames, times[cut], way)
    assert list(altered) == list(frames)
    for symbol, frame in altered.items():
        pd.testing.assert_frame_equal(
            frame.loc[: times[cut]], frames[symbol].loc[: times[cut]], check_freq=False
        )
        assert frame.index.is_monotonic_increasing and frame.index.is_unique
        assert len(frame.loc[frame.index > times[cut]]) <= BARS_AFTER_CUT
        assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
        assert (frame > 0).all(axis=None) and np.isfinite(frame).all(axis=None)
    last = max(frame.index[-1] for frame in altered.values() if len(frame))
    for symbol, frame in frames.items():  # who trades later than the cut still does
        ends = way.ends and times[cut] in frame.index
        assert (altered[symbol].index[-1] > times[cut]) == (
            frame.index[-1] > times[cut] and not ends
        )
        assert altered[symbol].index[-1] <= last


def test_the_two_moves_are_opposite_for_every_symbol(frames):
    cut = frames["A"].index[110]
    one, other = (altered_future(frames, cut, way) for way in ALTERATIONS[:2])
    for nth, symbol in enumerate("ABC"):
        was, up, down = (f[symbol]["close"].iloc[111] for f in (frames, one, other))
        assert (down < was < up) if nth % 2 == 0 else (up < was < down)
        body = one[symbol]["close"].iloc[111:] / one[symbol]["open"].iloc[111:]
        assert (body > 1).all() if nth % 2 == 0 else (body < 1).all()


def test_the_third_way_moves_the_times(frames):
    times = frames["A"].index
    altered = altered_future(frames, times[110], ALTERATIONS[2])
    assert list(altered["A"].index[111:]) == list(times[116:121])
    near_the_end = altered_future(frames, times[BARS - 3], ALTERATIONS[2])
    assert list(near_the_end["A"].index[BARS - 2 :]) == [times[-1]]


def test_in_the_fourth_way_who_has_a_bar_at_the_cut_has_none_after_it(frames):
    times = frames["A"].index
    gap = dict(frames, B=frames["B"].drop(times[110]), C=frames["C"].iloc[120:])
    altered = altered_future(gap, times[110], ALTERATIONS[3])
    assert altered["A"].index[-1] == times[110]
    assert list(altered["B"].index[-5:]) == list(times[111:116])  # its end would show at the cut
    assert list(altered["C"].index) == list(times[111:116])


def test_openings_of_kept_bars_stay_and_moved_bars_keep_their_length(frames):
    times = frames["A"].index
    gap = dict(frames, C=frames["C"].drop(times[111:118]))  # its next bars are brought forward
    hours = {"A": 24.0, "B": 6.5, "C": 30.0}
    opens = {s: times_ns(f) - int(hours[s] * 3600e9) for s, f in gap.items()}
    for way in ALTERATIONS:
        altered, altered_opens = altered_market(gap, opens, times[110], way)
        for symbol, frame in altered.items():
            closes, known = times_ns(frame), frame.index.searchsorted(times[110], side="right")
            found = altered_opens[symbol]
            assert found.dtype == np.int64
            assert len(found) == len(frame)
            assert (found[:known] == opens[symbol][:known]).all()
            length = (closes - found) / 3600e9
            moved = ~frame.index.isin(gap[symbol].index)
            assert (length[~moved] == hours[symbol]).all()
            assert (length[moved] <= hours[symbol]).all()
            assert (found[1:] >= closes[:-1])[moved[1:]].all()
            assert (found < closes).all()
    assert altered_market(gap, None, times[110], ALTERATIONS[0])[1] is None


def test_moved_bars_never_open_before_the_bar_before_them_has_closed(frames):
    times = frames["A"].index
    late = {"A": frames["A"], "B": frames["B"].drop(times[111:125])}
    opens = {s: times_ns(f) - int(100 * 3600e9) for s, f in late.items()}  # longer than a weekend
    altered, found = altered_market(late, opens, times[110], ALTERATIONS[0])
    closes = times_ns(altered["B"])
    assert list(found["B"][111:]) == list(closes[110:-1])
