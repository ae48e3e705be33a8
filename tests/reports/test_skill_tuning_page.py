"""The part of a skill page that shows what was tuned."""

from __future__ import annotations

import copy

import pytest

from reports.skill import skill_html
from reports.skill_folder import read_skill
from reports.skill_tables import parts_table
from reports.skill_tuning import tuning_view
from reports.skill_view import skill_view
from tests.reports.browser import CHROMIUM, browser
from tests.reports.test_skill_page import folder, record, span

__all__ = ["folder"]  # a fixture
SETTINGS = {"lookback": ["32", "90"], "temperature": ["0.6", "0.6:1.0", "1.0"],
            "top_p": ["0.9", "1.0"]}  # fmt: skip
SENTENCE = "small: of 12 combinations <b>this</b> had the lowest CRPS (t -0.4)."


def period(first, last, dates):
    return {"first": first, "last": last, "dates": dates, "forecasts": 2 * dates,
            "random_walk_crps": {"1": 0.01, "5": 0.02}}  # fmt: skip


def score(lead):
    value = None if lead is None else 0.98 * (1 - lead / 100)
    return {"score": value, "lower_pct": lead, "crps": {"1": 0.01, "5": 0.02}}


def combination(values, before, after, plain=False):
    return {"values": values, "plain": plain, "before": score(before), "after": score(after)}


def tuned(settings, leads, chosen=0, plain=None):
    """Of `small`: `leads` is (before, after) of each combination in the order of the settings."""
    names = list(settings)
    grid = [{}]
    for name in names:
        grid = [values | {name: value} for values in grid for value in settings[name]]
    return {
        "until": "2020-06-30", "settings": settings, "horizons": [1, 5],
        "periods": {"before": period("2020-01-02", "2020-06-20", 30),
                    "after": period("2020-07-02", "2020-10-24", 25)},
        "models": {"small": {
            "plain": {"before": score(0.0), "after": score(0.0),
                      "values": dict.fromkeys(names, "1")},
            "combinations": [combination(values, *lead, plain=nth == plain)
                             for nth, (values, lead) in enumerate(zip(grid, leads, strict=True))],
            "chosen": chosen, "source": "small", "judged": {"t": -0.4, "rank": 3},
            "sentence": SENTENCE,
        }},
    }  # fmt: skip


LEADS = [(nth - 8.0, 3.0 - nth) for nth in range(12)]


def with_tuning(tuning, **more):
    content = copy.deepcopy(record(tuning=tuning, **more))
    content["spans"]["after_tuning"] = span(25, "2020-07-02", "2020-10-24")
    return content


def cells_of(heat_map):
    return [[cell.text for cell in cells] for _, cells in heat_map.rows]


def test_three_settings_are_maps_in_a_row_for_each_value_of_the_third(folder):
    skill = read_skill(folder(with_tuning(tuned(SETTINGS, LEADS, chosen=11, plain=8))))
    [model] = tuning_view(skill).models
    assert [panel.title for panel in model.panels] == ["top_p 0.9", "top_p 1.0"]
    first, second = model.panels
    before, after = second.maps
    assert before.heading == "Chosen on 2020-01-02 to 2020-06-20, 30 dates"
    assert after.heading == "Judged on 2020-07-02 to 2020-10-24, 25 dates"
    assert (before.down, before.across) == ("lookback", "temperature")
    assert before.columns == SETTINGS["temperature"]
    assert [label for label, _ in before.rows] == SETTINGS["lookback"]
    # in the order of the grid top_p goes fastest: the odd ones are those of 1.0
    assert cells_of(before) == [["−7.00 %", "−5.00 %", "−3.00 %"],
                                ["−1.00 %", "+1.00 %", "+3.00 %"]]  # fmt: skip
    assert cells_of(after)[1] == ["−4.00 %", "−6.00 %", "−8.00 %"]
    assert before.rows[1][1][2].classes == "better chosen"
    assert after.rows[1][1][2].classes == "worse chosen"  # it is marked in both
    assert first.maps[0].rows[1][1][1].classes == "plain"
    assert first.maps[0].rows[1][1][1].text == "0.00 %"


