"""`python -m sandbox.store` lists, shows and tidies."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sandbox.config import Sampling
from sandbox.forecast import backend as backend_module
from sandbox.forecast.sources import KronosSource
from sandbox.store.__main__ import main
from sandbox.store.sets import ForecastStore
from sandbox.store.upkeep import merge, small_parts
from tests.conftest import make_checkpoint, make_market

ROOT = Path(__file__).resolve().parents[3]
SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
FRAMES = make_market("AB", bars=30)
INDEX = FRAMES["A"].index
DAY = 86_400  # seconds


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return ForecastStore(Path("store"))


def keep(store, asofs=INDEX, sampling=SAMPLING, frames=FRAMES):
    """Compute and keep forecasts; returns how many were computed, and the set's folder."""
    book = KronosSource(make_checkpoint(), store=store).book(frames, sampling, asofs)
    newest = max(store.folders(), key=lambda folder: (folder / "used").stat().st_mtime_ns)
    return book.computed, newest


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_ls_shows_each_set(store, capsys):
    _, one = keep(store)
    _, other = keep(store, asofs=INDEX[12:14], sampling=replace(SAMPLING, seed=7))
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for folder, asofs, forecasts, settings in (
        (one, ["2023-01-13", "2023-02-10"], "42", "L=10 P=3 S=4 T=1 top_p=1 top_k=0 seed=0"),
        (other, ["2023-01-18", "2023-01-19"], "4", "L=10 P=3 S=4 T=1 top_p=1 top_k=0 seed=7"),
    ):
        [at] = [nth for nth, line in enumerate(lines) if folder.name[:8] in line]
        first, second = lines[at : at + 2]
        assert f"{settings} float32" in first
        words = first.replace(f"{settings} float32", "").split()
        assert words[:4] == [folder.name[:8], "fake", forecasts, asofs[0]]
        assert words[5] == "kB"
        assert second.split()[:4] == ["01234567", "2", "symbols", asofs[1]]


def test_ls_of_a_set_whose_settings_are_gone(store, capsys):
    _, folder = keep(store)
    (folder / "settings.json").write_text("{")
    assert main(["ls"]) == 0
    said = capsys.readouterr().out
    assert "(settings.json is gone)" in said
    assert "2 symbols" in said


def test_ls_of_nothing(store, capsys):
    assert main(["ls"]) == 0
    assert capsys.readouterr().out == "No forecasts are kept in store.\n"
    assert main(["gc"]) == 0
    assert capsys.readouterr().out == "Removed 0 files, 0 B, from store.\n"


def test_info_shows_one_set_in_full(store, capsys):
    _, folder = keep(store)
    assert main(["info", folder.name[:5]]) == 0
    said = capsys.readouterr().out
    for text in (folder.name, make_checkpoint().fingerprint, "2: A, B", "float32", "1, 0 of them"):
        assert text in said


def test_info_of_a_set_that_is_not_there(store, capsys):
    _, folder = keep(store)
    assert main(["info", "xyz"]) == 2
    assert capsys.readouterr().err == (
        f"error: no set in store begins with 'xyz'; there are {folder.name[:8]}\n"
    )


def test_info_of_a_name_that_several_sets_begin_with(store, capsys):
    for seed in range(17):
        keep(store, asofs=INDEX[-1:], sampling=replace(SAMPLING, seed=seed))
    names = [folder.name for folder in store.folders()]
    twice = next(name[0] for name in names if [n[0] for n in names].count(name[0]) > 1)
    assert main(["info", twice]) == 2
    assert f"error: '{twice}' is the beginning of several sets: " in capsys.readouterr().err


def test_a_store_that_is_no_folder(store, capsys):
    Path("store").write_text("")
    assert main(["ls"]) == 1
    assert capsys.readouterr().err.startswith("error: the forecast store cannot be read at store (")


def test_gc_removes_drafts_of_dead_runs(store, capsys):
    _, folder = keep(store)
    old, new = (folder / f".{digit * 32}.tmp" for digit in "01")
    for draft in (old, new):
        draft.write_bytes(b"half")
    age(old, 3700)
    assert main(["gc"]) == 0
    assert "draft of a run that died" in capsys.readouterr().out
    assert not old.exists()
    assert new.exists()
    assert keep(store)[0] == 0


def test_gc_removes_damaged_parts(store, capsys):
    _, folder = keep(store)
    [part] = folder.glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-7])
    assert main(["ls"]) == 0
    assert "1 parts of" in capsys.readouterr().out
    assert main(["gc"]) == 0
    assert "damaged: its bytes are not those that were written" in capsys.readouterr().out
    assert not part.exists()
    assert keep(store)[0] == 42


