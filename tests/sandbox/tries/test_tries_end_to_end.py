"""From runs to what their reports say: the count goes from the registry to page and screen."""

import json

from sandbox.run import job
from sandbox.run.__main__ import main
from tests.conftest import write_no_report

TOPK = str(job.ROOT / "strategies" / "topk.py")
RUN = [
    TOPK, "--start", "2021-01-04", "--end", "2021-03-31", "--lookback", "20", "--signal",
    "momentum", "--no-controls", "--store", "none",
]  # fmt: skip


FIGURES = {"seen_until": None, "portfolios": {}, "verdicts": {}}


def test_a_second_thing_knows_of_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        write_no_report(
            patch, lambda folder: (folder / "metrics.json").write_text(json.dumps(FIGURES))
        )
        assert main([*RUN, "--out", "all/first"]) == 0
    assert main([*RUN, "--param", "k=2", "--end", "2021-02-26", "--out", "all/second"]) == 0
    said = "2 different things have been tried on this data in this window, 1 of them in this run."
    assert said in capsys.readouterr().out
    second = tmp_path / "all" / "second"
    found = json.loads((second / "metrics.json").read_text())["tries"]
    assert (found["tried"], found["on_the_same_days"], found["warnings"]) == (2, 2, [])
    assert 0 <= found["superior"]["chance"] <= 1
    assert said in (second / "report.html").read_text()
    assert said not in (second / "log.txt").read_text()
