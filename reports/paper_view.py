"""What the dashboard says of an account, as texts and plain lists that go to the page as JSON.

Knows an open account and the time, and neither the web nor files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reports.formats import (
    counted,
    duration,
    fine_percent,
    percent,
    price,
    shown,
    signed_fine_percent,
    signed_percent,
    size,
    whole,
)
from reports.paper_account import Account, Candle, Event, Fill, Forecast, Order, Position, Terms
from reports.paper_coverage import Counts, Coverage, inside, quantiles, shown_horizons
from reports.paper_equity import EquityCurve

SECOND_NS = 1_000_000_000
STALE_SECS = 30.0  # without a status, which is rewritten every few seconds
GONE_SECS = 10.0  # the same, where there is no such process
GO_ON = "The same command goes on from there."
ROWS = 200  # of a table at most
Texts = list[list[str]]


@dataclass(frozen=True, kw_only=True)
class State:
    """How the account's process is: in a word, in a sentence, and whether time goes on for it."""

    level: str  # "good", "warn" or "bad": classes of paper.css
    text: str
    runs: bool


def state_of(status: tuple[int, Mapping[str, Any]] | None, now_ns: int) -> State:
    """From the row that the process rewrites every few seconds."""
    if status is None:
        return State(level="warn", text="No process has traded this account yet.", runs=False)
    wall_ns, value = status
    when = moment_text(wall_ns)
    if value.get("ended"):
        return State(
            level="good",
            text=f"Ended {when}: all markets have, and the account is complete.",
            runs=False,
        )
    if value.get("stopped"):
        return State(level="warn", text=f"Stopped {when}. {GO_ON}", runs=False)
    silence, pid = (now_ns - wall_ns) / SECOND_NS, value.get("pid")
    if silence > GONE_SECS and not _lives(pid):
        text = f"The account's process has stopped without a word, after {when}. {GO_ON}"
        return State(level="bad", text=text, runs=False)
    if silence > STALE_SECS:
        text = f"Nothing has been written for {duration(silence)}, though process {pid} is there."
        return State(level="bad", text=text, runs=True)
    since = moment_text(int(value.get("since_ns") or wall_ns))
    if not value.get("connected"):
        text = f"No connection since {since}. It is tried again and again."
        return State(level="bad", text=text, runs=True)
    return State(level="good", text=f"Connected since {since}.", runs=True)


