"""Calibrated forecasts: what they may depend on, what they keep, and that their bands hold."""

import numpy as np
import pandas as pd
import pytest

from feeds.members import NO_MEMBERS
from sandbox.config import ModelOptions, Sampling
from sandbox.errors import ConfigError
from sandbox.forecast.book import history_bars
from sandbox.forecast.calibrated import CalibratedSource
from sandbox.forecast.folds import as_asked
from sandbox.forecast.naive import NaiveSource
from sandbox.forecast.past import Blocks, block_bars, calibration_bars, reach
from sandbox.forecast.windows import Windows

SAMPLING = Sampling(lookback=20, horizon=3, samples=32, seed=5)
BARS = 1_000
OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT = range(6)


class Walk(NaiveSource):
    """A random walk whose moves are a `share` of those that the bars made."""

    def __init__(self, share=1.0, since_ns=0):
        super().__init__("random-walk")
        self.calendar = None
        self.share, self.since_ns = share, since_ns
        self.asked = 0

    def covers(self, asof_ns):
        return asof_ns >= self.since_ns

    def book_of(self, windows, sampling, progress=None):
        self.asked += len(windows)
        book = super().book_of(windows, sampling)
        return Shrunk(book, self.share) if self.share != 1 else book


class Shrunk:
    def __init__(self, book, share):
        self._book, self._share = book, share
        self.windows, self.computed = book.windows, book.computed
        self.reused, self.notes = 0, ()

    def as_of(self, asof_ns, *, likely=True):
        shown = self._book.as_of(asof_ns, likely=likely)
        return shown and shown.moved_by(self._shrunk)

    def _shrunk(self, forecast):
        closes = forecast.paths[..., CLOSE]
        ratio = (closes / forecast.close) ** (self._share - 1)
        forecast.paths[..., : CLOSE + 1] *= ratio[..., None]
        return forecast


def market(symbols="ABCDEF", bars=BARS, seed=0, days=None):
    """Independent walks with wicks, whose moves are 2 % a day."""
    rng = np.random.default_rng(seed)
    index = pd.bdate_range("2015-01-01", periods=bars, tz="UTC") + pd.Timedelta(hours=21)
    if days is not None:
        index = days
    frames = {}
    for symbol in symbols:
        closes = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, len(index))))
        opens = np.concatenate([[50.0], closes[:-1]])
        high, low = np.maximum(opens, closes) * 1.004, np.minimum(opens, closes) * 0.996
        volume = rng.uniform(1e3, 2e3, len(index))
        frames[symbol] = pd.DataFrame(
            {"open": opens, "high": high, "low": low, "close": closes, "volume": volume,
             "amount": volume * closes}, index,
        )  # fmt: skip
    return frames


FRAMES = market()
INDEX = FRAMES["A"].index


def book_of(source, frames=FRAMES, asofs=INDEX[-4:], sampling=SAMPLING, members=NO_MEMBERS):
    return source.book(frames, sampling, pd.DatetimeIndex(asofs), members=members)


def calibrated(share=0.5, **more):
    return CalibratedSource(Walk(share, **more))


def paths(book, asof):
    shown = book.as_of(asof.value)
    symbols = [book.windows.symbols[row] for row in book.windows.rows_at[asof.value]]
    return {symbol: shown.of(symbol).paths for symbol in symbols}


def expect_same(mine, theirs):
    assert mine.keys() == theirs.keys() and mine
    for symbol, own in mine.items():
        np.testing.assert_array_equal(own, theirs[symbol])


def test_paths_keep_their_order_and_candles_their_shape():
    raw, moved = (paths(book_of(each), INDEX[-4]) for each in (Walk(0.5), calibrated()))
    for symbol, own in moved.items():
        before = raw[symbol].astype(float)
        order = np.argsort(before[..., CLOSE], axis=0, kind="stable")
        assert (np.diff(np.take_along_axis(own[..., CLOSE], order, axis=0), axis=0) >= 0).all()
        ratio = own[..., CLOSE] / before[..., CLOSE]
        for column in (OPEN, HIGH, LOW, AMOUNT):
            np.testing.assert_allclose(own[..., column], before[..., column] * ratio, rtol=1e-5)
        np.testing.assert_array_equal(own[..., VOLUME], raw[symbol][..., VOLUME])
        assert own[..., CLOSE].std() > 1.5 * before[..., CLOSE].std()


def test_a_forecast_depends_on_the_last_bars_alone_and_on_nothing_that_is_asked_besides():
    """As on paper: one bar time after the other, on as many bars as are kept there."""
    source = calibrated()
    bars = calibration_bars(SAMPLING, intraday=False)
    assert bars < BARS - 40 < history_bars(source, SAMPLING)
    together = book_of(source, asofs=INDEX[-40::3])
    for asof in INDEX[[-40, -16, -1]]:
        known = {symbol: frame.loc[:asof].tail(bars) for symbol, frame in FRAMES.items()}
        backwards = dict(reversed(known.items()))
        alone = book_of(CalibratedSource(Walk(0.5), remembers=True), backwards, [asof])
        expect_same(paths(alone, asof), paths(together, asof))


