"""What a run must say about the times of its candles: how stamps were read, and which bars differ.

Whoever trades bars of several lengths or sessions together has to know it, since an order waits for
a bar that opens after its decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .bars import NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND
from .dates import MONTHS
from .spacing import lengths_seen
from .words import listed

UNITS = {
    "week": 7 * NS_PER_DAY,
    "day": NS_PER_DAY,
    "h": NS_PER_HOUR,
    "min": NS_PER_HOUR // 60,
    "s": NS_PER_SECOND,
}
RULE = "an order fills only in a bar that opens at or after its decision"


def sentences(
    notes: Mapping[str, Sequence[str]], frames: Mapping[str, pd.DataFrame]
) -> tuple[str, ...]:
    """`notes`: by symbol how its stamps were read, in sentences without their full stop."""
    by_text: dict[str, list[str]] = {}
    for symbol, texts in notes.items():
        for text in texts:
            by_text.setdefault(text, []).append(symbol)
    read = [
        f"{text}." if len(symbols) == len(notes) else f"{text} ({listed(symbols)})."
        for text, symbols in by_text.items()
    ]
    return (*read, *_differences(frames))


def _differences(frames: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """That bars are of several lengths or, if all are daily, of several sessions."""
    by_length: dict[tuple[int, ...], list[str]] = {}
    for symbol, frame in frames.items():
        lengths = lengths_seen(pd.DatetimeIndex(frame.index))
        by_length.setdefault(lengths, []).append(symbol)
    if len(by_length) > 1 or any(len(lengths) > 1 for lengths in by_length):
        lengths_in_words = {
            " and ".join(map(in_words, lengths)): symbols
            for lengths, symbols in sorted(by_length.items())
        }
        return (f"Bars are of several lengths: {_grouped(lengths_in_words)}: {RULE}.",)
    by_close = _by_close(frames) if (NS_PER_DAY,) in by_length else {}
    if len(by_close) > 1:
        return (f"Bars are of several sessions: {_grouped(by_close)}: {RULE}.",)
    return ()


def _grouped(groups: Mapping[str, list[str]]) -> str:
    parts = []
    for text, symbols in groups.items():
        count = f"{len(symbols)} symbols: " if len(symbols) > 1 else ""
        parts.append(f"{text} ({count}{listed(symbols)})")
    return listed(parts)


def _by_close(frames: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Symbols by the time of day at which their daily bars close. Those that share one such time
    are of one session: summer time and short days give a session several."""
    sessions: list[tuple[set[int], str, list[str]]] = []
    for symbol, frame in frames.items():
        closes = pd.DatetimeIndex(frame.index).as_unit("ns").asi8 % NS_PER_DAY
        times, counts = np.unique(closes, return_counts=True)
        alike = next((group for group in sessions if group[0].intersection(times.tolist())), None)
        if alike is None:
            usual = pd.Timestamp(int(times[counts.argmax()]))
            sessions.append((set(times.tolist()), f"closing at {usual:%H:%M} UTC", [symbol]))
        else:
            alike[0].update(times.tolist())
            alike[2].append(symbol)
    return {text: symbols for _, text, symbols in sessions}


def in_words(length_ns: int) -> str:
    """A length of time such as "5 min", "1 h", "1 day" or "1 month"."""
    days = length_ns / NS_PER_DAY
    for (lowest, highest), months in MONTHS.items():
        if lowest <= days <= highest:
            return {1: "1 month", 3: "1 quarter", 12: "1 year"}[months]
    for name, unit_ns in UNITS.items():
        if length_ns >= unit_ns and (length_ns % unit_ns == 0 or name == "s"):
            number = length_ns / unit_ns
            plural = "s" if number != 1 and name in ("day", "week") else ""
            return f"{number:g} {name}{plural}"
    return f"{length_ns / NS_PER_SECOND:g} s"
