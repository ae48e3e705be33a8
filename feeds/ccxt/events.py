"""What a live feed hands out: bars, and what happened on the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple, TypeAlias

from .pages import Row

Kind: TypeAlias = Literal[
    "connected",  # the stream is there; what was missed meanwhile is read from history
    "disconnected",  # the stream has gone; history is asked at each close
    "retry",  # a request failed and is repeated
    "recovered",  # requests are answered again
    "late",  # a bar has closed and settled, and a symbol's request still fails
    "revised",  # a candle is not as it was handed out; that changes nothing
    "ended",  # the exchange has taken a market off, and its history has been read to its end
]


class Event(NamedTuple):
    """Something that a log should say."""

    kind: Kind
    symbol: str | None  # by name; None: it concerns all
    text: str  # one sentence
    at_ns: int  # by the clock here, ns since 1970


class After(NamedTuple):
    """Where a live feed goes on."""

    frontier_ns: int  # everything that closed up to here is known
    last: Mapping[str, Row | None] = {}  # by name, the last candle that closed by then
    ended: Collection[str] = ()  # names of markets that have ended


class LiveBar(NamedTuple):
    """One bar time, complete: whoever has no candle here had none."""

    time_ns: int  # when these candles closed
    candles: Mapping[str, Row]  # by name, at least one, in the order of the feed's markets
    ended: tuple[str, ...]  # of which it is known since now that no candle will come
    clock_ns: int  # the exchange's time when the bar was complete


class Status(NamedTuple):
    """How a live feed is doing."""

    connected: bool  # the stream is there, or there is none to wait for, and requests are answered
    since_ns: int  # by the clock here: since when that is so
    last_message_ns: int  # by the clock here: when the exchange last said anything; 0: never
    clock_ns: int  # the exchange's time now
    frontier_ns: int  # everything that closed up to here is known, of all markets
    next_close_ns: int  # when the next candle closes
    waiting_for: tuple[str, ...]  # markets without which a bar that others have cannot go out
