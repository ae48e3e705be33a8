"""The same command and seed give the same bytes, however the forecasts came to be.

With the bundled model itself: a stand-in would not show arithmetic that depends on its neighbours.
"""

import json

import pytest

from sandbox.forecast import backend, paths
from sandbox.run import job
from sandbox.run.__main__ import main
from tests.conftest import write_no_report

TABLES = ("trades.csv", "equity.csv", "weights.csv")
COMMAND = [
    str(job.ROOT / "strategies" / "topk.py"), str(job.ROOT / "strategies" / "uncertainty.py"),
    "--data", "sample:AAPL,NVDA", "--start", "2021-01-04", "--end", "2021-02-12",
    "--lookback", "32", "--horizon", "3", "--samples", "4", "--param", "k=1",
    "--device", "cpu", "--no-controls", "--no-benchmark",
]  # fmt: skip
FORECASTS = 2 * 6  # symbols and weeks


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs the command with more options: its tables' bytes, and what its log says."""
    base = tmp_path_factory.mktemp("runs")

    def run(*options, store="none"):
        out = base / f"run-{len(list(base.glob('run-*')))}"
        folder = store if store == "none" else str(base / store)
        assert main([*COMMAND, *options, "--store", folder, "--out", str(out)]) == 0
        return {name: (out / name).read_bytes() for name in TABLES}, (out / "log.txt").read_text()

    with pytest.MonkeyPatch.context() as patch:
        write_no_report(patch, _no_report)  # it has tests of its own
        yield run


@pytest.fixture(scope="module")
def first(run):
    """The run that the others are held against."""
    tables, log = run()
    assert f"{FORECASTS} forecasts computed, 0 taken from the store" in log
    assert all(len(table.splitlines()) > 4 for table in tables.values())
    return tables


def _no_report(folder):
    figures = {"portfolios": {}, "verdicts": {}, "seen_until": None}
    (folder / "metrics.json").write_text(json.dumps(figures))


def test_the_same_command_gives_the_same_bytes(run, first):
    assert run()[0] == first


def test_paths_on_disk_give_the_same_bytes_whatever_the_store_has(run, first, monkeypatch):
    monkeypatch.setattr(paths, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(paths, "STRETCH_BYTES", 5 * 4 * 4 * 3 * 6)  # of five forecasts
    run("--end", "2021-01-22", store="part on disk")
    for store, had in (("part on disk", 6), ("disk", 0), ("disk", FORECASTS)):
        tables, log = run(store=store)
        assert tables == first
        assert f"{FORECASTS - had} forecasts computed, {had} taken from the store" in log


def test_a_cold_and_a_warm_store_give_the_same_bytes(run, first):
    tables, log = run(store="kept")
    assert f"{FORECASTS} forecasts computed" in log
    assert tables == first
    tables, log = run(store="kept")
    assert f"0 forecasts computed, {FORECASTS} taken from the store" in log
    assert tables == first


def test_a_store_that_knows_a_part_gives_the_same_bytes(run, first):
    run("--end", "2021-01-22", store="half")
    tables, log = run(store="half")
    assert f"{FORECASTS // 2} forecasts computed, {FORECASTS // 2} taken from the store" in log
    assert tables == first


@pytest.mark.parametrize("windows", [1, 5])
def test_the_piece_size_does_not_show(run, first, monkeypatch, windows):
    sizes = []
    sample = backend.sample_windows

    def spy(predictor, piece, *more):
        sizes.append(len(piece))
        return sample(predictor, piece, *more)

    monkeypatch.setattr(backend, "sample_windows", spy)
    monkeypatch.setattr(backend, "WINDOWS_PER_PIECE", windows)
    assert run()[0] == first
    assert sizes == {1: [1] * 12, 5: [5, 5, 2]}[windows]


def test_other_symbols_in_the_run_do_not_change_a_forecast(run, first):
    """What a store holds for two symbols is what a run of four looks up."""
    run("--data", "sample:AMZN,NVDA,AAPL,MSFT", store="four")
    tables, log = run(store="four")
    assert f"0 forecasts computed, {FORECASTS} taken from the store" in log
    assert tables == first


def test_another_seed_gives_other_bytes(run, first):
    assert run("--seed", "1")[0]["trades.csv"] != first["trades.csv"]
