"""`qlib:` directories, read through pyqlib: prices, days, membership, and what is refused."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds import SourceError, SpecError, load
from feeds.members import were_members
from feeds.qlib.wanted import parse
from tests.qlib_directory import walk_table, write_directory

DAYS = pd.bdate_range("2020-01-01", periods=40)
FIRST, LAST = f"{DAYS[0]:%Y-%m-%d}", f"{DAYS[-1]:%Y-%m-%d}"
SYMBOLS = ("SH600000", "SZ000001", "SH600004")


def utc(text):
    return pd.Timestamp(text, tz="UTC")


def spec(folder, instruments="pool", **more):
    rest = "".join(f"&{name}={value}" for name, value in more.items())
    return f"qlib:{folder}?instruments={instruments}{rest}"


@pytest.fixture(scope="module")
def tables():
    """Three walks. Of the second, a suspended day, one without volume, one with none traded."""
    made = {symbol: walk_table(DAYS, seed) for seed, symbol in enumerate(SYMBOLS)}
    still = made["SZ000001"]
    still.iloc[10] = np.nan
    still.loc[DAYS[11], "volume"] = np.nan
    still.loc[DAYS[12], ["open", "high", "low", "close"]] = still.loc[DAYS[9], "close"]
    still.loc[DAYS[12], "volume"] = 0.0
    still.loc[DAYS[13], "volume"] = 0.0  # prices move: a bar
    made["SH600004"] = made["SH600004"].iloc[5:30]
    return made


@pytest.fixture(scope="module")
def folder(tables, tmp_path_factory):
    pool = {
        "SH600000": [(FIRST, f"{DAYS[9]:%Y-%m-%d}"), (f"{DAYS[20]:%Y-%m-%d}", "2099-12-31")],
        "SZ000001": [(FIRST, LAST)],
        "SH600004": [("2019-01-01", f"{DAYS[25]:%Y-%m-%d}")],
    }
    sets = {"pool": pool, "ghosts": pool | {"SH600005": [(FIRST, LAST)]}, "empty": {},
            "gone": {"SH600005": [(FIRST, LAST)]}, "csi300": pool}  # fmt: skip
    return write_directory(tmp_path_factory.mktemp("qlib"), tables, sets)


@pytest.fixture(scope="module")
def candles(folder):
    return load(spec(folder))


def test_prices_and_volumes_are_qlibs_adjusted_ones(candles, tables):
    frame, table = candles["SH600000"], tables["SH600000"]
    prices = ["open", "high", "low", "close", "volume"]
    np.testing.assert_allclose(frame[prices], table[prices], rtol=1e-6)
    money = table["volume"] * table[prices[:4]].mean(axis=1)
    np.testing.assert_allclose(frame["amount"], money, rtol=1e-6)
    assert "adjusted shares" in candles.note


def test_days_without_a_trade_are_no_bars(candles):
    have = candles["SZ000001"].index.normalize().tz_localize(None)
    assert set(DAYS) - set(have) == set(DAYS[[10, 11, 12]])
    assert "2 prices are of bars without a trade" in candles.note


def test_an_instrument_begins_and_ends_with_its_features(candles):
    frame = candles["SH600004"]
    assert (frame.index[0].date(), frame.index[-1].date()) == (DAYS[5].date(), DAYS[29].date())


def test_chinese_days_are_sessions_of_shanghai(candles):
    assert (candles.costs, candles.calendar) == ("cn", "XSHG")
    assert candles["SH600000"].index[0] == utc("2020-01-01 07:00")
    assert candles.opens["SH600000"][0] == utc("2020-01-01 01:30").value


def test_bars_of_before_and_after_a_membership_are_there(candles):
    frame = candles["SH600000"]
    assert len(frame) == len(DAYS)
    inside = were_members(candles.members, "SH600000", feeds.times_ns(frame))
    assert np.flatnonzero(~inside).tolist() == list(range(10, 20))
    own = candles["SH600004"]
    until = were_members(candles.members, "SH600004", feeds.times_ns(own))
    assert own.index[until][-1].date() == DAYS[25].date()


def test_membership_goes_with_picks_and_windows_and_into_the_hash(candles):
    from dataclasses import replace

    assert set(candles.pick(["SZ000001"]).members) == {"SZ000001"}
    assert candles.between("2020-01-10").members == candles.members
    assert replace(candles, members={}).data_hash != candles.data_hash


def test_reading_leaves_this_process_and_the_directory_alone(folder, candles):
    assert not [name for name in sys.modules if name.split(".")[0] in ("qlib", "mlflow")]
    assert not list(folder.rglob("mlruns"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "calendars",
        "features",
        "instruments",
    ]


def test_other_names_are_days_of_utc_and_american_costs(tables, tmp_path):
    own = {"AAPL": tables["SH600000"], "MSFT": tables["SH600004"]}
    own["AAPL"] = own["AAPL"].assign(amount=7.0)
    own["MSFT"] = own["MSFT"].assign(vwap=own["MSFT"]["close"] * 2)
    pool = {symbol: [(FIRST, LAST)] for symbol in own}
    candles = load(spec(write_directory(tmp_path, own, {"all": pool}), "all"))
    assert (candles.costs, candles.calendar) == ("us", None)
    frame = candles["AAPL"]
    assert frame.index[0] == utc("2020-01-01 23:59:59")
    assert (frame["amount"] == 7.0).all()  # as the directory has it
    vwap = candles["MSFT"]
    np.testing.assert_allclose(vwap["amount"], 2 * vwap["close"] * vwap["volume"], rtol=1e-6)
    assert were_members(candles.members, "AAPL", feeds.times_ns(frame)).all()


def test_minutes_are_stamped_with_their_openings(tmp_path):
    times = pd.date_range("2021-03-01 09:30", periods=30, freq="min")
    day = {"SH600000": walk_table(times, 1).drop(columns=["volume"])}
    sets = {"all": {"SH600000": [("2021-03-01 09:35:00", "2021-03-01 09:40:00")]}}
    candles = load(spec(write_directory(tmp_path, day, sets, "1min"), "all", freq="min"))
    frame = candles["SH600000"]
    assert frame.index[0] == utc("2021-03-01 01:31")
    assert candles.opens["SH600000"][0] == utc("2021-03-01 01:30").value
    inside = were_members(candles.members, "SH600000", feeds.times_ns(frame))
    assert np.flatnonzero(inside).tolist() == [5, 6, 7, 8, 9, 10]
    assert (frame["volume"] == 0).all()  # not known


def test_instruments_without_features_are_refused_or_left_out(folder):
    with pytest.raises(
        SourceError, match=r"SH600005 of ghosts has no features \(features/sh600005"
    ):
        load(spec(folder, "ghosts"))
    candles = load(spec(folder, "ghosts"), repair=True)
    assert candles.repairs == ("Left out of ghosts, as the directory has no bar of it: SH600005",)
    assert set(candles) == set(SYMBOLS)
    with pytest.raises(SourceError, match="choose other instruments"):
        load(spec(folder, "gone"), repair=True)


@pytest.mark.parametrize(
    ("rest", "error", "text"),
    [
        ("?instruments=pool", SpecError, "it lacks a directory; write qlib:DIR"),
        ("{folder}", SpecError, "it lacks instruments; .* one of csi300, empty, ghosts"),
        ("{folder}?instrument=pool", SpecError, "'instrument'; did you mean instruments"),
        ("{folder}?instruments=csi30", SpecError, "no instruments 'csi30'; did you mean csi300"),
        ("{folder}?instruments=pool&freq=dya", SpecError, "no freq 'dya'; did you mean day"),
        ("{folder}?instruments=pool&freq=0min", SpecError, "no freq '0min'"),
        ("{folder}?instruments=pool&freq=5min", SpecError, "of freq=5min; it has day"),
        ("{folder}/none?instruments=pool", SourceError, "there is no such directory"),
        ("{folder}/calendars/day.txt?instruments=pool", SourceError, "that is a file"),
        ("{folder}/features?instruments=pool", SourceError, "no calendar .calendars/day.txt"),
        ("{folder}?instruments=empty", SourceError, "instruments/empty.txt is empty"),
    ],
)
def test_a_spec_that_cannot_be_served_is_one_line(folder, rest, error, text):
    with pytest.raises(error, match=text) as caught:
        load("qlib:" + rest.format(folder=folder))
    assert "\n" not in str(caught.value)


def test_names_do_not_depend_on_case_and_days_are_the_default(folder):
    assert parse(f"{folder}?instruments=POOL")[1:] == ("pool", "day")
    assert parse(f"{folder}?instruments=pool&freq=1d").freq == "day"


def test_a_directory_without_sets_of_instruments(tmp_path, tables):
    folder = write_directory(tmp_path, {"SH600000": tables["SH600000"]}, {})
    with pytest.raises(SourceError, match="it has no set of instruments"):
        load(spec(folder))


def test_what_pyqlib_cannot_read_is_one_line(tmp_path, tables):
    folder = write_directory(tmp_path, {"SH600000": tables["SH600000"]}, {"all": {}})
    (folder / "instruments" / "all.txt").write_text("SH600000\tyesterday\ttomorrow\n")
    with pytest.raises(SourceError, match="pyqlib cannot read it") as caught:
        load(spec(folder, "all"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"), [("qlib", "pyqlib is"), ("mlflow", "pyqlib's mlflow is")]
)
def test_without_pyqlib_the_extra_is_named(folder, tmp_path, monkeypatch, name, text):
    """A package of the same name comes first, and says that it is not there."""
    package = tmp_path / "qlib"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise ModuleNotFoundError('x', name={name!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SourceError, match=re.escape(text) + r" not installed; .*sandbox\[qlib\]"):
        load(spec(folder))


def test_times_are_known(folder):
    with pytest.raises(SpecError, match="is known; leave it out"):
        load(spec(folder), stamps="open")


def test_a_misspelt_scheme():
    with pytest.raises(SpecError, match="did you mean qlib"):
        load("qlb:somewhere?instruments=all")
