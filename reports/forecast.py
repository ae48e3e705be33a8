"""`python -m reports.forecast DATA.json --out PAGE.html`: draw one symbol's forecast.

DATA.json, as `sandbox.forecast` writes it; prices in the quote currency, times in Unix seconds:

    {"title": "AAPL, forecast as of ...",
     "symbol": "AAPL",
     "past": {"times": [...], "prices": [[open, high, low, close], ...]},  up to asof, the last one
     "followed": the same for the bars that came after it, as far as they are known,
     "times": [P],                 of the bars that are forecast
     "close": 191.2,               at asof, where all paths begin
     "quantiles": [0.05, 0.25, 0.5, 0.75, 0.95],
     "bands": [Q, P],              of the sampled closes, lowest quantile first
     "paths": [S, P]}              sampled closes

Imports neither pandas nor quantstats, so that a page takes a fraction of a second.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reports.interrupts import end_on_signals

    end_on_signals()

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reports.charts import Chart, ChartView, Series, Value, chart_data, chart_view
from reports.commands import guarded, parsed
from reports.files import ReportError, one_line, write_whole
from reports.formats import counted, shown
from reports.interrupts import leave
from reports.pages import chart_scripts, render
from reports.tables import Cell, Column, Row, Table

FEWEST_PLACES = 2
PRICE_DIGITS = 5  # significant ones that a price is shown with


@dataclass(frozen=True, kw_only=True)
class Candles:
    times: Sequence[int]
    prices: Sequence[Sequence[float]]  # open, high, low, close


@dataclass(frozen=True, kw_only=True)
class ForecastData:
    """The fields of DATA.json."""

    title: str
    symbol: str
    past: Candles
    followed: Candles
    times: Sequence[int]
    close: float
    quantiles: Sequence[float]
    bands: Sequence[Sequence[float]]
    paths: Sequence[Sequence[float]]

    @property
    def all_times(self) -> list[int]:
        return [*self.past.times, *self.times]

    @property
    def places(self) -> int:
        """Decimal places that show a price to PRICE_DIGITS digits."""
        return max(FEWEST_PLACES, PRICE_DIGITS - 1 - math.floor(math.log10(self.close)))


@dataclass(frozen=True, kw_only=True)
class ForecastView:
    title: str
    chart: ChartView
    table: Table


def read_forecast(path: Path) -> ForecastData:
    """ReportError where the file lacks a field or its lists do not fit together."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        data = ForecastData(
            title=str(content["title"]),
            symbol=str(content["symbol"]),
            past=_candles(content["past"]),
            followed=_candles(content["followed"]),
            times=list(map(int, content["times"])),
            close=float(content["close"]),
            quantiles=list(map(float, content["quantiles"])),
            bands=[list(map(float, band)) for band in content["bands"]],
            paths=[list(map(float, closes)) for closes in content["paths"]],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is not a forecast: {one_line(error)}") from error
    _check(path, data)
    return data


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _candles(content: Mapping[str, Any]) -> Candles:
    return Candles(
        times=list(map(int, content["times"])),
        prices=[list(map(float, prices)) for prices in content["prices"]],
    )


def _check(path: Path, data: ForecastData) -> None:
    bars = len(data.times)
    wrong = [
        (not data.past.times, "it has no candle up to asof"),
        (data.close <= 0, f"the close at asof is {data.close}, and must be above 0"),
        (
            any(
                len(candles.times) != len(candles.prices) for candles in (data.past, data.followed)
            ),
            "candles and their times are not equally many",
        ),
        (
            any(len(prices) != 4 for prices in (*data.past.prices, *data.followed.prices)),
            "a candle has other than four prices",
        ),
        (len(data.bands) != len(data.quantiles), "bands and quantiles are not equally many"),
        (
            any(len(line) != bars for line in (*data.bands, *data.paths)),
            f"a band or path does not have the {bars} bars that are forecast",
        ),
        (len(data.followed.times) > bars, "more candles followed than are forecast"),
        (sorted(set(data.all_times)) != data.all_times, "the times do not ascend"),
    ]
    for is_wrong, reason in wrong:
        if is_wrong:
            raise ReportError(f"{path} is not a forecast: {reason}")


