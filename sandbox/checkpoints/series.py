"""Candles as the series that training reads, stamped as prediction stamps them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from feeds import load, times_ns
from kronos.prepare import session_dates
from kronos.training.dataset import CandleSeries
from sandbox.forecast.horizon import is_daily

SAMPLES = ("sample", "sample:ph")  # daily


def load_samples(before: np.datetime64) -> dict[str, CandleSeries]:
    """Both samples up to the day before, by `spec/symbol`; symbols without a bar are left out."""
    return {
        f"{spec}/{symbol}": series
        for spec in SAMPLES
        for symbol, series in series_before(load(spec).frames, before).items()
    }


def series_before(
    frames: Mapping[str, pd.DataFrame], before: np.datetime64
) -> dict[str, CandleSeries]:
    """Each symbol's bars before a time, UTC; of daily bars the date of their session counts.

    Symbols with fewer than two bars there are left out: nothing tells how far apart they are.
    """
    before_ns = before.astype("datetime64[ns]").astype(np.int64)
    series = {}
    for symbol, frame in frames.items():
        close_ns = times_ns(frame)
        early_ns = close_ns[close_ns < before_ns]
        daily = len(early_ns) > 1 and bool(is_daily(early_ns[None])[0])
        seen = frame[(session_dates(close_ns) if daily else close_ns) < before_ns]
        if len(seen) > 1:
            series[symbol] = CandleSeries.of(seen, daily)
    return series


def series_hash(series: Mapping[str, CandleSeries]) -> str:
    """SHA-256 (hex) over symbols, times, stamps and values, in whatever order symbols stand."""
    digest = hashlib.sha256(b"series-1")
    for symbol in sorted(series):
        name, candles = symbol.encode(), series[symbol]
        digest.update(f"|{len(name)}:".encode() + name + f":{len(candles.times)}|".encode())
        digest.update(candles.times.astype("datetime64[us]").astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(candles.stamps, "<i8").tobytes())
        digest.update(np.ascontiguousarray(candles.values + np.float32(0), "<f4").tobytes())
    return digest.hexdigest()
