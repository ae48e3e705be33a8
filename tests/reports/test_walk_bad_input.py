"""The folder of a walk-forward that lacks or garbles something: one line, status 1, no page."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from reports.walk_forward import main
from tests.reports.conftest import edit_csv, plan, write_run
from tests.reports.walk_folders import FOLDS, TRADED, scores, write_walk


def failed(folder, capsys):
    """The one line of a command that ends with status 1."""
    assert main([str(folder)]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert not (folder / "report.html").exists()
    return error


def test_an_incomplete_walk_forward_is_one_line(tmp_path, capsys):
    folder = write_walk(tmp_path / "walk", runs=False)
    (folder / "folds/02/card.json").unlink()
    shutil.rmtree(folder / "folds/03")
    (folder / "scores.csv").unlink()
    assert failed(folder, capsys) == (
        f"error: {folder} holds a walk-forward that is not complete (3 folds): it lacks the card "
        "of fold 2, the card of fold 3, scores.csv, the run folder zero-shot, the run folder "
        "fine-tuned\n"
    )


def test_another_folder_is_one_line(tmp_path, capsys):
    assert "is not the folder of a walk-forward: walk_forward.json: No such file" in failed(
        tmp_path / "none", capsys
    )


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("walk_forward.json", "{", "is not the folder of a walk-forward: walk_forward.json: "),
        ("walk_forward.json", '{"name": "x"}', "walk_forward.json: lacks 'data'"),
        ("folds/02/card.json", '{"stages": {}}', "folds/02/card.json: lacks 'seen_until'"),
        ("folds/02/card.json", "[]", "folds/02/card.json: "),
        ("folds/03/losses.csv", "", "folds/03/losses.csv: "),
        ("folds/03/losses.csv", "stage,step\n", "folds/03/losses.csv: "),
        ("scores.csv", "fold,model,horizon\n", "scores.csv: "),
        ("fine-tuned/config.json", "{}", "fine-tuned is not a run folder: config.json: lacks"),
    ],
)
def test_a_garbled_file_is_named(tmp_path, capsys, file, text, said):
    folder = write_walk(tmp_path / "walk")
    (folder / file).write_text(text)
    assert said in failed(folder, capsys)


def test_scores_must_hold_every_fold_once(tmp_path, capsys):
    folder = write_walk(tmp_path / "walk")
    frame = scores()
    frame[(frame["fold"] != 2) | (frame["model"] != "zero-shot")].to_csv(
        folder / "scores.csv", index=False
    )
    assert "scores.csv has no row of fold 2, zero-shot" in failed(folder, capsys)
    pd.concat([frame, frame.iloc[:1]]).to_csv(folder / "scores.csv", index=False)
    assert "scores.csv: two rows of fold 0, fine-tuned, horizon 1" in failed(folder, capsys)


def test_runs_that_cannot_be_compared_are_refused(tmp_path, capsys):
    folder = write_walk(tmp_path / "walk")
    edit_csv(folder / "zero-shot/equity.csv", lambda frame: frame[frame["time"] < "2020-01-01"])
    assert "fine-tuned and zero-shot do not share their bar times" in failed(folder, capsys)
    write_run(folder / "zero-shot", plan(["other"]), TRADED)
    assert "zero-shot has no strategy topk to compare with" in failed(folder, capsys)


def test_a_span_that_ends_before_it_begins_is_refused(tmp_path, capsys):
    turned = [dict(FOLDS[0], test=["2019-07-01", "2019-01-01"]), *FOLDS[1:]]
    folder = write_walk(tmp_path / "walk", folds=turned)
    assert "2019-07-01 does not come before 2019-01-01" in failed(folder, capsys)
