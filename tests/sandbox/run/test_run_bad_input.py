"""What goes wrong in a run: one clear line, an exit status, and nothing lost."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from sandbox.errors import RunFolderError
from sandbox.run import job
from sandbox.run.__main__ import main

TOPK = str(job.ROOT / "strategies" / "topk.py")
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20", "--samples", "2"]
NAIVE = ["--signal", "momentum", "--no-controls", "--no-benchmark"]
ONE = "from sandbox import Strategy\nclass One(Strategy):\n    def next(self): pass\n"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Runs and the forecast store go where the test is."""
    monkeypatch.chdir(tmp_path)


def last_line(capsys) -> str:
    *before, line = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "".join(before)
    return line


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--lookback", "1"], 2, "--lookback 1: input should be greater than or equal to 2"),
        (["--param", "kk=3"], 2, "--param kk: "),
        (["--param", "k=three"], 2, "--param k=three: a whole number is needed"),
        (["--lookback", "600"], 2, "--lookback 600: model fake sees 512 bars at most"),
        (["--start", "2021-02-01", "--end", "2021-01-01"], 2,
         "--end 2021-01-01 is before --start 2021-02-01"),
        (["--start", "2030-01-01", "--end", "2031-01-01"], 1,
         "no candles to trade from 2030-01-01 to 2031-01-01: sample has 2015-01-02 to 2024-12-31, "
         "set --start and --end"),
        (["--start", "2021-01-04", "--end", "2021-01-04"], 1,
         "one bar time from 2021-01-04 to 2021-01-04: two are needed"),
        (["--start", "2015-01-05", "--end", "2015-01-30"], 1,
         "no symbol has 90 bars of history by 2015-01-30: set a smaller --lookback or a later "
         "--end"),
        (["--data", "smaple"], 1, "data spec 'smaple' is not known; did you mean sample?"),
        (["--data", "csv:absent.csv"], 1, "csv:absent.csv: "),
        (["--data", "sample:APPL"], 1, "sample: no symbol 'APPL'; did you mean AAPL?"),
        (["--benchmark", "APPL"], 1, "sample: no symbol 'APPL'; did you mean AAPL?"),
        (["--calendar", "XNYSE"], 2, "--calendar 'XNYSE' is not known: did you mean XNYS"),
        (["--costs", "mars"], 2, "--costs 'mars': input should be 'us', 'ph', 'cn'"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("fake_model")
def test_errors_are_one_line(capsys, options, status, message):
    assert main([TOPK, *options]) == status
    line = last_line(capsys)
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def next(:\n", "mine.py:1: SyntaxError: invalid syntax"),
        ("import nothing_such\n", "mine.py:1: ModuleNotFoundError: No module named 'nothing_such'"),
        ("x = 1\n", "mine.py: no class derived from sandbox.Strategy"),
        (ONE + ONE.replace("One", "Two").partition("\n")[2], "mine.py: 2 classes (One, Two) "),
    ],
)
def test_a_strategy_file_that_cannot_be_used_is_told(tmp_path, capsys, text, message):
    (tmp_path / "mine.py").write_text(text)
    assert main(["mine.py", *SHORT, *NAIVE]) == 1
    assert message in last_line(capsys)
    assert main(["absent.py", *SHORT, *NAIVE]) == 1
    assert "absent.py: no such strategy file" in last_line(capsys)


def test_an_error_in_the_strategy_names_its_line(tmp_path, capsys):
    (tmp_path / "bad.py").write_text(ONE.replace("pass", "1 / 0"))
    assert main(["bad.py", *SHORT, *NAIVE]) == 1
    assert "ZeroDivisionError: division by zero" in (error := last_line(capsys))
    assert "bad.py:3); --debug shows more" in error
    assert not list((tmp_path / "runs").iterdir())


def test_no_strategy_at_all_is_usage(capsys):
    assert main([]) == 2
    assert last_line(capsys) == ("error: no strategy file: name one, such as strategies/topk.py")


@pytest.mark.parametrize("options", [[TOPK, "--start", "soon"], [TOPK, "--what"]])
def test_a_wrong_command_line_is_usage(capsys, options):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert "usage: python -m sandbox.run" in (told := capsys.readouterr().err)
    assert len(told.splitlines()) == 2


def test_a_misspelt_option_gets_the_nearest_name(capsys):
    with pytest.raises(SystemExit):
        main([TOPK, "--singal", "momentum"])
    assert "--singal momentum; did you mean --signal?" in last_line(capsys)


def test_a_report_that_fails_is_told_once(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunFolderError, match=f"^the report could not be written: {tmp_path} is "):
        job.write_report(tmp_path)


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "sandbox.run", TOPK, *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(job.ROOT), "OMP_NUM_THREADS": "1"}


def test_a_disk_that_is_full_is_one_line_and_leaves_no_folder(tmp_path):
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    done = subprocess.run(
        command(*SHORT, *NAIVE, "--out", "runs/x"), env=environment(), preexec_fn=small_files,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert last.endswith("File too large")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "runs").iterdir()) == []


def heeds_ctrl_c() -> None:
    """Also where these tests run in the background, whose jobs a shell has ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_no_half_folder_and_keeps_the_forecasts(tmp_path):
    """The real model on five years of daily forecasts, stopped once some are in the store."""
    options = command("--samples", "2", "--param", "rebalance=bar", "--no-controls")
    run = subprocess.Popen(
        options, env=environment(), preexec_fn=heeds_ctrl_c, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("store/*/*.parquet")):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, error = run.communicate(timeout=60)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == 1
    assert error.strip().splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in error
    assert list(tmp_path.glob("store/*/*.parquet"))
    assert not list(tmp_path.glob("runs/*")) and not list(tmp_path.glob("runs/.*"))
