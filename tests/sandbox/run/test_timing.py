"""When bars open and close, from the command line to the engine and the horizon."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import feeds
from sandbox import cores
from sandbox.cli import config_of
from sandbox.config import RunConfig, Sampling
from sandbox.forecast import data
from sandbox.forecast.__main__ import main as forecast
from sandbox.forecast.calendars import ExchangeCalendar
from sandbox.forecast.horizon import is_daily
from sandbox.forecast.windows import Windows
from sandbox.lookahead import __main__ as lookahead_cli
from sandbox.run import job, portfolios
from sandbox.run.__main__ import main
from tests.sandbox.run.test_run_cli import ALONE, no_report  # noqa: F401

BENCHMARK = str(job.ROOT / "strategies" / "benchmark.py")
SMALL = [BENCHMARK, *ALONE, "--lookback", "3", "--signal", "momentum", "--start", "2023-01-09"]


@pytest.fixture
def files(tmp_path, monkeypatch, market):
    """Daily files A.csv and B.csv stamped with dates, and hourly ones in hours/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hours").mkdir()
    for symbol, frame in market("AB", bars=90).items():
        frame.set_axis(frame.index.normalize().tz_localize(None)).to_csv(
            f"{symbol}.csv", index_label="date"
        )
        hours = pd.date_range("2023-01-09", periods=len(frame), freq="h")
        frame.set_axis(hours).to_csv(f"hours/{symbol}.csv", index_label="date")
    return tmp_path


@pytest.mark.usefixtures("no_report")
def test_what_was_declared_and_taken_is_in_the_record(files):
    options = [*SMALL, "--data", "csv:hours/*.csv"]
    assert main([*options, "--out", "as-found"]) == 0
    assert main([*options, "--stamps", "open", "--out", "declared"]) == 0
    found, declared = (
        json.loads((files / name / "config.json").read_text()) for name in ("as-found", "declared")
    )
    assert (found["config"]["stamps"], declared["config"]["stamps"]) == (None, "open")
    assert any("say --stamps open" in note for note in found["notes"])
    assert any("as declared: each bar closes its length later" in n for n in declared["notes"])
    assert declared["window"]["first_bar"] == "2023-01-09T01:00:00+00:00"
    assert found["window"]["first_bar"] == "2023-01-09T00:00:00+00:00"
    assert main([BENCHMARK, "--config", "declared/config.json", "--out", "again"]) == 0
    assert (files / "again" / "trades.csv").read_bytes() == (
        files / "declared" / "trades.csv"
    ).read_bytes()


