"""The report of a walk-forward: its figures are those of the files, and it says what was seen."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from reports.luck import SharpeResamples
from reports.walk_charts import CURVE_HEIGHT, loss_curves, timeline
from reports.walk_figures import find, seen_days, verdict
from reports.walk_folder import Span, read_walk_forward
from reports.walk_forward import main, walk_html
from reports.walk_tables import seen_text
from tests.reports.browser import CHROMIUM, browser
from tests.reports.conftest import CASH, days, plan, write_run
from tests.reports.walk_folders import (
    FOLDS,
    HASH,
    LOSSES,
    TRADED,
    crps_of,
    edit_json,
    scores,
    stage,
    write_walk,
)

MINUS = "\N{MINUS SIGN}"
ODD = "</script><b>$x&amp;"


class Tables(HTMLParser):
    """The tables of a page: each a list of rows, each a list of texts."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self._cell = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.found[-1][-1].append(self._cell.strip())
            self._cell = None


def written(folder):
    """The sentence, the page and its tables."""
    sentence, page = walk_html(read_walk_forward(folder))
    return sentence, page, Tables(page).found


def rows(table):
    """Label -> cells of the rows."""
    return {row[0]: row[1:] for row in table}


def equity(folder, model, name="topk"):
    frame = pd.read_csv(folder / model / "equity.csv", parse_dates=["time"])
    return frame[frame["strategy"] == name].set_index("time")["value"]


