"""Candles of a Qlib directory: what its numbers mean, which days are bars, who was a member when.

Qlib's prices are adjusted: `$close` is the price that was paid times `$factor`, so that returns
hold dividends and splits, and `$volume` is the number of shares divided by it, so that price times
volume is the money that was traded. The frames hold both as they stand. A unit that is bought or
sold here is therefore an adjusted share, `1 / factor` of which make one of the exchange's: weights,
returns and costs in bps are right, a position's size is one of adjusted shares, and so is a lot. A
lot of 100 (`--costs cn`) is 100 adjusted shares and costs 100 times the adjusted price, while Qlib
itself cuts sizes to `100 / factor` adjusted shares; a minimum fee is in money, and right. `$amount`
is taken where the directory has it, else volume times `$vwap`, else volume times the mean of the
four prices.

A day without a trade is no bar: one without a price or a volume, which is how Qlib marks a
suspended day, and one with a volume of 0 at a single price. An instrument that never has a volume
is one whose volume is not known.

Stamps are Qlib's: a date for bars of a day and longer, the opening time for bars of minutes. Those
of Chinese instruments (SH600000, SZ000001, BJ430047) are of Shanghai, where a session is from 9:30
to 15:00; those of others are taken as UTC, unless a calendar gives the hours of their days.

An instrument set names for each symbol from when to when it was a member, both included:
`Candles.members`. The bars before and after are there, for what looks back, but a symbol is traded
and forecast only at bars at which it was a member.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..bars import NS_PER_DAY, NS_PER_MINUTE, PRICES
from ..candles import Candles
from ..errors import SourceError
from ..members import Members, Span, joined
from ..openings import Source, place
from ..schema import Checked, Meant, arrange, finish
from ..sessions import Hours, Sessions
from ..spacing import Times
from ..timing import sentences
from ..words import listed
from .read import read
from .wanted import Wanted, parse

CHINESE = re.compile(r"(SH|SZ|BJ)\d{6}", re.IGNORECASE)
CHINA, UTC = "Asia/Shanghai", "UTC"
SHANGHAI = "XSHG"  # the calendar of all Chinese exchanges
OPENS, CLOSES = pd.Timedelta(hours=9, minutes=30), pd.Timedelta(hours=15)


def load_qlib(rest: str, *, repair: bool = False, sessions: Sessions | None = None) -> Candles:
    """Candles of `qlib:REST`, with their membership.

    repair: leave out instruments without features, besides what it mends elsewhere. sessions: the
    trading calendar that gives daily bars their hours. Raises `SpecError` for a spec that cannot be
    understood, `SourceError` for a directory that cannot be read or lacks an instrument's features,
    or where pyqlib is not installed, and `CandleError` for candles that break the contract.
    """
    spec = f"qlib:{rest}"
    wanted = parse(rest)
    members, table = read(wanted, spec)
    by_symbol = {str(symbol): rows for symbol, rows in table.groupby("symbol", sort=False)}
    traded = {
        symbol: _traded(by_symbol[symbol]) if symbol in by_symbol else _traded(table[:0])
        for symbol in members
    }
    left_out = _without_bars(wanted, traded, spec, repair=repair)
    traded = {symbol: rows for symbol, rows in traded.items() if symbol not in left_out}
    chinese = zone_of(traded) == CHINA
    market = _Market(wanted, zone_of(traded), str(wanted.folder))
    bars = market.placed(traded, sessions, repair=repair)
    gone = (
        f"Left out of {wanted.instruments}, as the directory has no bar of it: {listed(left_out)}"
    )
    repairs = [gone] if left_out else []
    return Candles(
        bars.frames,
        spec=spec,
        costs="cn" if chinese else "us",
        calendar=SHANGHAI if chinese else None,
        note=_note(wanted, traded, by_symbol),
        repairs=(*repairs, *bars.repairs),
        opens=bars.opens,
        timing=bars.timing,
        members=market.members({symbol: members[symbol] for symbol in traded}),
    )


def zone_of(symbols: Iterable[str]) -> str:
    """The time zone of Qlib's stamps, as the names of instruments tell it."""
    return CHINA if all(CHINESE.fullmatch(symbol) for symbol in symbols) else UTC


def _traded(rows: pd.DataFrame) -> pd.DataFrame:
    """The bars of a symbol at which it traded, in columns that every table of candles has."""
    prices = rows[list(PRICES)]
    priced = prices.notna().all(axis=1)
    if (rows["volume"] > 0).any():
        still = (rows["volume"] == 0) & (prices.nunique(axis=1) == 1)
        rows = rows[priced & rows["volume"].notna() & ~still]
    else:
        rows = rows[priced].drop(columns="volume")
        return rows[["stamp", *PRICES]].reset_index(drop=True)
    money = rows["volume"] * rows[list(PRICES)].mean(axis=1)
    amount = rows["amount"].fillna(rows["volume"] * rows["vwap"]).fillna(money)
    table = rows[["stamp", *PRICES, "volume"]].assign(amount=amount)
    return table.reset_index(drop=True)


