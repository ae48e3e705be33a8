"""The registry of tries: what counts once, what survives, what is set aside, never overwritten."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from reports.tries_file import read_tries
from sandbox.tries.contents import warnings_of
from sandbox.tries.lines import header, line, run_line
from sandbox.tries.listing import days_per_year, groups
from sandbox.tries.registry import FILE, Registry, TriesError
from sandbox.tries.tried import Tried, TriedRun, key_of, thing_of

WINDOW = "2020-01-02T21:00:00+00:00", "2020-03-31T21:00:00+00:00"
DATA = "da7a" * 16


def tried(number, data=DATA, seed=None):
    """A try of which `number` says everything."""
    thing = thing_of({"params": {"k": number}})
    returns = np.random.default_rng(number if seed is None else seed).normal(0, 0.01, 60)
    return Tried(
        name=f"topk[k={number}]", code="ab" * 32, params={"k": number}, thing=thing,
        key=key_of(thing, data, *WINDOW), returns=returns.astype(np.float32),
    )  # fmt: skip


def a_run(*numbers, spec="sample", data=DATA, folder="topk", when="2026-01-31T12:00:00Z", **more):
    return TriedRun(
        when=when, folder=folder, spec=spec, data_hash=data, first_bar=WINDOW[0],
        last_bar=WINDOW[1], signal="kronos", model="bundled", fingerprint="f1",
        settings={"seed": 0}, costs={"commission_bps": 1.0},
        days=np.arange(18263, 18323, dtype=np.int32),
        tries=tuple(tried(number, data, **more) for number in numbers),
        benchmark=np.zeros(60, np.float32),
    )  # fmt: skip


def names(registry):
    return [each.tried.name for each in registry.read().tries.values()]


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def test_what_is_added_is_read_again(registry):
    assert registry.read().tries == {}
    assert registry.add(a_run(1, 2)) == ""
    (one, run), _ = registry.read().tries.values()
    assert (one.name, one.params, run.spec, run.settings) == (
        "topk[k=1]", {"k": 1}, "sample", {"seed": 0}
    )  # fmt: skip
    assert one.returns.tolist() == tried(1).returns.tolist()
    assert run.days[0] == 18263 and run.benchmark.tolist() == [0] * 60


def test_a_repeat_is_no_new_try_and_adds_no_line(registry):
    registry.add(a_run(1, 2))
    before = registry.path.read_bytes()
    registry.add(a_run(1, 2, when="2026-02-01T00:00:00Z", folder="topk-2"))
    assert registry.path.read_bytes() == before
    registry.add(a_run(2, 3))  # only the third is new
    assert names(registry) == ["topk[k=1]", "topk[k=2]", "topk[k=3]"]
    assert registry.path.read_bytes().startswith(before)


def test_the_same_thing_with_another_outcome_counts_once_by_the_last(registry):
    registry.add(a_run(1))
    registry.add(a_run(1, seed=7))
    [each] = registry.read().tries.values()
    assert each.tried.returns.tolist() == tried(1, seed=7).returns.tolist()


def test_other_data_is_another_try(registry):
    registry.add(a_run(1))
    registry.add(a_run(1, data="0ther" * 8))
    assert [group.things for group in groups(registry.read())] == [1, 1]


def test_every_line_is_json_with_the_hash_of_its_entry(registry):
    registry.add(a_run(1))
    registry.forget(list(registry.read().tries), "2026-02-01T00:00:00Z")
    lines = registry.path.read_text().splitlines()
    assert [json.loads(text)["entry"]["kind"] for text in lines] == ["registry", "run", "forgotten"]
    for text in lines:
        entry = text.partition('"entry":')[2][:-1]
        assert hashlib.sha256(entry.encode()).hexdigest() == json.loads(text)["sha256"]


def test_forgetting_leaves_a_mark_and_a_later_try_counts_again(registry):
    registry.add(a_run(1, 2, 3))
    keys = list(registry.read().tries)
    assert registry.forget(keys[:2], "2026-02-01T10:00:00Z") == 2
    contents = registry.read()
    assert [each.tried.name for each in contents.tries.values()] == ["topk[k=3]"]
    [mark] = contents.forgotten
    assert mark.when == "2026-02-01T10:00:00Z"
    assert [each.tried.name for each in mark.tries] == ["topk[k=1]", "topk[k=2]"]
    registry.add(a_run(1))
    assert names(registry) == ["topk[k=3]", "topk[k=1]"]
    assert len(registry.read().forgotten) == 1
    assert registry.forget(["never seen"], "2026-02-02T10:00:00Z") == 0


def test_reports_read_the_same(registry):
    registry.add(a_run(1, 2, 3))
    registry.forget(list(registry.read().tries)[:1], "2026-02-01T10:00:00Z")
    with registry.path.open("ab") as file:
        file.write(b"rubbish\n")
    ours, theirs = registry.read(), read_tries(registry.path)
    assert list(theirs.tracks) == list(ours.tries)
    for key, track in theirs.tracks.items():
        assert track.returns.tolist() == ours.tries[key].tried.returns.tolist()
        assert track.days.tolist() == ours.tries[key].run.days.tolist()
        assert track.thing == ours.tries[key].tried.thing
    assert [(mark.day, len(mark.tracks)) for mark in theirs.forgotten] == [("2026-02-01", 1)]
    assert len(theirs.warnings) == 1 == len(warnings_of(ours, FILE))


def test_a_line_that_is_cut_anywhere_loses_its_own_tries_alone(registry):
    registry.add(a_run(1))
    whole = registry.path.read_bytes()
    added = run_line(a_run(2))
    for kept in (1, 20, 79, len(added) // 2, len(added) - 2, len(added) - 1):
        registry.path.write_bytes(whole + added[:kept])
        contents = registry.read()
        is_whole = kept == len(added) - 1  # all but the end of the line
        assert len(contents.tries) == 1 + is_whole
        assert contents.damaged == (not is_whole)
        registry.add(a_run(3))
        assert names(registry)[-1] == "topk[k=3]"
        assert registry.read().damaged == (not is_whole)
        assert registry.path.read_bytes().startswith(whole + added[:kept])


def test_a_changed_byte_is_a_damaged_line_that_is_said_and_kept(registry):
    registry.add(a_run(1))
    registry.add(a_run(2))
    content = bytearray(registry.path.read_bytes())
    content[content.index(b"topk[k=1]") + 7] ^= 1
    registry.path.write_bytes(content)
    assert names(registry) == ["topk[k=2]"]
    assert warnings_of(registry.read(), FILE) == [
        "1 line of tries.jsonl is damaged and left out: more may have been tried than is counted."
    ]
    registry.add(a_run(3))
    assert registry.path.read_bytes().startswith(bytes(content))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (line({"kind": "registry", "version": 2, "set_aside": []}), "it is of version 2, and 1 is"),
        (b"my own notes\n", "its first line is damaged"),
        (header()[:40], "its first line is damaged"),
        (b"\x00" * 100, "its first line is damaged"),
    ],
)
def test_what_cannot_be_read_is_set_aside_said_and_never_overwritten(registry, content, why):
    registry.path.write_bytes(content)
    assert why in registry.read().unreadable
    assert read_tries(registry.path).warnings[0].startswith(f"tries.jsonl cannot be read: {why}")
    said = registry.add(a_run(1))
    assert f"could not be read ({why}" in said and "kept as tries.set-aside-1.jsonl" in said
    assert registry.path.with_name("tries.set-aside-1.jsonl").read_bytes() == content
    assert names(registry) == ["topk[k=1]"]
    [told] = warnings_of(registry.read(), FILE)
    assert told.startswith("tries.set-aside-1.jsonl was set aside on 2026-01-31, since it could")
    assert read_tries(registry.path).warnings == [told]
    registry.path.write_bytes(content)
    registry.add(a_run(2))
    assert registry.path.with_name("tries.set-aside-2.jsonl").read_bytes() == content


def test_an_empty_file_is_a_new_registry(registry):
    registry.path.touch()
    assert registry.add(a_run(1)) == ""
    assert names(registry) == ["topk[k=1]"]


def test_an_entry_of_a_kind_that_is_not_known_is_left_out_and_said(registry):
    registry.add(a_run(1))
    with registry.path.open("ab") as file:
        file.write(line({"kind": "skill", "when": "2026-01-01T00:00:00Z"}))
        file.write(line({"kind": "run", "tries": 3}))
    assert registry.read().damaged == 2
    assert names(registry) == ["topk[k=1]"]


def test_a_place_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(TriesError, match=r"registry of tries .*\.jsonl cannot be written \(Is"):
        Registry(tmp_path).add(a_run(1))
    with pytest.raises(TriesError, match="cannot be read"):
        Registry(tmp_path).read()
    with pytest.raises(TriesError, match=r"cannot be written \(No such file"):
        Registry(tmp_path / "absent").add(a_run(1))


def test_a_lock_that_is_never_given_back_is_one_error(registry, monkeypatch):
    registry.add(a_run(1))
    monkeypatch.setattr("sandbox.tries.registry.PATIENCE_SECS", 0.05)
    with (
        registry._locked(),
        pytest.raises(TriesError, match=r"another process has held it for 0\.05 s"),
    ):
        registry.add(a_run(2))
    registry.add(a_run(2))
    assert len(names(registry)) == 2


def test_a_line_that_is_being_written_is_waited_for(registry):
    registry.add(a_run(1))
    added = run_line(a_run(2))
    with registry.path.open("ab", buffering=0) as file:
        file.write(added[:100])
        rest = threading.Timer(0.02, file.write, [added[100:]])
        rest.start()
        contents, seen = registry.read(), read_tries(registry.path)
        rest.join()
    assert (len(contents.tries), contents.damaged) == (2, 0)
    assert (len(seen.tracks), seen.warnings) == (2, [])


WRITER = """
import sys
from pathlib import Path
from sandbox.tries.registry import Registry
from tests.sandbox.tries.test_tries_registry import a_run
first, last, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
print("begins", flush=True)
sys.stdin.readline()
for number in range(first, last):
    Registry(folder).add(a_run(number))
