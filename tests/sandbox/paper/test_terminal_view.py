"""A paper account in a terminal of any size, on lines, and in a log."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from kronos import Forecast
from sandbox.errors import ConfigError
from sandbox.paper import view
from sandbox.paper.view import OrderLine, Outlook, Quiet, Snapshot, SymbolLine, Terminal
from sandbox.paper.view_frame import LogLine, frame, money, percent, price, span
from sandbox.paper.view_snapshot import by_interest

ROOT = Path(__file__).resolve().parents[3]
TIME_NS = 1_768_309_200 * 10**9  # 2026-01-13 13:00
HOUR_NS = 3600 * 10**9
SIZES = [(200, 60), (130, 30), (80, 24), (60, 14), (40, 8), (20, 5), (10, 2), (80, 1)]


def outlook(expected):
    return Outlook(low=expected - 0.04, median=expected, high=expected + 0.05, expected=expected)


def line(symbol="BTC/USDT", **more):
    known = {"time_ns": TIME_NS, "close": 101.25, "change": 0.0125, "outlook": outlook(0.01)}
    return SymbolLine(symbol=symbol, **known | more)


def snapshot(symbols=(), **more):
    known = {
        "name": "topk", "exchange": "binance", "timeframe": "1h", "cash": 43_669.2,
        "value": 103_207.4, "total_return": 0.03207, "drawdown": -0.0405, "bar_ns": TIME_NS,
        "bars": 1305, "caught_up": 3, "horizon": 12, "next_close_ns": TIME_NS + HOUR_NS,
        "countdown_secs": 3590.0, "connected": True, "since_ns": TIME_NS,
    }  # fmt: skip
    return Snapshot(symbols=symbols or [line()], **known | more)


def drawn(shown, width=130, height=40, log=(), waited_secs=0.0):
    """The lines of a frame, as a terminal of that size has them."""
    console = Console(record=True, width=width, height=height, file=io.StringIO(),
                      force_terminal=True)  # fmt: skip
    console.print(frame(shown, log, width, height, waited_secs))
    return console.export_text().rstrip("\n").split("\n")


def many(count):
    return [line(f"COIN{n}/USDT", outlook=outlook(n / 10_000)) for n in range(count)]


def test_everything_is_shown_where_there_is_room():
    held = line(size=12.5, value=1265.625, share=0.1225)
    order = OrderLine(symbol="BTC/USDT", side="sell", size=2.5, kind="limit", price=110.0)
    log = [LogLine(TIME_NS, "info", "fill", "bought 12.5 BTC/USDT")]
    late = ["ETH/USDT"]
    text = drawn(snapshot([held], orders=[order], waiting_for=late, speed=3600.0), log=log)
    assert text[0].rstrip() == (
        "topk on paper  binance  1h  1 symbol  forecasts of 12 bars  time runs 3,600 times as fast"
    )
    assert text[1].rstrip() == (
        "connected since 2026-01-13 13:00:00  next close 2026-01-13 14:00 in 59:50"
    )
    assert text[2].rstrip() == (
        "value 103,207  +3.21 %  drawdown -4.05 %  cash 43,669  1,305 bars, 3 caught up"
    )
    assert text[3].rstrip() == "late: ETH/USDT"
    assert " ".join(text[4].split()) == (
        "Symbol Last bar Close Change Median 5 to 95 % Expected Size Value Share Orders"
    )
    assert " ".join(text[6].split()) == (
        "BTC/USDT 2026-01-13 13:00 101.25 +1.25 % +1.00 % -3.00 % to +6.00 % +1.00 % "
        "12.5 1,265.62 12.25 % 1"
    )
    assert [part.rstrip() for part in text[7:]] == [
        "1 waiting order",
        "sell 2.5 BTC/USDT, limit at 110",
        "Log",
        "2026-01-13 13:00:00  fill: bought 12.5 BTC/USDT",
    ]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [1, 5, 200])
def test_a_frame_fits_every_terminal(width, height, count):
    orders = [OrderLine(symbol="A", side="buy", size=1.0, kind="market") for _ in range(count)]
    log = [LogLine(TIME_NS, "error", "lost", "x" * 300)] * 8
    text = drawn(snapshot(many(count), orders=orders, waiting_for=["A"] * 9), width, height, log)
    assert len(text) <= height
    assert max(map(len, text)) <= width


def test_what_has_no_room_is_counted():
    text = "\n".join(drawn(snapshot(many(40)), height=20))
    rows = text.count("COIN")
    assert f"and {40 - rows} more" in text and rows > 10


def test_no_number_is_cut_short():
    symbols = [line(close=123_456.7, size=12_345.678, value=1e9, share=0.5), line("X" * 60)]
    for width in range(60, 180, 7):
        table = drawn(snapshot(symbols), width)[3:]
        assert not any("…" in row for row in table), width


def test_held_symbols_come_first_then_those_with_orders_then_the_best_forecasts():
    symbols = [*many(4), line("LATE/USDT", outlook=None, missing="it came too late"),
               line("ORDER/USDT", outlook=outlook(-0.5)),
               line("SMALL/USDT", size=1.0, value=10.0),
               line("SHORT/USDT", size=-5.0, value=-900.0)]  # fmt: skip
    order = OrderLine(symbol="ORDER/USDT", side="buy", size=1.0, kind="market")
    names = [each.symbol for each in by_interest(snapshot(symbols, orders=[order]))]
    assert names == [
        "SHORT/USDT", "SMALL/USDT", "ORDER/USDT", "COIN3/USDT", "COIN2/USDT", "COIN1/USDT",
        "COIN0/USDT", "LATE/USDT",
    ]  # fmt: skip


def test_what_is_not_known_is_no_number():
    bare = snapshot(
        [SymbolLine(symbol="A"), line("B", outlook=None, missing="failed: out of memory")],
        bar_ns=None, next_close_ns=None, countdown_secs=None, since_ns=None, connected=False,
        value=float("nan"), total_return=float("nan"), horizon=None, exchange="kraken",
    )  # fmt: skip
    text = "\n".join(drawn(bare))
    assert "no connection since -" in text and "value -  -" in text
    assert "failed: out of memor" in text and "None" not in text and "nan" not in text


def test_a_close_that_is_due_is_said_to_be():
    assert "next close 2026-01-13 14:00 in 59:30" in drawn(snapshot(), waited_secs=20)[1]
    assert "next close 2026-01-13 14:00, due for 0:10" in drawn(snapshot(), waited_secs=3600)[1]


def test_names_and_texts_are_not_read_as_markup_and_move_no_cursor():
    odd = "[bold]\x1b[2J\r\nA"
    log = [LogLine(TIME_NS, "info", "fill", odd)]
    shown = snapshot([line(odd)], name=odd, exchange=odd, waiting_for=[odd])
    text = "\n".join(drawn(shown, log=log))
    assert text.count("[bold]") == 5 and "\x1b" not in text and "\r" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (span(7), "0:07"), (span(3590), "59:50"), (span(86_399), "23:59:59"),
        (span(183_600), "2 d 03:00:00"), (percent(None), "-"), (percent(0.0), "0.00 %"),
        (percent(-0.000001), "0.00 %"), (percent(12.5), "+1,250.00 %"),
        (money(9_999.5), "9,999.50"), (money(-1234567.8), "-1,234,568"),
        (price(0.00001234), "1.234e-05"), (price(None), "-"),
    ],
)  # fmt: skip
def test_numbers(text, shown):
    assert text == shown


def test_an_outlook_is_read_off_a_forecast():
    paths = np.zeros((3, 2, 6), dtype=np.float32)
    paths[:, 1, 3] = [90.0, 100.0, 140.0]
    index = pd.date_range("2026-01-01", periods=2, tz="UTC")
    forecast = Forecast("A", index[0], 100.0, index, paths)
    found = Outlook.of(forecast)
    assert found.median == 0.0
    assert found.low == pytest.approx(-0.09) and found.high == pytest.approx(0.36)
    assert found.expected == pytest.approx(0.1)


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_without_a_terminal_it_is_a_line_a_bar(options):
    output = io.StringIO()
    console = Console(file=output, **options)
    with Terminal(console, now_ns=lambda: TIME_NS) as terminal:
        for bars in (1, 1, 2):
            shown = snapshot(bar_ns=TIME_NS + bars * HOUR_NS, bars=bars)
            terminal.show(shown)
        terminal.log("late", "ETH/USDT\x1b[2J\nhas no bar", level="warning", symbol="ETH/USDT")
        terminal.show(snapshot(bar_ns=TIME_NS + 2 * HOUR_NS, connected=False))
    assert output.getvalue().split("\n") == [
        "connected since 2026-01-13 13:00:00",
        "2026-01-13 14:00  value 103,207 (+3.21 %)  drawdown -4.05 %  cash 43,669  "
        "0 positions  0 orders waiting  bar 1",
        "2026-01-13 15:00  value 103,207 (+3.21 %)  drawdown -4.05 %  cash 43,669  "
        "0 positions  0 orders waiting  bar 2",
        "2026-01-13 13:00:00  late: ETH/USDT [2J has no bar",
        "no connection since 2026-01-13 13:00:00",
        "",
    ]


LIVE = """
import sys, time
from sandbox.interrupts import end_on_signals
from tests.sandbox.paper.test_terminal_view import Terminal, snapshot
end_on_signals()
with Terminal() as terminal:
    for bars in range(1, 60_000 if "stay" in sys.argv else 6):
        for _ in range(100):
            terminal.show(snapshot(bars=bars))
        terminal.log("fill", f"number {bars}")
        print("ready", file=sys.stderr, flush=True) if bars == 4 else None
        time.sleep(0.1)
