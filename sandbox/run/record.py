"""What a run writes down about itself: everything needed to repeat it, and what to doubt."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from sandbox.forecast.model import model_sentence
from sandbox.run.folder import package_versions
from sandbox.run.portfolios import Portfolio
from sandbox.trading.engine import Backtest
from sandbox.words import counted, listed

if TYPE_CHECKING:
    from sandbox.run.prepare import Prepared


MOST_FILLS_AN_ORDER = 1.5  # on average, before a reader is told


def record(
    run: Prepared, traded: Sequence[tuple[Portfolio, Backtest]], notes: Sequence[str]
) -> dict[str, Any]:
    """The content of config.json."""
    model = run.checkpoint
    return {
        "name": run.name,
        "portfolios": [_portfolio(portfolio) for portfolio, _ in traded],
        "config": run.config.flat(),
        "costs": {"preset": run.costs_name, **asdict(run.account.costs)},
        "window": {"first_bar": run.start.isoformat(), "last_bar": run.end.isoformat()},
        "data": {
            "spec": run.candles.spec,
            "hash": run.candles.data_hash,
            "symbols": list(run.candles.symbols),
            "calendar": run.calendar and run.calendar.name,
        },
        "model": model
        and {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "seen_until": model.seen_until,
            "max_context": model.max_context,
        },
        "orders_refused": {portfolio.name: book.refused for portfolio, book in traded},
        "notes": list(notes),
        "packages": package_versions(),
    }


def _portfolio(portfolio: Portfolio) -> dict[str, Any]:
    loaded = portfolio.loaded
    return {
        "name": portfolio.name,
        "role": portfolio.role,
        "signal": portfolio.signal,
        "twin_of": portfolio.twin_of,
        "sweep_of": loaded.sweep_of,
        "file": str(loaded.path),
        "sha256": hashlib.sha256(loaded.path.read_bytes()).hexdigest(),
        "params": dict(loaded.params),
    }


def notes(run: Prepared, traded: Sequence[tuple[Portfolio, Backtest]]) -> list[str]:
    """What a reader has to know before believing a figure."""
    told = [f"Data: {run.candles.note}"] if run.candles.note else []
    told += [*run.candles.repairs, *run.candles.timing]
    if run.checkpoint is not None:
        told.append(model_sentence(run.checkpoint, run.start, run.end))
    if run.calendar is not None and run.calendar.note:
        told.append(run.calendar.note)
    silent = [s for s, frame in run.candles.frames.items() if not (frame["volume"] > 0).any()]
    if silent:
        told.append(
            f"No volume is known for {listed(silent)}: fills there have no market impact and no "
            "volume cap."
        )
    told += _swept(run)
    told += _cut_short(traded)
    for portfolio, book in traded:
        if portfolio.role == "strategy":
            told += [
                f"A timer of {portfolio.name} ({timer}) never fired: no bar closes that late in "
                "the day on a day it is for."
                for timer in book.idle_timers
            ]
            told += _carried(portfolio.name, book, run.account.costs.volume_cap_pct)
        if book.refused and portfolio.role == "strategy":
            told.append(
                f"{counted(book.refused, 'order')} of {portfolio.name} "
                f"{'was' if book.refused == 1 else 'were'} refused: too little cash, "
                "less than a lot, or a sale of what it did not hold (nothing is sold short)."
            )
    return told + _could_not_pay(run, traded)


def _swept(run: Prepared) -> list[str]:
    """How many combinations were tried, and what was not traded for it."""
    tried = Counter(one.sweep_of for one in run.strategies if one.sweep_of)
    told = [
        f"{name} was traded with {counted(count, 'combination')} of parameters, "
        "without twins on naive signals or without costs: run one of them with --param for those."
        for name, count in tried.items()
    ]
    if len(tried) > 1:
        told.append(
            f"{sum(tried.values()):,} combinations were tried in all: what is said of the luck of "
            "a best one knows of its own strategy's alone."
        )
    return told


def _cut_short(traded: Sequence[tuple[Portfolio, Backtest]]) -> list[str]:
    """Which portfolios stopped before the end: their figures do not show it."""
    stopped = [(one, book) for one, book in traded if book.bars_decided < len(book.equity)]
    told = [
        f"{one.name} stopped itself with runstop() at {_last_decided(book)} and decided nothing "
        "after it: what it held, and the orders it had given, were kept, and its figures run to "
        "the last bar."
        for one, book in stopped
        if one.twin_of is None
    ]
    twins = [f"{one.name} at {_last_decided(book)}" for one, book in stopped if one.twin_of]
    return told + ([f"So did {', '.join(twins)}."] if twins else [])


def _last_decided(book: Backtest) -> str:
    decided, bars = book.bars_decided, len(book.equity)
    when = f" ({book.equity['time'].iloc[decided - 1]:%Y-%m-%d %H:%M})" if decided else ""
    return f"bar {decided:,} of {bars:,}{when}"


def _could_not_pay(run: Prepared, traded: Sequence[tuple[Portfolio, Backtest]]) -> list[str]:
    """Which portfolios never bought anything since a single lot cost more than they had."""
    found = [
        (portfolio, reason)
        for portfolio, book in traded
        if book.trades.empty and (reason := _too_dear(run, book))
    ]
    own = [f"{one.name} bought nothing: {reason}." for one, reason in found if not one.twin_of]
    twins = [one.name for one, _ in found if one.twin_of]
    return own + ([f"For the same reason {listed(twins)} bought nothing."] if twins else [])


def _too_dear(run: Prepared, book: Backtest) -> str:
    """The cheapest lot that was wanted, or the cheapest there was at all; empty: it had enough."""
    lot, wanted = run.account.costs.lot_size, book.too_dear
    if wanted is not None:
        when = pd.Timestamp(wanted.time_ns, tz="UTC")
        return (
            f"the cheapest lot it wanted, {lot:g} of {wanted.symbol}, would have cost "
            f"{wanted.lot_cost:,.2f} on {when:%Y-%m-%d}, and {wanted.money:,.2f} was there for it "
            f"(cash {wanted.cash:,.2f})"
        )
    closes = {
        symbol: float(frame.loc[run.start : run.end, "close"].min())
        for symbol, frame in run.candles.frames.items()
        if len(frame.loc[run.start : run.end])
    }
    symbol = min(closes, key=closes.__getitem__)
    if closes[symbol] * lot <= run.account.cash:
        return ""
    return (
        f"no lot was ever cheaper than {closes[symbol] * lot:,.2f} ({lot:g} of {symbol}), and its "
        f"cash is {run.account.cash:,.2f}"
    )


def _carried(name: str, book: Backtest, cap_pct: float | None) -> list[str]:
    """Whether orders took many bars: one that no cap cuts is filled in one bar."""
    orders, fills = int((book.decisions["kind"] != "cancel").sum()), len(book.trades)
    if cap_pct is None or fills <= MOST_FILLS_AN_ORDER * orders:
        return []
    return [
        f"{name} is large for these markets: {fills:,} fills of {orders:,} orders, since a fill is "
        f"at most {cap_pct:g} % of a bar's volume. What it wanted took many bars, or never came."
    ]
