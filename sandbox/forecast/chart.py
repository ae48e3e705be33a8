"""A forecast as a picture: the candles so far, the fan of sampled closes, and its quantile bands.

Bars are drawn side by side, numbered from asof (0), so that nights and weekends leave no gaps.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sandbox.interrupts import tidied
from sandbox.reporting import report_process

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kronos import Forecast

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PATHS_DRAWN = 100  # more only darken the fan
CLOSE = 3  # its column in paths
UP, DOWN, ACTUAL, FAN = "#2a9d6f", "#c8553d", "#9a9a9a", "#2f6fb5"


@dataclass(frozen=True)
class Picture:
    """What both charts draw."""

    forecast: Forecast  # repaired
    past: pd.DataFrame  # the candles up to asof
    actual: pd.DataFrame  # the candles that followed, as far as they are known

    @property
    def title(self) -> str:
        paths, bars = self.forecast.paths.shape[:2]
        return (
            f"{self.forecast.symbol}, forecast as of {self.forecast.asof:%Y-%m-%d %H:%M} UTC: "
            f"{paths} paths of {bars} bars"
        )

    @property
    def past_at(self) -> np.ndarray:
        return np.arange(1 - len(self.past), 1)

    @property
    def future_at(self) -> np.ndarray:
        """0, where the fan begins at the close of asof, and the forecast bars."""
        return np.arange(self.forecast.paths.shape[1] + 1)

    @property
    def actual_at(self) -> np.ndarray:
        return np.arange(1, len(self.actual) + 1)

    @property
    def bands(self) -> np.ndarray:
        """`[Q, 1 + P]` quantiles of the close, of which the first is the close at asof."""
        quantiles = close_quantiles(self.forecast)
        return np.column_stack([np.full(len(QUANTILES), self.forecast.close), quantiles])

    @property
    def fan(self) -> np.ndarray:
        """`[paths, 1 + P]` closes, from the close at asof."""
        closes = self.forecast.paths[:PATHS_DRAWN, :, CLOSE]
        return np.column_stack([np.full(len(closes), self.forecast.close), closes])

    def ticks(self) -> tuple[list[int], list[str]]:
        """Some ten bars and their dates."""
        times = list(self.past.index) + list(self.forecast.index)
        first = int(self.past_at[0])
        step = max(1, len(times) // 10)
        places = [at for at in range(first, first + len(times)) if at % step == 0]
        intraday = len({time.date() for time in times}) < len(times)
        shown = "%m-%d %H:%M" if intraday else "%Y-%m-%d"
        return places, [times[at - first].strftime(shown) for at in places]


def close_quantiles(forecast: Forecast) -> np.ndarray:
    """`[Q, P]` quantiles of the sampled closes, in price."""
    prices: np.ndarray = np.quantile(forecast.paths[:, :, CLOSE], QUANTILES, axis=0)
    return prices


def forecast_data(picture: Picture) -> dict[str, Any]:
    """What `reports.forecast` draws; its docstring has the fields. Times in Unix seconds (UTC)."""
    forecast = picture.forecast
    return {
        "title": picture.title,
        "symbol": forecast.symbol,
        "quantiles": list(QUANTILES),
        "past": _candles(picture.past),
        "followed": _candles(picture.actual),
        "times": _seconds(forecast.index),
        "close": float(forecast.close),
        "bands": close_quantiles(forecast).tolist(),
        "paths": forecast.paths[:PATHS_DRAWN, :, CLOSE].tolist(),
    }


def _candles(bars: pd.DataFrame) -> dict[str, Any]:
    prices = bars[["open", "high", "low", "close"]].to_numpy(dtype=float)
    return {"times": _seconds(pd.DatetimeIndex(bars.index)), "prices": prices.tolist()}


def _seconds(times: pd.DatetimeIndex) -> list[int]:
    seconds: list[int] = times.as_unit("s").asi8.tolist()
    return seconds


def write_html(picture: Picture, target: Path) -> None:
    """An interactive page that opens without a network.

    Drawn by `python -m reports.forecast` in a process of its own: the pages' room reads files, and
    the runtime does not know it. `target` is given whole or not at all.
    """
    with tempfile.TemporaryDirectory() as scratch, tidied(partial(shutil.rmtree, scratch, True)):
        data = Path(scratch) / "forecast.json"
        data.write_text(json.dumps(forecast_data(picture), allow_nan=False), encoding="utf-8")
        with report_process("reports.forecast", str(data), "--out", str(target)) as process:
            process.finish("the forecast's page")


def write_png(picture: Picture, target: Path) -> None:
    """The same as an image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_candles(axes, picture.past, picture.past_at, UP, DOWN)
    _draw_candles(axes, picture.actual, picture.actual_at, ACTUAL, ACTUAL)
    _draw_fan(axes, picture)
    axes.axvline(0, color="#888", linewidth=0.8, linestyle=":")
    axes.set_xticks(*picture.ticks(), rotation=30, ha="right")
    axes.set_title(picture.title.replace("$", r"\$"), loc="left", fontsize=11)
    axes.set_ylabel("price")
    axes.grid(color="#eee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    figure.savefig(target)


def _draw_candles(axes: Axes, bars: pd.DataFrame, at: np.ndarray, up: str, down: str) -> None:
    rising = (bars["close"] >= bars["open"]).to_numpy()
    colors = [up if rises else down for rises in rising]
    axes.vlines(at, bars["low"], bars["high"], colors=colors, linewidth=0.8)
    body = (bars["close"] - bars["open"]).to_numpy()
    label = "what followed" if up == down and len(bars) else None
    axes.bar(at, body, bottom=bars["open"], width=0.6, color=colors, label=label)


def _draw_fan(axes: Axes, picture: Picture) -> None:
    low, lower, median, upper, high = picture.bands
    at = picture.future_at
    axes.plot(at, picture.fan.T, color=FAN, linewidth=0.6, alpha=0.25)
    axes.fill_between(at, low, high, color=FAN, alpha=0.12, linewidth=0, label="5 to 95 %")
    axes.fill_between(at, lower, upper, color=FAN, alpha=0.22, linewidth=0, label="25 to 75 %")
    axes.plot(at, median, color=FAN, linewidth=2, label="median")
