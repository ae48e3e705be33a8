"""The unmodified client of ccxt, pointed at a replay exchange; and small data for it to trade."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import ccxt.pro
import numpy as np
import pandas as pd

from feeds import Candles


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Any]:
    exchange = ccxt.pro.binance(
        {
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
            "rateLimiterAlgorithm": "rollingWindow",
        }
    )
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"] = _moved(exchange.urls["api"], port)
    try:
        yield exchange
    finally:
        await exchange.close()


def _moved(urls: Any, port: int) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(url, port) for name, url in urls.items()}
    if urls.startswith("ws"):
        return f"ws://127.0.0.1:{port}/stream/ws"
    return f"http://127.0.0.1:{port}/api/v3"


async def whole_history(exchange: Any, symbol: str, timeframe: str, limit: int) -> list[list[Any]]:
    """All rows, page by page; raises what ccxt raises."""
    rows: list[list[Any]] = []
    since = 0
    while True:
        page = await exchange.fetch_ohlcv(symbol, timeframe, since=since, limit=limit)
        rows += page
        if len(page) < limit:
            return rows
        since = page[-1][0] + 1


def asked(url: str, path: str) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON and headers of an answer."""
    try:
        with urlopen(url + path, timeout=10) as answer:
            return answer.status, json.loads(answer.read()), dict(answer.headers)
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), dict(error.headers)


def walks(
    symbols: Sequence[str], bars: int, every: str = "1h", first: str = "2024-03-01", **more: Any
) -> Candles:
    """Random walks with bars of one length, whose prices and volumes have all their digits."""
    generator = np.random.default_rng(5)
    frames = {}
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, bars)))
        open_ = close * np.exp(generator.normal(0, 0.003, bars))
        frame = pd.DataFrame({"open": open_, "close": close})
        frame.insert(1, "high", np.maximum(open_, close) * 1.002)
        frame.insert(2, "low", np.minimum(open_, close) * 0.998)
        frame["volume"] = generator.gamma(2, 500, bars)
        frame["amount"] = frame["volume"] * frame["close"]
        length = pd.Timedelta(every)
        index = pd.date_range(pd.Timestamp(first, tz="UTC") + length, periods=bars, freq=length)
        frames[symbol] = frame.set_axis(index.as_unit("ns").rename("time"), axis=0)
    return Candles(frames, spec="walks", **more)


def rows_of(frame: pd.DataFrame, length: pd.Timedelta) -> list[list[Any]]:
    """What ccxt should make of a frame's candles."""
    opens = (pd.DatetimeIndex(frame.index) - length).as_unit("ms").asi8.tolist()
    values = frame[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    return [[at, *row] for at, row in zip(opens, values, strict=True)]