"""


def writer(first, last, folder):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(first), str(last), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def begin(processes):
    for process in processes:
        assert process.stdout.readline() == "begins\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def end(processes):
    for process in processes:
        process.communicate(timeout=60)


@pytest.mark.parametrize("content", [None, b"of another kind\n"])
def test_two_that_write_at_once_lose_nothing(registry, tmp_path, content):
    if content:
        registry.path.write_bytes(content)
    processes = [writer(0, 25, tmp_path), writer(20, 45, tmp_path)]
    begin(processes)
    end(processes)
    contents = registry.read()
    assert {each.tried.name for each in contents.tries.values()} == {
        f"topk[k={number}]" for number in range(45)
    }
    assert contents.damaged == 0
    aside = list(tmp_path.glob("tries.set-aside-*"))
    assert [path.read_bytes() for path in aside] == ([content] if content else [])


def test_kill_9_in_the_middle_loses_a_line_at_most(registry, tmp_path):
    process = writer(0, 100_000, tmp_path)
    begin([process])
    end_of_wait = time.monotonic() + 60
    while (not registry.path.exists() or len(names(registry)) < 5) and (
        time.monotonic() < end_of_wait
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    end([process])
    contents = registry.read()
    kept = len(contents.tries)
    assert kept >= 5 and contents.damaged <= 1
    registry.add(a_run(100_001))  # the lock is free, and what is there is kept
    after = names(registry)
    assert after == [*(f"topk[k={number}]" for number in range(kept)), "topk[k=100001]"]


@pytest.mark.parametrize(
    ("freq", "count"),
    [("B", 300), ("D", 300), ("W-FRI", 60), ("MS", 30), ("D", 1), ("D", 5)],
)
def test_a_year_has_as_many_days_as_in_reports(freq, count):
    import pandas as pd

    from reports.quant import days_per_year as of_reports

    days = pd.date_range("2020-01-03", periods=count, freq=freq)
    own = days.to_numpy("datetime64[D]").astype(np.int32)
    assert days_per_year(own) == of_reports(days)
