"""The page of a skill folder: it says what skill.json says, in every browser setting."""

from __future__ import annotations

import copy
import json
import re

import pytest

from reports.files import ReportError
from reports.skill import main, skill_html
from reports.skill_folder import read_skill
from reports.skill_pictures import odds_pictures, pit_pictures, skill_charts
from reports.skill_tables import (
    against_table,
    bands_table,
    crps_table,
    lower_by,
    p_value,
    parts_table,
    ranking_table,
    small_percent,
    symbols_table,
)
from tests.reports.browser import CHROMIUM, browser

SOURCES = [("small", "model"), ("small temperature=0.6", "model"), ("random-walk", "baseline"),
           ("garch", "baseline"), ("random", "signal")]  # fmt: skip
ODD = "</script><b>$x&amp;"
HORIZONS = (1, 5)


def mean(value, t=2.5, dates=40):
    return {"mean": value, "error": 0.01, "t": t, "dates": dates, "dates_needed": 58}


def figures(crps, kind):
    return {
        "forecasts": 480, "dates": 40, "crps": crps, "brier": 0.25, "up_share": 0.53,
        "energy": None if kind == "signal" else 2 * crps,
        "inside": {"50": 0.44, "80": 0.79, "90": 0.85, "98": 0.92},
        "pit": [0.05] * 20,
        "reliability": [{"said": 0.35, "came": 0.5, "forecasts": 80},
                        {"said": 0.55, "came": 0.54, "forecasts": 400}],
        "volatility": {"mae": 0.012, "r2": 0.31, "qlike": 0.41, "said": 0.03, "came": 0.04},
        "ic": mean(0.03), "rank_ic": mean(0.041), "spread": mean(0.0042, -2.1),
        "own_ic": mean(None, None, 0), "own_rank_ic": mean(0.001, 0.1), "turnover": 0.62,
    }  # fmt: skip


def comparison(skill, t):
    return {"skill_pct": skill, "lead": 0.0001, "t": t, "p": 0.0004, "dates": 40,
            "dates_needed": 50}  # fmt: skip


def span(dates, first, last):
    crps = {"small": 0.021, "small temperature=0.6": 0.024, "random-walk": 0.022,
            "garch": 0.0205, "random": 0.03}  # fmt: skip
    models = [name for name, kind in SOURCES if kind == "model"]
    losses = ("crps", "energy", "volatility")
    return {
        "dates": dates, "first": first, "last": last,
        "figures": {name: {str(h): figures(h * crps[name], kind) for h in HORIZONS}
                    for name, kind in SOURCES},
        "against": {
            model: {other: {str(h): {loss: comparison(4.5, 2.8) for loss in losses}
                                    | {"rank_ic": mean(0.012, 1.1)}
                            for h in HORIZONS}
                    for other, _ in SOURCES if other != model}
            for model in models
        },
        "confidence_set": {str(h): {name: 0.05 if name == "random" else 0.4
                                    for name, _ in SOURCES} for h in HORIZONS},
    }  # fmt: skip


def part(crps):
    return {name: {"dates": 20, "crps": crps, "volatility_error": 0.01, "inside_90": 0.88,
                   "rank_ic": mean(0.02)} for name, _ in SOURCES}  # fmt: skip


def record(symbols=("A", ODD), **more):
    times = [1_577_998_800 + 5 * 86_400 * nth for nth in range(60)]
    own = {name: {s: {"forecasts": 40, "crps": 0.02, "inside_90": 0.9} for s in symbols}
           for name, _ in SOURCES}  # fmt: skip
    return {
        "format": 1, "title": "Skill of small on sample, 2 symbols", "judged": "unseen",
        "verdicts": {"small": "small, 5 bars ahead on 40 dates: it knows nothing (t -0.3)."},
        "sources": [{"name": n, "kind": kind, "samples": 32} for n, kind in SOURCES],
        "left_out": ["what is not installed"], "notes": ["Beware <of> this."],
        "forecasts": {"computed": 1, "reused": 2}, "cells": 120, "dates": 60,
        "symbols": list(symbols), "data": {"spec": "sample", "hash": "ab", "calendar": None},
        "models": {"small": {"fingerprint": "cd", "seen_until": None, "max_context": 512}},
        "seen_until": "2020-04-11", "settings": {},
        "config": {"every": 5, "horizon": 5, "lookback": 90, "models": ["small"], "repair": False},
        "packages": {"numpy": "2.4"}, "horizons": list(HORIZONS), "headline": 5,
        "levels_pct": [50, 80, 90, 98],
        "spans": {"whole": span(60, "2020-01-02", "2020-10-24"),
                  "unseen": span(40, "2020-04-12", "2020-10-24"),
                  "seen": span(20, "2020-01-02", "2020-04-07")},
        "years": {"2020": part(0.02), "2021": part(0.03)}, "regimes": {"calm": part(0.01)},
        "by_symbol": own,
        "over_time": {"times": times,
                      "crps": {n: [0.02, *[0.021] * 58, None] for n, _ in SOURCES},
                      "rank_ic": {n: [None, *[0.02] * 59] for n, _ in SOURCES}},
    } | more  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def write(content=None):
        (tmp_path / "skill.json").write_text(json.dumps(content or record()), encoding="utf-8")
        return tmp_path

    return write


def row(table, label):
    return [cell.text for cell in next(r for r in table.rows if r.label == label).cells]


