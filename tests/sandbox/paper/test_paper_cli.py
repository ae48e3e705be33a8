"""`python -m sandbox.paper` against a replay: sittings, limits, interruptions and bad input."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from urllib.request import urlopen

import pytest
from paper_cases import table

import feeds
from feeds.errors import UnreachableError
from sandbox.paper import command as command_module
from sandbox.paper import terms
from sandbox.paper.__main__ import main
from sandbox.replay.serve import serving
from sandbox.run.__main__ import main as run_main

ROOT = Path(__file__).resolve().parents[3]
TOPK = str(ROOT / "strategies" / "topk.py")
PLAIN = ("--signal", "momentum", "--param", "k=1", "rebalance=bar")
FAST = 4 * 86_400.0  # four daily bars a second


@pytest.fixture(scope="module")
def candles():
    return feeds.load("sample:AAPL,NVDA", start="2018-06-01", end="2020-06-30")


def serve(candles, **options):
    return serving(candles, **{"start": date.fromisoformat("2020-01-02"), **options})


def command(port, state, *more):
    return [TOPK, *PLAIN, "--exchange", f"replay:{port}", "--state", str(state), *more]


def start(*words, **more):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.paper", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=more.pop("cwd", ROOT),
        env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"}, **more,
    )  # fmt: skip


def refused(capsys, *words):
    """The one line that a command ends with, and its status."""
    try:
        status = main(list(words))
    except SystemExit as left:
        status = left.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith(("error: ", "python -m sandbox.paper: error: ")), lines
    return status, lines[-1]


def wait_for(condition, secs=60):
    ends = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)


def bars_in(state):
    return table(state, "SELECT count(*) FROM bars")[0][0] if state.exists() else 0


def test_a_sitting_of_some_bars_ends_in_a_run_folder(candles, tmp_path, capsys):
    state, out = tmp_path / "account.sqlite", tmp_path / "run"
    with serve(candles) as served:
        assert main(command(served.port, state, "--bars", "30", "--out", str(out))) == 0
        said = capsys.readouterr().out
        assert f"{state}: 30 bars traded, as asked; 30 bars in this sitting, 30 in all" in said
        assert (out / "report.html").is_file()
        assert bars_in(state) == 30
        # the rest of the year, from the account's own symbols and timeframe
        assert main(command(served.port, state, "--out", str(out))) == 0
    said = capsys.readouterr().out
    total = int((feeds.bar_times(candles.frames) >= "2020-01-02").sum())
    assert "all markets have ended" in said and f"{total} in all" in said
    assert f"--data paper:{state} --store none" in said
    config = json.loads((out / "config.json").read_text())
    assert config["data"]["spec"] == f"paper:{state}"
    notes = " ".join(config["notes"])
    assert f"Traded on paper, on replay:{served.port}'s candles of 1d: {total} bars." in notes


def test_once_trades_what_has_closed_and_leaves(candles, tmp_path, capsys):
    state = tmp_path / "account.sqlite"
    with serve(candles, speed=FAST) as served:
        words = command(served.port, state, "--once")
        assert main(words) == 0  # the account is opened: nothing has closed since
        assert bars_in(state) <= 2
        before = bars_in(state)
        time.sleep(3.0)  # 12 bars
        assert main(words) == 0
        after = bars_in(state)
        assert after - before >= 10
    said = capsys.readouterr().out
    assert "all bars that have closed are traded" in said
    assert re.search(r"[1-9]\d* of them closed while nothing was running", said)
    assert table(state, "SELECT sum(caught_up) FROM bars")[0][0] >= 9
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sitting_ends_after_its_bar_with_a_run_folder(number, candles, tmp_path):
    state, out = tmp_path / "account.sqlite", tmp_path / "run"
    with serve(candles, speed=FAST) as served:
        process = start(*command(served.port, state, "--out", str(out), "--dashboard", "0"))
        first = process.stdout.readline()
        address = re.search(r"http://\S+", first).group()
        wait_for(lambda: bars_in(state) >= 4)
        with urlopen(address, timeout=20) as page:
            assert "topk" in page.read().decode()
        process.send_signal(number)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"stopped by {number.name}" in said
    assert (out / "report.html").is_file()
    status = json.loads(table(state, "SELECT value FROM status")[0][0])
    assert status["stopped"] is True
    with pytest.raises(OSError):  # the dashboard went with its account
        urlopen(address, timeout=5)


def test_a_killed_sitting_goes_on_and_a_second_one_beside_it_is_refused(candles, tmp_path, capsys):
    state = tmp_path / "account.sqlite"
    with serve(candles, speed=FAST) as served:
        process = start(*command(served.port, state))
        wait_for(lambda: bars_in(state) >= 3)
        status, line = refused(capsys, *command(served.port, state))
        assert (status, f"another process ({process.pid})" in line) == (1, True)
        process.kill()
        process.communicate()
        done = bars_in(state)
        assert main(command(served.port, state, "--bars", "2", "--out", str(tmp_path / "r"))) == 0
        assert bars_in(state) == done + 2


def test_another_replay_of_the_same_is_not_gone_on_with(candles, tmp_path, capsys):
    state = tmp_path / "account.sqlite"
    with serve(candles) as served:
        main(command(served.port, state, "--bars", "20", "--out", str(tmp_path / "run")))
    before = table(state, "SELECT * FROM bars")
    with serve(candles) as served:
        status, line = refused(capsys, *command(served.port, state))
    assert status == 1
    assert "it is another replay, or one that began anew" in line
    assert table(state, "SELECT * FROM bars") == before


def test_quiet_writes_lines_of_json_and_nothing_on_screen(candles, tmp_path, capsys):
    state = tmp_path / "account.sqlite"
    with serve(candles) as served:
        words = command(served.port, state, "--quiet", "--once")
        assert main(words) == 0
        process = start(*command(served.port, state, "--quiet", "--bars", "9"), cwd=tmp_path)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    log = (tmp_path / "account.sqlite.log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"time", "level", "event", "text", "fields"} == set(lines[0])
    assert {"connected", "fill"} <= {line["event"] for line in lines}
    assert said == ""
    assert {"stopped", "report", "proof"} <= {line["event"] for line in lines}
    assert (tmp_path / "runs" / "topk-paper-account" / "report.html").is_file()


BAD = [
    (["--exchange", "binanse", "--symbols", "A", "--timeframe", "1h"], 1, "did you mean binance?"),
    (["--exchange", "replay:x"], 1, "write replay:PORT"),
    (["--exchange", "binance", "--symbols", "A,,B", "--timeframe", "1h"], 2, "write symbols as"),
    (["--exchange", "binance", "--symbols", "A", "--timeframe", "7h"], 1, "it has 1s, 1m, 3m"),
    (
        ["--exchange", "binance", "--bars", "0"],
        2,
        "1 or more",
    ),
    (["--exchange", "binance", "--bars", "1", "--once"], 2, "not allowed with"),
    (["--exchange", "binance", "--dashboard", "70000"], 2, "a port is 0 to 65535"),
    (["--exchange", "binance", "--sweep", "k=1,2"], 2, "--sweep"),
    (["--symbols", "A"], 2, "--exchange"),
    (["--exchange", "binance", "--timeframe", "1h"], 1, "name its symbols"),
]


@pytest.mark.parametrize(("options", "status", "words"), BAD)
def test_bad_options_are_one_line(options, status, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told, line = refused(capsys, TOPK, *PLAIN, *options)
    assert (told, words in line) == (status, True), line
    assert not list(tmp_path.rglob("*.sqlite*"))


def test_what_an_exchange_lacks_is_named(candles, tmp_path, capsys):
    state = tmp_path / "account.sqlite"
    with serve(candles) as served:
        status, line = refused(capsys, *command(served.port, state, "--symbols", "APPL"))
        assert (status, "did you mean AAPL" in line) == (1, True), line
        status, line = refused(capsys, *command(served.port, state, "--timeframe", "1h"))
        assert (status, "bars of 1d, not of 1h" in line) == (1, True), line
        status, line = refused(capsys, *command(served.port, state, "--lookback", "600"))
        assert (status, "no market of replay" in line) == (2, True), line
    assert not state.exists()


def test_a_port_in_use_is_named_before_anything_is_traded(candles, tmp_path, capsys):
    state = tmp_path / "account.sqlite"
    with socket.socket() as taken, serve(candles) as served:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, line = refused(capsys, *command(served.port, state, "--dashboard", port))
    assert (status, port in line and "in use" in line) == (1, True), line
    assert bars_in(state) == 0


def test_an_account_that_is_there_waits_for_its_exchange(candles, tmp_path, monkeypatch, capsys):
    """One that is to be opened does not: the name or the network may be wrong."""
    state, down = tmp_path / "account.sqlite", [2]
    open_feed = command_module.open_feed

    def at_times(*words):
        if down[0]:
            down[0] -= 1
            raise UnreachableError("binance: no answer; asked 6 times")
        return open_feed(f"replay:{served.port}", *words[1:])

    monkeypatch.setattr(command_module, "open_feed", at_times)
    monkeypatch.setattr(command_module, "FIRST_PAUSE_SECS", 0.01)
    monkeypatch.setattr(command_module, "exchange_kind", lambda name: "binance")
    monkeypatch.setattr(terms, "exchange_kind", lambda name: "binance")
    with serve(candles) as served:
        words = [*command("0", state), "--once"]
        words[words.index("--exchange") + 1] = "binance"
        status, line = refused(capsys, *words)
        assert (status, "no answer" in line, state.exists()) == (1, True, False)
        down[0] = 0
        assert main(words) == 0
        down[0] = 2
        assert main(words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if re.match(r"no answer since 20\d\d-", line)]) == 2


def test_a_strategy_that_is_edited_while_it_trades_gets_no_run_folder(candles, tmp_path, capsys):
    state, own = tmp_path / "account.sqlite", tmp_path / "topk.py"
    own.write_text(Path(TOPK).read_text())
    with serve(candles, speed=FAST) as served:
        words = command(served.port, state, "--out", str(tmp_path / "run"))
        process = start(str(own), *words[1:])
        wait_for(lambda: bars_in(state) >= 3)
        own.write_text(Path(TOPK).read_text() + "\n# one more line\n")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"{own} was changed while it was traded" in errors.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_all_that_was_traded_is_the_window_of_a_paper_account(candles, tmp_path):
    """Also where its days are not those that other data are traded on unless it is said."""
    state = tmp_path / "account.sqlite"
    with serve(candles) as served:
        main(command(served.port, state, "--bars", "30", "--out", str(tmp_path / "paper")))
    for options, days in (((), 30), (("--start", "2020-01-15"), 21), (("--end", "2020-01-10"), 9)):
        out = tmp_path / f"run{days}"
        assert (
            run_main(
                [
                    TOPK,
                    *PLAIN,
                    "--data",
                    f"paper:{state}",
                    "--store",
                    "none",
                    "--no-controls",
                    "--no-benchmark",
                    *options,
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
        rows = (out / "equity.csv").read_text().splitlines()[1:]
        assert abs(len(rows) - days) <= 3, (options, len(rows))


def test_two_strategies_are_two_accounts(capsys):
    words = [TOPK, str(ROOT / "strategies" / "uncertainty.py"), "--exchange", "binance"]
    status, line = refused(capsys, *words)
    assert (status, "an account is of one" in line) == (2, True)


def test_without_ccxt_the_extra_is_named(tmp_path):
    (tmp_path / "ccxt").mkdir()
    (tmp_path / "ccxt" / "__init__.py").write_text("raise ImportError('No module named ccxt')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.paper", TOPK, "--exchange", "binance",
         "--symbols", "BTC/USDT", "--timeframe", "1h"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "kronos-sandbox[paper]" in done.stderr