print("below")
"""


def live(*options):
    """The program in a terminal of 80 columns and 24 lines: (pid, file descriptor)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-c", LIVE, *options], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, terminal


def read(terminal, until=None):
    """What a terminal was sent, up to a text or to its end."""
    output = b""
    while until is None or until not in output:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # as Linux tells that nobody writes to it any more
            break
        if not piece:
            break
        output += piece
    return output


def test_in_a_terminal_the_picture_is_drawn_anew_and_its_last_state_stays():
    pid, terminal = live()
    output = read(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    frames = output.count(b"topk on paper")
    assert 2 <= frames < 60  # five hundred were shown
    last = output[output.rindex(b"topk on paper") :]
    assert b"5 bars, 3 caught up" in last and b"number 5" in last
    assert last.rstrip().endswith(b"below") and b"\x1b[?25h" in last


def test_an_interrupt_leaves_the_terminal_as_it_was():
    pid, terminal = live("stay")
    output = read(terminal, until=b"ready")
    os.kill(pid, signal.SIGTERM)
    output += read(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    os.close(terminal)
    last = output[output.rindex(b"\x1b[?25h") :]
    assert b"error: interrupted by SIGTERM" in last


def logged(path):
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def test_quiet_writes_a_line_of_json_for_every_event(tmp_path, capfd):
    path = tmp_path / "state.sqlite"
    held = line(size=2.0, value=202.5, share=0.002)
    with Quiet(path, now_ns=lambda: TIME_NS + 250_000_000) as quiet:
        quiet.show(snapshot([held]))
        quiet.show(snapshot([held]))  # nothing new
        quiet.log(
            "fill", "bought\n2", size=np.float64(2.0), count=np.int64(3), worst=float("nan"),
            symbols=("A", "B"), path=path,
        )  # fmt: skip
        quiet.show(snapshot([held], connected=False))
    connection, bar, fill, lost = logged(tmp_path / "state.sqlite.log")
    assert connection == {
        "time": "2026-01-13T13:00:00.250Z", "level": "info", "event": "connection",
        "text": "connected since 2026-01-13 13:00:00", "fields": {},
    }  # fmt: skip
    assert bar["event"] == "bar"
    assert bar["fields"]["bar_ns"] == TIME_NS and bar["fields"]["positions"] == {"BTC/USDT": 2.0}
    assert fill["fields"] == {
        "size": 2.0, "count": 3, "worst": None, "symbols": ["A", "B"], "path": str(path),
    }  # fmt: skip
    assert fill["text"] == "bought\n2"
    assert (lost["level"], lost["event"]) == ("warning", "connection")
    assert capfd.readouterr() == ("", "")


def test_quiet_goes_on_in_another_file_and_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(view, "LOG_BYTES", 2000)
    for _ in range(2):
        with Quiet(tmp_path / "a.sqlite") as quiet:
            for number in range(12):
                quiet.log("note", f"number {number}", level="error")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.sqlite.log", "a.sqlite.log.1"]
    assert all((tmp_path / name).stat().st_size <= 2000 for name in files)
    lines = [entry for name in files[::-1] for entry in logged(tmp_path / name)]
    assert [entry["text"] for entry in lines] == [f"number {n}" for n in range(12)] * 2


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"the log .*a\.sqlite\.log cannot be written: No such"):
        Quiet(tmp_path / "no" / "a.sqlite").__enter__()


def test_a_full_disk_stops_no_log(tmp_path, capfd):
    (tmp_path / "a.sqlite.log").symlink_to("/dev/full")
    with Quiet(tmp_path / "a.sqlite") as quiet:
        quiet.log("note", "lost")
        quiet.log("note", "lost as well")
    assert capfd.readouterr() == ("", "")


def test_the_view_knows_no_model_and_takes_no_second_to_import():
    code = "import sys, sandbox.paper.view; print('torch' in sys.modules, 'kronos' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert output.stdout == "False False\n"