def test_bars_that_are_left_out_of_what_it_depends_on_do_change_it():
    few = {symbol: frame.tail(300) for symbol, frame in FRAMES.items()}
    asof = INDEX[-1]
    mine, theirs = (paths(book_of(calibrated(), each, [asof]), asof) for each in (FRAMES, few))
    assert any((mine[symbol] != theirs[symbol]).any() for symbol in mine)


def test_outcomes_that_were_not_known_yet_change_no_bit_and_those_that_were_do():
    asof = INDEX[-60]
    altered = {symbol: frame.copy() for symbol, frame in FRAMES.items()}
    for frame in altered.values():
        later = frame.index > asof
        frame.loc[later, ["open", "high", "low", "close"]] *= 3.0
    first = paths(book_of(calibrated(), asofs=[asof]), asof)
    expect_same(paths(book_of(calibrated(), altered, [asof]), asof), first)
    cut = {symbol: frame.loc[:asof] for symbol, frame in FRAMES.items()}
    expect_same(paths(book_of(calibrated(), cut, [asof]), asof), first)
    at_asof = {symbol: frame.copy() for symbol, frame in FRAMES.items()}
    for symbol in "BCDEF":  # the bar at asof is an outcome of past forecasts
        at_asof[symbol].loc[asof, ["open", "high", "low", "close"]] *= 0.5
    changed = paths(book_of(calibrated(), at_asof, [asof]), asof)
    assert (changed["A"] != first["A"]).any()


@pytest.mark.parametrize("share", [0.4, 1.0, 1.8])
def test_bands_hold_and_the_scores_of_what_is_calibrated_are_not_spoilt(share):
    frames = market("ABCDEFGHIJKLMNOPQRST", bars=1_600, seed=3)
    asofs = frames["A"].index[900:-3:5]
    held, lost = {}, {}
    for name, source in (("raw", Walk(share)), ("calibrated", calibrated(share))):
        book = book_of(source, frames, asofs)
        inside, losses = [], []
        for asof in asofs:
            row = frames["A"].index.get_loc(asof)
            for symbol, own in paths(book, asof).items():
                closes = frames[symbol]["close"].to_numpy()
                samples, came = own[:, -1, CLOSE] / closes[row], closes[row + 3] / closes[row]
                low, high = np.quantile(samples, [0.05, 0.95], method="weibull")
                inside.append(low <= came <= high)
                spread = np.abs(samples[:, None] - samples).sum() / (2 * 32 * 31)
                losses.append(np.abs(samples - came).mean() - spread)
        held[name], lost[name] = np.mean(inside), np.mean(losses)
    assert held["calibrated"] == pytest.approx(0.9, abs=0.02)
    assert abs(held["raw"] - 0.9) > 0.05 or share == 1
    assert lost["calibrated"] < 1.005 * lost["raw"]
    assert share == 1 or lost["calibrated"] < 0.99 * lost["raw"]


def test_forecasts_are_raw_and_said_to_be_until_enough_outcomes_are_known():
    early = book_of(calibrated(), asofs=INDEX[40:60])
    expect_same(paths(early, INDEX[50]), paths(book_of(Walk(0.5), asofs=INDEX[40:60]), INDEX[50]))
    last = f"{INDEX[59]:%Y-%m-%d %H:%M}"
    assert early.notes == (
        f"All forecasts, the last as of {last}, are raw: to calibrate one takes 60 outcomes of "
        "past ones, known by then, from 20 dates.",
    )
    mixed = book_of(calibrated(), asofs=INDEX[40:200])
    # three weeks and a bar of lookback, twenty weeks with a past forecast each, and its horizon
    assert mixed.notes[0].startswith("480 of 960 forecasts, the last as of 2015-06-17 21:00, are")
    late = book_of(calibrated())
    assert late.notes == ("All forecasts are calibrated by what came after past ones.",)


def test_only_what_was_asked_for_is_in_the_book():
    book = book_of(calibrated(), asofs=INDEX[-3:])
    assert len(book) == 18 and book.computed > 18
    assert sorted(book.windows.rows_at) == INDEX[-3:].as_unit("ns").asi8.tolist()
    assert book.as_of(INDEX[-30].value) is None
    assert book.at("A", INDEX[-30]) is None
    assert book.at("A", INDEX[-1]).symbol == "A"


def test_past_closes_are_remembered_where_there_is_no_store():
    raw = Walk(0.5)
    source = CalibratedSource(raw, remembers=True)
    known = {symbol: frame.iloc[:-1] for symbol, frame in FRAMES.items()}
    first = book_of(source, known, [INDEX[-2]])
    asked = raw.asked
    second = book_of(source, FRAMES, [INDEX[-1]])
    assert raw.asked - asked <= 2 * len(FRAMES)
    expect_same(paths(second, INDEX[-1]), paths(book_of(calibrated()), INDEX[-1]))
    assert first.computed > 500
    other = {symbol: frame * 1.5 for symbol, frame in FRAMES.items()}
    asked = raw.asked
    book_of(source, other, [INDEX[-1]])  # candles of another kind are forecast again
    assert raw.asked - asked > 500


