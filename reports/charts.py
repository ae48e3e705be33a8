"""Charts as data: what `assets/charts.js` draws, and what stands in the page until it has.

A page holds one JSON block that all its charts share:

    {"times": [1577998800, ...],      bar times, Unix seconds (UTC), ascending and unique
     "intraday": false,               whether a time of day is shown
     "charts": [{
       "id": "equity",                of the figure that holds it
       "log": true,                   begins with equal ratios as equal steps
       "zero": false,                 the scale always holds 0
       "digits": 2, "suffix": " %",   how values are shown
       "shade": 14,                   the first so many times are shaded; 0: none
       "mark": null,                  index of a time with a dotted line
       "series": [{
         "name": "topk", "kind": "line", "style": "s0", "group": "",
         "values": [1.0, 1.002, ...]  one a time; null where there is nothing
       }]
     }]}

A value is a number for the kinds `line` and `stack` (areas piled up, those below 0 downwards),
`[low, high]` for a `band`, `[open, high, low, close]` for `candles`, and a list of as many numbers
as there are paths for a `fan`. `style` is a class of page.css. Series with the same `group` share
one entry of the legend. Knows nothing of portfolios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from reports.formats import counted, minus_signs

Kind = Literal["line", "stack", "band", "fan", "candles"]
Value = float | Sequence[float] | None

LOG_FROM = 8.0  # a chart whose highest value is so many times its lowest begins logarithmic
STILL_POINTS = 150  # of a line in the still picture
WIDTH, HEIGHT = 1000, 300  # of the still picture's own grid
LINE_STYLES = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8")  # colours of page.css


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, area or set of candles of a chart; `values` has one entry a time."""

    name: str
    values: Sequence[Value]
    style: str
    kind: Kind = "line"
    group: str = ""  # of lines in the background, in the singular: "naive control"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Series over the same axes. The first one is the subject: it is drawn on top."""

    id: str  # letters, digits and dashes
    title: str
    explanation: str
    series: Sequence[Series]
    digits: int
    suffix: str = ""
    may_be_log: bool = False  # if the range is wide enough
    zero: bool = False
    flat: bool = False  # less high
    shade: int = 0
    mark: int | None = None

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest number of all series."""
        numbers = [number for series in self.series for number in _numbers(series)]
        if self.zero or not numbers:
            numbers.append(0.0)
        return min(numbers), max(numbers)

    @property
    def log(self) -> bool:
        low, high = self.limits
        return self.may_be_log and low > 0 and high / low >= LOG_FROM


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """`series` counts the chart's series; a group of them shares an entry."""

    text: str
    value: str  # the last one
    style: str
    kind: Kind
    series: int | None


@dataclass(frozen=True, kw_only=True)
class StillPath:
    """A line or an area of the picture that stands in for a chart: an SVG path."""

    d: str
    style: str
    area: bool


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """What a template shows of a chart before, or without, JavaScript."""

    id: str
    title: str
    explanation: str
    flat: bool
    log: bool
    legend: Sequence[LegendEntry]
    paths: Sequence[StillPath]
    range_text: str  # lowest and highest value
    shade_width: int  # of the times that are shaded
    width: int = WIDTH
    height: int = HEIGHT


def chart_data(
    times: Sequence[int], charts: Sequence[Chart], *, intraday: bool = False
) -> dict[str, Any]:
    """The JSON block of a page. `times` in Unix seconds; ValueError where a series does not fit."""
    for chart in charts:
        for series in chart.series:
            if len(series.values) != len(times):
                raise ValueError(
                    f"{chart.id}: {series.name} has {len(series.values)} values for "
                    f"{len(times)} times"
                )
    return {
        "times": list(times),
        "intraday": intraday,
        "charts": [_chart_entry(chart) for chart in charts],
    }


def _chart_entry(chart: Chart) -> dict[str, Any]:
    return {
        "id": chart.id,
        "log": chart.log,
        "zero": chart.zero,
        "digits": chart.digits,
        "suffix": chart.suffix,
        "shade": chart.shade,
        "mark": chart.mark,
        "series": [
            {
                "name": series.name,
                "kind": series.kind,
                "style": series.style,
                "group": series.group,
                "values": [_rounded(value, chart.digits) for value in series.values],
            }
            for series in chart.series
        ],
    }


def _rounded(value: Value, digits: int) -> Any:
    if value is None:
        return None
    if isinstance(value, float | int):
        near = round(value, digits)
        return int(near) if near == int(near) else near
    return [_rounded(each, digits) for each in value]


