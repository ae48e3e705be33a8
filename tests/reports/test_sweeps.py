"""Sweeps: the luck of the best of many, and how a page shows them."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.compare import main as compare
from reports.folder import read_run
from reports.luck import FEWEST_DAYS, MOST_AT_ONCE, SharpeResamples
from reports.metrics import all_figures
from reports.report import main
from reports.sweeps import best_of, ranked, subjects
from reports.verdicts import judged
from tests.reports.conftest import days, entry, write_run

COMBINATIONS = [f"topk[k={k},n_drop={n}]" for k in (2, 3, 5) for n in (1, 2)]


def noise(seed, combinations=10, length=500, *, common=0.01, own=0.004, lift=0.0):
    """Portfolios that share what moves the market, a rival `b` among them; `lift` is for `c0`."""
    generator = np.random.default_rng(seed)
    market = generator.normal(0.0005, common, length)
    table = {f"c{nth}": market + generator.normal(0, own, length) for nth in range(combinations)}
    table["c0"] = table["c0"] + lift
    table["b"] = market + generator.normal(0, own, length)
    return pd.DataFrame(table)


def best(frame, rival="b", **options):
    names = [name for name in frame if name != "b"]
    return SharpeResamples(frame, 252, **options).best_of(names, rival)


@pytest.mark.parametrize(
    "shape", [{}, {"common": 0.0, "own": 0.01}, {"combinations": 30, "length": 250}]
)
@pytest.mark.parametrize("rival", ["b", None])
def test_where_none_is_better_every_chance_is_as_likely_as_any_other(shape, rival):
    drift = 0 if rival else 0.0005  # without a rival, none has any drift
    found = [best(noise(seed, **shape) - drift, rival, resamples=300) for seed in range(200)]
    chances = np.array([each.chance for each in found])
    for share in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        # 200 draws of a share: three standard deviations, and blocks come out a little narrow
        slack = 3 * np.sqrt(share * (1 - share) / 200) + 0.02
        assert (chances <= share).mean() == pytest.approx(share, abs=slack), share


def test_the_mean_lead_by_luck_is_what_luck_gives_on_average():
    found = [best(noise(seed), resamples=300) for seed in range(100)]
    by_luck, leads = ([getattr(each, name) for each in found] for name in ("by_luck", "lead"))
    assert np.mean(by_luck) == pytest.approx(np.mean(leads), abs=0.05)


def test_a_planted_winner_is_more_than_luck_and_a_pick_of_more_is_luckier():
    found = [best(noise(seed, lift=0.001), resamples=300).chance for seed in range(30)]
    assert np.mean(np.array(found) <= 0.05) > 0.75
    frame = noise(3, combinations=40, lift=0.0006)
    few, many = (SharpeResamples(frame, 252).best_of(names, "b")
                 for names in (["c0", "c1"], [name for name in frame if name != "b"]))  # fmt: skip
    assert few.lead == many.lead
    assert few.by_luck < many.by_luck
    assert few.chance < many.chance


def test_trying_the_same_thing_twice_is_no_second_try():
    frame = noise(1, combinations=1)
    alone = best(frame)
    twice = best(frame.assign(c1=frame["c0"], c2=frame["c0"]))
    assert twice == alone


def test_many_portfolios_are_resampled_as_few_are():
    frame = noise(2, combinations=2 * MOST_AT_ONCE)
    wide = SharpeResamples(frame, 252, resamples=50)
    narrow = SharpeResamples(frame[["c0", "b"]], 252, resamples=50)
    assert wide.difference("c0", "b").draws == pytest.approx(narrow.difference("c0", "b").draws)


def test_what_has_no_ratio_is_never_the_best_and_few_days_say_nothing():
    frame = noise(1)
    assert best(frame.assign(c3=0.0)) == best(frame.drop(columns="c3"))
    assert best(frame.assign(**{name: 0.0 for name in frame if name != "b"})) is None
    assert best(noise(1, length=FEWEST_DAYS - 1)) is None


@pytest.fixture
def swept(tmp_path):
    """A run folder with a sweep of topk beside a strategy that is not swept."""

    def make(at="run", *, names=COMBINATIONS, length=300, drifts=None, **more):
        made = [entry(name, "strategy", "kronos") | {"sweep_of": "topk"} for name in names]
        made += [entry("other", "strategy", "kronos"), entry("benchmark", "benchmark")]
        made += [entry("other:random", "control", "random", "other")]
        return write_run(tmp_path / at, made, days(length), drifts=drifts, **more)

    return make


def test_the_page_is_about_the_best_and_lists_all(swept):
    folder = swept(drifts={COMBINATIONS[3]: 0.004})
    assert main([str(folder), "--debug"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    sweep = metrics["sweeps"]["topk"]
    assert (sweep["best"], sweep["tried"]) == (COMBINATIONS[3], 6)
    sharpes = [metrics["portfolios"][name]["whole"]["sharpe"] for name in sweep["ranked"]]
    assert sharpes == sorted(sharpes, reverse=True)
    assert sharpes[0] - metrics["portfolios"]["benchmark"]["whole"]["sharpe"] == pytest.approx(
        sweep["sharpe_difference"]
    )
    assert set(metrics["verdicts"]) == {COMBINATIONS[3], "other"}
    assert metrics["verdicts"][COMBINATIONS[3]]["sentence"].startswith(
        f"{COMBINATIONS[3]} is the best of the 6 combinations of topk that were tried: Sharpe "
    )
    assert {path.name for path in (folder / "tearsheets").iterdir()} == {
        "topk_k_3_n_drop_2.html", "other.html",
    }  # fmt: skip
    page = (folder / "report.html").read_text()
    assert "<h1>topk, 6 combinations and other</h1>" in page
    table = page[page.index("All combinations") :]
    rows = re.findall(r'<th scope="row">(k=[^<]*|benchmark)</th>', table)
    assert rows[:6] == [name[5:-1] for name in sweep["ranked"]]
    assert rows[6] == "benchmark"
    assert "5 other combinations" in page
    assert page.count(COMBINATIONS[0]) == 2  # in two charts, and in no table of figures


def test_side_by_side_a_sweep_is_its_best_combination(swept, capsys):
    folders = [str(swept("a")), str(swept("b", drifts={COMBINATIONS[2]: 0.005}))]
    page = Path(folders[0]) / "side.html"
    assert compare([*folders, "--out", str(page)]) == 0
    best = [best_of(read_run(Path(folder)), "topk").name for folder in folders]
    assert best[1] == COMBINATIONS[2]
    text = page.read_text()
    assert all(name in text for name in best)
    assert not any(name in text for name in COMBINATIONS if name not in best)


def test_the_best_is_that_of_the_days_that_are_judged(swept):
    seen = {"name": "mini", "fingerprint": "ab", "seen_until": "2020-08-14"}
    run = read_run(swept(model=seen))
    values = run.value.copy()
    values[COMBINATIONS[0]] = 1e5 * np.exp(0.01 * np.minimum(np.arange(300), 150))
    values.loc[values.index[150:], COMBINATIONS[0]] *= 1 - 0.001 * (np.arange(150) % 2)
    run.value[COMBINATIONS[0]] = values[COMBINATIONS[0]]
    found = judged(run, all_figures(run))
    assert found["sweeps"]["topk"]["span"] == "unseen"
    assert found["sweeps"]["topk"]["best"] == best_of(run, "topk").name != COMBINATIONS[0]


def test_a_sweep_of_one_and_one_that_never_traded(swept):
    run = read_run(swept(names=COMBINATIONS[:1]))
    sentence = judged(run, all_figures(run))["sweeps"]["topk"]["sentence"]
    assert "is the only combination of topk that was tried: Sharpe" in sentence
    run = read_run(swept("still", names=COMBINATIONS[:2]))
    for name in COMBINATIONS[:2]:
        run.value[name] = 1e5
    sentence = judged(run, all_figures(run))["sweeps"]["topk"]["sentence"]
    assert "nothing tells it from luck: it has no Sharpe ratio" in sentence


def test_names_with_any_value_are_safe_in_files_and_pages(swept):
    odd = ['topk[score=a/b,x="1"]', "topk[score=<b>&,x=../..]", "topk[score=é;,x=$y$]"]
    folder = swept(names=odd, length=60)
    assert main([str(folder), "--debug"]) == 0
    page = (folder / "report.html").read_text()
    assert "<b>&," not in page
    assert "score=&lt;b&gt;&amp;" in page
    [sheet] = [path for path in (folder / "tearsheets").iterdir() if path.name != "other.html"]
    assert re.fullmatch(r"[A-Za-z0-9._-]+", sheet.name)
    assert [p.name for p in ranked(read_run(folder), "topk")] != []
    assert len(subjects(read_run(folder))) == 2
