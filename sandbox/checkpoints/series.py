"""Candles as the series that training reads, stamped as prediction stamps them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds import load, times_ns
from feeds.members import NO_MEMBERS, Members, were_members
from kronos.prepare import session_dates
from kronos.training.dataset import CandleSeries
from sandbox.forecast.horizon import is_daily

SAMPLES = ("sample", "sample:ph")  # daily
SPAN = " span "  # in the names of series, between a symbol and the number of its membership


def load_samples(before: np.datetime64) -> dict[str, CandleSeries]:
    """Both samples up to the day before, by `spec/symbol`; symbols without a bar are left out."""
    return {
        f"{spec}/{symbol}": series
        for spec in SAMPLES
        for symbol, series in series_before(load(spec).frames, before).items()
    }


def series_before(
    frames: Mapping[str, pd.DataFrame], before: np.datetime64, members: Members = NO_MEMBERS
) -> dict[str, CandleSeries]:
    """Each symbol's bars before a time, UTC; of daily bars the date of their session counts.

    Symbols with fewer than two bars there are left out: nothing tells how far apart they are. Of a
    symbol with `members` (`feeds.Candles.members`) each span in which it was a member is a series
    of its own, by `SYMBOL span N`, so that no window reaches out of one.
    """
    before_ns = before.astype("datetime64[ns]").astype(np.int64)
    series = {}
    for symbol, frame in frames.items():
        close_ns = times_ns(frame)
        early_ns = close_ns[close_ns < before_ns]
        daily = len(early_ns) > 1 and bool(is_daily(early_ns[None])[0])
        early = (session_dates(close_ns) if daily else close_ns) < before_ns
        for name, inside in _memberships(symbol, close_ns, members):
            seen = frame[early & inside]
            if len(seen) > 1:
                series[name] = CandleSeries.of(seen, daily)
    return series


def symbols_in(series: Mapping[str, CandleSeries]) -> int:
    """How many symbols the series are of."""
    return len({name.partition(SPAN)[0] for name in series})


def _memberships(
    symbol: str, close_ns: NDArray[np.int64], members: Members
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Names, and which bars each is of."""
    if symbol not in members:
        yield symbol, were_members(members, symbol, close_ns)
        return
    for nth, span in enumerate(members[symbol], start=1):
        yield f"{symbol}{SPAN}{nth}", were_members({symbol: (span,)}, symbol, close_ns)


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
