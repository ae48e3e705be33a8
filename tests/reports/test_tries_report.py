"""What a report says of how often one has looked."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from reports.folder import read_run
from reports.metrics import all_figures, returns_of
from reports.report import report_html
from reports.tries import all_tries
from sandbox.tries.registry import Registry
from sandbox.tries.tried import Tried, TriedRun, key_of, thing_of
from tests.reports.conftest import days, entry, plan, write_run
from tests.reports.test_holdings import report_metrics

HASH = "c0ffee" * 8  # as in the record of a run folder
TRIES = {"registry": "../tries.jsonl", "things": {"topk": "t0"}}


def since_1970(times):
    return times.tz_localize(None).normalize().to_numpy("datetime64[D]").astype(np.int32)


def a_run(things, times, *, spec="sample", data=HASH, drift=0.0, seed=0, folder="before"):
    """Things that were tried on noise, all in one run; `drift` is the first one's, a day."""
    generator = np.random.default_rng(seed)
    first, last = times[0].isoformat(), times[-1].isoformat()

    def tried(nth, name):
        returns = generator.normal(drift if not nth else 0, 0.01, len(times)).astype(np.float32)
        return Tried(name=name, code="", params={}, thing=name, returns=returns,
                     key=key_of(name, data, first, last))  # fmt: skip

    return TriedRun(
        when="2026-01-31T12:00:00Z", folder=folder, spec=spec, data_hash=data, first_bar=first,
        last_bar=last, signal="kronos", model=None, fingerprint=None, settings={}, costs={},
        days=since_1970(times), tries=tuple(tried(*each) for each in enumerate(things)),
        benchmark=None,
    )  # fmt: skip


def things(count, prefix="x"):
    return [f"{prefix}{number}" for number in range(count)]


@pytest.fixture
def folder(tmp_path):
    """A run folder of 300 days that counts as a try, on a model that has seen none of them."""
    return write_run(
        tmp_path / "run",
        plan(["topk"], controls=False),
        days(300),
        tries=TRIES,
        drifts={"topk": 0.0},
    )


def found_in(folder):
    run = read_run(folder)
    return all_tries(run, all_figures(run))


def test_a_run_that_is_no_try_says_nothing(tmp_path):
    folder = write_run(tmp_path / "run", plan(["topk"]), days(60))
    assert found_in(folder) is None
    run = read_run(folder)
    page = report_html(run, report_metrics(run) | {"tries": None})
    assert "How much has been tried" not in page and "#tries" not in page


def test_the_first_thing(folder):
    found = found_in(folder)
    assert (found["tried"], found["in_this_run"], found["luck_sharpe"]) == (1, 1, 0)
    assert found["sentences"][0] == (
        "This is the first thing that was tried on this data in this window."
    )
    assert found["sentences"][1].startswith(
        "Nothing has to be taken off for having picked it. topk"
    )
    assert "which is not clearly more than 0: its deflated" in found["sentences"][1]
    assert found["sentences"][2] == (
        "The probability of backtest overfitting needs 10 tries that share 160 days; 1 has a "
        "return on all of the 300 days that are judged here."
    )
    assert found["sentences"][3] == (
        "Whether any try beats a benchmark by more than luck (SPA, StepM) is not asked: it needs "
        "two tries on the same days."
    )


def test_what_counts_and_what_does_not(folder, tmp_path):
    """The same data is the same candles or the same spec; a window must share a day."""
    registry, times = Registry(tmp_path), days(300)
    registry.add(a_run(["same", "t0"], times))  # t0 is this run's own
    registry.add(a_run(["grown"], times, data="0ther"))
    registry.add(a_run(["moved"], times, spec="csv:x.csv"))
    registry.add(a_run(["else"], times, spec="csv:y.csv", data="0ther"))
    registry.add(a_run(["before"], days(30, "2019-01-02")))
    registry.add(a_run(["overlaps"], days(40, "2019-11-11")))
    registry.add(a_run(["longer", "same"], days(500, "2019-06-03")))
    found = found_in(folder)
    # t0, same, grown, moved, overlaps, longer
    assert (found["tried"], found["in_this_run"]) == (6, 1)
    assert found["on_the_same_days"] == 5  # but not `overlaps`
    assert found["sentence"].startswith(
        "6 different things have been tried on this data in this window, 1 of them in this run. "
        "Had none of them any skill, the best of 6 would still have a Sharpe ratio of about "
    )