def chart_view(chart: Chart) -> ChartView:
    """A still picture, with the last values in its legend."""
    low, high = chart.limits
    scale = _Scale(low, high, log=chart.log)
    shown = [series for series in chart.series if not series.group and series.kind != "fan"]
    return ChartView(
        id=chart.id,
        title=chart.title,
        explanation=chart.explanation,
        flat=chart.flat,
        log=chart.log,
        legend=_legend(chart),
        # the first series is the subject: drawn last, on top
        paths=[path for series in reversed(shown) for path in _still_paths(series, scale)],
        range_text=f"from {number_text(low, chart)} to {number_text(high, chart)}",
        shade_width=round(WIDTH * chart.shade / max(1, *(len(s.values) for s in chart.series))),
    )


def number_text(value: float, chart: Chart) -> str:
    """A value as the chart shows it."""
    text = f"{value:,.{chart.digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return minus_signs(text) + chart.suffix


def _numbers(series: Series) -> list[float]:
    """Every single number of a series."""
    found: list[float] = []
    for value in series.values:
        if isinstance(value, float | int):
            found.append(value)
        elif value is not None:
            found.extend(value)
    return found


def _legend(chart: Chart) -> list[LegendEntry]:
    """One entry a series, and one for all series of a group."""
    entries = [
        LegendEntry(
            text=series.name,
            value=_last_text(series, chart),
            style=series.style,
            kind=series.kind,
            series=nth,
        )
        for nth, series in enumerate(chart.series)
        if not series.group
    ]
    groups: dict[str, list[Series]] = {}
    for series in chart.series:
        if series.group:
            groups.setdefault(series.group, []).append(series)
    return entries + [
        LegendEntry(
            text=counted(len(members), group),
            value="",
            style=members[0].style,
            kind=members[0].kind,
            series=None,
        )
        for group, members in groups.items()
    ]


def _last_text(series: Series, chart: Chart) -> str:
    last = next((value for value in reversed(series.values) if value is not None), None)
    if last is None or series.kind == "fan":
        return ""
    if isinstance(last, float | int):
        return number_text(last, chart)
    if series.kind == "candles":
        return number_text(last[-1], chart)
    return " to ".join(number_text(edge, chart) for edge in last)


class _Scale:
    """From values to heights of the still picture."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._log = log
        self._low, self._high = self._flat(low), self._flat(high)
        if self._high - self._low < 1e-12 * max(1.0, abs(self._high)):
            self._low, self._high = self._low - 0.5, self._high + 0.5

    def _flat(self, value: float) -> float:
        return math.log(value) if self._log else value

    def y(self, value: float) -> str:
        share = (self._high - self._flat(value)) / (self._high - self._low)
        return f"{4 + (HEIGHT - 8) * share:.0f}"


def _still_paths(series: Series, scale: _Scale) -> list[StillPath]:
    """The lines of a series, in pieces where it has gaps, or the area of a band."""
    found = []
    for piece in _pieces(series):
        if series.kind == "band":
            edges = [_points(piece, edge, scale) for edge in (0, 1)]
            outline = f"M{'L'.join(edges[0])}L{'L'.join(reversed(edges[1]))}Z"
            found.append(StillPath(d=outline, style=series.style, area=True))
        else:
            d = f"M{'L'.join(_points(piece, -1, scale))}"
            found.append(StillPath(d=d, style=series.style, area=False))
    return found


def _points(piece: Sequence[tuple[int, Value]], edge: int, scale: _Scale) -> list[str]:
    """`x y` of every point; of several numbers the one at `edge`. A lone point is a dash."""
    at = [
        (x, scale.y(value if isinstance(value, float | int) else value[edge]))
        for x, value in piece
        if value is not None
    ]
    if len(at) == 1:
        (x, y), half = at[0], 6
        return [f"{max(0, x - half)} {y}", f"{min(WIDTH, x + half)} {y}"]
    return [f"{x} {y}" for x, y in at]


def _pieces(series: Series) -> list[list[tuple[int, Value]]]:
    """Runs of values without a gap, each as (x, value), thinned."""
    last = max(1, len(series.values) - 1)
    step = max(1, math.ceil(len(series.values) / STILL_POINTS))
    pieces: list[list[tuple[int, Value]]] = [[]]
    for nth, value in enumerate(series.values):
        if value is None:
            if pieces[-1]:
                pieces.append([])
        elif (last - nth) % step == 0:
            pieces[-1].append((round(WIDTH * nth / last), value))
    return [piece for piece in pieces if piece]
