"""`ccxt:`: candles of an exchange for backtests, asked for once and kept.

Pages are kept as they come, so that a download that was cut short goes on where it was. Only final
candles are kept; a later load asks for what is new.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..candles import Candles, instant
from ..errors import SourceError, SpecError
from ..query import parameters
from .cache import Kept, Part
from .exchange import Exchange, Timing
from .feed import opened
from .fetch import certain_ns, frontier_of, insist, read_until, side_by_side
from .frames import frame_and_opens
from .loop import Loop
from .markets import Market
from .pages import NS_PER_MS, Ask, Row, shown_ns

FORM = "ccxt:EXCHANGE?symbols=A,B&timeframe=1h&since=YYYY-MM-DD"
NEEDED, ALLOWED = ("symbols", "timeframe", "since"), ("symbols", "timeframe", "since", "until")
SHOWN_AFTER_SECS, SHOWN_EACH_SECS = 2.0, 1.0


class Wanted(NamedTuple):
    """What a spec asks for."""

    exchange: str
    symbols: tuple[str, ...]
    timeframe: str
    since_ns: int  # bars that close then or later
    until_ns: int | None  # bars that close then or before


def load_history(rest: str, *, timing: Timing | None = None) -> Candles:
    """Candles of `ccxt:REST`, from the cache and from the exchange.

    Raises `SpecError` for a spec that cannot be understood, `SymbolError` for a symbol that the
    exchange does not have, and `ExchangeError` where it does not answer.
    """
    wanted = parse(rest)
    exchange = Exchange(wanted.exchange, timing or Timing())
    loop = Loop()
    try:
        return loop.call(_load(exchange, wanted, f"ccxt:{rest}"))
    except OSError as error:
        raise SourceError(f"ccxt:{rest}: the candles cannot be kept: {error}") from error
    finally:
        with contextlib.suppress(Exception):
            loop.call(exchange.close())
        loop.close()


def parse(rest: str) -> Wanted:
    """What `EXCHANGE?symbols=…&timeframe=…&since=…[&until=…]` asks for; raises `SpecError`."""
    spec = f"ccxt:{rest}"
    name, given = parameters(spec, rest, ALLOWED)
    missing = [key for key in NEEDED if not given.get(key, "").strip()]
    if missing or not name:
        lacks = " and ".join(missing) if name else "an exchange"
        raise SpecError(f"{spec}: it lacks {lacks}; write {FORM}", value=rest)
    symbols = tuple(dict.fromkeys(symbol.strip() for symbol in given["symbols"].split(",")))
    if "" in symbols:
        raise SpecError(f"{spec}: an empty symbol in the list; write symbols=A,B", value=rest)
    since, until = given["since"], given.get("until")
    since_ns = instant(since, "since", last=False).value
    until_ns = None if until is None else instant(until, "until", last=True).value
    if until_ns is not None and until_ns < since_ns:
        raise SpecError(f"{spec}: since {since} is after until {until}", value=since)
    return Wanted(name, symbols, given["timeframe"].strip(), since_ns, until_ns)


async def _load(exchange: Exchange, wanted: Wanted, spec: str) -> Candles:
    markets, timeframe, length_ns = await opened(exchange, wanted.symbols, wanted.timeframe)
    now_ns = exchange.clock.now_ns
    until_ns = certain_ns(exchange, now_ns, length_ns)
    if wanted.until_ns is not None:
        until_ns = min(until_ns, wanted.until_ns)
    if wanted.since_ns >= until_ns:
        raise SpecError(
            f"{spec}: no bar has closed since {shown_ns(wanted.since_ns)}; at {exchange.name} it "
            f"is {shown_ns(now_ns)}",
            value=wanted.since_ns,
        )
    progress = _Progress(wanted.since_ns, until_ns, len(markets))
    downloads = [
        _Download(exchange, market, timeframe, length_ns, progress.told) for market in markets
    ]
    try:
        read = await side_by_side(
            [download.between(wanted.since_ns, until_ns) for download in downloads]
        )
    finally:
        progress.end()
    by_name = {market.name: rows for market, rows in zip(markets, read, strict=True)}
    return _candles(markets, by_name, length_ns, spec)


def _candles(
    markets: Sequence[Market], rows: Mapping[str, Sequence[Row]], length_ns: int, spec: str
) -> Candles:
    there = [market for market in markets if rows[market.name]]
    if not there:
        raise SpecError(f"{spec}: none of its symbols has a candle in that time", value=spec)
    frames, opens = {}, {}
    for market in there:
        name = market.name
        frames[name], opens[name] = frame_and_opens(rows[name], length_ns)
    return Candles(
        frames,
        spec=spec,
        costs=there[0].costs,
        calendar=there[0].calendar,
        absent=tuple(market.name for market in markets if market not in there),
        opens=opens,
        steps={market.name: market.steps for market in there},
    )


class _Download:
    """The candles of one market, kept as they come."""

    def __init__(
        self,
        exchange: Exchange,
        market: Market,
        timeframe: str,
        length_ns: int,
        told: Callable[[str, int], None],
    ) -> None:
        self._exchange = exchange
        self._market = market
        self._timeframe = timeframe
        self._length_ns = length_ns
        self._told = told
        self._kept = Kept(exchange.name, market.symbol, timeframe)

    async def between(self, since_ns: int, until_ns: int) -> list[Row]:
        """All candles that close from `since_ns` to `until_ns`."""
        first_ns = since_ns - self._length_ns  # when the first of them opens, or later
        first_ns += -first_ns % NS_PER_MS
        end_ns = until_ns - self._length_ns + 1  # they open before
        end_ns += -end_ns % NS_PER_MS
        if self._exchange.is_replay and not await self._are_its_own():
            self._kept.forget()
        parts = self._kept.parts()
        rows: list[Row] = []
        reached_ns, used = first_ns, list[Part]()
        while reached_ns < end_ns:
            part = next((p for p in parts if p.from_ns <= reached_ns < p.to_ns), None)
            kept = self._kept.read(part) if part is not None else None
            if part is not None and kept is not None:
                rows += [row for row in kept if row.opened_ns >= reached_ns]
                used.append(part)
                reached_ns = part.to_ns
            elif part is not None:
                parts.remove(part)
            else:
                stop_ns = min((p.from_ns for p in parts if p.from_ns > reached_ns), default=end_ns)
                stop_ns = min(stop_ns, end_ns)
                rows += await self._fetched(reached_ns, stop_ns, rows[-1] if rows else None, used)
                reached_ns = stop_ns
            self._told(self._market.name, reached_ns + self._length_ns)
        if used and used[0].from_ns == first_ns:
            self._kept.join(rows, used)
        return [row for row in rows if row.opened_ns < end_ns]

    async def _fetched(
        self, from_ns: int, to_ns: int, anchor: Row | None, used: list[Part]
    ) -> list[Row]:
        """Candles that open from one time on and before another; pages are kept as they come."""
        fetched: list[Row] = []
        done_ns = from_ns
        length_ns = self._length_ns
        frontier = frontier_of(self._exchange, length_ns, from_ns + length_ns - NS_PER_MS, anchor)

        def keep(rows: Sequence[Row]) -> None:
            nonlocal done_ns
            mine = [row for row in rows if row.opened_ns < to_ns]
            until_ns = min(to_ns, rows[-1].opened_ns + NS_PER_MS)
            if until_ns <= done_ns:
                return
            used.append(self._kept.write(mine, done_ns, until_ns))
            fetched.extend(mine)
            done_ns = until_ns
            self._told(self._market.name, done_ns + length_ns)

        await read_until(
            self._exchange, self._market, self._timeframe, frontier, to_ns + length_ns - NS_PER_MS,
            keep,
        )  # fmt: skip
        if done_ns < to_ns:
            used.append(self._kept.write([], done_ns, to_ns))
        return fetched

    async def _are_its_own(self) -> bool:
        """Whether what is kept under the port of a replay is what is replayed there now."""
        for part in reversed(self._kept.parts()):
            rows = self._kept.read(part)
            if not rows:
                continue
            ask = Ask(rows[-1].opened_ns, 2, anchored=False)
            page = await insist(
                self._exchange,
                lambda ask=ask: self._exchange.page(  # type: ignore[misc]
                    self._market.symbol, self._timeframe, ask
                ),
            )
            return bool(page.rows) and page.rows[0] == rows[-1]
        return True


class _Progress:
    """Lines on the error stream about a download that takes long."""

    def __init__(self, since_ns: int, until_ns: int, markets: int) -> None:
        self._since_ns, self._span_ns = since_ns, max(1, until_ns - since_ns)
        self._markets = markets
        self._reached: dict[str, int] = {}
        self._next = time.monotonic() + SHOWN_AFTER_SECS
        self._shown = False

    def told(self, name: str, reached_ns: int) -> None:
        self._reached[name] = reached_ns
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SHOWN_EACH_SECS
        parts: Iterable[float] = (
            min(1.0, (ns - self._since_ns) / self._span_ns) for ns in self._reached.values()
        )
        share = sum(parts) / self._markets
        text = (
            f"\rcandles: {share:6.1%} of {self._markets} symbols, {name} at {shown_ns(reached_ns)}"
        )
        print(text, end="", file=sys.stderr, flush=True)
        self._shown = True

    def end(self) -> None:
        if self._shown:
            print(file=sys.stderr)