def test_a_declaration_that_means_nothing_is_one_line(files, capsys):
    assert main([*SMALL, "--stamps", "open", "--data", "sample"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "error: stamps='open' (--stamps open): when the bars of sample opened and closed is known; "
        "leave it out"
    )
    assert main([*SMALL, "--stamps", "middle", "--data", "csv:*.csv"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --stamps 'middle': input should be 'open' or 'close'")


@pytest.mark.usefixtures("no_report")
def test_every_backtest_is_given_the_openings(files, monkeypatch):
    given = []

    def watched(source, setup, **rest):
        given.append(source.opens)
        return run_backtest(source, setup, **rest)

    run_backtest = portfolios.run_backtest
    monkeypatch.setattr(portfolios, "run_backtest", watched)
    monkeypatch.setattr(cores, "cores", lambda: 1)
    assert main([*SMALL, "--data", "csv:*.csv", "--out", "one"]) == 0
    days = pd.bdate_range("2023-01-02", periods=90).as_unit("ns").asi8
    assert given and all(np.array_equal(opens["B"], days) for opens in given)


def test_a_named_exchange_gives_dates_its_hours(files):
    holidays = ["2023-01-02", "2023-01-16", "2023-02-20", "2023-04-07"]
    for path in files.glob("*.csv"):
        table = pd.read_csv(path)
        table[~table["date"].isin(holidays)].to_csv(path, index=False)
    config = RunConfig.of(
        strategies=(BENCHMARK,), data="csv:*.csv", calendar="XNYS", start="2023-01-09",
        signal="momentum",
    )  # fmt: skip
    candles = job.prepare(config).candles
    assert "its session of XNYS" in candles.timing[0]
    at = candles["A"].index.get_loc(pd.Timestamp("2023-01-10 21:00", tz="UTC"))
    assert pd.Timestamp(candles.opens["A"][at]) == pd.Timestamp("2023-01-10 14:30")


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("options", "name"),
    [([], "XNYS"), (["--calendar", "XNAS"], "XNAS"), (["--calendar", "none"], None)],
)
def test_the_calendar_is_in_the_record_with_the_option_that_chose_it(files, options, name):
    short = ["--start", "2021-01-04", "--end", "2021-01-29", "--data", "sample:AAPL"]
    assert main([*SMALL, *short, *options, "--out", "x"]) == 0
    record = json.loads((files / "x" / "config.json").read_text())
    assert record["data"]["calendar"] == name
    assert record["config"]["calendar"] == (options[1] if options else None)
    assert "exchange_calendars" in record["packages"]


@pytest.mark.usefixtures("no_report")
def test_files_follow_no_calendar_unless_one_is_named(files):
    assert main([*SMALL, "--data", "csv:*.csv", "--out", "x"]) == 0
    assert json.loads((files / "x" / "config.json").read_text())["data"]["calendar"] is None


@pytest.mark.usefixtures("no_report")
def test_a_run_whose_candles_name_a_calendar_that_does_not_fit_says_so(files, monkeypatch):
    def load(spec, **options):
        return dataclasses.replace(feeds.load("csv:*.csv", **options), calendar="XSHG")

    monkeypatch.setattr(data, "load", load)
    night = pd.bdate_range("1980-01-01", periods=90)  # before that exchange was founded
    for path in files.glob("*.csv"):
        pd.read_csv(path).assign(date=night).to_csv(path, index=False)
    assert main([*SMALL, "--start", "1980-03-03", "--end", "1980-04-30", "--out", "x"]) == 0
    [note] = [
        note
        for note in json.loads((files / "x" / "config.json").read_text())["notes"]
        if "XSHG" in note
    ]
    assert note.startswith("Forecasts from 1980-03-03 to ")


def test_lookahead_takes_the_declaration():
    args = lookahead_cli._parser().parse_args([BENCHMARK, "--stamps", "close"])
    assert config_of(args).candles.stamps == "close"


@pytest.mark.usefixtures("fake_model")
def test_a_forecast_says_how_stamps_were_read(files, capsys):
    options = ["--data", "csv:*.csv", "--symbol", "A", "--lookback", "20", "--out", "drawn"]
    assert forecast(options) == 0
    shown = capsys.readouterr().out
    assert "Bars are stamped with dates: each opens at 00:00 and closes at 23:59:59" in shown
    assert "23:59" in shown and len(list((files / "drawn").iterdir())) == 2
    assert forecast([*options, "--stamps", "close"]) == 0
    assert "stamped with dates" not in capsys.readouterr().out


# --- the calendar --------------------------------------------------------------------------------


def test_the_hours_of_an_exchange():
    first, last = (pd.Timestamp(day).value for day in ("2023-11-20", "2023-11-30"))
    hours = ExchangeCalendar("XNYS").hours(first, last)
    days = [f"{day:%m-%d}" for day in pd.DatetimeIndex(hours.days_ns)]
    eve, short = days.index("11-22"), days.index("11-24")
    assert short == eve + 1  # Thanksgiving
    spans = [
        f"{pd.Timestamp(hours.opens_ns[at]):%H:%M}-{pd.Timestamp(hours.closes_ns[at]):%H:%M}"
        for at in (eve, short)
    ]
    assert spans == ["14:30-21:00", "14:30-18:00"]


@pytest.mark.parametrize("exchange", [None, "XNYS"])
def test_bars_of_dates_are_daily_and_stand_at_midnight_for_the_model(exchange):
    calendar = ExchangeCalendar(exchange) if exchange else None
    days = pd.bdate_range("2024-01-16", "2024-04-05")
    days = days[~days.isin(pd.DatetimeIndex(["2024-02-19", "2024-03-29"]))]
    table = pd.DataFrame({"date": days, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    frame = feeds.from_frames({"A": table}, sessions=calendar)["A"]
    times = pd.DatetimeIndex(frame.index).as_unit("ns")
    assert is_daily(times.asi8[None])
    sampling = Sampling(lookback=30, horizon=3)
    windows = Windows.of({"A": frame}, sampling, times[-1:], calendar)
    ahead = [f"{time:%a %m-%d %H:%M:%S}" for time in pd.DatetimeIndex(windows.future_ns[0])]
    clock = "20:00:00" if exchange else "23:59:59"
    assert ahead == [f"{day} {clock}" for day in ("Mon 04-08", "Tue 04-09", "Wed 04-10")]
    past, future = windows.stamps()  # minute, hour, weekday, day, month
    assert (past[..., :2] == 0).all() and (future[..., :2] == 0).all()
    assert past[0, -1].tolist() == [0, 0, 4, 5, 4] and future[0, 0].tolist() == [0, 0, 0, 8, 4]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo", "Australia/Sydney"])
def test_the_model_sees_the_dates_of_the_file_whatever_its_zone(zone):
    days = pd.bdate_range("2024-03-04", "2024-04-12", tz=zone)  # summer time begins or ends
    table = pd.DataFrame({"date": days, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    frame = feeds.from_frames({"A": table})["A"]
    windows = Windows.of({"A": frame}, Sampling(lookback=20, horizon=1), frame.index[-1:])
    past, future = windows.stamps()  # minute, hour, weekday, day, month
    seen = [tuple(fields) for fields in past[0].tolist()]
    assert seen == [(0, 0, day.weekday(), day.day, day.month) for day in days[-20:]]
    assert future[0, 0].tolist() == [0, 0, 0, 15, 4]


def test_dates_under_a_calendar_that_never_shuts_keep_their_date():
    days = pd.date_range("2024-01-01", periods=40)
    table = pd.DataFrame({"date": days, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    candles = feeds.from_frames({"A": table}, sessions=ExchangeCalendar("24/7"))
    assert list(candles["A"].index.normalize().tz_localize(None)) == list(days)
    assert np.array_equal(candles.opens["A"], days.as_unit("ns").asi8)