def forecast_chart(data: ForecastData) -> Chart:
    """Candles, then the bands over the fan of paths; what followed stands at the bars forecast."""
    known = len(data.past.times)
    candles = [*data.past.prices, *[None] * len(data.times)]
    series = [_median(data)] if 0.5 in data.quantiles else []
    if data.followed.times:
        series.append(_followed(data))
    series.append(Series(name="candles", values=candles, style="candles", kind="candles"))
    series += _bands(data)
    if data.paths:
        series.append(_fan(data))
    return Chart(
        id="forecast",
        title=data.symbol,
        explanation="Candles up to the dotted line; then the closes of the sampled paths.",
        series=series,
        digits=data.places,
        mark=known - 1,
    )


def _median(data: ForecastData) -> Series:
    line = data.bands[data.quantiles.index(0.5)]
    return Series(name="median", values=_from_asof(data, data.close, line), style="median")


def _followed(data: ForecastData) -> Series:
    unknown = len(data.times) - len(data.followed.times)
    values = [*[None] * len(data.past.times), *data.followed.prices, *[None] * unknown]
    return Series(name="what followed", values=values, style="followed", kind="candles")


def _bands(data: ForecastData) -> list[Series]:
    """Lowest with highest quantile, and so inwards; the innermost first."""
    pairs = []
    for nth in range(len(data.quantiles) // 2):
        low, high = data.quantiles[nth], data.quantiles[-1 - nth]
        edges = list(zip(data.bands[nth], data.bands[-1 - nth], strict=True))
        pairs.append(
            Series(
                name=f"{100 * low:.0f} to {100 * high:.0f} %",
                values=_from_asof(data, (data.close, data.close), edges),
                style="outer" if nth == 0 else "inner",
                kind="band",
            )
        )
    return pairs[::-1]


def _fan(data: ForecastData) -> Series:
    closes = list(zip(*data.paths, strict=True))
    start = [data.close] * len(data.paths)
    name = counted(len(data.paths), "sampled path")
    return Series(name=name, values=_from_asof(data, start, closes), style="fan", kind="fan")


def _from_asof(data: ForecastData, start: Value, values: Sequence[Value]) -> list[Value]:
    """Values of the bars forecast, after one at asof."""
    return [*[None] * (len(data.past.times) - 1), start, *values]


def forecast_table(data: ForecastData) -> Table:
    """One row a bar forecast: quantiles of the close, and the close that followed."""

    def text(price: float) -> str:
        return f"{price:,.{data.places}f}"

    columns = [Column(text="median" if q == 0.5 else f"{100 * q:.0f} %") for q in data.quantiles]
    followed = [prices[-1] for prices in data.followed.prices]
    if followed:
        columns.append(Column(text="what followed", classes="edge"))
    rows = []
    for nth, time in enumerate(data.times):
        cells = [Cell(text=text(band[nth])) for band in data.bands]
        if followed:
            close = followed[nth] if nth < len(followed) else None
            cells.append(Cell(text=shown(close, text), classes="edge"))
        rows.append(Row(label=_time_text(time), cells=cells))
    return Table(columns=columns, rows=rows, corner="Close at (UTC)", classes="small")


def _time_text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%a %Y-%m-%d %H:%M}"


def forecast_html(data: ForecastData) -> str:
    """The whole page."""
    chart = forecast_chart(data)
    days = {seconds // 86_400 for seconds in data.all_times}
    view = ForecastView(title=data.title, chart=chart_view(chart), table=forecast_table(data))
    block = chart_data(data.all_times, [chart], intraday=len(days) < len(data.all_times))
    return render("forecast.html", chart_scripts(), view=view, charts=block)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.forecast", description="Draw one symbol's forecast as a page."
    )
    parser.add_argument("data", type=Path, metavar="DATA.json")
    parser.add_argument("--out", type=Path, required=True, metavar="PAGE.html")
    args = parsed(parser, argv)

    def draw() -> None:
        write_whole(args.out, forecast_html(read_forecast(args.data)))
        print(args.out)

    return guarded(draw, debug=args.debug)


if __name__ == "__main__":
    leave(main())