def _without_bars(
    wanted: Wanted, traded: Mapping[str, pd.DataFrame], spec: str, *, repair: bool
) -> list[str]:
    """The symbols to leave out; raises SourceError where there are some and nobody said so."""
    bare = [symbol for symbol, rows in traded.items() if rows.empty]
    if not bare or (repair and len(bare) < len(traded)):
        return bare
    first = bare[0]
    has_folder = (wanted.folder / "features" / first.lower()).is_dir()
    what = f"has no bar of freq={wanted.freq} with all four prices" if has_folder else (
        f"has no features (features/{first.lower()} is missing)"
    )  # fmt: skip
    others = f", nor have {len(bare) - 1:,} more of its {len(traded):,}" if len(bare) > 1 else ""
    remedy = (
        "choose other instruments" if len(bare) == len(traded)
        else "complete the directory, choose other instruments, or leave such out with repair=True "
        "(--repair), which makes the universe one of those that are left"
    )  # fmt: skip
    raise SourceError(
        f"{spec}: {first} of {wanted.instruments} {what}{others}; {remedy}",
        symbol=first,
        source=str(wanted.folder),
        remedy=remedy,
    )


def _note(
    wanted: Wanted, traded: Mapping[str, pd.DataFrame], given: Mapping[str, pd.DataFrame]
) -> str:
    bars = sum(map(len, traded.values()))
    priced = sum(int(given[symbol]["close"].notna().sum()) for symbol in traded)
    still = f" {priced - bars:,} prices are of bars without a trade: they are left out."
    return (
        "prices and volumes are adjusted, as Qlib keeps them, so sizes and lots are in adjusted "
        f"shares. A symbol is traded and forecast only while it was one of {wanted.instruments}."
        f"{still if priced > bars else ''}"
    )


class _Bars(NamedTuple):
    frames: dict[str, pd.DataFrame]
    opens: dict[str, Times]
    timing: tuple[str, ...]
    repairs: tuple[str, ...]


class _Market(NamedTuple):
    """Where stamps are local times, and how long their bars are."""

    wanted: Wanted
    zone: str
    source: str

    def placed(
        self, traded: Mapping[str, pd.DataFrame], sessions: Sessions | None, *, repair: bool
    ) -> _Bars:
        """Validated candles by the closes of their bars."""
        checked = {symbol: self._checked(rows, symbol, repair) for symbol, rows in traded.items()}
        repairs = tuple(line for each in checked.values() for line in each.repairs)
        if self.wanted.minutes is not None:
            return self._of_minutes(checked, self.wanted.minutes)._replace(repairs=repairs)
        if sessions is None and self.zone == CHINA:
            sessions = _Shanghai(_days(traded.values()))
        sources = [Source(own, Meant(), symbol, self.source) for symbol, own in checked.items()]
        bars = place(sources, repair=repair, stamps="open", sessions=sessions)
        frames = {symbol: placed.frame for symbol, placed in bars.items()}
        return _Bars(
            frames,
            {symbol: placed.opens_ns for symbol, placed in bars.items()},
            sentences({symbol: placed.notes for symbol, placed in bars.items()}, frames),
            repairs,
        )

    def _checked(self, rows: pd.DataFrame, symbol: str, repair: bool) -> Checked:
        local = pd.DatetimeIndex(rows["stamp"]).tz_localize(self.zone)
        table = rows.drop(columns="stamp").assign(date=local)
        arranged = arrange(table, symbol, source=self.source, lenient=repair)
        return finish(arranged.frame, symbol, source=self.source, repair=repair)

    def _of_minutes(self, checked: Mapping[str, Checked], minutes: int) -> _Bars:
        frames, opens = {}, {}
        for symbol, own in checked.items():
            opens[symbol] = pd.DatetimeIndex(own.frame.index).as_unit("ns").asi8
            closes = opens[symbol] + minutes * NS_PER_MINUTE
            index = pd.DatetimeIndex(closes, tz="UTC", name="time")
            frames[symbol] = own.frame.set_axis(index, axis=0)
        timing = f"Bars of {self.wanted.freq} are stamped with their openings, times of {self.zone}"
        return _Bars(frames, opens, sentences({symbol: [timing] for symbol in frames}, frames), ())

    def members(self, stamps: Mapping[str, list[tuple[pd.Timestamp, pd.Timestamp]]]) -> Members:
        """By bar times: of days, all bars that close on one from the first to the last."""
        return {
            symbol: joined([self._span(first, last) for first, last in spans])
            for symbol, spans in stamps.items()
        }

    def _span(self, first: pd.Timestamp, last: pd.Timestamp) -> Span:
        minutes = self.wanted.minutes
        length_ns = NS_PER_DAY if minutes is None else minutes * NS_PER_MINUTE
        if minutes is None:
            first, last = first.normalize(), last.normalize()
        begins, ends = (
            stamp.tz_localize(self.zone).tz_convert("UTC").as_unit("ns").value
            for stamp in (first, last)
        )
        return begins + 1, ends + length_ns


class _Shanghai(NamedTuple):
    """The sessions of the Chinese exchanges on the days that the candles have, as `Sessions`."""

    days: pd.DatetimeIndex  # in order, without a zone

    @property
    def name(self) -> str:
        return f"{SHANGHAI} (9:30 to 15:00)"

    def hours(self, first_ns: int, last_ns: int) -> Hours:
        opens, closes = ((self.days + at).tz_localize(CHINA) for at in (OPENS, CLOSES))
        days, opens, closes = (index.as_unit("ns") for index in (self.days, opens, closes))
        return Hours(days.asi8, opens.asi8, closes.asi8)


def _days(tables: Iterable[pd.DataFrame]) -> pd.DatetimeIndex:
    stamps = np.concatenate([table["stamp"].to_numpy("datetime64[ns]") for table in tables])
    return pd.DatetimeIndex(np.unique(stamps.astype("datetime64[D]")).astype("datetime64[ns]"))
