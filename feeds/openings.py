"""Gives every bar its opening and its close, or refuses an opening that cannot be.

The frames that go in are stamped as their source has them; those that come out at their closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .checks import check_openings, misplaced
from .errors import TimeError
from .evidence import Doubt, Read, contradicted
from .schema import NO_TIME, Checked, Meant
from .sessions import Sessions
from .spacing import Times, opening_times
from .stamps import DECLARED, Stamped, Stamps, timed

# What stamps are where a doubtful reading of them is wrong, in the order in which that is asked.
OTHERWISE: dict[Doubt, Stamps] = {"dates": "close", "closes": "open"}


class Source(NamedTuple):
    """One symbol's candles as they came, checked, and what is known of their times."""

    checked: Checked
    meant: Meant
    symbol: str
    source: str


class Placed(NamedTuple):
    """One symbol's candles in time."""

    frame: pd.DataFrame  # [bars, 6], by close time
    opens_ns: Times  # [bars]
    notes: tuple[str, ...]  # what was recognised, converted or assumed
    doubt: Doubt | None = None
    repairs: tuple[str, ...] = ()


def place(
    sources: Sequence[Source],
    *,
    repair: bool,
    stamps: Stamps | None,
    sessions: Sessions | None,
) -> dict[str, Placed]:
    """Candles by the closes of their bars, by symbol; raises `TimeError` for openings that cannot
    be, which `repair` replaces by those that the spacing of the bars tells."""
    bars = {
        source.symbol: _placed(source, repair=repair, stamps=stamps, sessions=sessions)
        for source in sources
    }
    if len(bars) == 1 or stamps is not None:
        return bars
    by_symbol = {source.symbol: source for source in sources}
    for doubt, otherwise in OTHERWISE.items():
        read = {symbol: _read(by_symbol[symbol], placed) for symbol, placed in bars.items()}
        wrong = contradicted(read, doubt)
        if wrong and doubt == "closes":  # a source stamps all its moments alike
            witness = next(iter(wrong.values()))
            wrong = {s: witness for s, placed in bars.items() if placed.doubt == doubt}
        for symbol, witness in wrong.items():
            bars[symbol] = _placed(
                by_symbol[symbol], repair=repair, stamps=otherwise, sessions=sessions,
                why=f"the prices of {witness} show",
            )  # fmt: skip
    return bars


def _read(source: Source, bars: Placed) -> Read:
    both = (source.checked.frame, bars.frame)
    stamps, closes = (pd.DatetimeIndex(frame.index).asi8 for frame in both)
    first, last = (bars.frame[name].to_numpy() for name in ("open", "close"))
    return Read(bars.doubt, stamps, bars.opens_ns, closes, last, np.log(last / first))


def _placed(
    source: Source,
    *,
    repair: bool,
    stamps: Stamps | None,
    sessions: Sessions | None,
    why: str = DECLARED,
) -> Placed:
    checked, meant, symbol, name = source
    _refuse_contradiction(meant, stamps, symbol, name)
    times = pd.DatetimeIndex(checked.frame.index).asi8
    opened = checked.opened_ns if meant.opened else None
    stamped = Stamped(times, checked.offsets_ns, opened, meant.column)
    bar_times = timed(stamped, stamps, sessions, why=why)
    index = pd.DatetimeIndex(bar_times.closes_ns, tz="UTC", name="time")
    frame = checked.frame.set_axis(index, axis=0)
    opens, repairs = bar_times.opens_ns, tuple[str, ...]()
    if opened is not None and repair:
        opens, repairs = _mended(index, opens, symbol)
    check_openings(index, opens, symbol, source=name)
    return Placed(frame, opens, bar_times.notes, bar_times.doubt, repairs)


def _mended(index: pd.DatetimeIndex, opens: Times, symbol: str) -> tuple[Times, tuple[str, ...]]:
    wrong = misplaced(index.asi8, opens) | (opens == NO_TIME)
    if not wrong.any():
        return opens, ()
    first = index[int(np.argmax(wrong))]
    rows = (
        f"{int(wrong.sum())} {'row' if wrong.sum() == 1 else 'rows'}, first {first:%Y-%m-%d %H:%M}"
    )
    note = f"{symbol}: took opening times that cannot be from the spacing of the bars ({rows})"
    return np.where(wrong, opening_times(index), opens), (note,)


def _refuse_contradiction(meant: Meant, stamps: Stamps | None, symbol: str, source: str) -> None:
    """A declaration against what the columns of a file say."""
    if stamps is None:
        return
    if meant.opened and stamps == "open":
        known = "opening times have a column of their own"
    elif meant.column != "time" and meant.column != stamps:
        known = f"its times are {'opening' if meant.column == 'open' else 'closing'} times by name"
    else:
        return
    raise TimeError.at(
        f"{known}, against stamps={stamps!r} (--stamps {stamps})",
        symbol=symbol,
        source=source,
        value=stamps,
        remedy="leave the declaration out, or rename the column",
    )
