"""A picture of a paper account for a terminal of any size.

Names and texts come from exchanges and strategies: they are never read as markup, and what cannot
be printed is left out of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from sandbox.paper.view_snapshot import OrderLine, Snapshot, SymbolLine, by_interest
from sandbox.words import counted, listed

SECOND_NS = 1_000_000_000
TABLE_HEAD_LINES = 2
GAP = 1  # blanks after a cell, beside the one between columns
MOST_OF_A_NAME = 20
MOST_LOG, MOST_ORDERS = 8, 6  # lines
NOTHING = "-"


class LogLine(NamedTuple):
    """`level` is "info", "warning" or "error"."""

    time_ns: int
    level: str
    kind: str
    text: str


class _Column(NamedTuple):
    """`rank` 0 is always shown; of the others the highest is the first to go."""

    heading: str
    text: Callable[[SymbolLine], Text]
    rank: int


def frame(
    snapshot: Snapshot, log: Sequence[LogLine], width: int, height: int, waited_secs: float = 0.0
) -> RenderableType:
    """At most `height` lines of `width` columns; `waited_secs` have gone by since the snapshot."""
    parts: list[RenderableType] = list(head(snapshot, waited_secs))
    left = height - len(parts)
    log_count = min(len(log), MOST_LOG, max(0, left // 5))
    order_count = min(len(snapshot.orders), MOST_ORDERS, max(0, left // 7))
    left -= (log_count + 1) * bool(log_count) + (order_count + 1) * bool(order_count)
    if left > TABLE_HEAD_LINES and snapshot.symbols:
        parts += symbol_lines(snapshot, width, left - TABLE_HEAD_LINES)
    if order_count:
        parts += order_lines(snapshot.orders, order_count)
    if log_count:
        parts.append(_heading("Log"))
        parts += [_log_text(line) for line in log[-log_count:]]
    return Group(*parts[:height])


def head(snapshot: Snapshot, waited_secs: float) -> list[Text]:
    """What is traded where, how the connection is, what the account is worth, what is late."""
    lines = [_title(snapshot), _connection(snapshot, waited_secs), _worth(snapshot)]
    if snapshot.waiting_for:
        lines.append(_line(f"late: {listed(list(snapshot.waiting_for))}", "yellow"))
    return lines


def symbol_lines(snapshot: Snapshot, width: int, room: int) -> list[RenderableType]:
    """A table of so many lines below its head; what has no room is counted in the last one."""
    lines = by_interest(snapshot)
    shown = lines if len(lines) <= room else lines[: room - 1]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False)
    columns = _fitting(_columns(snapshot), shown, width)
    for column in columns:
        justify: JustifyMethod = "left" if column.heading == "Symbol" else "right"
        table.add_column(Text(column.heading), justify=justify, no_wrap=True, overflow="ellipsis")
    for line in shown:
        table.add_row(*(column.text(line) for column in columns), style="bold" if line.size else "")
    more = len(lines) - len(shown)
    return [table, *([_line(f"and {more:,} more", "dim")] if more else [])]


def order_lines(orders: Sequence[OrderLine], room: int) -> list[RenderableType]:
    """A heading that counts them, and so many lines."""
    fits = len(orders) <= room
    shown = orders if fits else orders[: max(1, room - 1)]
    parts: list[RenderableType] = [_heading(counted(len(orders), "waiting order"))]
    for order in shown:
        at = f" at {price(order.price)}" if order.price is not None else ""
        parts.append(_line(f"{order.side} {size(order.size)} {order.symbol}, {order.kind}{at}"))
    if not fits and room > 1:
        parts.append(_line(f"and {len(orders) - len(shown):,} more", "dim"))
    return parts


def bar_line(snapshot: Snapshot) -> str:
    """A traded bar on one line, for where there is no terminal."""
    held = sum(1 for line in snapshot.symbols if line.size)
    return (
        f"{bar_time(snapshot.bar_ns)}  value {money(snapshot.value)} "
        f"({percent(snapshot.total_return)})  drawdown {percent(snapshot.drawdown, '')}  "
        f"cash {money(snapshot.cash)}  {counted(held, 'position')}  "
        f"{counted(len(snapshot.orders), 'order')} waiting  bar {snapshot.bars:,}"
    )


def connection_line(snapshot: Snapshot) -> str:
    """Whether there is a connection, and since when."""
    state = "connected" if snapshot.connected else "no connection"
    return f"{state} since {moment(snapshot.since_ns)}"


def _title(snapshot: Snapshot) -> Text:
    ahead = f"  forecasts of {counted(snapshot.horizon, 'bar')}" if snapshot.horizon else ""
    symbols = counted(len(snapshot.symbols), "symbol")
    place = f"{snapshot.exchange}  {snapshot.timeframe}  {symbols}{ahead}"
    is_fast = snapshot.speed is not None and snapshot.speed != 1
    speed = f"  time runs {snapshot.speed:,.6g} times as fast" if is_fast else ""
    return _line(f"{snapshot.name} on paper", "bold") + _line(f"  {place}{speed}", "dim")


def _connection(snapshot: Snapshot, waited_secs: float) -> Text:
    text = _line(connection_line(snapshot), "green" if snapshot.connected else "bold red")
    if snapshot.next_close_ns is not None:
        text += _line(f"  next close {bar_time(snapshot.next_close_ns)}")
        if snapshot.countdown_secs is not None:
            left = snapshot.countdown_secs - waited_secs
            text += _line(f" in {span(left)}" if left >= 0 else f", due for {span(-left)}")
    return text


def _worth(snapshot: Snapshot) -> Text:
    caught_up = f", {snapshot.caught_up:,} caught up" if snapshot.caught_up else ""
    return (
        _line(f"value {money(snapshot.value)}  ", "bold")
        + _signed(snapshot.total_return)
        + _line(f"  drawdown {percent(snapshot.drawdown, '')}  cash {money(snapshot.cash)}  ")
        + _line(f"{counted(snapshot.bars, 'bar')}{caught_up}")
    )


def _columns(snapshot: Snapshot) -> list[_Column]:
    orders = Counter(order.symbol for order in snapshot.orders)

    def if_held(line: SymbolLine, text: str) -> Text:
        return _line(text if line.size else "")

    def expected(line: SymbolLine) -> Text:
        return _signed(line.outlook.expected if line.outlook else None)

    return [
        _Column("Symbol", lambda line: _line(line.symbol[:MOST_OF_A_NAME]), 0),
        _Column("Last bar", lambda line: _line(bar_time(line.time_ns)), 8),
        _Column("Close", lambda line: _line(price(line.close)), 0),
        _Column("Change", lambda line: _signed(line.change), 1),
        _Column("Median", _median, 0),
        _Column("5 to 95 %", _band, 3),
        _Column("Expected", expected, 6),
        _Column("Size", lambda line: if_held(line, size(line.size)), 4),
        _Column("Value", lambda line: if_held(line, money(line.value)), 7),
        _Column("Share", lambda line: if_held(line, percent(line.share, "")), 2),
        _Column("Orders", lambda line: _line(str(orders[line.symbol] or "")), 5),
    ]


def _fitting(columns: list[_Column], lines: Sequence[SymbolLine], width: int) -> list[_Column]:
    """Those that have room without cutting a number short."""
    wide = {
        column: max(len(column.heading), *(column.text(line).cell_len for line in lines), 0)
        for column in columns
    }
    fitting = list(columns)
    while sum(wide[column] + GAP + 1 for column in fitting) - GAP - 1 > width:
        last = max(fitting, key=lambda column: column.rank)
        if not last.rank:
            break
        fitting.remove(last)
    return fitting


def _median(line: SymbolLine) -> Text:
    if line.outlook is None and line.missing:
        return _line("none", "yellow")
    return _signed(line.outlook.median if line.outlook else None)


def _band(line: SymbolLine) -> Text:
    if line.outlook is None:
        return _line(line.missing[:20] or NOTHING, "yellow" if line.missing else "dim")
    return _line(f"{percent(line.outlook.low)} to {percent(line.outlook.high)}", "dim")


def _log_text(line: LogLine) -> Text:
    style = {"warning": "yellow", "error": "bold red"}.get(line.level, "")
    return _line(f"{moment(line.time_ns)}  ", "dim") + _line(f"{line.kind}: {line.text}", style)


def _heading(text: str) -> Text:
    return _line(text, "dim bold")


def _line(text: str, style: str = "") -> Text:
    """Its style is a span: as the text's own it would spread over what is added to it."""
    return Text.assemble((printable(text), style), no_wrap=True, overflow="ellipsis")


