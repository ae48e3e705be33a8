"""`python -m sandbox.tries add`: what another command has finished, from a JSON document."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from reports.tries_file import read_tries
from sandbox.tries.__main__ import main
from sandbox.tries.contents import warnings_of
from sandbox.tries.lines import skill_line
from sandbox.tries.listing import groups
from sandbox.tries.registry import FILE, Registry
from tests.sandbox.tries.test_tries_registry import DATA, WINDOW, a_run


def thing(number, **more):
    return {
        "name": f"mini seed={number}", "model": "mini", "fingerprint": "f1",
        "settings": {"seed": number, "lookback": 90},
    } | more  # fmt: skip


def document(*numbers, **more):
    return {
        "kind": "skill", "spec": "sample", "data_hash": DATA, "first_bar": WINDOW[0],
        "last_bar": WINDOW[1], "things": [thing(number) for number in numbers],
    } | more  # fmt: skip


# as it was written before there was anything but runs
BEFORE_SKILL = (
    b'{"sha256":"6bb3b3ec3c11407fdd93958c28eaa9fbadd5b7ee333bcf7c1c4f803c71732431","entry":{"kind":'
    b'"registry","version":1,"set_aside":[]}}\n'
    b'{"sha256":"726c3d8d8e84810a0bd444a6d00debd5b04ddb46bbfc21dea5a6fcf8f99f7aa5","entry":{"kind":'
    b'"run","when":"2026-01-31T12:00:00Z","folder":"topk","spec":"sample","data_hash":'
    b'"da7ada7ada7ada7a","first_bar":"2020-01-02T21:00:00+00:00","last_bar":'
    b'"2020-01-03T21:00:00+00:00","signal":"kronos","model":"bundled","fingerprint":"f1",'
    b'"settings":{"seed":0},"costs":{},"days":"V0cAAFhHAAA=","tries":[{"name":"topk","code":"ab",'
    b'"params":{"k":3},"thing":"t","key":"k","returns":"AAAAPwAAgL4="}],"benchmark":null}}\n'
)


@pytest.fixture
def add(tmp_path, monkeypatch, capsys):
    """Adds a document that comes in; its exit status and what it printed."""

    def added(content, folder="skill-mini"):
        text = content if isinstance(content, str) else json.dumps(content)
        stdin = SimpleNamespace(buffer=io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        status = main(["add", "--runs", str(tmp_path), "--folder", folder])
        said = capsys.readouterr()
        return status, (said.out + said.err).strip()

    return added


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def test_what_comes_in_is_counted_and_read_again(add, registry):
    assert add(document(1, 2)) == (
        0, "2 different things have been tried on this data in this window."
    )  # fmt: skip
    (one, run), _ = registry.read().tries.values()
    assert (one.name, one.model, one.fingerprint) == ("mini seed=1", "mini", "f1")
    assert one.settings == {"seed": 1, "lookback": 90}
    assert (run.spec, run.data_hash, run.folder) == ("sample", DATA, "skill-mini")
    assert (run.first_bar, run.last_bar) == WINDOW


def test_a_repeat_adds_no_line_and_what_is_new_does(add, registry):
    assert add(document(1))[1].startswith("This is the first thing that was tried on this data")
    before = registry.path.read_bytes()
    named_otherwise = document(1, things=[thing(1, name="my mini", model="../mini")])
    assert add(named_otherwise, folder="skill-mini-2")[0] == 0
    assert registry.path.read_bytes() == before
    assert add(document(1, 2))[0] == 0
    assert [each.tried.name for each in registry.read().tries.values()] == [
        "mini seed=1", "mini seed=2",
    ]  # fmt: skip
    other_weights = document(1, things=[thing(1, fingerprint="f2")])
    assert add(other_weights)[1].startswith("3 different things")


def test_runs_and_skill_are_counted_together_where_they_share_a_day(add, registry):
    registry.add(a_run(1, 2))
    registry.add(a_run(3, spec="csv:x.csv", data="c5" * 32))
    assert add(document(1))[1].startswith("3 different things")
    later = document(2, first_bar="2020-03-31T21:00:00Z", last_bar="2020-06-30T21:00:00Z")
    assert add(later)[1].startswith("4 different things")
    after = document(3, first_bar="2020-04-01T21:00:00Z", last_bar="2020-06-30T21:00:00Z")
    assert add(after)[1].startswith("2 different things")  # with `later` alone


def test_a_time_is_taken_as_one_of_utc(add, registry):
    """So that the window is that of a run with the same days."""
    abroad = document(1, first_bar="2020-01-02T16:00:00-05:00")
    assert add(abroad)[0] == 0
    [each] = registry.read().tries.values()
    assert each.run.first_bar == WINDOW[0]


def test_ls_says_how_many_are_skills_and_forget_knows_its_folder(
    add, registry, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("COLUMNS", "120")
    registry.add(a_run(1, 2, 3))
    add(document(1, 2))
    [group] = groups(registry.read())
    assert (group.things, group.scored, group.best) == (5, 2, group.best)
    assert main(["ls", "--runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Tries By skill Best Sharpe Of" in text
    assert f"sample 2020-01-02 5 2 {group.best_sharpe:.2f} topk[k=" in text
    assert main(["forget", "--run", "skill-mini", "--runs", str(tmp_path)]) == 0
    assert "2 tries of" in capsys.readouterr().out
    assert main(["ls", "--runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"sample 2020-01-02 3 - {group.best_sharpe:.2f} topk[k=" in text
    assert ": 2 tries on sample." in text


def test_data_that_only_skill_looked_at_has_no_best(add, capsys, tmp_path):
    add(document(1))
    assert main(["ls", "--runs", str(tmp_path)]) == 0
    assert "2020-01-02 1 1 - -" in " ".join(capsys.readouterr().out.split())


def test_reports_read_the_same_and_have_its_days(add, registry):
    registry.add(a_run(1))
    add(document(1, 2))
    registry.forget(list(registry.read().tries)[1:2], "2026-02-01T10:00:00Z")
    ours, theirs = registry.read(), read_tries(registry.path)
    assert list(theirs.tracks) == list(ours.tries)
    track = list(theirs.tracks.values())[-1]
    assert track.returns is None and (track.days[0], track.days[-1]) == (18263, 18352)
    assert [len(mark.tracks) for mark in theirs.forgotten] == [1]
    assert theirs.warnings == [] == warnings_of(ours, FILE)


def test_a_registry_of_before_is_read_and_added_to(add, registry):
    registry.path.write_bytes(BEFORE_SKILL)
    [each] = registry.read().tries.values()
    assert each.tried.returns.tolist() == [0.5, -0.25] and each.run.days.tolist() == [18263, 18264]
    assert add(document(1))[1].startswith("2 different things")
    assert registry.path.read_bytes().startswith(BEFORE_SKILL)
    contents = registry.read()
    assert (len(contents.tries), contents.damaged, contents.set_aside) == (2, 0, [])
    assert len(read_tries(registry.path).tracks) == 2


def test_a_changed_byte_of_its_line_is_a_damaged_line(add, registry):
    add(document(1))
    add(document(2))
    content = bytearray(registry.path.read_bytes())
    content[content.index(b"mini seed=1") + 5] ^= 1
    registry.path.write_bytes(content)
    assert registry.read().damaged == 1 == len(read_tries(registry.path).warnings)
    assert [each.tried.name for each in registry.read().tries.values()] == ["mini seed=2"]


def test_a_line_is_one_of_its_kind(add, registry):
    add(document(1))
    [each] = registry.read().tries.values()
    assert registry.path.read_bytes().endswith(b"\n" + skill_line(each.run))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "what came in: not JSON: "),
        ("[1]", "what came in: the document: "),
        (document(1, kind="run"), "what came in: kind: input should be 'skill'"),
        (document(), "what came in: things: tuple should have at least 1 item"),
        ({"kind": "skill"}, "what came in: spec: field required"),
        (document(1, more=1), "what came in: more: unexpected keyword argument"),
        (document(1, things=[thing(1, name="")]), "things.0.name: string should have at least 1"),
        (document(1, first_bar="2020-01-02"), "first_bar: "),
        (document(1, last_bar="2019-01-02T21:00:00Z"), "is before first_bar 2020-01-02"),
        (document(1, things=[{"name": "x"}]), "things.0.model: field required"),
    ],
)
def test_what_is_no_document_is_one_line_and_counts_nothing(add, registry, content, words):
    status, said = add(content)
    assert status == 2 and words in said and said.startswith("error: ")
    assert "\n" not in said
    assert not registry.path.exists()


def test_a_file_may_hold_it_under_a_name(registry, tmp_path, capsys):
    path = tmp_path / "skill.json"
    path.write_text(json.dumps({"format": 1, "tries": document(1)}))
    options = ["add", "--runs", str(tmp_path), "--folder", "x"]
    assert main([*options, str(path)]) == 0
    assert len(registry.read().tries) == 1
    assert main([*options, str(tmp_path / "absent.json")]) == 2
    assert "absent.json: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["add", str(path)])


def test_a_registry_that_cannot_be_written_is_one_error(add, tmp_path):
    (tmp_path / FILE).mkdir()
    status, said = add(document(1))
    assert status == 1 and "cannot be written (Is a directory)" in said


def test_as_a_process_it_reads_what_comes_in(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.tries", "add", "--runs", str(tmp_path), "--folder", "x"],
        input=json.dumps(document(1)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("This is the first thing")
    shown = subprocess.run(
        [sys.executable, "-m", "sandbox.tries", "add", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in (*document(1), *thing(1)):
        assert f" {name} " in shown.stdout or f" {name}\n" in shown.stdout
