"""The candles that come with the project: ten US and 72 Philippine stocks, daily.

README.md beside this file says where they come from, under which licences, and what is wrong
with them; `build.py` makes them again from their sources. A bar opens and closes with its session,
from 09:30 to 16:00 in New York or to 15:30 in Manila, and is stamped with the close in UTC (early
closes like the others), so `index.normalize()` gives the session's date.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..candles import Candles, unknown_symbol
from ..errors import SpecError
from ..schema import arrange, finish

FOLDER = Path(__file__).parent


class Sample(NamedTuple):
    """One shipped sample."""

    spec: str
    file: str
    zone: str
    open: str  # local time of the session's opening
    close: str  # and of its close
    costs: str
    calendar: str  # of its exchange
    note: str


US = Sample(
    spec="sample",
    file="us_daily.parquet",
    zone="America/New_York",
    open="09:30:00",
    close="16:00:00",
    costs="us",
    calendar="XNYS",
    note="Ten giants chosen after the fact: buying them all did splendidly, so no strategy should "
    "be believed for doing well on them.",
)
PH = Sample(
    spec="sample:ph",
    file="ph_daily.parquet",
    zone="Asia/Manila",
    open="09:30:00",
    close="15:30:00",
    costs="ph",
    calendar="XPHS",
    note="Splits and stock dividends were inferred from overnight gaps, smaller stock dividends "
    "and all cash dividends are not adjusted, companies delisted before 2019 are missing, and one "
    "bad tick (CEB, 2019-07-09) is left in.",
)


def load_sample(rest: str = "") -> Candles:
    """The sample that the text after `sample:` names: nothing, `ph`, `AAPL,NVDA` or `ph:ALI,BDO`.

    Raises `SymbolError` for a symbol that is not in it and `SpecError` for a list without one.
    """
    name, _, picks = rest.partition(":")
    sample = PH if name.strip().lower() == "ph" else US
    picks = picks if sample is PH else rest
    candles = _read(sample)
    if not picks.strip():
        return candles
    symbols = [symbol.strip().upper() for symbol in picks.split(",")]
    if not all(symbols):
        raise SpecError(
            f"sample:{rest}: an empty symbol in the list; write {sample.spec}:A,B", value=rest
        )
    for symbol in symbols:
        if symbol not in candles:
            raise unknown_symbol(symbol, candles.symbols, sample.spec)
    unique = list(dict.fromkeys(symbols))
    picked = candles.pick(unique)
    return replace(picked, spec=f"{sample.spec}:{','.join(unique)}")


def _read(sample: Sample) -> Candles:
    table = pd.read_parquet(FOLDER / sample.file)
    opened = _at(table["date"], sample.open, sample.zone)
    table = table.assign(date=_at(table["date"], sample.close, sample.zone), open_time=opened)
    frames, opens = {}, {}
    for symbol, rows in table.groupby("symbol", observed=True):
        arranged = arrange(rows, str(symbol), source=sample.spec)
        checked = finish(arranged.frame, str(symbol), source=sample.spec)
        frames[str(symbol)], opens[str(symbol)] = checked.frame, checked.opened_ns
    return Candles(
        frames, spec=sample.spec, costs=sample.costs, calendar=sample.calendar, note=sample.note,
        opens=opens,
    )  # fmt: skip


def _at(dates: pd.Series, clock: str, zone: str) -> pd.DatetimeIndex:
    """Session dates [rows] at a local time of day, in UTC."""
    local = pd.DatetimeIndex(dates) + pd.Timedelta(clock)
    return local.tz_localize(zone).tz_convert("UTC")