def _lives(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


def books_view(account: Account, curve: EquityCurve, coverage: Coverage) -> dict[str, Any]:
    """What is replaced on the page and not added to, besides `state_view`."""
    positions = account.positions()
    return {
        "figures": figures(account, curve),
        "positions": position_rows(positions, curve.value),
        "orders": order_rows(account.orders()),
        "held": [position.symbol for position in positions],
        "coverage": coverage_rows(coverage.of_all(), account.terms.horizon),
        "counting": not coverage.is_complete,
    }


def state_view(
    status: tuple[int, Mapping[str, Any]] | None, exchange: str, now_ns: int
) -> dict[str, Any]:
    """How the account's process is, its clock, and the symbols whose bar is late."""
    state = state_of(status, now_ns)
    late = list(status[1].get("waiting_for") or ()) if status and state.runs else []
    return {
        "state": {"level": state.level, "text": state.text},
        "clock": clock_view(status, exchange) if status and state.runs else None,
        "late": late,
    }


def clock_view(
    status: tuple[int, Mapping[str, Any]], exchange: str
) -> dict[str, float | None] | None:
    """The exchange's time in seconds, how fast it goes, and when the next bar closes.

    `speed` is null where a replay goes as fast as it can.
    """
    wall_ns, value = status
    if not value.get("clock_ns") or not value.get("next_close_ns"):
        return None
    speed = value.get("speed")
    if speed is None and not exchange.startswith("replay"):
        speed = 1.0
    return {
        "wall": wall_ns / SECOND_NS,
        "clock": value["clock_ns"] / SECOND_NS,
        "next": value["next_close_ns"] / SECOND_NS,
        "speed": speed,
    }


def figures(account: Account, curve: EquityCurve) -> Texts:
    """Name and value of the figures on top."""
    bars, caught_up = account.bars()
    return [
        ["Value", shown(curve.value, whole)],
        ["Return", shown(curve.return_pct, signed_fine_percent)],
        ["Drawdown", shown(curve.drawdown_pct, fine_percent)],
        ["Max drawdown", shown(curve.worst_pct, fine_percent)],
        ["Cash", shown(curve.cash, whole)],
        ["Fills", shown(account.count_fills(), whole)],
        ["Bars traded", shown(bars, whole)],
        ["Caught up", shown(caught_up, whole)],
    ]


def facts(terms: Terms) -> str:
    """The line below the title."""
    model = terms.model + (f" (has seen up to {terms.seen_until})" if terms.seen_until else "")
    signal = terms.signal if terms.signal != "kronos" else ""
    parts = [
        terms.exchange,
        terms.timeframe,
        counted(len(terms.symbols), "symbol"),
        model and f"model {model}",
        signal and f"signal {signal}",
        terms.horizon and f"forecasts of {counted(terms.horizon, 'bar')}",
        f"began {time_text(terms.started_ns)} with {whole(terms.cash)}",
    ]
    return " · ".join(str(part) for part in parts if part)


def position_rows(positions: Sequence[Position], total: float) -> Texts:
    """Symbol, size, price paid, close, value, share of the account, profit; the largest first."""
    rows = []
    for held in sorted(positions, key=lambda held: -abs(held.size * held.close))[:ROWS]:
        value = held.size * held.close
        sign = 1 if held.size > 0 else -1
        profit = 100 * sign * (held.close / held.price - 1) if held.price else None
        share = 100 * value / total if total else None
        rows.append(
            [
                held.symbol,
                shown(held.size, size),
                shown(held.price, price),
                shown(held.close, price),
                shown(value, whole),
                shown(share, fine_percent),
                shown(profit, signed_percent),
            ]
        )
    return rows


def order_rows(orders: Sequence[Order]) -> Texts:
    """When it was given, symbol, side, size, kind, price; the newest first."""
    return [
        [
            time_text(order.time_ns),
            order.symbol,
            order.side,
            shown(abs(order.size), size),
            order.kind,
            shown(order.price, price),
        ]
        for order in reversed(orders[-ROWS:])
    ]


def fill_rows(fills: Sequence[Fill]) -> Texts:
    """Close of the bar, symbol, side, size, price, traded value, costs; the oldest first."""
    return [
        [
            time_text(fill.time_ns),
            fill.symbol,
            fill.side,
            shown(abs(fill.size), size),
            shown(fill.price, price),
            shown(abs(fill.size) * fill.price, lambda value: f"{value:,.2f}"),
            shown(fill.costs, lambda value: f"{value:,.2f}"),
        ]
        for fill in fills
    ]


def mark_rows(fills: Sequence[Fill]) -> list[list[Any]]:
    """[seconds, side, text] of fills, for the chart."""
    return [
        [
            fill.time_ns // SECOND_NS,
            fill.side,
            f"{shown(abs(fill.size), size)} at {shown(fill.price, price)}",
        ]
        for fill in fills
    ]


def candle_rows(candles: Sequence[Candle]) -> list[list[float]]:
    """[seconds, open, high, low, close], for the chart."""
    return [[bar.time_ns // SECOND_NS, *bar[1:]] for bar in candles]


def log_rows(events: Sequence[Event]) -> Texts:
    """When it was written, of which bar, kind, symbol, text; the oldest first."""
    return [
        [
            moment_text(event.wall_ns).removesuffix(" UTC"),
            time_text(event.time_ns) if event.time_ns else "",
            event.kind,
            event.symbol or "",
            event.text,
        ]
        for event in events
    ]


def coverage_rows(counts: Sequence[Counts], horizon: int) -> list[list[Any]]:
    """[bars ahead, closes, % inside the 50 % band, % inside the 90 % band] as texts."""
    rows = []
    for h in shown_horizons(max(horizon, len(counts))):
        came, inner, outer = counts[h - 1] if h <= len(counts) else Counts(0, 0, 0)
        shares = [shown(100 * part / came if came else None, percent) for part in (inner, outer)]
        rows.append([str(h), f"{came:,}", *shares])
    return rows


def nominal_text(samples: int) -> str:
    """What both bands would cover; few samples reach no further than their ends."""
    reach = 100 * (samples - 1) / (samples + 1) if samples else 0.0
    inner, outer = (percent(min(width, reach)) for width in (50.0, 90.0))
    return f"{inner} and {outer}"


def forecast_view(account: Account, symbol: str, forecast: Forecast) -> dict[str, Any]:
    """One fan, and how it fared so far.

    The h-th bar forecast stands at the symbol's own h-th bar after asof, as far as that has come.
    """
    view: dict[str, Any] = {
        "asof": forecast.asof_ns // SECOND_NS,
        "asof_text": time_text(forecast.asof_ns),
        "earlier": account.has_forecast(symbol, forecast.asof_ns, -1),
        "later": account.has_forecast(symbol, forecast.asof_ns, 1),
        "missing": forecast.missing,
    }
    if forecast.closes is None or forecast.close is None:
        return view | {"missing": forecast.missing or "its candle is missing"}
    bands = quantiles(forecast.closes).tolist()
    came = account.next_closes(symbol, forecast.asof_ns, len(forecast.future_ns))
    fared = inside(bands, [close for _, close in came])
    times = _placed([time_ns for time_ns, _ in came], forecast.future_ns, account.terms.length_ns)
    return view | {
        "close": forecast.close,
        "times": [time_ns // SECOND_NS for time_ns in times],
        "bands": [[float(f"{edge:.8g}") for edge in band] for band in bands],
        "came": fared.came,
        "inner": fared.inner,
        "outer": fared.outer,
        "samples": len(forecast.closes),
    }


def _placed(came_ns: Sequence[int], future_ns: Sequence[int], length_ns: int) -> list[int]:
    """Ascending times of the bars forecast."""
    times = list(came_ns)
    for time_ns in future_ns[len(times) :]:
        times.append(max(time_ns, times[-1] + length_ns) if times else time_ns)
    return times


def time_text(time_ns: int) -> str:
    """A bar's close, UTC: `2026-05-03 14:00`."""
    return f"{datetime.fromtimestamp(time_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M}"


def moment_text(wall_ns: int) -> str:
    """A moment of the wall clock, UTC, to the second."""
    return f"{datetime.fromtimestamp(wall_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M:%S} UTC"
