"""What is certain about the candles of one symbol: handed out once, in order, never too early.

The anchor is the latest certain candle. Up to the frontier everything is known: a candle that
closes there or before has been handed out, or does not exist. Pages move the frontier. A candle is
final if its page holds a later one, or was asked for after the candle's close plus the settling
time. That there is no candle is believed where the page was asked for that late, and a second page
says so too. Where the exchange's clock jumps, time proves little: without a later candle, several
pages must agree. Knows neither network nor clock: it is told up to where a page is certain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from .pages import NS_PER_MS, Ask, Page, Row

AGREEING = 2  # pages that say that there is no candle
AGREEING_ALONE = 6  # the same where a clock jumps and no later candle vouches for it
SPARE_ROWS = 10  # a page asks for more candles than there should be


class Taken(NamedTuple):
    """What a page told."""

    candles: tuple[Row, ...]  # newly final, oldest first
    revised: tuple[Row, ...]  # handed out before with other values, or taken to be absent
    in_doubt: bool  # another page must agree before it is known what closed, or did not


class _View(NamedTuple):
    """What a page says beyond the candles that are certain at once."""

    rows: tuple[Row, ...]
    until_ns: int
    vouched: bool  # a later candle shows that the page goes further

    def between(self, after_ns: int, until_ns: int, length_ns: int) -> list[Row]:
        """The candles that close in that time."""
        return [row for row in self.rows if after_ns < row.opened_ns + length_ns <= until_ns]


class Frontier:
    """The certain candles of one symbol, `length_ns` long each, after `reached_ns`.

    anchor: the last candle that closed at `reached_ns` or before, where there is one. jumps:
    whether the exchange's clock does.
    """

    def __init__(
        self, length_ns: int, reached_ns: int, anchor: Row | None = None, *, jumps: bool = False
    ) -> None:
        self.length_ns = length_ns
        self.reached_ns = reached_ns
        self.anchor = anchor
        self._jumps = jumps
        self._views: deque[_View] = deque(maxlen=AGREEING_ALONE - 1)  # of the pages before
        self._revisions: set[Row] = set()

    @property
    def next_close_ns(self) -> int:
        """The first time after the frontier at which a candle closes if none is left out."""
        start_ns = 0 if self.anchor is None else self.anchor.opened_ns
        return start_ns + ((self.reached_ns - start_ns) // self.length_ns + 1) * self.length_ns

    def ask(self, clock_ns: int, most: int) -> Ask:
        """The page that tells what is missing at the exchange's time `clock_ns`, of at most `most`
        candles. It starts with the anchor, unless that is too long ago for one page."""
        anchor, length_ns = self.anchor, self.length_ns
        anchored = (
            anchor is not None
            and self.reached_ns - anchor.opened_ns <= (most - SPARE_ROWS) * length_ns
        )
        since_ns = (
            anchor.opened_ns
            if anchor is not None and anchored
            else max(0, self.reached_ns - length_ns + NS_PER_MS)  # the first that closes after it
        )
        wanted = max(0, clock_ns - since_ns) // length_ns + SPARE_ROWS
        return Ask(since_ns, min(most, wanted), anchored)

    def take(self, page: Page, certain_ns: int) -> Taken:
        """The candles that `page` makes final: all that closes by `certain_ns` had settled when it
        was asked for. One time each candle, whatever pages say later."""
        revised = self._revised(page)
        rows = [row for row in page.rows if self._close(row) > self.reached_ns]
        known_ns = min(certain_ns, page.ask.since_ns + page.ask.limit * self.length_ns)
        final = self._final(rows, page, certain_ns)
        settled = [row for row in final if not self._jumps or row is not page.rows[-1]]
        in_row = self._without_gap(settled)
        self._hand_out(in_row)
        rest, running = final[len(in_row) :], rows[len(final) :]
        if not rest and running and running[0].opened_ns <= self.reached_ns:
            self.reached_ns = max(self.reached_ns, known_ns)  # until it closes nothing else can
            return Taken(tuple(in_row), revised, in_doubt=False)
        view = self._beyond(rest, page, known_ns)
        if view.until_ns <= self.reached_ns:
            return Taken(tuple(in_row), revised, in_doubt=False)
        agreed = self._agreed(view)
        self._views.append(view)
        doubted = any(self._close(row) > self.reached_ns for row in view.rows)
        in_doubt = doubted or self.next_close_ns <= view.until_ns
        return Taken((*in_row, *agreed), revised, in_doubt)

    def _close(self, row: Row) -> int:
        return row.opened_ns + self.length_ns

    def _final(self, rows: Sequence[Row], page: Page, certain_ns: int) -> list[Row]:
        """Those of `rows` with a later one behind them, or settled when the page was asked for."""
        last = page.rows[-1] if page.rows else None
        return [row for row in rows if row is not last or self._close(row) <= certain_ns]

    def _without_gap(self, final: Sequence[Row]) -> list[Row]:
        """The candles that go on where the frontier is: none can have been left out before."""
        reached_ns, in_row = self.reached_ns, []
        for row in final:
            if row.opened_ns > reached_ns:
                break
            in_row.append(row)
            reached_ns = self._close(row)
        return in_row

    def _beyond(self, rest: Sequence[Row], page: Page, known_ns: int) -> _View:
        """What the page says of the time after: candles, and gaps that have settled."""
        reached_ns, rows = self.reached_ns, []
        for row in rest:
            if row.opened_ns > max(reached_ns, known_ns):
                break
            rows.append(row)
            reached_ns = self._close(row)
        if not (page.full and len(rows) == len(rest)):
            reached_ns = max(reached_ns, known_ns)
        last = page.rows[-1] if page.rows else None
        vouched = last is not None and self._close(last) > reached_ns
        return _View(tuple(rows), reached_ns, vouched)

    def _agreed(self, view: _View) -> list[Row]:
        """The candles up to where this page and those before it say the same."""
        wanted = AGREEING if view.vouched or not self._jumps else AGREEING_ALONE
        before = list(self._views)[1 - wanted :]
        if len(before) < wanted - 1:
            return []
        until_ns = min(view.until_ns, *(other.until_ns for other in before))
        time = (self.reached_ns, until_ns, self.length_ns)
        if any(other.between(*time) != view.between(*time) for other in before):
            return []
        rows = view.between(*time)
        self._hand_out(rows)
        self.reached_ns = max(self.reached_ns, until_ns)
        return rows

    def _hand_out(self, rows: Sequence[Row]) -> None:
        if rows:
            self.anchor = rows[-1]
            self.reached_ns = self._close(rows[-1])

    def _revised(self, page: Page) -> tuple[Row, ...]:
        """Candles of the past that are not as they were handed out, each version once."""
        changed = [
            row
            for row in page.rows
            if self._close(row) <= self.reached_ns
            and row != self.anchor
            and (self.anchor is None or row.opened_ns >= self.anchor.opened_ns)
            and row not in self._revisions
        ]
        self._revisions.update(changed)
        return tuple(changed)
