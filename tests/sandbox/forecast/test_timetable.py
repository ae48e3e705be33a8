"""Sessions of exchanges are what the package says, and are kept so that it is asked once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sandbox.errors import ConfigError
from sandbox.forecast import timetable
from sandbox.forecast.timetable import (
    CACHE,
    NO_BREAK,
    Timetable,
    UnknownSessionsError,
    check_name,
    open_calendar,
    timetable_of,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def ns(day):
    return pd.Timestamp(day).value


def sessions(name, first="2021-03-01", last="2024-06-01"):
    return timetable_of(name, ns(first), ns(last))


@pytest.fixture
def never_worked_out(monkeypatch):
    def fail(*_):
        raise AssertionError("the package was asked")

    return lambda: monkeypatch.setattr(timetable, "_worked_out", fail)


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "24/7"])
def test_they_are_those_of_the_package(folder, name):
    made, kept = sessions(name), sessions(name)
    whole = open_calendar(name, pd.Timestamp("2020-01-01"), pd.Timestamp("2029-12-31")).schedule
    assert np.array_equal(pd.DatetimeIndex(kept.days_ns), whole.index)
    for column, of in (("open", kept.opens_ns), ("close", kept.closes_ns)):
        assert list(pd.DatetimeIndex(of, tz="UTC")) == list(whole[column])
    pauses = whole["break_start"].notna().to_numpy()
    assert np.array_equal(kept.breaks_ns != NO_BREAK, pauses)
    assert pauses.any() == (name == "XHKG")
    for one, other in zip(made, kept, strict=True):
        assert np.array_equal(one, other)


def test_a_process_that_finds_them_does_not_import_the_package(folder):
    sessions("XNYS")
    code = (
        "import sys; from sandbox.forecast.calendars import ExchangeCalendar; "
        f"ExchangeCalendar('XNYS').hours({ns('2022-01-03')}, {ns('2022-02-01')}); "
        "print('exchange_calendars' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"


def test_times_outside_what_is_kept_are_added_to_it(folder, never_worked_out):
    sessions("XNYS")
    wider = sessions("XNYS", "1994-05-02", "1994-06-01")
    assert wider.days_ns[0] == ns("1990-01-02")
    assert wider.days_ns[-1] == ns("2029-12-31")
    never_worked_out()
    for first, last in (("1990-01-01", "1999-12-31"), ("2005-01-01", "2029-12-31")):
        assert np.array_equal(sessions("XNYS", first, last).days_ns, wider.days_ns)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no more", "json", "short", "pickled"])
def test_a_damaged_file_is_made_again(folder, content):
    whole = sessions("XNYS")
    [file] = folder.iterdir()
    if content == "json":
        content = json.dumps([1]).encode()
    elif content == "short":
        content = file.read_bytes()[:-200]
    if content == "pickled":
        with file.open("wb") as damaged:
            np.savez(damaged, name=np.array("XNYS"), days_ns=np.array([{}], dtype=object))
    else:
        file.write_bytes(content)
    assert np.array_equal(sessions("XNYS").days_ns, whole.days_ns)
    assert timetable._read("XNYS") is not None


def test_columns_of_several_lengths_are_no_timetable(folder):
    whole = sessions("XNYS")
    timetable._keep("XNYS", whole._replace(closes_ns=whole.closes_ns[:-1]))
    assert timetable._read("XNYS") is None


def test_two_names_with_one_file_name_are_kept_apart(folder):
    never = sessions("24/7")
    assert timetable._file("24/7") == timetable._file("24-7")
    with pytest.raises(ConfigError, match="--calendar '24-7' is not known: did you mean 24/7"):
        check_name("24-7")
    assert len(never.days_ns) == 3653  # of a decade with three leap years


def test_where_no_file_can_be_written_none_is(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv(CACHE, str(tmp_path / "taken"))
    assert isinstance(sessions("XNYS"), Timetable)
    monkeypatch.delenv(CACHE)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    sessions("XNYS")
    [file] = (tmp_path / "home" / ".cache" / "kronos-sandbox").iterdir()
    assert file.name.startswith("sessions-XNYS-")


def test_a_calendar_without_sessions_then_is_told_also_where_later_ones_are_kept(folder):
    sessions("XSHG")
    for _ in range(2):
        with pytest.raises(UnknownSessionsError, match="sessions are not known for 1980-02-01 to"):
            sessions("XSHG", "1980-02-01", "1980-06-01")


def test_a_calendar_that_the_package_cannot_work_out_is_one_short_line(folder, monkeypatch):
    def fail(*_, **__):
        raise ValueError("Special dates\n" + "2024-01-01 " * 1000)

    monkeypatch.setattr("exchange_calendars.get_calendar", fail)
    open_calendar.cache_clear()
    with pytest.raises(ConfigError, match=r"--calendar XNYS: exchange_calendars .* cannot") as told:
        sessions("XNYS")
    assert len(str(told.value)) < 250 and "\n" not in str(told.value)
    assert not folder.exists()
