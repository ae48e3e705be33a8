"""Gives every bar its opening and its close, or refuses an opening that cannot be.

The frames that go in are stamped as their source has them; those that come out at their closes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .checks import check_openings, misplaced
from .errors import TimeError
from .schema import NO_TIME, Checked, Meant
from .sessions import Sessions
from .spacing import Times, opening_times
from .stamps import Stamped, Stamps, timed


class Placed(NamedTuple):
    """One symbol's candles in time."""

    frame: pd.DataFrame  # [bars, 6], by close time
    opens_ns: Times  # [bars]
    said: str  # what was recognised, converted or assumed: a sentence, or nothing
    repairs: tuple[str, ...] = ()


def placed(
    checked: Checked,
    meant: Meant,
    symbol: str,
    *,
    source: str,
    repair: bool,
    stamps: Stamps | None,
    sessions: Sessions | None,
) -> Placed:
    """Checked candles by the closes of their bars; raises `TimeError` for openings that cannot be,
    which `repair` replaces by those that the spacing of the bars tells."""
    _refuse_contradiction(meant, stamps, symbol, source)
    times = pd.DatetimeIndex(checked.frame.index).asi8
    opened = checked.opened_ns if meant.opened else None
    said = timed(Stamped(times, checked.offsets_ns, opened, meant.column), stamps, sessions)
    index = pd.DatetimeIndex(said.closes_ns, tz="UTC", name="time")
    frame = checked.frame.set_axis(index, axis=0)
    opens, repairs = said.opens_ns, tuple[str, ...]()
    if opened is not None and repair:
        opens, repairs = _mended(index, opens, symbol)
    check_openings(index, opens, symbol, source=source)
    return Placed(frame, opens, said.said, repairs)


def _mended(index: pd.DatetimeIndex, opens: Times, symbol: str) -> tuple[Times, tuple[str, ...]]:
    wrong = misplaced(index.asi8, opens) | (opens == NO_TIME)
    if not wrong.any():
        return opens, ()
    first = index[int(np.argmax(wrong))]
    rows = (
        f"{int(wrong.sum())} {'row' if wrong.sum() == 1 else 'rows'}, first {first:%Y-%m-%d %H:%M}"
    )
    said = f"{symbol}: took opening times that cannot be from the spacing of the bars ({rows})"
    return np.where(wrong, opening_times(index), opens), (said,)


def _refuse_contradiction(meant: Meant, stamps: Stamps | None, symbol: str, source: str) -> None:
    """A declaration against what the columns of a file say."""
    if stamps is None:
        return
    if meant.opened and stamps == "open":
        found = "opening times have a column of their own"
    elif meant.column != "time" and meant.column != stamps:
        found = f"its times are {'opening' if meant.column == 'open' else 'closing'} times by name"
    else:
        return
    raise TimeError.at(
        f"{found}, against stamps={stamps!r} (--stamps {stamps})",
        symbol=symbol,
        source=source,
        value=stamps,
        remedy="leave the declaration out, or rename the column",
    )