def _signed(share: float | None) -> Text:
    known = share is not None and math.isfinite(share)
    style = "green" if known and share and share > 0 else "red" if known and share else ""
    return _line(percent(share), style)


def printable(text: str) -> str:
    """On one line, without what could move the cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def percent(share: float | None, sign: str = "+") -> str:
    if share is None or not math.isfinite(share):
        return NOTHING
    text = format(100 * share, f"{sign},.2f")
    return f"{text.lstrip('+-') if float(text.replace(',', '')) == 0 else text} %"


def money(value: float | None) -> str:
    """With cents below 10,000."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.{0 if abs(value) >= 10_000 else 2}f}"


def price(value: float | None) -> str:
    """To six digits."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.6g}"


def size(value: float) -> str:
    """Shares or coins, to seven digits."""
    return f"{value:,.7g}"


def bar_time(time_ns: int | None) -> str:
    """Of a bar's close, UTC, to the minute."""
    if time_ns is None:
        return NOTHING
    return f"{datetime.fromtimestamp(time_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M}"


def moment(wall_ns: int | None) -> str:
    """By the wall clock, UTC, to the second."""
    if wall_ns is None:
        return NOTHING
    return f"{datetime.fromtimestamp(wall_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """`0:07`, `59:50`, `23:59:50`, `2 d 03:00:00`."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    clock = f"{rest // 60:02d}:{rest % 60:02d}"
    if days:
        return f"{days} d {hours:02d}:{clock}"
    return f"{hours}:{clock}" if hours else f"{rest // 60}:{rest % 60:02d}"
