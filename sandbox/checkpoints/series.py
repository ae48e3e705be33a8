"""Candles of the samples as the series that training reads, stamped as prediction stamps them."""

from __future__ import annotations

import numpy as np

from feeds import load, times_ns
from kronos.prepare import session_dates
from kronos.training.dataset import CandleSeries

SAMPLES = ("sample", "sample:ph")  # daily


def load_samples(before: np.datetime64) -> dict[str, CandleSeries]:
    """Both samples up to the day before, by `spec/symbol`; symbols without a bar are left out."""
    before_ns = before.astype("datetime64[ns]").astype(np.int64)
    series = {}
    for spec in SAMPLES:
        for symbol, frame in load(spec).frames.items():
            seen = frame[session_dates(times_ns(frame)) < before_ns]
            if len(seen):
                series[f"{spec}/{symbol}"] = CandleSeries.of(seen, daily=True)
    return series
