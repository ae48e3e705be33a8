"""Every command and every piece of code in the README is run.

The two that install are run word for word by `.ci/run`. The others are run here as they stand, with
a later start appended where a whole backtest would take long, and with the bundled weights where
they name published ones. A head is started and given a job by
`tests/ray_jobs/test_ray_two_nodes.py`, and workers train in `tests/ray_jobs/test_finetune.py`: here
the options of that job and of that training are read. What goes on until it is stopped (`bash`) is
ended after some bars, and of an exchange that cannot be reached the options are read.
"""

import importlib
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

import kronos
from feeds import load as load_candles
from sandbox.cli import records_of
from sandbox.replay.serve import serving

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LATE = {
    "sandbox.run": ["--start", "2024-11-01", "--samples", "4"],
    "sandbox.lookahead": ["--start", "2024-11-01", "--samples", "4", "--cuts", "2"],
}
PHILIPPINE = ["--start", "2021-11-15", "--end", "2021-12-15"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    return [shlex.split(line, comments=True) for line in lines]


INSTALLS = [words for words in commands() if words[:2] == ["pip", "install"]]
TRAINING = [words for words in commands() if words[2:3] == ["ray_jobs.finetune"]]
RUNS = [words for words in commands() if words[0] == "python" and words not in TRAINING]
ON_A_CLUSTER = [words for words in commands() if words[0] in ("ray", "export")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a reader has: the strategies, a strategy of one's own, some candles, earlier runs."""
    place = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "strategies", place / "strategies")
    (place / "ray_jobs").mkdir()
    shutil.copy(ROOT / "ray_jobs" / "walk_forward.yaml", place / "ray_jobs")
    own = next(block for block in blocks("python") if block.startswith("# mine.py"))
    (place / "mine.py").write_text(own)
    (place / "candles").mkdir()
    for symbol, frame in load_candles("sample:AAPL,XOM,JPM,TSLA").frames.items():
        frame.tail(400).to_csv(place / "candles" / f"{symbol}.csv")
    return place


def run(words: list[str]) -> int:
    """`python -m MODULE ...` in this process."""
    assert words[:2] == ["python", "-m"]
    module, options = words[2], words[3:]
    more = PHILIPPINE if "sample:ph" in options else []
    found = importlib.import_module(module)
    if not hasattr(found, "main"):
        found = importlib.import_module(f"{module}.__main__")
    return found.main([*options, *LATE.get(module, []), *more])


def test_the_readme_has_the_two_commands_that_set_everything_up():
    assert [words[3:] for words in INSTALLS] == [
        [".", "&&", "python", "-m", "sandbox.run", "strategies/topk.py",
         "strategies/uncertainty.py"],
        [".[test]", "&&", "pytest"],
    ]  # fmt: skip


def test_the_readme_starts_a_head_and_gives_it_a_job():
    from ray_jobs import walk_forward

    known = INSTALLS, RUNS, TRAINING, ON_A_CLUSTER
    assert sum(map(len, known)) == len(commands())
    *begin, job = ON_A_CLUSTER
    assert begin == [
        ["ray", "get-auth-token", "--generate"],
        ["export", "RAY_AUTH_MODE=token"],
        ["ray", "start", "--head", "--dashboard-host=127.0.0.1"],
    ]
    submit, command = job[: job.index("--")], job[job.index("--") + 1 :]
    assert submit == ["ray", "job", "submit", "--working-dir", "."]
    assert command[:3] == ["python", "-m", "ray_jobs.walk_forward"]
    assert walk_forward._parser().parse_args(command[3:]).out == Path("/shared/runs/ph")


def test_the_readmes_training_is_one():
    from ray_jobs import finetune

    [words] = TRAINING
    config = records_of(finetune._parser().parse_args(words[3:]), finetune.FineTuneConfig)
    assert [period.in_words() for period in config.periods.periods] == [
        ["2013-01-01", "2018-07-01"], ["2018-07-01", "2019-01-01"],
    ]  # fmt: skip


def test_every_command_works(folder, monkeypatch, capsys):
    """In order, in one folder: later ones look at what earlier ones made."""
    monkeypatch.chdir(folder)
    find = kronos.find
    monkeypatch.setattr(kronos, "find", lambda name: find("bundled" if name == "mini" else name))
    assert len(RUNS) >= 9
    for words in RUNS:
        status = run(words)
        out, error = capsys.readouterr()
        assert status == 0, f"{' '.join(words)}\n{out}\n{error}"
        assert "Warning" not in error
    assert (folder / "runs" / "mine-sample" / "report.html").is_file()


def test_the_python_example_runs(tmp_path):
    [code] = [block for block in blocks("python") if "KronosPredictor" in block]
    frame = load_candles("sample:AAPL").frames["AAPL"].tail(120)
    names = {
        "df": frame.iloc[:90].reset_index(drop=True),
        "x_timestamp": pd.Series(frame.index[:90]),
        "y_timestamp": pd.Series(frame.index[90:114]),
    }
    (tmp_path / "example.py").write_text(code)
    after = runpy.run_path(str(tmp_path / "example.py"), init_globals=names)
    assert len(after["mean"]) == 24
    assert after["forecast"].samples == 100


def test_the_pictures_and_the_files_it_links_to_are_there():
    links = re.findall(r"\]\(((?!http)[^)]+)\)", README)
    assert "docs/report.png" in links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_rehearsal_on_paper_works_as_it_stands(folder, monkeypatch, capsys):
    """On a free port and at full speed; then its account is traded in a backtest."""
    monkeypatch.chdir(folder)
    lines = [line for block in blocks("bash") for line in block.splitlines() if line]
    install, replay, rehearsal, live, backtest = (shlex.split(line) for line in lines)
    assert install == ["pip", "install", "-e", ".[paper]"]
    assert replay[:3] == ["python", "-m", "sandbox.replay"] and replay[-1] == "&"
    paper = importlib.import_module("sandbox.paper.__main__")
    given = dict(zip(replay[3:-1:2], replay[4:-1:2], strict=True))
    assert set(given) == {"--data", "--port", "--speed"}
    importlib.import_module("sandbox.replay.options").speed_of(given["--speed"])
    with serving(load_candles(given["--data"])) as served:
        words = [word.replace(given["--port"], str(served.port)) for word in rehearsal]
        words[words.index("--dashboard") + 1] = "0"
        assert (
            paper.main([*words[3:], "--bars", "25", "--samples", "4", "--out", "runs/paper"]) == 0
        )
    recorded = backtest[backtest.index("--data") + 1]
    assert Path(recorded.removeprefix("paper:")).is_file()
    again = importlib.import_module("sandbox.run.__main__")
    assert again.main([*backtest[3:], "--samples", "4", "--out", "runs/again"]) == 0
    for name in ("trades.csv", "equity.csv"):
        assert Path("runs/paper", name).read_bytes() == Path("runs/again", name).read_bytes()
    assert paper._parser().parse_args(live[3:]).symbols == ["BTC/USDT", "ETH/USDT"]
