"""`python -m sandbox.forecast --symbol AAPL`: one symbol's forecast as a table and two charts."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from feeds.members import were_members
from sandbox.cli import a_date, add_data_options, add_model_options, guarded, records_of
from sandbox.cli import parser as new_parser
from sandbox.config import ForecastConfig
from sandbox.errors import RunFolderError, WindowError
from sandbox.forecast.chart import QUANTILES, Picture, close_quantiles, write_html, write_png
from sandbox.interrupts import leave
from sandbox.progress import progress_bar
from sandbox.words import safe_name

if TYPE_CHECKING:
    from feeds import Candles
    from kronos import Forecast
    from sandbox.forecast.windows import Calendar

PAST_BARS_DRAWN = 60


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _forecast(args), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("sandbox.forecast", "Draw one symbol's forecast.")
    parser.add_argument("--symbol", required=True, metavar="S")
    parser.add_argument(
        "--asof", type=a_date, metavar="DATE",
        help="see nothing after this day (default: the data's last bar)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("forecasts"), metavar="DIR",
        help="where the charts go (default: forecasts)",
    )  # fmt: skip
    add_data_options(parser)
    add_model_options(parser)
    return parser


def _forecast(args: argparse.Namespace) -> None:
    config = records_of(args, ForecastConfig)
    from sandbox.forecast.data import load_data

    candles, calendar = load_data(config.candles)
    asof = _asof(candles[args.symbol], args.symbol, args.asof)
    _expect_member(candles, args.symbol, asof)
    forecast_of = _calibrated if config.model.calibrate else _raw
    found, notes = forecast_of(config, candles, calendar, args.symbol, asof)
    forecast, share_repaired = found.repaired()
    files = _draw(forecast, candles[args.symbol], args.out)
    _show(forecast, share_repaired, (*notes, *candles.timing, *files), Console())


def _raw(
    config: ForecastConfig, candles: Candles, calendar: Calendar | None, symbol: str,
    asof: pd.Timestamp,
) -> tuple[Forecast, list[str]]:  # fmt: skip
    """The forecast, and what to say of it."""
    from sandbox.forecast.folds import checkpoint_at
    from sandbox.forecast.model import model_sentence
    from sandbox.forecast.sources import forecast_one

    model, sampling = config.model, config.sampling
    checkpoint = checkpoint_at(model.model, sampling.lookback, asof)
    predictor = checkpoint.predictor(device=model.device, dtype=model.dtype)
    found = forecast_one(predictor, sampling, symbol, candles[symbol], asof, calendar)
    return found, [model_sentence(checkpoint, asof)]


def _calibrated(
    config: ForecastConfig, candles: Candles, calendar: Calendar | None, symbol: str,
    asof: pd.Timestamp,
) -> tuple[Forecast, list[str]]:  # fmt: skip
    """As `_raw`; forecasts of all symbols are made, as of past bars, too."""
    from sandbox.config import BackendOptions
    from sandbox.forecast.folds import as_asked, source_of
    from sandbox.forecast.model import model_sentence
    from sandbox.forecast.sources import too_few_bars

    model, sampling = config.model, config.sampling
    raw, weights = source_of(model, sampling.lookback, BackendOptions(), calendar)
    with progress_bar("Forecasting", "forecasts") as progress:
        book = as_asked(raw, model, sampling).book(
            candles.frames, sampling, pd.DatetimeIndex([asof]), progress, candles.members
        )
    found = book.at(symbol, asof)
    if found is None:
        raise too_few_bars(candles[symbol], symbol, sampling, asof)
    return found, [model_sentence(weights, asof), *book.notes]


def _asof(frame: pd.DataFrame, symbol: str, day: date | None) -> pd.Timestamp:
    """The last bar of the day asked for, or the last one before it."""
    if day is None:
        return pd.Timestamp(frame.index[-1])
    known = frame.index[frame.index < pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=1)]
    if not len(known):
        raise WindowError(f"{symbol} has no bar by {day}: its first is {frame.index[0]:%Y-%m-%d}")
    return pd.Timestamp(known[-1])


def _expect_member(candles: Candles, symbol: str, asof: pd.Timestamp) -> None:
    """Nothing is forecast of a symbol while it does not belong to its universe."""
    if were_members(candles.members, symbol, np.array([asof.value]))[0]:
        return
    closes = pd.DatetimeIndex(candles[symbol].index)
    inside = [
        closes[were_members({symbol: (span,)}, symbol, closes.as_unit("ns").asi8)]
        for span in candles.members[symbol]
    ]
    texts = [f"from {own[0]:%Y-%m-%d} to {own[-1]:%Y-%m-%d}" for own in inside if len(own)]
    raise WindowError(
        f"{symbol} is no member of its universe at {asof:%Y-%m-%d}: it was "
        f"{' and '.join(texts) or 'never one'}; choose another --asof"
    )


def _draw(forecast: Forecast, frame: pd.DataFrame, out: Path) -> tuple[str, ...]:
    at = int(frame.index.get_indexer(pd.DatetimeIndex([forecast.asof]))[0])
    bars = forecast.paths.shape[1]
    picture = Picture(
        forecast,
        past=frame.iloc[max(0, at + 1 - PAST_BARS_DRAWN) : at + 1],
        actual=frame.iloc[at + 1 : at + 1 + bars],
    )
    base = safe_name(f"{forecast.symbol}-{forecast.asof:%Y-%m-%dT%H%M}")
    html, png = out / f"{base}.html", out / f"{base}.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_html(picture, html)
        write_png(picture, png)
    except OSError as error:
        why = error.strerror or error
        raise RunFolderError(
            f"cannot write charts to {out}: {why}; choose another --out"
        ) from error
    return f"Chart: {html}", f"Image: {png}"


def _show(
    forecast: Forecast, share_repaired: float, lines: Sequence[str], console: Console
) -> None:
    samples, bars = forecast.paths.shape[:2]
    close = f"{forecast.close:,.{_places(forecast.close)}f}"
    facts = (
        f"Close at {forecast.asof:%Y-%m-%d}: {close}. Over {bars} bars the expected return is "
        f"{100 * forecast.expected_return():+.2f} % and {100 * forecast.prob_up():.0f} % "
        f"of {samples} paths rise.",
        f"Sampled candles repaired (high or low inside the body, negative volume): "
        f"{100 * share_repaired:.1f} %.",
    )
    console.print(_table(forecast))
    for line in (*facts, *lines):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _places(price: float) -> int:
    """Decimal places that show a price to five digits, and at least to hundredths."""
    return max(2, 4 - math.floor(math.log10(price)))


def _table(forecast: Forecast) -> Table:
    table = Table(title="Close, quantiles of the sampled paths")
    table.add_column("Bar", justify="right")
    table.add_column("Closes (UTC)")
    for quantile in QUANTILES:
        table.add_column(
            "median" if quantile == 0.5 else f"{100 * quantile:.0f} %", justify="right"
        )
    places = _places(forecast.close)
    for nth, closes in enumerate(close_quantiles(forecast).T):
        when = f"{forecast.index[nth]:%a %Y-%m-%d %H:%M}"
        table.add_row(str(nth + 1), when, *(f"{close:,.{places}f}" for close in closes))
    return table


if __name__ == "__main__":
    leave(main())