def test_only_members_calibrate():
    """A symbol that was no member has no past forecasts, though it has bars."""
    until = INDEX[-1].value
    others = dict.fromkeys("BCDEF", ((0, INDEX[100].value),))
    mine = paths(book_of(calibrated(), members=others), INDEX[-1])
    assert list(mine) == ["A"]
    alone = paths(book_of(calibrated(), {"A": FRAMES["A"]}), INDEX[-1])
    expect_same(mine, alone)
    everybody = dict.fromkeys("BCDEF", ((0, until),))
    all_of_them = paths(book_of(calibrated(), members=everybody), INDEX[-1])
    expect_same(all_of_them, paths(book_of(calibrated()), INDEX[-1]))


def test_there_are_no_past_forecasts_that_the_model_does_not_make():
    """As of a walk-forward before its first fold."""
    since = INDEX[-20]
    book = book_of(calibrated(since_ns=since.value))
    assert "are raw" in book.notes[0]
    assert min(book._raw.windows.asof_ns) >= since.value


@pytest.mark.parametrize("symbols", ["A", "AB"])
def test_few_symbols(symbols):
    frames = {symbol: FRAMES[symbol] for symbol in symbols}
    moved = paths(book_of(calibrated(), frames), INDEX[-1])
    raw = paths(book_of(Walk(0.5), frames), INDEX[-1])
    assert moved["A"][..., CLOSE].std() > 1.3 * raw["A"][..., CLOSE].std()


def test_a_series_that_does_not_move_stays_as_it_is():
    still = {symbol: frame.copy() for symbol, frame in FRAMES.items()}
    for column in ("open", "high", "low", "close"):
        still["C"][column] = 50.0
    moved = paths(book_of(calibrated(), still), INDEX[-1])
    np.testing.assert_array_equal(moved["C"][..., CLOSE], 50.0)
    only = {"C": still["C"]}
    np.testing.assert_array_equal(
        paths(book_of(calibrated(), only), INDEX[-1])["C"][..., CLOSE], 50
    )


def test_gaps_ends_and_late_starters():
    frames = dict(FRAMES)
    frames["B"] = frames["B"].iloc[::3]
    frames["D"] = frames["D"].iloc[: -BARS // 2]
    frames["E"] = frames["E"].iloc[-15:]
    book = book_of(calibrated(), frames)
    assert "E" not in paths(book, INDEX[-1]) and "D" not in paths(book, INDEX[-1])
    for own in paths(book, INDEX[-1]).values():
        assert np.isfinite(own).all()


@pytest.mark.parametrize(
    ("frequency", "horizon", "bars"),
    [("1h", 3, 5), ("1h", 24, 8), ("5min", 60, 20), ("1D", 300, 20), ("B", 5, 5)],
)
def test_past_forecasts_are_a_block_apart(frequency, horizon, bars):
    index = pd.date_range("2020-01-03 01:00", periods=1_500, freq=frequency, tz="UTC")
    frames = market("AB", days=index)
    blocks = Blocks.of(frames, horizon)
    assert block_bars(horizon) == bars
    rows = index.as_unit("ns").asi8.searchsorted(blocks.first_ns["A"])
    assert set(np.diff(rows)[1:-1].tolist()) == {bars}
    if frequency == "B":  # weeks begin on Mondays
        assert set(index[rows[1:]].day_of_week) == {0}
    assert (
        len(blocks.times(index[-1:].as_unit("ns").asi8))
        <= reach(horizon, intraday=blocks.intraday) + 1
    )


def test_a_past_forecast_is_of_the_first_bar_of_each_symbol_in_its_block():
    """One symbol lacks Mondays: its bars of Tuesdays count."""
    frames = market("AB")
    frames["B"] = frames["B"][frames["B"].index.day_of_week != 0]
    blocks = Blocks.of(frames, 5)
    past_ns = blocks.times(INDEX[-1:].as_unit("ns").asi8)
    times = pd.DatetimeIndex(past_ns, tz="UTC")
    windows = Windows.of(frames, SAMPLING, times, None)
    found = blocks.among(windows, past_ns)
    days = {"A": set(), "B": set()}
    for row in np.flatnonzero(found):
        days[windows.symbols[row]].add(pd.Timestamp(windows.asof_ns[row]).day_of_week)
    assert days == {"A": {0}, "B": {1}}


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(ConfigError, match="--samples 1 with --calibrate: a distribution needs 2"):
        as_asked(Walk(), ModelOptions(calibrate=True), Sampling(samples=1))
    raw = Walk()
    assert as_asked(raw, ModelOptions(), Sampling(samples=1)) is raw
