"""Forecasts written by hand, and the fills that came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kronos import Forecast


def make_forecast(
    returns: Any, symbol: str = "A", asof: str = "2024-01-01 21:00", close: float = 10.0
) -> Forecast:
    """Paths from returns against the last close: a number, one path `[P]`, or samples `[S, P]`."""
    table = np.atleast_2d(np.asarray(returns, dtype=float))
    paths = np.repeat((close * (1 + table))[:, :, None], 6, axis=2)
    begin = pd.Timestamp(asof) if pd.Timestamp(asof).tzinfo else pd.Timestamp(asof, tz="UTC")
    index = pd.bdate_range(begin, periods=table.shape[1] + 1, normalize=False)[1:]
    return Forecast(symbol=symbol, asof=begin, close=close, index=index, paths=paths)


class Foretold:
    """A signal: ISO week by ISO week of the year, the returns forecast of each symbol."""

    def __init__(self, weeks: Sequence[Mapping[str, Any]]) -> None:
        self._weeks = weeks

    def forecast(self, data: Any) -> Forecast | None:
        returns = self._weeks[data.asof.isocalendar().week - 1].get(data.symbol)
        if returns is None or not data.has_bar:
            return None
        return make_forecast(returns, data.symbol, data.asof, data.close[0])


@pytest.fixture
def forecast() -> Callable[..., Forecast]:
    return make_forecast


@pytest.fixture
def foretold() -> type[Foretold]:
    return Foretold


@pytest.fixture
def fills() -> Callable[[Any], list[tuple[str, str, str, float]]]:
    """Day, symbol, side and size of each fill."""

    def of(book: Any) -> list[tuple[str, str, str, float]]:
        columns = ["symbol", "side", "size"]
        return [(f"{row.time:%d}", *row[columns]) for _, row in book.trades.iterrows()]

    return of
