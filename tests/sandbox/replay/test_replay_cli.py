"""`python -m sandbox.replay`: its first line, its options, and how it ends."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPException

import pytest
from replay_client import asked, walks

from sandbox.replay.__main__ import main
from sandbox.replay.market import Markets
from sandbox.replay.options import speed_of

LISTENING = "listening on http://127.0.0.1:"
IN_A_HURRY = (
    "import sys; from sandbox.replay.__main__ import main; "
    "sys.exit(main(sys.argv[1:], idle_secs=3.0))"
)


@pytest.fixture(scope="module")
def hourly(tmp_path_factory):
    """A data spec of 40 hourly candles of two symbols."""
    folder = tmp_path_factory.mktemp("hourly")
    for symbol, frame in walks(["A", "B"], 40).frames.items():
        frame.to_csv(folder / f"{symbol}.csv", index_label="close_time")
    return f"csv:{folder}/*.csv"


@contextmanager
def started(*command):
    """A replay and its address; it is gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            line = process.stdout.readline()
            assert line.startswith(LISTENING)
            yield process, line.strip().removeprefix("listening on ")
        finally:
            process.kill()


def ended(process):
    """The rest of its output, its errors and its exit status."""
    output, errors = process.communicate(timeout=30)
    return output, errors, process.returncode


def test_its_first_line_says_where_it_listens_and_ctrl_c_ends_it_with_a_line(hourly):
    options = ["--data", hourly, "--faults", "1:0"]
    with started("-m", "sandbox.replay", *options) as (process, url):
        assert asked(url, "/api/v3/ping")[0] == 200
        symbols = asked(url, "/api/v3/exchangeInfo")[1]["symbols"]
        assert [market["symbol"] for market in symbols] == ["AUSDT", "BUSDT"]
        assert symbols[0]["sandbox"]["speed"] == 3600.0
        process.send_signal(signal.SIGINT)
        output, errors, status = ended(process)
    assert (output, status) == ("", 1)
    assert errors.splitlines() == ["error: interrupted"]


def test_it_ends_by_itself_when_the_data_have_and_nobody_asks_any_more(hourly):
    options = ["--data", hourly, "--speed", "72000x", "--faults", "1:0.3"]  # 20 bars of 50 ms
    bars = 0
    with started("-c", IN_A_HURRY, *options) as (process, url):
        while bars < 40 and process.poll() is None:
            bars = klines_in_spite_of_faults(url)
        counts = asked(url, "/sandbox/faults")[1]
        output, errors, status = ended(process)
    assert (output, status) == ("", 0)
    last = errors.splitlines()[-1]
    assert last.startswith(f"{sum(counts.values())} faults: ")
    assert all(f"{number} {kind}" in last for kind, number in counts.items())


def klines_in_spite_of_faults(url):
    """How many candles there are; 0 where the answer is spoilt."""
    try:
        status, rows, _ = asked(url, "/api/v3/klines?symbol=AUSDT&interval=1h")
    except (ValueError, OSError, HTTPException):
        return 0
    return len({row[0] for row in rows or ()}) if status == 200 else 0


def test_it_asks_for_a_port_that_is_free(hourly, capsys):
    options = ["--data", hourly, "--speed", "max"]
    with started("-m", "sandbox.replay", *options) as (process, url):
        port = url.rpartition(":")[2]
        assert main(["--data", hourly, "--port", port]) == 2
        line = f"error: --port {port}: in use by another program; 0 takes a free one\n"
        assert capsys.readouterr().err == line
        process.send_signal(signal.SIGTERM)
        assert ended(process)[1] == "error: interrupted by SIGTERM\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speed", "fast"], "--speed 'fast': write how many times as fast as real time"),
        (["--speed", "0x"], "--speed '0x': write how many"),
        (["--speed", "nan"], "--speed 'nan': write how many"),
        (["--faults", "1"], "--faults '1': write SEED:RATE"),
        (["--faults", "1:2"], "faults at a rate of 2: it must be from 0 to 1"),
        (["--port", "70000"], "--port 70000: input should be less than or equal to 65535"),
        (["--data", "smaple"], "data spec 'smaple' is not known; did you mean sample?"),
        (["--data", "sample:APPL"], "no symbol 'APPL'; did you mean AAPL?"),
        (["--start", "2031-01-01"], "--start 2031-01-01: no bar is left to replay; sample has"),
        (["--end", "2001-01-01"], "--end 2001-01-01: no bar comes before it; sample has 2015-01"),
        (["--start", "2020-02-01", "--end", "2020-01-01"], "--end 2020-01-01 is before --start"),
        (["--start", "2020-02-01", "--end", "2020-02-01"],
         "--start 2020-02-01: no bar is left to replay before --end"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(capsys, options, message):
    assert main(options) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("error: ")
    assert message in shown.err


def test_an_absent_file_is_one_clear_line(capsys):
    assert main(["--data", "csv:absent.csv"]) == 1
    assert "absent.csv" in capsys.readouterr().err


def test_without_aiohttp_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert main([]) == 2
    assert "pip install 'kronos-sandbox[paper]'" in capsys.readouterr().err


def test_a_misspelt_option_gets_the_nearest(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--sped", "max"])
    assert stop.value.code == 2
    assert "did you mean --speed?" in capsys.readouterr().err


def test_help_says_what_is_history(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "after 600 bar times" in " ".join(capsys.readouterr().out.split())
    assert Markets.of(walks(["A"], 40)).first == 20


def test_speeds():
    assert [speed_of(text) for text in ("3600x", "1X", "0.5x", "60", "max", "MAX")] == [
        3600.0, 1.0, 0.5, 60.0, None, None,
    ]  # fmt: skip


def test_a_calendar_is_told_to_clients(hourly):
    options = ["--data", hourly, "--calendar", "XNYS"]
    with started("-m", "sandbox.replay", *options) as (process, url):
        market = asked(url, "/api/v3/exchangeInfo")[1]["symbols"][0]
        process.send_signal(signal.SIGTERM)
        errors = ended(process)[1].splitlines()
    assert market["sandbox"]["calendar"] == "XNYS"
    assert errors[0] == "note: clients are told of XNYS; times in files are read without it"
