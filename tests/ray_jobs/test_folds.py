"""Folds of a walk-forward: parts in order, none in another, each target in one alone."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ray_jobs.folds import BEGINNING, Fold, FoldOptions, Span, folds_of
from ray_jobs.options import Period, TrainingOptions
from ray_jobs.worker import windows_of
from sandbox.errors import ConfigError
from tests.kronos.training.cases import a_series

DAYS = np.arange("2015-01-01", "2021-01-01", dtype="M8[D]").astype("M8[us]")
WEEKDAYS = DAYS[np.is_busday(DAYS.astype("M8[D]"))]


def periods(fold):
    return [
        [str(time.astype("M8[D]")) for time in part]
        for part in (fold.train, fold.validate, fold.test)
    ]


def test_folds_by_dates_are_cut_as_the_calendar_says():
    options = FoldOptions(
        start=date(2019, 1, 1), end=date(2020, 6, 30), test="6 months", validate="3 months",
        train="2 years", window="rolling",
    )  # fmt: skip
    assert [periods(fold) for fold in folds_of(options, WEEKDAYS)] == [
        [["2016-10-01", "2018-10-01"], ["2018-10-01", "2019-01-01"], ["2019-01-01", "2019-07-01"]],
        [["2017-04-01", "2019-04-01"], ["2019-04-01", "2019-07-01"], ["2019-07-01", "2020-01-01"]],
        [["2017-10-01", "2019-10-01"], ["2019-10-01", "2020-01-01"], ["2020-01-01", "2020-07-01"]],
    ]


def test_folds_by_bars_count_the_universes_bars():
    options = FoldOptions(
        start=date(2015, 4, 1), end=date(2015, 4, 14), test="5 bars", validate="10 bars",
        train="20 bars", gap="2 bars", window="rolling",
    )  # fmt: skip
    first, second = folds_of(options, WEEKDAYS)
    at = np.searchsorted(WEEKDAYS, np.datetime64("2015-04-01"))
    assert first == Fold(
        number=1,
        train=Period(WEEKDAYS[at - 32], WEEKDAYS[at - 12]),
        validate=Period(WEEKDAYS[at - 12], WEEKDAYS[at - 2]),
        test=Period(np.datetime64("2015-04-01", "us"), WEEKDAYS[at + 5]),
    )
    assert second.test == Period(WEEKDAYS[at + 5], np.datetime64("2015-04-15", "us"))


def test_an_anchored_windows_start_stays():
    options = FoldOptions(
        start=date(2019, 1, 1), end=date(2019, 12, 31), test="3 months", train="1 year"
    )
    folds = folds_of(options, WEEKDAYS)
    assert len(folds) == 4
    assert {fold.train.start for fold in folds} == {np.datetime64("2017-07-01", "us")}
    everything = FoldOptions(start=date(2019, 1, 1), end=date(2019, 12, 31))
    assert {fold.train.start for fold in folds_of(everything, WEEKDAYS)} == {BEGINNING}


def test_the_last_test_part_ends_with_the_candles():
    options = FoldOptions(start=date(2020, 1, 1), end=date(2030, 1, 1), test="5 months")
    tests = [fold.test for fold in folds_of(options, WEEKDAYS)]
    assert tests[-1].end == np.datetime64("2021-01-01", "us")
    assert len(tests) == 3


lengths = st.builds(
    "{} {}".format, st.integers(1, 60), st.sampled_from(["bars", "days", "weeks", "months"])
)


@st.composite
def fold_options(draw):
    start = draw(st.dates(date(2016, 1, 1), date(2020, 6, 1)))
    return FoldOptions(
        start=start,
        end=draw(st.dates(start, date(2021, 2, 1))),
        test=draw(lengths),
        validate=draw(lengths),
        train=draw(lengths),
        gap=draw(st.one_of(st.just("0 bars"), lengths)),
        window=draw(st.sampled_from(["anchored", "rolling"])),
    )


@settings(deadline=None)
@given(fold_options(), st.sampled_from([DAYS, WEEKDAYS, WEEKDAYS[::5]]))
def test_parts_follow_one_another_and_tests_cover_all_bars_once(options, times):
    try:
        folds = folds_of(options, times)
    except ConfigError as error:
        assert "does not fit the data" in str(error) or "no bar to test" in str(error)
        return
    for fold in folds:
        assert fold.train.start < fold.train.end == fold.validate.start < fold.validate.end
        assert fold.validate.end <= fold.test.start < fold.test.end
        if options.gap == "0 bars":
            assert fold.validate.end == fold.test.start
    begin, end = np.datetime64(options.start), np.datetime64(options.end) + 1
    wanted = times[(times >= begin) & (times < end)]
    tested = [times[(times >= fold.test.start) & (times < fold.test.end)] for fold in folds]
    np.testing.assert_array_equal(np.concatenate(tested), wanted)
    assert [fold.number for fold in folds] == list(range(1, len(folds) + 1))


@settings(deadline=None)
@given(
    st.integers(30, 80), st.integers(2, 25), st.integers(0, 5), st.integers(2, 12),
    st.integers(1, 6), st.integers(1, 4),
)  # fmt: skip
def test_no_target_bar_is_in_two_parts(train, validate, gap, lookback, horizon, stride):
    """Nor is there one in the test part, or in the gap before it."""
    series = {"A": a_series(140), "B": a_series(100, seed=1, first="2000-02-01")}
    times = np.unique(np.concatenate([each.times for each in series.values()])).astype("M8[us]")
    options = FoldOptions(
        start=date(2000, 4, 25), end=date(2000, 5, 5), test="20 bars", gap=f"{gap} bars",
        validate=f"{validate} bars", train=f"{train} bars",
    )  # fmt: skip
    (fold,) = folds_of(options, times)
    training = TrainingOptions(lookback=lookback, horizon=horizon, stride=stride)
    try:
        parts = windows_of(series, training, fold.train, fold.validate)
    except ValueError:
        assume(False)
    targets = []
    for part in parts:
        targets.append(set())
        for name, start in part.index:
            bars = series[name].times[start : start + part.shape.bars]
            targets[-1] |= set(bars[lookback:].astype("M8[us]").tolist())
    train_targets, validation_targets = targets
    assert not train_targets & validation_targets
    last = (fold.test.start if not gap else times[times < fold.test.start][-gap]).item()
    assert max(train_targets | validation_targets) < last


@pytest.mark.parametrize("text", ["", "six months", "6", "6 moons", "-6 days", "1.5 years", "bars"])
def test_a_length_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"write a whole number of bars, days, weeks"):
        Span.of(text, "test")


def test_a_length_may_stand_in_the_singular():
    assert Span.of(" 1 Month ", "test") == Span(1, "months")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"end": date(2018, 1, 1)}, "end 2018-01-01 is before start 2019-01-01"),
        ({"window": "rolling"}, "a rolling window needs the length of train"),
        ({"test": "0 bars"}, "folds: test 0 bars: it must be longer than nothing"),
        ({"gap": "later"}, "folds: gap 'later': write a whole number"),
    ],
)
def test_options_that_contradict_are_refused(changes, text):
    with pytest.raises((ConfigError, ValueError), match=text):
        FoldOptions(**{"start": date(2019, 1, 1), "end": date(2020, 1, 1)} | changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"start": date(2021, 1, 1), "end": date(2021, 2, 1)}, "no bar to test from 2021-01-01"),
        ({"start": date(2015, 1, 1)}, "fold 1 does not fit the data: no bar from 2014-07-01 until"),
        ({"start": date(2015, 7, 1)}, "until before 2015-01-01 for its training; the first bar is"),
        (
            {"start": date(2015, 3, 2), "validate": "60 bars"},
            "fold 1 does not fit the data: validate takes 60 bars before 2015-03-02, and there "
            "are 42",
        ),
        (
            {"start": date(2015, 3, 2), "validate": "20 bars", "train": "30 bars"},
            "fold 1 does not fit the data: train takes 30 bars before",
        ),
    ],
)
def test_folds_that_do_not_fit_say_which(changes, text):
    options = FoldOptions(**{"start": date(2019, 1, 1), "end": date(2020, 1, 1)} | changes)
    with pytest.raises(ConfigError, match=text):
        folds_of(options, WEEKDAYS)


def test_bars_within_a_day_are_cut_at_their_times():
    hours = pd.date_range("2020-01-01T01:00", periods=24 * 30, freq="h").to_numpy("M8[us]")
    options = FoldOptions(
        start=date(2020, 1, 20), end=date(2020, 1, 22), test="30 bars", validate="12 bars"
    )
    folds = folds_of(options, hours)
    assert [str(fold.test.start) for fold in folds] == [
        "2020-01-20T00:00:00.000000", "2020-01-21T06:00:00.000000", "2020-01-22T12:00:00.000000",
    ]  # fmt: skip
    assert folds[1].validate.in_words() == ["2020-01-20T18:00:00", "2020-01-21T06:00:00"]
