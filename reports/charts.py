"""Line charts as inline SVG under HTML labels: sharp, small, and as readable on a phone.

The SVG is stretched to its box and holds lines alone; labels are HTML beside it and keep their
size. Knows lines over time, and nothing of portfolios.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

WIDTH, HEIGHT = 1000, 400  # of the SVG's own grid
MOST_POINTS = 420  # of a line; more cannot be told apart
LOG_FROM = 8.0  # a chart whose highest value is so many times its lowest is logarithmic


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line; `style` is a CSS class of reports.style."""

    name: str
    values: pd.Series  # by time
    style: str
    label: str = ""  # in the legend after the name
    kind: str = "naive twin"  # of a line in the background: counted in the legend


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over the same axes. `shade_until`: days the model may have seen."""

    title: str
    explanation: str
    lines: Sequence[Line]
    tick: Callable[[float], str]
    log: bool = False  # if the range is wide enough
    from_zero: bool = False
    flat: bool = False  # less high
    shade_until: pd.Timestamp | None = None


def chart_html(chart: Chart) -> str:
    """A figure with its title, legend and axes."""
    times = _times(chart.lines)
    low, high, log = _range(chart)
    y = _scale(low, high, log)
    ticks = _log_ticks(low, high) if log else _ticks(low, high)
    grid = "".join(f'<path class="grid" d="M0 {y(tick):.1f}H{WIDTH}"/>' for tick in ticks)
    # the first line is the subject: drawn last, on top
    paths = "".join(_path(line, times, y) for line in reversed(chart.lines))
    axis = "".join(
        f'<span style="top:{100 * y(tick) / HEIGHT:.2f}%">{escape(chart.tick(tick))}</span>'
        for tick in ticks
    )
    return (
        f"<figure{' class=low' if chart.flat else ''}><figcaption><b>{escape(chart.title)}</b>"
        f"{' (log scale)' if log else ''}<span>{escape(chart.explanation)}</span></figcaption>"
        f'{_legend(chart.lines)}<div class="plot"><div class="y">{axis}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(chart.title)}">{_shade(chart, times)}{grid}{paths}</svg>'
        f'<div class="x">{_time_labels(times)}</div></div></figure>'
    )


def thinned(values: pd.Series, how: str) -> pd.Series:
    """At most MOST_POINTS of a line: the last, mean or min of each stretch, and both its ends."""
    if len(values) <= MOST_POINTS:
        return values
    stretch = np.arange(len(values)) * (MOST_POINTS - 1) // len(values)
    stretch[0] = -1  # the first point stays
    kept = values.groupby(stretch).agg(how)
    last = np.append(np.flatnonzero(np.diff(stretch)), len(values) - 1)
    return pd.Series(kept.to_numpy(), values.index[last])


def _times(lines: Sequence[Line]) -> pd.DatetimeIndex:
    """All times of all lines."""
    times = pd.DatetimeIndex(lines[0].values.index)
    for line in lines[1:]:
        if not line.values.index.equals(times):
            times = times.union(pd.DatetimeIndex(line.values.index))
    return times


def _range(chart: Chart) -> tuple[float, float, bool]:
    everything = np.concatenate([line.values.to_numpy(dtype=float) for line in chart.lines])
    everything = everything[np.isfinite(everything)]
    low, high = (
        (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    )
    if chart.from_zero:
        low, high = min(0.0, low), max(0.0, high)
    log = chart.log and low > 0 and high / low >= LOG_FROM
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.01 * max(1.0, abs(low)), high + 0.01 * max(1.0, abs(high))
    if log:
        return low / 1.05, high * 1.05, log
    pad = 0.03 * (high - low)
    keep_low = chart.from_zero and low == 0
    keep_high = chart.from_zero and high == 0
    return low - (0 if keep_low else pad), high + (0 if keep_high else pad), log


def _scale(low: float, high: float, log: bool) -> Callable[[float], float]:
    if log:
        return lambda value: HEIGHT * math.log(high / max(value, low)) / math.log(high / low)
    return lambda value: HEIGHT * (high - value) / (high - low)


def _ticks(low: float, high: float) -> list[float]:
    """About five round values."""
    step = 10 ** math.floor(math.log10((high - low) / 5))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(nth * step, 12) for nth in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 7:
            break
    return ticks


def _x(times: pd.DatetimeIndex, wanted: pd.DatetimeIndex) -> np.ndarray:
    """Shares of the width, 0 to 1."""
    begin, end = times[0], times[-1]
    span = (end - begin) / pd.Timedelta(seconds=1)
    if not span:
        return np.full(len(wanted), 0.5)
    return np.asarray((wanted - begin) / pd.Timedelta(seconds=1)) / span


def _path(line: Line, times: pd.DatetimeIndex, y: Callable[[float], float]) -> str:
    values = line.values.dropna()
    if values.empty:
        return ""
    x = WIDTH * _x(times, pd.DatetimeIndex(values.index))
    points = [f"{a:.1f} {y(float(b)):.1f}" for a, b in zip(x, values, strict=True)]
    if len(points) == 1:  # a lone point is a dash across
        points = [f"0 {points[0].split()[1]}", f"{WIDTH} {points[0].split()[1]}"]
    drawn = f"M{'L'.join(points)}"
    return f'<path class="{line.style}" d="{drawn}"><title>{escape(line.name)}</title></path>'


def _shade(chart: Chart, times: pd.DatetimeIndex) -> str:
    if chart.shade_until is None:
        return ""
    until = pd.DatetimeIndex([chart.shade_until + pd.Timedelta(days=1)]).tz_localize(times.tz)
    width = WIDTH * float(np.clip(_x(times, until), 0, 1)[0])
    return f'<rect class="seen" width="{width:.1f}" height="{HEIGHT}"/>'


def _legend(lines: Sequence[Line]) -> str:
    """One entry a line, and one for all lines of a kind in the background."""
    background = [line for line in lines if line.style == "control"]
    entries = [
        f'<li><svg viewBox="0 0 20 8"><path class="{line.style}" d="M0 4H20"/></svg>'
        f"{escape(line.name)} <i>{escape(line.label)}</i></li>"
        for line in lines
        if line.style != "control"
    ]
    for kind, count in Counter(line.kind for line in background).items():
        entries.append(
            '<li><svg viewBox="0 0 20 8"><path class="control" d="M0 4H20"/></svg>'
            f"{count} {kind}{'s' if count > 1 else ''}</li>"
        )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _time_labels(times: pd.DatetimeIndex) -> str:
    """Up to eight dates under the plot; every other one goes where the screen is narrow."""
    marks, text = _time_marks(times)
    shares = _x(times, marks)
    return "".join(
        f'<span class="{"odd" if nth % 2 else "even"}" style="left:{100 * share:.2f}%">'
        f"{mark:{text}}</span>"
        for nth, (mark, share) in enumerate(zip(marks, shares, strict=True))
        if len(marks) < 3 or 0.02 <= share <= 0.98
    )


def _time_marks(times: pd.DatetimeIndex) -> tuple[pd.DatetimeIndex, str]:
    begin, end = times[0], times[-1]
    days = (end - begin) / pd.Timedelta(days=1)
    for freq, length, text in (
        ("MS", 30, "%b %Y"), ("QS", 91, "%b %Y"), ("YS", 365, "%Y"), ("2YS", 730, "%Y"),
        ("5YS", 1826, "%Y"), ("20YS", 7305, "%Y"),
    ):  # fmt: skip
        if 2 <= days / length <= 8.5:
            return pd.date_range(begin.normalize(), end, freq=freq, tz=begin.tz), text
    marks = times[np.unique(np.linspace(0, len(times) - 1, 4).round().astype(int))]
    return marks, "%d %b" if days >= 2 else "%d %b %H:%M"
