"""Charts: what is drawn is where it should be."""

import re

import numpy as np
import pandas as pd
import pytest

from reports.charts import HEIGHT, MOST_POINTS, WIDTH, Chart, Line, chart_html, thinned


def line(values, *, name="a", style="s0", first="2020-01-02"):
    times = pd.bdate_range(first, periods=len(values), tz="UTC")
    return Line(name=name, values=pd.Series(values, times, dtype=float), style=style)


def drawn(*lines, **options):
    return chart_html(Chart(title="T", explanation="E", lines=lines, tick="{:g}".format, **options))


def points(html, style="s0"):
    path = re.search(rf'<path class="{style}" d="M([^"]*)"><title>', html)[1]
    return [tuple(map(float, point.split())) for point in path.split("L")]


def test_a_line_runs_from_edge_to_edge_and_up_is_more():
    found = points(drawn(line([1, 2, 3])))
    assert [x for x, _ in found][::2] == [0, WIDTH]
    heights = [y for _, y in found]
    assert heights == sorted(heights, reverse=True)
    assert all(0 <= y <= HEIGHT for y in heights)


def test_equal_ratios_are_equal_steps_where_growth_is_large():
    html = drawn(line([1, 10, 100]), log=True)
    (_, a), (_, b), (_, c) = points(html)
    assert a - b == pytest.approx(b - c, abs=0.2)
    assert "(log scale)" in html
    assert "(log scale)" not in drawn(line([1, 2, 3]), log=True)


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0, 0.0], [1e-9, 2e-9], [1e12, 3e12]])
def test_flat_short_tiny_and_huge_lines_are_drawn(values):
    found = points(drawn(line(values), from_zero=True))
    assert len(found) >= 2
    assert np.isfinite(found).all()


def test_a_gap_at_the_start_is_left_out_and_a_line_of_gaps_is_none():
    assert len(points(drawn(line([np.nan, 1, 2, 3])))) == 3
    html = drawn(line([1, 2, 3]), line([np.nan] * 3, name="b", style="s1"))
    assert 'class="s1" d="M0' not in html.replace('d="M0 4H20"', "")


def test_a_thinned_line_keeps_both_ends_and_its_lowest_point():
    values = line(np.sin(np.arange(5000))).values
    values.iloc[3210] = -7.0
    kept = thinned(values, "min")
    assert len(kept) <= MOST_POINTS
    assert (kept.index[0], kept.index[-1]) == (values.index[0], values.index[-1])
    assert kept.min() == -7.0
    last = thinned(values, "last")
    assert (last.to_numpy() == values[last.index].to_numpy()).all()


@pytest.mark.parametrize("bars", [1, 2, 5, 30, 120, 500, 1258, 6000])
def test_dates_under_the_plot_are_few_and_inside(bars):
    html = drawn(line(np.arange(bars)))
    under = re.search(r'<div class="x">(.*?)</div>', html)[1]
    shares = [float(share) for share in re.findall(r"left:([\d.]+)%", under)]
    assert 1 <= len(shares) <= 9
    assert all(0 <= share <= 100 for share in shares)
    assert shares == sorted(set(shares))


def test_days_seen_are_shaded_up_to_their_end():
    html = drawn(line(range(11)), shade_until=pd.Timestamp("2020-01-08"))  # Thu 2nd to Thu 16th
    assert f'<rect class="seen" width="{WIDTH * 7 / 14:.1f}"' in html


def test_lines_of_other_windows_share_the_axis():
    html = drawn(line(range(11)), line(range(11), name="b", style="s1", first="2020-01-16"))
    assert [points(html)[0][0], points(html)[-1][0]] == [0, WIDTH / 2]
    assert [points(html, "s1")[0][0], points(html, "s1")[-1][0]] == [WIDTH / 2, WIDTH]


def test_controls_share_one_entry_of_the_legend():
    html = drawn(line([1, 2]), *(line([2, 1], name=f"t{n}", style="control") for n in range(7)))
    assert "7 naive twins" in html
    assert html.count("<li>") == 2
