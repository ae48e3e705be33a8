"""What a report says where forecasts were scored, too: they count as tries, and have no returns."""

import numpy as np
import pytest

from reports.folder import read_run
from reports.metrics import all_figures
from reports.report import report_html
from reports.tries import all_tries
from sandbox.tries.registry import Registry
from sandbox.tries.tried import Scored, TriedSkill, key_of
from tests.reports.conftest import days, plan, write_run
from tests.reports.test_holdings import report_metrics
from tests.reports.test_tries_report import HASH, TRIES, a_run, things

SAID = "whose forecasts were scored (sandbox.skill). "


@pytest.fixture
def folder(tmp_path):
    return write_run(
        tmp_path / "run", plan(["topk"], controls=False), days(300), tries=TRIES,
        drifts={"topk": 0.0},
    )  # fmt: skip


def a_skill(names, times, *, spec="sample", data=HASH):
    first, last = times[0].isoformat(), times[-1].isoformat()
    return TriedSkill(
        when="2026-01-31T12:00:00Z", folder="skill-mini", spec=spec, data_hash=data,
        first_bar=first, last_bar=last,
        tries=tuple(
            Scored(name=name, model="mini", fingerprint="f1", settings={}, thing=name,
                   key=key_of(name, data, first, last))
            for name in names
        ),
    )  # fmt: skip


def found_in(folder):
    run = read_run(folder)
    return all_tries(run, all_figures(run))


def test_they_are_in_the_number_of_tries_and_in_nothing_else(folder, tmp_path):
    registry = Registry(tmp_path)
    registry.add(a_run(things(3), days(300)))
    before = found_in(folder)
    registry.add(a_skill(["mini", "mini seed=1"], days(300)))
    found = found_in(folder)
    assert (found["tried"], found["scored"], found["traded"]) == (6, 2, 4)
    assert before["tried"] == 4 and before["scored"] == 0
    same = set(before) - {"tried", "scored", "sentence", "sentences"}
    assert {name: before[name] for name in same} == {name: found[name] for name in same}
    assert found["sentences"][0] == (
        "6 different things have been tried on this data in this window, 1 of them in this run. 2 "
        f"of them are models with settings {SAID}They have no returns: no other figure of tries "
        "here knows of a choice by scores."
    )
    assert "the best of 4 that have returns would still have a Sharpe" in found["sentences"][1]
    assert "the best of 4 has by luck" in found["sentences"][1]
    assert found["sentences"][2:] == before["sentences"][2:]


def test_of_one_that_alone_has_returns_nothing_is_taken_off(folder, tmp_path):
    Registry(tmp_path).add(a_skill(["mini"], days(300)))
    found = found_in(folder)
    assert (found["tried"], found["traded"], found["luck_sharpe"]) == (2, 1, 0)
    assert f"1 of them is a model with settings {SAID}It has no returns" in found["sentence"]
    assert "Nothing else has returns, so that nothing is taken off" in found["sentence"]


def test_they_count_where_a_run_would(folder, tmp_path):
    """The same candles or spec, in a window that shares a day."""
    registry = Registry(tmp_path)
    registry.add(a_skill(["same"], days(300)))
    registry.add(a_skill(["grown"], days(300), data="0ther"))
    registry.add(a_skill(["else"], days(300), spec="csv:y.csv", data="0ther"))
    registry.add(a_skill(["before"], days(30, "2019-01-02")))
    registry.add(a_skill(["overlaps"], days(40, "2019-11-11")))
    registry.add(a_skill(["longer", "same"], days(500, "2019-06-03")))
    assert found_in(folder)["scored"] == 4  # same, grown, overlaps, longer


def test_what_was_forgotten_is_said(folder, tmp_path):
    registry = Registry(tmp_path)
    registry.add(a_skill(["mini"], days(300)))
    registry.forget(list(registry.read().tries), "2026-02-03T10:00:00Z")
    found = found_in(folder)
    assert (found["tried"], found["forgotten"]) == (1, {"2026-02-03": 1})


def test_many_of_them_make_no_probability_of_overfitting(folder, tmp_path):
    Registry(tmp_path).add(a_skill([f"mini seed={number}" for number in range(50)], days(300)))
    found = found_in(folder)
    assert found["overfitting"] is None and found["superior"] is None
    assert found["sharpe_deviation"] == pytest.approx(np.sqrt(252 / 300))


def test_the_page_says_what_counts(folder, tmp_path):
    Registry(tmp_path).add(a_skill(["mini"], days(300)))
    run = read_run(folder)
    metrics = report_metrics(run)
    metrics["tries"] = all_tries(run, metrics)
    page = report_html(run, metrics)
    assert "A model with settings whose forecasts sandbox.skill scored is one, too" in page
    assert SAID in page
