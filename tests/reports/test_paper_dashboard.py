"""The dashboard's server over loopback: what it sends, to whom, and what it survives."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reports import paper
from reports.paper_view import state_of
from reports.paper_watch import Cursor
from tests.reports.paper_accounts import HORIZON, HOUR_NS, STARTED_NS, SYMBOLS, AccountFile, written

ROOT = Path(__file__).resolve().parents[2]
FIRST = SYMBOLS[0]
PATIENCE_SECS = 60


@contextlib.contextmanager
def dashboard(path, port=0):
    """The command on a free port; (port, process)."""
    command = [sys.executable, "-m", "reports.paper", str(path), "--port", str(port)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline().strip()
            address, _, found = line.rpartition(":")
            assert address == "dashboard on http://127.0.0.1", line + process.stderr.read()
            yield int(found), process
        finally:
            process.kill()


class Stream:
    """A page's stream of events; `next` waits for one with all that is in it."""

    def __init__(self, port, symbol=FIRST, after=None):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECS)
        headers = {"Last-Event-ID": after} if after else {}
        query = symbol.replace("/", "%2F")
        self._connection.request("GET", f"/events?symbol={query}", headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        assert self._answer.getheader("Content-Type").startswith("text/event-stream")
        self.cursor = ""

    def next(self, *wanted):
        """The next message that holds all of these."""
        while True:
            line = self._answer.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("id: "):
                self.cursor = line[4:].strip()
            if line.startswith("data: "):
                message = json.loads(line[6:])
                if all(name in message for name in wanted):
                    return message

    def until(self, holds):
        while not holds(message := self.next()):
            pass
        return message

    def close(self):
        self._answer.close()
        self._connection.close()


@contextlib.contextmanager
def stream(port, **more):
    with contextlib.closing(Stream(port, **more)) as opened:
        yield opened


def ask(port, path, **headers):
    """(status, headers, text) of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECS)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An account of 40 bars and its dashboard's port."""
    file = written(tmp_path_factory.mktemp("paper") / "odd ?#% name.sqlite", 40, name="<topk>")
    with dashboard(file.path) as (port, _):
        yield file, port
    file.close()


def test_the_page_is_closed_to_everything_from_elsewhere(served):
    _, port = served
    status, headers, text = ask(port, "/")
    assert status == 200
    assert "&lt;topk&gt; on paper" in text and "<topk>" not in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert "Access-Control-Allow-Origin" not in headers
    for name in ("lightweight-charts.js", "charts.js", "paper_charts.js", "paper.js", "page.css",
                 "paper.css"):  # fmt: skip
        assert f"/assets/{name}" in text
        assert ask(port, f"/assets/{name}")[0] == 200
    for path in ("/assets/fills.js", "/assets/..%2Fpaper.py", "/state.sqlite", "/events/"):
        status, headers, _ = ask(port, path)
        assert status == 404 and "Content-Security-Policy" in headers


@pytest.mark.parametrize("host", ["evil.example:{}", "evil.example", "127.0.0.1", "127.0.0.1:1"])
@pytest.mark.parametrize("path", ["/", "/events?symbol=BTC%2FUSDT", "/assets/paper.js"])
def test_other_host_names_are_refused(served, host, path):
    _, port = served
    status, _, text = ask(port, path, Host=host.format(port))
    assert (status, text) == (403, "this host name is not served here\n")


def test_own_host_names_are_served(served):
    _, port = served
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert ask(port, "/", Host=f"{name}:{port}")[0] == 200


def test_a_page_is_sent_everything_and_then_what_is_new(served):
    file, port = served
    with stream(port) as page:
        whole = page.next("whole")
        assert len(whole["candles"]) == 100  # 60 of them of the warm-up
        assert len(whole["equity"]) == 40
        assert whole["candles"][-1][0] * 10**9 == file.time_ns
        fan = whole["forecast"]
        assert fan["came"] == 0 and len(fan["times"]) == HORIZON and len(fan["bands"]) == 5
        assert fan["earlier"] and not fan["later"]
        before = len(whole["fills"])
        for _ in range(7):  # one of them has a fill
            file.bar()
        file.status()
        candles, equity, fills = [], [], []
        while len(candles) < 7 or len(equity) < 7:
            message = page.next()
            assert "whole" not in message
            candles += message.get("candles", [])
            equity += message.get("equity", [])
            fills += message.get("fills", [])
        assert [row[0] for row in candles] == [row[0] for row in equity]
        assert len(fills) == 1 and before + 1 == int(message["now"]["figures"][5][1])


def test_a_page_that_comes_back_gets_exactly_what_it_missed(served):
    file, port = served
    with stream(port, symbol=SYMBOLS[1]) as page:
        page.next("whole")
        cursor = page.cursor
    for _ in range(3):
        file.bar(quiet=[SYMBOLS[1]] if file.time_ns % 2 else [])
    with dashboard(file.path) as (other, _):  # one that was started meanwhile knows as well
        for at in (port, other):
            with stream(at, symbol=SYMBOLS[1], after=cursor) as page:
                message = page.next("candles", "equity")
                assert "whole" not in message
                assert len(message["candles"]) == len(message["equity"]) == 3
                assert message["candles"][-1][0] * 10**9 == file.time_ns
    with stream(port, after="0-nonsense") as page:
        assert page.next()["whole"]


def test_many_pages_at_once_are_all_told(served):
    file, port = served
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(stream(port, symbol=SYMBOLS[n % 3])) for n in range(24)]
        for page in pages:
            page.next("whole")
        file.bar()
        for page in pages:
            assert page.next("candles")["candles"][-1][0] * 10**9 == file.time_ns


