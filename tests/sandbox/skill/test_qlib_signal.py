"""Scores as Qlib's signal frame."""

from __future__ import annotations

import pandas as pd
import pytest

from feeds import from_frames
from sandbox.errors import ConfigError, SandboxError
from sandbox.skill.to_qlib import signal_frame, write_signal


def make_candles(symbols, times, stamps=None):
    frame = pd.DataFrame(
        {"date": times, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
    )
    return from_frames(dict.fromkeys(symbols, frame), stamps=stamps)


def make_scores(candles):
    rows = [
        (symbol, asof, nth * 0.1 - place)
        for place, symbol in enumerate(candles)
        for nth, asof in enumerate(candles[symbol].index)
    ]
    return pd.DataFrame(rows, columns=["symbol", "asof", "score"])


@pytest.fixture
def daily():
    return make_candles(["SH600000", "SZ000001"], pd.bdate_range("2024-01-01", periods=5))


def test_daily_scores_stand_at_the_dates_of_their_bars(daily):
    frame = signal_frame(make_scores(daily), daily)
    assert frame.index.names == ["datetime", "instrument"]
    assert list(frame.columns) == ["score"]
    assert frame.index.is_monotonic_increasing
    dates = frame.index.get_level_values("datetime")
    assert dates.tz is None
    assert dates.unique().tolist() == pd.bdate_range("2024-01-01", periods=5).tolist()


def test_minutes_stand_at_their_openings_in_shanghai():
    times = pd.date_range("2024-01-02 01:30", periods=30, freq="min")
    candles = make_candles(["SH600000"], times, stamps="open")
    first = signal_frame(make_scores(candles), candles).index[0][0]
    assert first == pd.Timestamp("2024-01-02 09:30")


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_holds_the_frame(daily, tmp_path, suffix):
    scores, path = make_scores(daily), tmp_path / "new" / f"signal{suffix}"
    write_signal(scores, daily, path)
    if suffix == ".parquet":
        read = pd.read_parquet(path)
    else:
        read = pd.read_csv(path, index_col=[0, 1], parse_dates=["datetime"])
    pd.testing.assert_frame_equal(
        read, signal_frame(scores, daily), check_index_type=False, check_freq=False
    )


def test_rows_without_a_score_are_left_out(daily):
    scores = make_scores(daily)
    scores.loc[3, "score"] = float("nan")
    assert len(signal_frame(scores, daily)) == len(scores) - 1
    with pytest.raises(SandboxError, match="no score to write"):
        signal_frame(scores.assign(score=float("nan")), daily)


def test_what_is_no_signal_is_refused(daily, tmp_path):
    scores = make_scores(daily)
    with pytest.raises(SandboxError, match="SH600000 has two scores as of 2024-01-01"):
        signal_frame(pd.concat([scores, scores], ignore_index=True), daily)
    late = scores.assign(asof=scores["asof"] + pd.Timedelta(minutes=1))
    with pytest.raises(SandboxError, match=r"SH600000 has a score as of .* none of its"):
        signal_frame(late, daily)
    with pytest.raises(ConfigError, match=r"written as \.parquet or \.csv"):
        write_signal(scores, daily, tmp_path / "signal.pkl")
    (tmp_path / "file").write_text("")
    with pytest.raises(SandboxError, match="cannot be written"):
        write_signal(scores, daily, tmp_path / "file" / "signal.csv")
