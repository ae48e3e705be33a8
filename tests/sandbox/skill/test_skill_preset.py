"""`--preset published` offline: stand-ins that have seen what the published weights have."""

from __future__ import annotations

import pytest

from kronos.hub import PUBLISHED
from sandbox.skill.__main__ import main
from tests.conftest import make_checkpoint
from tests.sandbox.skill.skill_cases import OUT, error_of, record_of, without_slow_parts

# as in the test with a network
OPTIONS = ["--data", "sample:AAPL", "--samples", "4", "--every", "5", "--end", "2024-12-31"]


@pytest.fixture(autouse=True)
def published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    without_slow_parts(monkeypatch)

    def find(name):
        own = make_checkpoint(PUBLISHED[name].seen_until)
        own.name, own.max_context = name, PUBLISHED[name].max_context
        own.fingerprint = f"{name}{'0' * 64}"[:64]
        return own

    monkeypatch.setattr("kronos.find", find)


def test_all_dates_are_after_what_the_published_weights_have_seen():
    assert main(["--preset", "published", *OPTIONS, *OUT]) == 0
    record = record_of()
    assert list(record["models"]) == ["mini", "small", "base"]
    assert record["judged"] == "unseen" and record["dates"] >= 20
    assert record["seen_until"] == "2024-06-30"
    assert record["spans"]["unseen"]["first"] == "2024-07-01"
    assert [each["name"] for each in record["tries"]["things"]] == ["mini", "small", "base"]


def test_an_earlier_start_splits_the_dates_where_the_weights_have_seen_them():
    early = ["--start", "2024-05-01"]
    assert main(["--preset", "published", "--model", "mini", *OPTIONS, *early, *OUT]) == 0
    record = record_of()
    assert record["spans"]["whole"]["first"] == "2024-05-01"
    assert record["spans"]["seen"]["last"] < "2024-07-01" <= record["spans"]["unseen"]["first"]


def test_a_context_that_only_mini_has_is_refused(capsys):
    line = error_of(capsys, "--preset", "published", *OPTIONS, "--lookback", "1000")
    assert line == "error: --lookback 1000: model small sees 512 bars at most"
