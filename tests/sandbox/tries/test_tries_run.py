"""A finished run is counted beside its folder; nothing that goes wrong with that ends a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from reports.folder import read_run
from reports.metrics import returns_of
from sandbox.config import RunConfig
from sandbox.errors import SandboxError
from sandbox.progress import progress_bar
from sandbox.run import job
from sandbox.run.__main__ import main
from sandbox.run.prepare import prepare
from sandbox.run.tried import code_hash, registry_folder
from sandbox.tries.registry import Registry
from tests.conftest import write_no_report

pytestmark = pytest.mark.usefixtures("fake_model", "own_folder", "no_report")

TOPK = str(job.ROOT / "strategies" / "topk.py")
SHORT = ["--start", "2021-01-04", "--end", "2021-02-26", "--lookback", "20", "--samples", "4"]
ALONE = [*SHORT, "--signal", "momentum", "--no-controls", "--store", "none"]
FIGURES = {"seen_until": None, "portfolios": {}, "verdicts": {}}


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_report(monkeypatch):
    def write(folder):
        (folder / "metrics.json").write_text(json.dumps(FIGURES))

    write_no_report(monkeypatch, write)


def tries(folder):
    return list(Registry(folder).read().tries.values())


def test_a_run_is_counted_with_all_that_it_was(tmp_path, fake_model):
    assert main([TOPK, *SHORT]) == 0  # with controls, a run without costs, and a benchmark
    [(tried, run)] = tries(tmp_path / "runs")
    assert (tried.name, tried.params["k"], run.folder) == ("topk", 3, "topk-sample")
    assert (run.spec, run.signal, run.model) == ("sample", "kronos", "fake")
    assert run.fingerprint == fake_model.fingerprint
    assert (run.settings["lookback"], run.settings["seed"], run.settings["cash"]) == (20, 0, 1e5)
    assert run.costs["commission_bps"] == 1.0 and run.benchmark is not None
    record = json.loads((tmp_path / "runs" / "topk-sample" / "config.json").read_text())
    assert record["data"]["hash"] == run.data_hash
    assert record["window"] == {"first_bar": run.first_bar, "last_bar": run.last_bar}
    assert record["tries"] == {"registry": "../tries.jsonl", "things": {"topk": tried.thing}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "store"]
    assert main([TOPK, *SHORT]) == 0  # with backtests that were kept
    assert "backtests were kept" in (tmp_path / "runs" / "topk-sample-2" / "log.txt").read_text()
    assert len(tries(tmp_path / "runs")) == 1


def test_the_returns_are_those_that_reports_see(tmp_path):
    assert main([TOPK, *ALONE]) == 0
    [(tried, run)] = tries(tmp_path / "runs")
    seen = read_run(tmp_path / "runs" / "topk-sample")
    returns = returns_of(seen, "topk", slice(0, len(seen.times)))
    assert tried.returns == pytest.approx(returns.to_numpy(), abs=1e-8)
    days = returns.index.to_numpy("datetime64[D]").astype(np.int32)
    assert run.days.tolist() == days.tolist()
    benchmark = returns_of(seen, "benchmark", slice(0, len(seen.times)))
    assert run.benchmark == pytest.approx(benchmark.to_numpy(), abs=1e-8)


def test_a_repeat_is_none_and_each_combination_is_one(tmp_path):
    assert main([TOPK, *ALONE]) == 0
    assert main(["--config", "runs/topk-sample/config.json"]) == 0
    assert len(tries(tmp_path / "runs")) == 1
    assert main([TOPK, *ALONE, "--sweep", "k=2,3,4"]) == 0  # the third is known
    assert len(tries(tmp_path / "runs")) == 3
    for more in (["--seed", "1"], ["--costs", "none"]):
        assert main([TOPK, *ALONE, *more]) == 0
    assert len(tries(tmp_path / "runs")) == 5


def test_what_changes_no_outcome_makes_no_other_thing(tmp_path):
    assert main([TOPK, *ALONE, "--out", "a/one"]) == 0
    copy = tmp_path / "renamed.py"
    copy.write_bytes(Path(TOPK).read_bytes())
    same = [*ALONE, "--no-benchmark", "--store", "other", "--analyzer", "SharpeRatio"]
    assert main([str(copy), *same, "--out", "a/two"]) == 0
    [(tried, run)] = tries(tmp_path / "a")
    assert (tried.name, run.folder) == ("topk", "one")
    copy.write_text(copy.read_text() + "\n# another day\n")
    assert main([str(copy), *same, "--out", "a/three"]) == 0
    assert len(tries(tmp_path / "a")) == 2


def test_each_place_has_its_own_registry(tmp_path):
    assert main([TOPK, *ALONE, "--out", "here/mine"]) == 0
    assert main([TOPK, *ALONE, "--out", str(tmp_path / "there" / "mine")]) == 0
    assert len(tries(tmp_path / "here")) == len(tries(tmp_path / "there")) == 1
    assert not (tmp_path / "runs").exists() and not (tmp_path / "tries.jsonl").exists()


def test_the_runs_of_a_walk_forward_are_counted_beside_it(tmp_path):
    (tmp_path / "runs" / "walk").mkdir(parents=True)
    (tmp_path / "runs" / "walk" / "walk_forward.json").write_text("{}")
    place = tmp_path / "runs" / "walk" / "fine-tuned"
    assert registry_folder(place) == tmp_path / "runs"
    assert main([TOPK, *ALONE, "--out", str(place)]) == 0
    [(_, run)] = tries(tmp_path / "runs")
    assert run.folder == "walk/fine-tuned"
    record = json.loads((place / "config.json").read_text())
    assert record["tries"]["registry"] == "../../tries.jsonl"


def test_a_registry_that_cannot_be_written_is_a_note(tmp_path, capsys):
    (tmp_path / "runs" / "tries.jsonl").mkdir(parents=True)
    assert main([TOPK, *ALONE]) == 0
    told = "Not counted among the tries: the registry of tries "
    assert told in capsys.readouterr().out
    assert told in (tmp_path / "runs" / "topk-sample" / "log.txt").read_text()
    assert not any((tmp_path / "runs" / "tries.jsonl").iterdir())


def test_one_of_another_version_is_set_aside_with_a_note(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tries.jsonl").write_text("something else\n")
    assert main([TOPK, *ALONE]) == 0
    assert "it is kept as tries.set-aside-1.jsonl, and tries are counted anew." in (
        capsys.readouterr().out
    )
    assert len(tries(tmp_path / "runs")) == 1


def test_the_folder_of_a_paper_account_is_no_try(tmp_path):
    """It is written by what writes a run's, and is not asked to be counted."""
    config = RunConfig.of(
        strategies=(TOPK,), start="2021-01-04", end="2021-01-29", lookback=20, signal="momentum",
        controls=False,
    )  # fmt: skip
    with job.start_report() as report:
        job.run_prepared(
            prepare(config), out=tmp_path / "mine", bar=progress_bar, report=report, kept=None
        )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert "tries" not in json.loads((tmp_path / "mine" / "config.json").read_text())


def test_a_run_that_fails_is_not_counted(tmp_path, monkeypatch):
    def fail(folder):
        raise SandboxError(f"no report for {folder}")

    write_no_report(monkeypatch, fail)
    assert main([TOPK, *ALONE]) == 1
    assert not (tmp_path / "runs" / "tries.jsonl").exists()


def test_modules_of_its_own_are_a_part_of_a_strategy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_rules.py").write_text("import my_numbers\nMOST = my_numbers.MOST\n")
    (tmp_path / "my_numbers.py").write_text("MOST = 3\n")
    strategy = tmp_path / "mine.py"
    strategy.write_text("import numpy\nimport my_rules\nfrom sandbox import Strategy\n")
    alone = code_hash(strategy)  # nothing is loaded yet
    import my_rules  # noqa: F401

    first = code_hash(strategy)
    assert first != alone
    (tmp_path / "my_numbers.py").write_text("MOST = 4\n")
    assert code_hash(strategy) != first
    (tmp_path / "my_numbers.py").write_text("MOST = 3\n")
    assert code_hash(strategy) == first