def test_tables_have_the_figures(folder):
    skill = read_skill(folder())
    assert row(crps_table(skill), "garch") == ["2.050 %", "0.400", "10.25 %", "0.400"]
    against = against_table(skill, "small", "crps")
    assert row(against, "garch") == ["+4.5 %", "+2.8", "<0.001"] * 2
    assert [r.label for r in against.rows] == ["small temperature=0.6", "random-walk", "garch",
                                               "random"]  # fmt: skip
    assert "random" not in [r.label for r in against_table(skill, "small", "energy").rows]
    bands = bands_table(skill)
    assert row(bands, "small") == ["44.0 %", "79.0 %", "85.0 %", "92.0 %"] * 2
    tints = [cell.classes for cell in bands.rows[0].cells[:4]]
    assert tints == ["down edge", "", "down", ""]  # 32 samples reach 93.9 % and no further
    ranking = row(ranking_table(skill), "small")
    assert ranking[:6] == ["+0.030 (+2.5)", "+0.041 (+2.5)", "–", "+0.001 (+0.1)",
                           "+0.42 % (−2.1)", "62.0 %"]  # fmt: skip
    assert ranking[6:] == ["40", "58", "58"]
    parts = parts_table(skill, "small")
    assert [r.label for r in parts.rows] == [
        "all dates", "after the model's data", "maybe seen", "2020", "2021", "calm market",
    ]  # fmt: skip
    assert row(parts, "all dates")[2] == "+4.5 %"  # 0.105 below 0.11


def test_numbers_in_words():
    assert [small_percent(v) for v in (0.026, 0.0000512, 0.5, 12.0)] == [
        "2.600 %", "0.005120 %", "50.00 %", "1200 %",
    ]  # fmt: skip
    assert [lower_by(v) for v in (-0.01, 0.0, 2.0, -2.0)] == ["0.0 %", "0.0 %", "+2.0 %", "-2.0 %"]
    assert [p_value(v) for v in (0.0, 0.05)] == ["<0.001", "0.050"]


def test_of_many_symbols_the_ends_are_shown(folder):
    names = [f"S{n:02d}" for n in range(50)]
    content = record(names)
    for nth, name in enumerate(names):
        content["by_symbol"]["small"][name] = {"forecasts": 3, "crps": 0.01 + nth / 1000,
                                               "inside_90": None}  # fmt: skip
    table = symbols_table(read_skill(folder(content)))
    assert [r.label for r in table.rows] == names[:15] + names[-15:]


def test_pictures_lie_inside_their_frames(folder):
    skill = read_skill(folder())
    for picture in pit_pictures(skill):
        for x, y, width, height in picture.bars:
            assert x >= 0 and x + width <= picture.width
            assert y >= 0 and y + height == pytest.approx(picture.height, abs=0.2)
        assert picture.level == picture.bars[0][1]  # twenty equal steps lie on the line
    for odds in odds_pictures(skill):
        assert all(0 < x < odds.width and 0 < y < odds.height for x, y, _ in odds.dots)
    assert [p.title for p in pit_pictures(skill)] == [n for n, k in SOURCES if k != "signal"]


def test_charts_end_at_the_whole(folder):
    skill = read_skill(folder())
    lead, ranks = skill_charts(skill).charts
    assert [s.name for s in lead.series if not s.group] == ["small", "small temperature=0.6"]
    assert lead.series[0].values[-1] == pytest.approx(0)
    assert ranks.series[0].values[-1] == pytest.approx(0.02)
    assert lead.shade == 21


def test_the_page_says_it_and_lets_nothing_out(folder):
    content = record()
    page = skill_html(read_skill(folder(content)))
    assert "Beware &lt;of&gt; this." in page and "Left out: what is not installed." in page
    assert "t \N{MINUS SIGN}0.3" in page
    assert ODD not in page
    assert not re.search(r'(src|href)="(?!#|https://www.tradingview.com/)', page)
    assert "with 32 samples 98 % band 93.9 %" in page


def test_the_page_of_one_symbol_has_no_ranks(folder):
    content = record(("A",))
    for own in content["spans"].values():
        for of_source in own["figures"].values():
            for one in of_source.values():
                for name in ("ic", "rank_ic", "spread", "own_ic", "own_rank_ic"):
                    one[name] = {"mean": None, "error": None, "t": None, "dates": 0,
                                 "dates_needed": None}  # fmt: skip
                one["turnover"] = None
        own["confidence_set"] = {str(h): None for h in HORIZONS}
    for name, _ in SOURCES:
        content["over_time"]["rank_ic"][name] = [None] * 60
    page = skill_html(read_skill(folder(content)))
    assert "There are too few symbols on a date to rank: 10 are needed." in page
    assert "p of set" not in page and 'id="rank-ic"' not in page


def test_a_folder_that_cannot_be_read_is_one_line(folder, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "skill.json cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "skill.json").write_text("{")
    assert main([str(tmp_path)]) == 1
    assert "cannot be read" in capsys.readouterr().err
    with pytest.raises(ReportError, match="not a file that this version writes"):
        read_skill(folder(record(format=2)))
    broken = copy.deepcopy(record())
    del broken["spans"]["unseen"]["figures"]["garch"]
    with pytest.raises(ReportError, match="lacks 'garch'"):
        read_skill(folder(broken))


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_it_reads_on_a_screen_and_on_a_telephone(folder):
    path = folder()
    assert main([str(path)]) == 0
    with browser() as page:
        for width, dark in ((1280, False), (390, True)):
            page.open(path / "skill.html", width=width, dark=dark)
            page.frames()
            assert page.run("document.documentElement.scrollWidth") <= width
            assert not page.problems
            assert len(page.texts(".multiples figcaption")) == 8
            assert page.run("document.querySelectorAll('.chart canvas').length") > 0
        assert all(url.startswith("file:") for url in page.requests)