def test_earlier_forecasts_are_found_one_after_the_other(served):
    file, port = served
    last = file.time_ns // 10**9
    path = f"/forecast?symbol={FIRST.replace('/', '%2F')}"
    status, _, text = ask(port, f"{path}&asof={last}&step=-1")
    earlier = json.loads(text)
    assert status == 200 and earlier["asof"] == last - 3600
    assert earlier["came"] == 1 and earlier["later"]
    assert earlier["times"][0] == last
    later = json.loads(ask(port, f"{path}&asof={earlier['asof']}&step=1")[2])
    assert later["asof"] == last and not later["later"]
    assert ask(port, f"{path}&asof={last}&step=1")[0] == 404
    assert ask(port, f"{path}&asof=1&step=-1")[0] == 404
    for wrong in ("asof=x&step=1", "asof=5", "asof=5&step=2", "asof=-5&step=1", "asof=1e9&step=1"):
        assert ask(port, f"{path}&{wrong}")[0] == 400
    assert ask(port, "/forecast?symbol=NO&asof=5&step=0")[0] == 404
    assert ask(port, "/events?symbol=NO")[0] == 404
    assert ask(port, "/events")[0] == 404


def test_earlier_candles_come_with_their_fills(served):
    _, port = served
    path = f"/candles?symbol={FIRST.replace('/', '%2F')}"
    before = STARTED_NS // 10**9 + 20 * 3600
    found = json.loads(ask(port, f"{path}&before={before}")[2])
    times = [row[0] for row in found["candles"]]
    assert len(times) == 79 and times[-1] == before - 3600 and times == sorted(times)
    assert [mark[:2] for mark in found["marks"]] == [[STARTED_NS // 10**9 + 3600, "buy"]]
    nothing = json.loads(ask(port, f"{path}&before={times[0]}")[2])
    assert nothing == {"candles": [], "marks": []}
    for wrong in ("", "&before=-1", "&before=x", "&before=1e9", "&before=99999999999"):
        assert ask(port, path + wrong)[0] == 400


def test_a_missing_forecast_says_why_and_quiet_bars_are_skipped(tmp_path):
    file = AccountFile(tmp_path / "a.sqlite")
    file.bar()
    asof = file.time_ns
    file.bar(quiet=[FIRST])
    file.bar(missing=[FIRST])
    file.status()
    with dashboard(file.path) as (port, _), stream(port) as page:
        fan = page.next("whole")["forecast"]
        assert fan["missing"] == "it came too late" and "bands" not in fan
        query = f"symbol={FIRST.replace('/', '%2F')}&asof={fan['asof']}&step=-1"
        earlier = json.loads(ask(port, f"/forecast?{query}")[2])
        assert earlier["asof"] * 10**9 == asof
        # its first bar forecast is the first that came, an hour later than was thought
        assert earlier["came"] == 1 and earlier["times"][0] == fan["asof"]
        assert earlier["times"] == sorted(set(earlier["times"]))
    file.close()


def test_an_account_whose_process_is_killed_and_starts_again(tmp_path):
    path = tmp_path / "a.sqlite"
    command = [sys.executable, "-m", "tests.reports.paper_accounts", str(path), "20", "2", "0.02"]
    with subprocess.Popen(command, cwd=ROOT) as writer:
        end = time.monotonic() + PATIENCE_SECS
        while not is_account(path):
            assert time.monotonic() < end
            time.sleep(0.05)
        with dashboard(path) as (port, _), stream(port) as page:
            page.next("whole")
            page.next("candles")
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            with contextlib.closing(sqlite3.connect(path)) as base, base:  # recovers the file
                base.execute(
                    "INSERT INTO events (wall_ns, kind, text) VALUES (1, 'start', 'again')"
                )
            told = page.until(lambda message: "log" in message and "again" in message["log"][-1])
            assert told["log"][-1][2:] == ["start", "", "again"]


def is_account(path):
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base:
            return base.execute("SELECT count(*) FROM status").fetchone() == (1,)
    except sqlite3.Error:
        return False


def test_an_account_that_is_removed_and_another_in_its_place(tmp_path):
    file = written(tmp_path / "a.sqlite", 3)
    file.close()  # its -wal and -shm are gone: the file is all there is
    with dashboard(file.path) as (port, _), stream(port) as page:
        page.next("whole")
        file.path.unlink()
        told = page.until(lambda message: message["now"]["problem"])
        assert "there is no such file" in told["now"]["problem"]
        written(file.path, 2, name="another").close()
        assert page.until(lambda message: "reload" in message)
        assert "another on paper" in ask(port, "/")[2]


def test_the_dashboard_never_writes(tmp_path):
    file = written(tmp_path / "a.sqlite", 3)
    file.close()
    before = file.path.read_bytes()
    with dashboard(file.path) as (port, _), stream(port) as page:
        page.next("whole")
        # nor does it hold the writer up: a checkpoint finds no reader in its way
        with contextlib.closing(sqlite3.connect(file.path)) as base:
            assert base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert file.path.read_bytes() == before


STATUS = {"connected": True, "since_ns": 5 * 10**9, "pid": os.getpid()}


@pytest.mark.parametrize(
    ("status", "age_secs", "level", "text"),
    [
        (None, 0, "warn", "No process has traded"),
        ({}, 1, "good", "Connected since 1970-01-01 00:00:05 UTC."),
        ({"connected": False}, 1, "bad", "No connection since 1970-01-01 00:00:05 UTC."),
        ({"stopped": True}, 999, "warn", "Stopped 2001"),
        ({"ended": True, "stopped": True}, 999, "good", "Ended"),
        ({}, 200, "bad", "Nothing has been written for 3 min, though process"),
        ({"pid": 2**22 + 1}, 15, "bad", "stopped without a word"),
        ({}, 15, "good", "Connected"),
        ({"pid": None}, 200, "bad", "stopped without a word"),
    ],
)
def test_the_state_is_said_plainly(status, age_secs, level, text):
    now = 10**18
    row = None if status is None else (now - age_secs * 10**9, STATUS | status)
    state = state_of(row, now)
    assert state.level == level and text in state.text


def test_a_cursor_is_read_as_it_is_written():
    cursor = Cursor(account=7, equity_ns=HOUR_NS, candle_ns=0, fill=3, event=4, asof_ns=5)
    assert Cursor.read(str(cursor)) == cursor
    for wrong in (
        "",
        "1-2-3-4-5",
        "1-2-3-4-5-x",
        "1-2-3-4-5-6-7",
        "1-2-3-4-5--6",
        f"1-2-3-4-5-{10**30}",
    ):
        assert Cursor.read(wrong) is None


def refused(capsys, *argv):
    """The one line of a command that ends with status 1."""
    assert paper.main([str(part) for part in argv]) == 1
    output, error = capsys.readouterr()
    assert output == "" and error.count("\n") == 1
    return error


def test_what_is_no_account_is_refused(tmp_path, capsys):
    assert "there is no such file" in refused(capsys, tmp_path / "no.sqlite")
    assert "there is no such file" in refused(capsys, tmp_path)
    (tmp_path / "text").write_text("time,close\n" * 1000)
    assert "is not a paper account: file is not a database" in refused(capsys, tmp_path / "text")
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    (tmp_path / "empty.sqlite").touch()
    assert "is not a paper account: it lacks" in refused(capsys, tmp_path / "empty.sqlite")
    file = AccountFile(tmp_path / "a.sqlite")
    for content, reason in (
        ('{"version": 2}', "its version is 2, this program reads 1"),
        ('{"version": 1}', "lacks 'strategy'"),
        ("[", "Expecting value"),
    ):
        with file.base:
            file.base.execute("UPDATE meta SET value = ?", [content])
        assert reason in refused(capsys, file.path)
    with file.base:
        file.base.execute("DELETE FROM meta")
    assert "its terms are missing" in refused(capsys, file.path)
    file.close()


def test_a_port_in_use_is_one_line(tmp_path, capsys):
    file = AccountFile(tmp_path / "a.sqlite")
    file.close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(capsys, file.path, "--port", port)
    assert (
        line
        == f"error: port {port} of 127.0.0.1 is in use: give another one, or 0 for a free one\n"
    )
    with pytest.raises(SystemExit) as usage:
        paper.main([str(file.path), "--port", "70000"])
    assert usage.value.code == 2
    assert "must be from 0 to 65535, got 70000" in capsys.readouterr().err


def test_without_aiohttp_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "reports.paper_server", raising=False)
    line = refused(capsys, tmp_path / "a.sqlite")
    assert "pip install 'kronos-sandbox[paper]'" in line


def test_it_ends_with_the_process_that_started_it(tmp_path):
    file = AccountFile(tmp_path / "a.sqlite")
    file.close()
    line = f'{sys.executable} -m reports.paper "$0" --parent $$ & echo $!; wait'
    with subprocess.Popen(
        ["bash", "-c", line, str(file.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline().startswith("dashboard on")
        os.kill(pid, signal.SIGINT)  # Ctrl-C is for the parent
        time.sleep(0.1)
        os.kill(pid, 0)
        parent.kill()
        assert parent.stdout.read() == ""  # the child had the other end, and it is gone


def test_ctrl_c_ends_it_with_one_line(tmp_path):
    file = AccountFile(tmp_path / "a.sqlite")
    file.close()
    with dashboard(file.path) as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECS) == 1
        assert process.stderr.read() == "error: interrupted\n"