def test_few_tries_are_taken_for_independent_and_many_spread_as_they_do(folder, tmp_path):
    Registry(tmp_path).add(a_run(things(8), days(300)))
    found = found_in(folder)
    assert not found["deviation_is_seen"]
    assert found["sharpe_deviation"] == pytest.approx(np.sqrt(252 / 300))
    assert found["luck_sharpe"] == pytest.approx(1.52 * np.sqrt(252 / 300), abs=0.02)
    assert found["overfitting"] is None and found["superior"]["chance"] > 0
    Registry(tmp_path).add(a_run(things(20, "y"), days(300), seed=2))
    found = found_in(folder)
    assert found["deviation_is_seen"] and found["tried"] == 29
    columns = [each.tried.returns for each in Registry(tmp_path).read().tries.values()]
    own = read_run(folder)
    columns.append(returns_of(own, "topk", slice(0, 300)).to_numpy())
    sharpes = [column.mean() / column.std(ddof=1) for column in np.array(columns, float)]
    assert found["sharpe_deviation"] == pytest.approx(np.std(sharpes, ddof=1) * np.sqrt(252))
    text = found["sentences"][2]
    assert text.startswith("The probability of backtest overfitting is ")
    assert "in 12,870 ways to halve the days, the best of 29 tries in one half was below" in text
    assert "little better than drawing one" in text or "helped somewhat" in text


def test_one_that_is_truly_better_is_named(folder, tmp_path):
    Registry(tmp_path).add(a_run(things(12), days(300), drift=0.006, folder="topk-2"))
    found = found_in(folder)
    assert found["superior"]["better"] == ["x0 of topk-2"]
    assert found["sentences"][3].endswith("of 5 % of naming any wrongly (StepM): x0 of topk-2.")
    assert "under 0.1 % of cases (SPA)" in found["sentences"][3]
    assert found["sentences"][2].endswith("what was best in one half was good in the other, too.")


def test_a_strategy_with_skill_passes_and_the_market_is_named(tmp_path):
    folder = write_run(
        tmp_path / "run", plan(["topk"], controls=False), days(300), tries=TRIES,
        drifts={"topk": 0.006, "benchmark": 0.001},
    )  # fmt: skip
    Registry(tmp_path).add(a_run(things(3), days(300)))
    found = found_in(folder)
    assert found["strategies"]["topk"]["deflated_sharpe"] > 0.95
    assert "which is more than the best of 4 has by luck: its deflated" in found["sentence"]
    assert "A rising market counts as skill in this: benchmark has " in found["sentence"]


def test_a_report_that_is_made_again_counts_the_same(folder, tmp_path):
    registry = Registry(tmp_path)
    registry.add(a_run(things(3), days(300)))
    first = found_in(folder)
    registry.add(a_run(["t0"], days(300), folder="run"))
    assert found_in(folder) == first


def test_combinations_of_a_sweep_are_tries_of_their_own(tmp_path):
    portfolios = [
        entry(f"topk[k={k}]", "strategy", "kronos") | {"sweep_of": "topk"} for k in range(3)
    ]
    known = {f"topk[k={k}]": thing_of({"k": k}) for k in range(3)}
    folder = write_run(
        tmp_path / "run", [*portfolios, entry("benchmark", "benchmark")], days(120),
        tries=TRIES | {"things": known},
    )  # fmt: skip
    found = found_in(folder)
    assert (found["tried"], found["in_this_run"], found["on_the_same_days"]) == (3, 3, 3)
    assert found["sentence"].startswith(
        "3 different things were tried on this data in this window, all of them in this run."
    )
    assert set(found["strategies"]) == set(known)
    assert found["sentences"][1].count("deflated Sharpe ratio") == 1  # of the best alone