def test_colours_are_on_one_scale_for_both_stretches(folder):
    leads = [(1.0, -4.0), (0.25, 0.0)]
    skill = read_skill(folder(with_tuning(tuned({"top_p": ["0.9", "1.0"]}, leads))))
    [model] = tuning_view(skill).models
    before, after = model.panels[0].maps
    strengths = [[cell.strength_pct for cell in cells] for each in (before, after)
                 for _, cells in each.rows]  # fmt: skip
    assert strengths == [[22], [11], [45], [0]]  # as the roots of 1, 0.25, 4 and 0


def test_one_setting_is_a_column(folder):
    skill = read_skill(folder(with_tuning(tuned({"top_p": ["0.9", "1.0"]}, [(1, 2), (3, 4)]))))
    [model] = tuning_view(skill).models
    assert len(model.panels) == 1 and model.panels[0].title == ""
    assert cells_of(model.panels[0].maps[0]) == [["+1.00 %"], ["+3.00 %"]]
    assert model.plain == (
        "small with its plain settings (top_p 1): CRPS 2.0 % below random-walk's on the first "
        "dates, 2.0 % below on the later ones"
    )


def test_where_nothing_was_comparable_there_are_dashes(folder):
    tuning = tuned({"top_p": ["0.9", "1.0"]}, [(None, None)] * 2)
    own = tuning["models"]["small"]
    own["chosen"] = own["source"] = own["judged"] = None
    own["plain"] |= {"before": score(None), "after": score(None)}
    page = skill_html(read_skill(folder(with_tuning(tuning))))
    assert '<td style="--strength: 0%">\N{EN DASH}</td>' in page
    assert "CRPS not comparable with random-walk&#39;s on the first dates" in page


def test_the_page_says_what_was_chosen_and_what_is_judged(folder):
    content = with_tuning(tuned(SETTINGS, LEADS, plain=8), judged="after_tuning")
    skill = read_skill(folder(content))
    page = skill_html(skill)
    assert "small: of 12 combinations &lt;b&gt;this&lt;/b&gt; had" in page
    assert "<h2>Tuned settings</h2>" in page and "nothing that came after 2020-06-30" in page
    assert skill_view(skill, _charts(skill)).judged == (
        "2020-07-02 to 2020-10-24, 25 dates after the last day that settings were chosen by "
        "(2020-06-30)"
    )
    assert "after tuning" in [row.label for row in parts_table(skill, "small").rows]
    few = with_tuning(tuned(SETTINGS, LEADS), judged="after_tuning")
    few["spans"]["after_tuning"]["dates"] = 7
    assert "(2020-06-30), too few to claim anything" in skill_html(read_skill(folder(few)))


def _charts(skill):
    from reports.skill_pictures import skill_charts

    return skill_charts(skill)


@pytest.mark.parametrize("content", [record(), record(tuning=None)])
def test_a_page_without_tuning_says_nothing_of_it(folder, content):
    """Also of a folder from before there was any."""
    skill = read_skill(folder(content))
    assert tuning_view(skill) is None
    assert "Tuned settings" not in skill_html(skill)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_maps_read_in_both_colour_schemes_and_on_a_telephone(folder):
    """Text stands out from every cell's colour by 4.5 to 1 (WCAG AA)."""
    path = folder(with_tuning(tuned(SETTINGS, LEADS, chosen=11, plain=8)))
    (path / "skill.html").write_text(skill_html(read_skill(path)), encoding="utf-8")
    with browser() as page:
        for width, dark in ((1280, False), (1280, True), (390, True)):
            page.open(path / "skill.html", width=width, dark=dark)
            assert page.run("document.documentElement.scrollWidth") <= width
            assert len(page.texts(".heat-map figcaption")) == 4
            assert page.texts(".heat-map td.chosen span") == ["chosen"] * 2
            assert page.texts(".heat-map td.plain span") == ["plain"] * 2
            assert page.run(LEAST_CONTRAST) >= 4.5
            assert not page.problems


LEAST_CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => {
      const part = v / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const cells = [...document.querySelectorAll('.heat-map td.better, .heat-map td.worse')];
  const contrasts = cells.map(td => {
    const [a, b] = [getComputedStyle(td).color, getComputedStyle(td).backgroundColor].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
  return Math.min(...contrasts);
})()
"""