def sharpe(value, base=CASH):
    returns = value / value.shift(fill_value=base) - 1
    return np.sqrt(252) * returns.mean() / returns.std(ddof=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_walk(tmp_path_factory.mktemp("walk") / "first")


@pytest.fixture(scope="module")
def page(folder):
    return written(folder)


def test_folds_and_training_are_those_of_the_files(page):
    _, _, (folds, training, *_) = page
    assert rows(folds)["1"] == [
        "2014-01-01 to 2018-06-30", "2018-07-01 to 2018-12-31", "2019-01-01 to 2019-06-30",
        "4,100", "620", "nothing",
    ]  # fmt: skip
    assert [row[0] for row in folds[1:]] == ["1", "2", "3"]
    found = rows(training)
    assert found["1"] == ["2.5000", "2.4100", f"{MINUS}0.0900", "epoch 2 of 3", "60", "76 s"]
    assert found["3"] == ["2.5500", "2.5000", f"{MINUS}0.0500", "epoch 1 of 2", "40", "76 s"]


def test_where_nothing_beat_the_base_it_was_kept(page):
    sentence, _, (_, training, *_) = page
    assert rows(training)["2"] == ["2.4800", "2.4800", "0", "the base", "40", "76 s"]
    assert "validation loss fell in 2 of 3 folds (nothing beat the base in 1," in sentence


def test_scores_stand_beside_each_other(page):
    sentence, _, (_, _, crps, rank_ic, *_) = page
    one, five = rows(crps)["2"][:4], rows(crps)["2"][4:]
    before, after = crps_of(2, "zero-shot", 1), crps_of(2, "fine-tuned", 1)
    assert one == ["500", f"{before:.5f}", f"{after:.5f}", f"{100 * (after / before - 1):+.2f} %"]
    assert five[1:3] == [f"{crps_of(2, m, 5):.5f}" for m in ("zero-shot", "fine-tuned")]
    assert rows(crps)["1"][3] == f"{MINUS}1.82 %"  # 0.0108 after 0.011
    assert rows(rank_ic)["3"][:4] == ["75", "+0.030 (+3.5)", "+0.050 (+3.5)", "+0.020"]
    assert list(rows(crps))[-1] == "all"
    assert "CRPS was better in 2 of 3 folds at 1 bar, 1 of 3 at 5 bars" in sentence


def test_portfolios_are_those_of_equity_csv(folder, page):
    sentence, _, (*_, figures, rivals) = page
    found = rows(figures)
    assert figures[0] == ["", "fine-tuned", "zero-shot", "benchmark"]
    after, before = (equity(folder, model) for model in ("fine-tuned", "zero-shot"))
    assert found["Total return, net"][:2] == [
        f"{100 * (value.iloc[-1] / CASH - 1):+.1f} %" for value in (after, before)
    ]
    assert found["Sharpe, net"][:2] == [f"{sharpe(value):.2f}" for value in (after, before)]
    assert f"raised the Sharpe ratio of topk from {sharpe(before):.2f} to {sharpe(after):.2f}" in (
        sentence
    )
    table = rows(rivals)
    assert set(table) == {
        "topk on", "fine-tuned weights", "the base (zero-shot)", "(benchmark)", "momentum",
        "reversal", "volatility", "random", "random-walk",
    }  # fmt: skip
    assert table["momentum"][1] == f"{sharpe(equity(folder, 'fine-tuned', 'topk:momentum')):.2f}"


def test_luck_is_that_of_the_paired_bootstrap(folder, page):
    sentence, _, (*_, rivals) = page
    returns = pd.DataFrame(
        {
            model: (value := equity(folder, model)) / value.shift(fill_value=CASH) - 1
            for model in ("fine-tuned", "zero-shot")
        }
    )
    difference = SharpeResamples(returns, 252).difference("fine-tuned", "zero-shot")
    interval = f"{difference.low:+.2f} to {difference.high:+.2f}"
    assert f"the difference of {difference.sharpe_difference:+.2f} is more than luck" in sentence
    assert f"(90 % interval {interval})" in sentence
    cells = rows(rivals)["the base (zero-shot)"]
    assert cells[5:7] == [f"{difference.sharpe_difference:+.2f}", interval.replace("-", MINUS)]


def test_a_difference_that_luck_explains_is_said_to_be_one(tmp_path):
    folder = write_walk(tmp_path / "walk")
    write_run(
        folder / "fine-tuned", plan(["topk"]), TRADED, seed=8, drifts={"topk": 0.0},
        data={"spec": "sample", "hash": HASH, "symbols": ["NA"]},
    )  # fmt: skip
    sentence, _, _ = written(folder)
    assert sentence.startswith("Fine-tuning lowered the Sharpe ratio of topk from ")
    assert "lies within luck (90 % interval " in sentence


def test_the_base_in_every_fold_trades_as_it_does_zero_shot(tmp_path):
    folder = write_walk(
        tmp_path / "walk", losses=dict.fromkeys(LOSSES, (2.0, (2.1, 2.2))), drift=0.0005
    )
    sentence, _, (_, training, *_) = written(folder)
    before = sharpe(equity(folder, "zero-shot"))
    assert sentence.startswith(
        f"Fine-tuning changed nothing that topk earned (Sharpe ratio {before:.2f}); validation "
        "loss fell in 0 of 3 folds (nothing beat the base there, and its weights were kept); "
    )
    assert [row[4] for row in training[2:]] == ["the base"] * 3


@pytest.mark.parametrize(
    ("seen_until", "marks", "said"),
    [
        (None, ["not known"] * 3, "What the base, bundled, has seen is not known: it may have"),
        ("2018-12-31", ["nothing"] * 3, "saw data to 2018-12-31; every test day came later."),
        (
            "2019-01-01",
            ["to 2019-01-01", "nothing", "nothing"],
            "of fold 1, all before the first bar",
        ),
        ("2019-06-29", ["to 2019-06-29", "nothing", "nothing"], "seen test days of fold 1: the"),
        ("2019-06-30", ["all of it", "nothing", "nothing"], "seen test days of fold 1: the"),
        ("2019-09-15", ["all of it", "to 2019-09-15", "nothing"], "of folds 1 and 2: the Sharpe"),
        ("2020-06-10", ["all of it", "all of it", "to 2020-06-10"], "1, 2 and 3, so this is no"),
        ("2024-06-30", ["all of it"] * 3, "may have seen every test day, so this is no evidence"),
    ],
)
def test_what_the_base_has_seen_is_marked_and_said(tmp_path, seen_until, marks, said):
    folder = write_walk(tmp_path / "walk", seen_until=seen_until)
    sentence, _, (folds, *_) = written(folder)
    assert [row[-1] for row in folds[1:]] == marks
    assert said in sentence


def test_only_days_that_the_base_has_not_seen_are_judged(tmp_path):
    folder = write_walk(tmp_path / "walk", seen_until="2019-09-15")
    sentence, html, (*_, figures, rivals) = written(folder)
    after, before = (equity(folder, model) for model in ("fine-tuned", "zero-shot"))
    border = pd.Timestamp("2019-09-16", tz="UTC")
    unseen = [
        sharpe(value[value.index >= border], value[value.index < border].iloc[-1])
        for value in (after, before)
    ]
    assert f"from {unseen[1]:.2f} to {unseen[0]:.2f}: " in sentence
    assert "the Sharpe ratios are of the days after 2019-09-15 alone." in sentence
    assert figures[0][1:] == [
        "Unseen by the base: after 2019-09-15", "Maybe seen: to 2019-09-15", "Whole window",
    ]  # fmt: skip
    assert rows(figures)["Sharpe, net"][:2] == [f"{value:.2f}" for value in unseen]
    assert rows(figures)["Sharpe, net"][6:8] == [f"{sharpe(v):.2f}" for v in (after, before)]
    assert rows(rivals)["fine-tuned weights"][1] == f"{unseen[0]:.2f}"
    [chart, *_] = chart_block(html)["charts"]
    assert chart["shade"] == TRADED.searchsorted(border)


def test_the_timeline_parts_a_test_where_the_base_has_seen_some_of_it(tmp_path):
    drawn = timeline(read_walk_forward(write_walk(tmp_path / "walk", seen_until="2019-09-15")))
    assert [[bar.style for bar in lane.bars] for lane in drawn.lanes] == [
        ["train", "validate", "test known"],
        ["train", "validate", "test known", "test"],
        ["train", "validate", "test"],
    ]
    first, last = pd.Timestamp("2014-01-01"), pd.Timestamp("2020-07-01")
    bar = drawn.lanes[1].bars[2]
    assert bar.left == pytest.approx(
        100 * (pd.Timestamp("2019-07-01") - first) / (last - first), abs=0.001
    )
    assert bar.left + bar.width == pytest.approx(drawn.seen, abs=0.001)
    assert bar.text == "test days that the base may have seen: 2019-07-01 to 2019-09-15"
    assert [text for _, text in drawn.ticks] == ["2014", "2016", "2018"]


def test_days_of_a_span_that_were_seen():
    span = Span(first=pd.Timestamp("2019-01-01"), end=pd.Timestamp("2019-01-11"))
    seen = [seen_days(span, pd.Timestamp(f"20{day}")) for day in (
        "18-12-31", "19-01-01", "19-01-09", "19-01-10", "19-05-01")]  # fmt: skip
    assert seen == [0, 1, 9, 10, 10]


def test_an_unknown_past_is_drawn_as_one(tmp_path):
    walk = read_walk_forward(write_walk(tmp_path / "walk", seen_until=None))
    drawn = timeline(walk)
    assert {lane.bars[-1].style for lane in drawn.lanes} == {"test unknown"}
    assert drawn.seen == 0
    assert seen_text(walk, walk.folds[0]) == "not known"


def chart_block(page):
    return json.loads(re.search(r'id="chart-data">(.*?)</script>', page)[1])


def test_charts_hold_what_one_became(folder, page):
    block = chart_block(page[1])
    charts = {chart["id"]: chart for chart in block["charts"]}
    series = {each["name"]: each for each in charts["equity"]["series"]}
    assert list(series)[:3] == ["fine-tuned", "zero-shot", "benchmark"]
    assert sum(each["group"] == "naive control" for each in series.values()) == 5
    after, before = (equity(folder, model) for model in ("fine-tuned", "zero-shot"))
    assert series["fine-tuned"]["values"] == pytest.approx((after / CASH).tolist(), abs=0.0006)
    assert series["zero-shot"]["values"] == pytest.approx((before / CASH).tolist(), abs=0.0006)
    [lead] = charts["lead"]["series"]
    assert lead["values"] == pytest.approx((100 * (after / before - 1)).tolist(), abs=0.06)


def test_loss_curves_mark_what_was_kept(folder):
    walk = read_walk_forward(folder)
    [curve] = loss_curves(walk.folds[0])
    assert (curve.title, curve.epochs) == ("Fold 1", 3)
    assert curve.validation.count("L") == 3  # the base and three epochs
    assert curve.train.count("L") == 2
    x, y = curve.best
    assert curve.validation.split("L")[2] == f"{x} {y}"  # after the second epoch
    assert y == CURVE_HEIGHT - 6  # the lowest of all
    assert curve.low == "2.410"
    [kept] = loss_curves(walk.folds[1])
    assert kept.best[0] == 6  # the left edge: before any epoch
    assert kept.steps.count("L") == 39


def test_a_fold_without_losses_by_step_has_those_by_epoch(tmp_path):
    folder = write_walk(tmp_path / "walk")
    (folder / "folds/01/losses.csv").unlink()
    [curve] = loss_curves(read_walk_forward(folder).folds[0])
    assert curve.steps == ""
    assert curve.validation


def test_a_tokenizer_that_was_trained_has_columns_and_curves_of_its_own(tmp_path):
    folder = write_walk(tmp_path / "walk")
    stages = {"predictor": stage(2.5, [2.4]), "tokenizer": stage(0.2, [0.3])}
    edit_json(folder / "folds/01/card.json", stages=stages)
    _, html, (_, training, *_) = written(folder)
    assert training[0] == ["", "Tokenizer", "Predictor"]
    assert rows(training)["1"][:4] == ["0.2000", "0.2000", "0", "the base"]
    assert rows(training)["1"][6:10] == ["2.5000", "2.4000", f"{MINUS}0.1000", "epoch 1 of 1"]
    assert rows(training)["2"][:6] == ["\N{EN DASH}"] * 6
    assert "Fold 1, tokenizer" in html


def test_several_strategies_each_have_a_clause_and_a_table(tmp_path):
    folder = write_walk(tmp_path / "walk", strategies=("topk", "other"))
    sentence, _, (*_, figures, one, two) = written(folder)
    assert "the Sharpe ratio of topk from" in sentence
    assert "the Sharpe ratio of other from" in sentence
    assert figures[0][1:] == [
        "topk, fine-tuned", "topk, zero-shot", "other, fine-tuned", "other, zero-shot",
        "benchmark",
    ]  # fmt: skip
    assert (one[0][0], two[0][0]) == ("topk on", "other on")
    assert len(one) == len(two) == 1 + 2 + 5 + 1


def test_what_is_not_defined_is_a_dash(tmp_path):
    folder = write_walk(tmp_path / "walk")
    frame = scores().assign(rank_ic=np.nan, rank_ic_t=np.nan, dates=0)
    frame.loc[frame["fold"] == 3, ["crps", "forecasts"]] = (np.nan, 0)
    frame["fold"] = frame["fold"].astype(str).replace("0", "all")
    frame.to_csv(folder / "scores.csv", index=False)
    sentence, _, (_, _, crps, rank_ic, *_) = written(folder)
    dash = "\N{EN DASH}"
    assert rows(rank_ic)["all"] == ["0", dash, dash, dash] * 2
    assert rows(crps)["3"] == ["0", dash, dash, dash] * 2
    assert "CRPS was better in 1 of 2 folds at 1 bar, 0 of 2 at 5 bars" in sentence


def test_too_few_days_are_not_judged(tmp_path):
    folder = write_walk(tmp_path / "walk", runs=False)
    for model in ("fine-tuned", "zero-shot"):
        write_run(folder / model, plan(["topk"]), days(12, "2019-01-02"))
    walk = read_walk_forward(folder)
    assert verdict(walk, find(walk)).startswith(
        "What fine-tuning did to the Sharpe ratio of topk cannot be said: 12 days of 20 that are "
        "needed; validation loss fell"
    )
    written(folder)


def test_names_are_escaped(tmp_path):
    folder = write_walk(
        tmp_path / "walk", strategies=(ODD,), name=ODD, data=ODD, notes=[ODD], objective=ODD,
        training={ODD: ODD}, versions={ODD: ODD}, base={"name": ODD, "fingerprint": ODD,
        "seen_until": None},
    )  # fmt: skip
    sentence, html, _ = written(folder)
    assert ODD in sentence
    assert "<b>$x" not in html
    assert "&lt;/script&gt;&lt;b&gt;$x&amp;amp;" in html
    assert chart_block(html)["charts"][1]["series"][0]["name"] == ODD


def test_what_takes_the_figures_their_worth_is_noted(tmp_path):
    folder = write_walk(tmp_path / "walk", data_hash="another", notes=["Beware."])
    edit_json(folder / "folds/02/card.json", seen_until="2019-07-01")
    changed = [dict(FOLDS[0], test=["2019-01-10", "2019-07-01"]), *FOLDS[1:]]
    edit_json(folder / "walk_forward.json", folds=changed)
    _, html, _ = written(folder)
    outside = TRADED.searchsorted(pd.Timestamp("2019-01-10", tz="UTC"))
    for note in (
        "Beware.",
        "Fold 2: its weights saw data to 2019-07-01, and its test begins on 2019-07-01: it is not "
        "out of sample.",
        "The candles that were traded are not those that the folds were trained on.",
        f"{outside} days that were traded lie in no fold&#39;s test span.",
    ):
        assert f"<li>{note}</li>" in html


def test_a_whole_and_clean_walk_forward_has_no_note(page):
    assert '<div class="warn">' not in page[1]


def test_the_command_says_what_came_of_it_and_where_the_page_is(folder, page, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{page[0]}\n{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8") == page[1]
    assert json.loads((folder / "metrics.json").read_text()) == {"verdict": page[0]}
    for name in ("report.html", "metrics.json"):
        (folder / name).unlink()
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_page_fits_a_telephone_and_a_desk_and_fetches_nothing(tmp_path):
    folder = write_walk(tmp_path / "walk", seen_until="2019-09-15")
    assert main([str(folder)]) == 0
    path = folder / "report.html"
    with browser() as tab:
        for width in (390, 1280):
            tab.open(path, width=width)
            tab.frames()
            assert tab.run("document.documentElement.scrollWidth") == width
            assert len(tab.texts("#equity > .legend > li")) == 1 + 3 + 1
            assert tab.run("document.querySelectorAll('.multiples svg').length") == 3
            narrow = tab.run("Math.min(...[...document.querySelectorAll('.lane .test')].map("
                             "e => e.getBoundingClientRect().width))")  # fmt: skip
            assert narrow > 5
        assert {a for a in tab.requests if not a.startswith("data:")} == {path.as_uri()}
        assert tab.problems == []