def test_what_was_forgotten_is_said(folder, tmp_path):
    registry = Registry(tmp_path)
    registry.add(a_run(things(5), days(300)))
    registry.add(a_run(["old"], days(30, "2015-01-02")))  # of no concern here
    keys = list(registry.read().tries)
    registry.forget([keys[0], keys[1], keys[5]], "2026-02-03T10:00:00Z")
    registry.forget([keys[2]], "2026-02-04T10:00:00Z")
    registry.add(a_run(["x0"], days(300)))  # counts again
    found = found_in(folder)
    assert found["tried"] == 4 and found["forgotten"] == {"2026-02-03": 1, "2026-02-04": 1}
    assert found["sentences"][0].endswith(
        "1 of them in this run. 1 more was forgotten on 2026-02-03. 1 more was forgotten on "
        "2026-02-04."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"rubbish", "tries.jsonl cannot be read: its first line is damaged, or not that of a"),
        (None, "tries.jsonl cannot be read: Is a directory. Only the tries of this run are"),
    ],
)
def test_a_registry_that_cannot_be_read_is_said(folder, tmp_path, content, said):
    path = tmp_path / "tries.jsonl"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    found = found_in(folder)
    assert found["tried"] == 1
    assert said in found["sentences"][0]
    assert found["sentences"][0].endswith("Only the tries of this run are counted.")


def test_only_the_days_after_what_the_model_has_seen_are_judged(tmp_path):
    seen = {"name": "mini", "fingerprint": "ab", "seen_until": "2020-08-14", "max_context": 512}
    folder = write_run(
        tmp_path / "run", plan(["topk"], controls=False), days(300), tries=TRIES, model=seen
    )
    late = days(300)[days(300) > "2020-08-15"]
    Registry(tmp_path).add(a_run(["late"], late))
    found = found_in(folder)
    assert (found["span"], found["days"]) == ("unseen", len(late))
    assert found["on_the_same_days"] == 2


def test_few_days_and_no_benchmark_are_said(tmp_path):
    folder = write_run(
        tmp_path / "run", plan(["topk"], controls=False, benchmark=False), days(10), tries=TRIES
    )
    Registry(tmp_path).add(a_run(things(12), days(10)))
    found = found_in(folder)
    assert "topk has no Sharpe ratio to compare with that." in found["sentences"][1]
    assert "13 have a return on all of the 10 days" in found["sentences"][2]
    assert found["sentences"][3].endswith("is not asked: the run has none.")
    folder = write_run(tmp_path / "two", plan(["topk"], controls=False), days(10), tries=TRIES)
    assert found_in(folder)["sentences"][3].endswith("10 days of 20 that are needed.")


def test_one_that_never_moved_is_counted_and_has_no_ratio(folder):
    equity = pd.read_csv(folder / "equity.csv")
    equity.loc[equity["strategy"] == "topk", ["cash", "value", "gross_value"]] = 100_000.0
    equity.to_csv(folder / "equity.csv", index=False)
    found = found_in(folder)
    assert (found["tried"], found["on_the_same_days"]) == (1, 0)
    assert "topk has no Sharpe ratio to compare with that." in found["sentence"]


def test_without_arch_one_sentence_says_so(folder, tmp_path, monkeypatch):
    Registry(tmp_path).add(a_run(things(12), days(300)))
    for name in [name for name in sys.modules if name.partition(".")[0] == "arch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "arch", None)
    found = found_in(folder)
    assert found["sentences"][3] == (
        "Whether any of 13 tries beats benchmark by more than luck (SPA, StepM) is not said: the "
        "package arch is not installed (pip install 'kronos-sandbox[skill]')."
    )
    assert found["overfitting"]["probability"] > 0 and found["luck_sharpe"] > 0


def test_the_page_says_it_all_and_metrics_are_plain_json(folder, tmp_path):
    Registry(tmp_path).add(a_run([*things(11), "</script><b>"], days(300), drift=0.004))
    run = read_run(folder)
    metrics = report_metrics(run)
    metrics["tries"] = all_tries(run, metrics)
    json.dumps(metrics, allow_nan=False)
    page = report_html(run, metrics)
    assert '<h2 id="tries">How much has been tried</h2>' in page
    assert "13 different things have been tried on this data" in page
    assert "Counted in ../tries.jsonl" in page
    assert "</script><b>" not in page