def test_gc_removes_parts_that_others_hold_and_no_forecast(store, capsys, monkeypatch):
    aside = ForecastStore(Path("aside"))
    _, small = keep(aside, asofs=INDEX[:15])
    _, large = keep(store)
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 5)
    _, pieces = keep(ForecastStore(Path("pieces")), asofs=INDEX[12:25])
    for part in [*small.glob("*.parquet"), *pieces.glob("*.parquet")]:
        os.replace(part, large / part.name)
    assert len(list(large.glob("*.parquet"))) == 1 + 1 + 6
    assert main(["gc"]) == 0
    assert capsys.readouterr().out.count("its forecasts are in other parts") == 7
    [left] = large.glob("*.parquet")
    assert len(pq.read_table(left)) == 42
    assert keep(store)[0] == 0


def test_gc_keeps_parts_that_overlap_in_part(store):
    aside = ForecastStore(Path("aside"))
    _, other = keep(aside, asofs=INDEX[14:])
    _, folder = keep(store, asofs=INDEX[:20])
    for part in other.glob("*.parquet"):
        os.replace(part, folder / part.name)
    assert main(["gc"]) == 0
    assert len(list(folder.glob("*.parquet"))) == 2
    assert keep(store)[0] == 0


def test_gc_removes_sets_that_were_not_used_for_long(store, capsys):
    _, old = keep(store)
    _, new = keep(store, sampling=replace(SAMPLING, seed=1))
    age(old / "used", 11 * DAY)
    age(new / "used", 9 * DAY)
    assert main(["gc"]) == 0
    assert old.exists()
    assert main(["gc", "--older-than", "10"]) == 0
    assert "its set was not used for 11 days" in capsys.readouterr().out
    assert not old.exists()
    assert new.exists()


def test_a_run_makes_its_set_used_again(store):
    _, folder = keep(store)
    age(folder / "used", 11 * DAY)
    keep(store)
    assert main(["gc", "--older-than", "10"]) == 0
    assert folder.exists()


def test_gc_leaves_what_is_not_the_stores(store):
    _, folder = keep(store)
    mine = folder / "mine.parquet", store.folder / "readme.txt", store.folder / "0123456789abcde"
    for path in mine:
        path.write_text("mine")
    age(folder / "used", 11 * DAY)
    assert main(["gc", "--older-than", "1"]) == 0
    assert all(path.exists() for path in mine)
    assert [path.name for path in folder.iterdir()] == ["mine.parquet"]


def test_gc_merges_small_parts(store, capsys, monkeypatch):
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 2)
    _, folder = keep(store)
    before = sorted(folder.iterdir())
    assert main(["gc", "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("Would merge 21 small parts into 1.\n")
    assert sorted(folder.iterdir()) == before
    small, *_ = folder.glob("*.parquet")
    content = small.read_bytes()
    assert main(["gc"]) == 0
    assert capsys.readouterr().out.endswith("Merged 21 small parts into 1.\n")
    [part] = folder.glob("*.parquet")
    assert len(pq.read_table(part)) == 42
    assert keep(store)[0] == 0
    small.write_bytes(content)  # as after a kill before the small ones went
    assert main(["gc"]) == 0
    assert "its forecasts are in other parts" in capsys.readouterr().out
    assert list(folder.glob("*.parquet")) == [part]


def test_merging_leaves_damaged_parts_and_forgets_no_forecast(store, monkeypatch):
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 2)
    keep(store)
    [group] = small_parts(store)
    group[3].write_bytes(b"nothing")
    assert merge(group) == 20
    assert group[3].exists()
    assert keep(store)[0] == 2


def test_a_dry_run_removes_nothing(store, capsys):
    _, folder = keep(store)
    age(folder / "used", 2 * DAY)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["gc", "--older-than", "1", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Would be removed" in said
    assert "Would remove 3 files" in said
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("days", ["-1", "soon", "inf", "nan"])
def test_a_number_of_days(store, capsys, days):
    with pytest.raises(SystemExit) as left:
        main(["gc", f"--older-than={days}"])
    assert left.value.code == 2
    assert f"{days!r} is not a number of days, 0 or more" in capsys.readouterr().err


def test_the_module_is_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.store", "ls", "--store", str(tmp_path / "none")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"No forecasts are kept in {tmp_path / 'none'}.\n"
