"""Charts as data, and the still picture that stands for each: all is where it should be."""

import re

import numpy as np
import pytest

from reports.charts import HEIGHT, STILL_POINTS, WIDTH, Chart, Series, chart_data, chart_view


def line(values, *, name="a", style="s0", **more):
    return Series(name=name, values=list(values), style=style, **more)


def chart(*series, **options):
    options = {"id": "c", "title": "T", "explanation": "E", "digits": 3} | options
    return Chart(series=series, **options)


def points(path):
    return [tuple(map(float, point.split())) for point in path.d.strip("MZ").split("L")]


def still(*series, **options):
    return chart_view(chart(*series, **options))


def test_a_line_runs_from_edge_to_edge_and_up_is_more():
    [path] = still(line([1, 2, 3])).paths
    assert [x for x, _ in points(path)][::2] == [0, WIDTH]
    heights = [y for _, y in points(path)]
    assert heights == sorted(heights, reverse=True)
    assert all(0 <= y <= HEIGHT for y in heights)


def test_equal_ratios_are_equal_steps_where_growth_is_large():
    view = still(line([1, 10, 100]), may_be_log=True)
    (_, a), (_, b), (_, c) = points(view.paths[0])
    assert a - b == pytest.approx(b - c, abs=1)
    assert view.log
    assert not still(line([1, 2, 3]), may_be_log=True).log
    assert not still(line([0, 1, 100]), may_be_log=True).log
    data = chart_data([1, 2, 3], [chart(line([1, 10, 100]), may_be_log=True)])
    assert data["charts"][0]["log"] is True


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0, 0.0], [1e-9, 2e-9], [1e12, 3e12]])
def test_flat_short_tiny_and_huge_lines_are_drawn(values):
    [path] = still(line(values), zero=True).paths
    assert len(points(path)) >= 2
    assert np.isfinite(points(path)).all()


def test_a_gap_splits_a_line_and_a_line_of_gaps_is_none():
    assert [len(points(path)) for path in still(line([None, 1, 2, 3])).paths] == [3]
    assert [len(points(path)) for path in still(line([1, 2, None, 3, 4])).paths] == [2, 2]
    view = still(line([1, 2, 3]), line([None] * 3, name="b", style="s1"))
    assert [path.style for path in view.paths] == ["s0"]
    assert still(line([None] * 3)).paths == []


def test_a_long_line_is_thinned_in_the_still_picture_and_whole_in_the_data():
    values = np.sin(np.arange(5000)).tolist()
    [path] = still(line(values)).paths
    assert len(points(path)) <= STILL_POINTS + 1
    assert points(path)[-1][0] == WIDTH
    [entry] = chart_data(range(5000), [chart(line(values))])["charts"][0]["series"]
    assert entry["values"] == [round(value, 3) for value in values]


def test_days_seen_are_shaded_up_to_their_end():
    assert still(line(range(10)), shade=4).shade_width == WIDTH * 4 / 10
    assert still(line(range(10))).shade_width == 0


def test_controls_share_one_entry_of_the_legend():
    background = [
        line([2, 1], name=f"t{n}", style="control", group="naive control") for n in range(7)
    ]
    view = still(line([1, 2]), *background)
    assert [entry.text for entry in view.legend] == ["a", "7 naive controls"]
    assert [entry.value for entry in view.legend] == ["2.000", ""]
    assert len(view.paths) == 1  # those in the background are drawn by the script alone
    data = chart_data([1, 2], [chart(line([1, 2]), *background)])
    assert len(data["charts"][0]["series"]) == 8


def test_values_are_shown_with_a_minus_sign_and_nothing_has_none():
    view = still(line([-1, -1234.5]), line([0, -0.0001], name="b"), digits=2, suffix=" %")
    assert [entry.value for entry in view.legend] == ["\N{MINUS SIGN}1,234.50 %", "0.00 %"]


def test_a_band_is_an_area_and_candles_are_a_line_of_closes():
    band = line([None, [1, 2], [0, 4]], name="band", style="outer", kind="band")
    candles = line([[2, 4, 1, 3], [3, 3, 0, 1], None], name="candles", kind="candles")
    view = still(band, candles)
    assert [(path.style, path.area) for path in view.paths] == [("s0", False), ("outer", True)]
    edges = points(view.paths[1])
    assert len(edges) == 4
    assert edges[1][0] == edges[2][0] == WIDTH
    assert [entry.value for entry in view.legend] == ["0.000 to 4.000", "1.000"]


def test_the_data_has_a_value_a_time_and_whole_numbers_are_short():
    data = chart_data([10, 20, 30], [chart(line([1.0, None, 2.34567]), mark=1)], intraday=True)
    assert data == {
        "times": [10, 20, 30], "intraday": True,
        "charts": [{
            "id": "c", "log": False, "zero": False, "digits": 3, "suffix": "", "shade": 0,
            "mark": 1,
            "series": [{"name": "a", "kind": "line", "style": "s0", "group": "",
                        "values": [1, None, 2.346]}],
        }],
    }  # fmt: skip
    assert re.fullmatch("1", repr(data["charts"][0]["series"][0]["values"][0]))
    with pytest.raises(ValueError, match="c: a has 2 values for 3 times"):
        chart_data([10, 20, 30], [chart(line([1, 2]))])
