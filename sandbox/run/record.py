"""What a run writes down about itself: everything needed to repeat it, and what to doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from sandbox.files import package_versions
from sandbox.forecast.model import Weights, model_sentence
from sandbox.run.folder import PACKAGES
from sandbox.run.portfolios import Portfolio
from sandbox.trading.engine import Backtest
from sandbox.words import counted, listed

if TYPE_CHECKING:
    from sandbox.run.prepare import Prepared

MOST_FILLS_AN_ORDER = 1.5  # on average, before a reader is told

AllTraded = Sequence[tuple[Portfolio, Backtest]]


def record(run: Prepared, traded: AllTraded, notes: Sequence[str]) -> dict[str, Any]:
    """The content of config.json."""
    model, calendar = run.forecaster.checkpoint, run.forecaster.calendar
    return {
        "name": run.name,
        "portfolios": [_portfolio(portfolio) for portfolio, _ in traded],
        "config": run.config.flat(),
        "costs": {"preset": run.costs_name, **asdict(run.market.account.costs)},
        "window": {
            "first_bar": run.market.start.isoformat(),
            "last_bar": run.market.end.isoformat(),
        },
        "data": {
            "spec": run.candles.spec,
            "hash": run.candles.data_hash,
            "symbols": list(run.candles.symbols),
            "calendar": calendar and calendar.name,
        },
        "model": model
        and {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "seen_until": model.seen_until,
            "max_context": model.max_context,
            "note": _model_note(run, model),  # one of the notes below
        },
        "orders_refused": {portfolio.name: backtest.refused for portfolio, backtest in traded},
        "notes": list(notes),
        "packages": package_versions(PACKAGES),
    }


def _model_note(run: Prepared, checkpoint: Weights) -> str:
    return model_sentence(checkpoint, run.market.start, run.market.end)


def _portfolio(portfolio: Portfolio) -> dict[str, Any]:
    loaded = portfolio.loaded
    return {
        "name": portfolio.name,
        "role": portfolio.role,
        "signal": portfolio.signal,
        "repeats": portfolio.repeats,
        "sweep_of": loaded.sweep_of,
        "file": str(loaded.path),
        "sha256": loaded.sha256,
        "params": dict(loaded.params),
    }


def notes(run: Prepared, traded: AllTraded) -> list[str]:
    """What a reader has to know before believing a figure."""
    strategies = [(portfolio, each) for portfolio, each in traded if portfolio.role == "strategy"]
    return [
        *_of_candles(run),
        *_of_sweeps(run),
        *_of_early_stops(traded),
        *(note for pair in strategies for note in _of_orders(run, *pair)),
        *_of_lots_too_dear(run, traded),
    ]


def _of_candles(run: Prepared) -> Iterator[str]:
    """How they came to be, whether the model has seen them, and what they lack."""
    candles, forecaster = run.candles, run.forecaster
    if candles.note:
        yield f"Data: {candles.note}"
    yield from (*candles.repairs, *candles.timing)
    if forecaster.checkpoint is not None:
        yield model_sentence(forecaster.checkpoint, run.market.start, run.market.end)
    if forecaster.calendar is not None and forecaster.calendar.note:
        yield forecaster.calendar.note
    silent = [symbol for symbol, frame in candles.frames.items() if not (frame["volume"] > 0).any()]
    if silent:
        yield (
            f"No volume is known for {listed(silent)}: fills there have no market impact and no "
            "volume cap."
        )


def _of_sweeps(run: Prepared) -> Iterator[str]:
    """How many combinations were tried, and what was not traded for it."""
    tried = Counter(strategy.sweep_of for strategy in run.strategies if strategy.sweep_of)
    for name, count in tried.items():
        yield (
            f"{name} was traded with {counted(count, 'combination')} of parameters, without "
            "controls and without runs that cost nothing: run one of them with --param for those."
        )
    if len(tried) > 1:
        yield (
            f"{sum(tried.values()):,} combinations were tried in all: what is said of the luck of "
            "a best one knows of its own strategy's alone."
        )


def _of_early_stops(traded: AllTraded) -> Iterator[str]:
    """Which portfolios stopped before the end: their figures do not show it."""
    stopped = [
        (portfolio, backtest)
        for portfolio, backtest in traded
        if backtest.bars_decided < len(backtest.equity)
    ]
    for portfolio, backtest in stopped:
        if portfolio.repeats is None:
            yield (
                f"{portfolio.name} stopped itself with runstop() at {_last_decided(backtest)} and "
                "decided nothing after it: what it held, and the orders it had given, were kept, "
                "and its figures run to the last bar."
            )
    repeats = [
        f"{portfolio.name} at {_last_decided(backtest)}"
        for portfolio, backtest in stopped
        if portfolio.repeats
    ]
    if repeats:
        yield f"So did {', '.join(repeats)}."


def _last_decided(backtest: Backtest) -> str:
    decided, bars = backtest.bars_decided, len(backtest.equity)
    when = f" ({backtest.equity['time'].iloc[decided - 1]:%Y-%m-%d %H:%M})" if decided else ""
    return f"bar {decided:,} of {bars:,}{when}"


def _of_orders(run: Prepared, portfolio: Portfolio, backtest: Backtest) -> Iterator[str]:
    """What came of a strategy's timers and orders other than it may have meant."""
    for timer in backtest.idle_timers:
        yield (
            f"A timer of {portfolio.name} ({timer}) never fired: no bar closes that late in the "
            "day on a day it is for."
        )
    cap_pct = run.market.account.costs.volume_cap_pct
    orders = int((backtest.decisions["kind"] != "cancel").sum())
    fills = len(backtest.trades)
    if cap_pct is not None and fills > MOST_FILLS_AN_ORDER * orders:  # one bar fills an order else
        yield (
            f"{portfolio.name} is large for these markets: {fills:,} fills of {orders:,} orders, "
            f"since a fill is at most {cap_pct:g} % of a bar's volume. What it wanted took many "
            "bars, or never came."
        )
    if backtest.refused:
        yield (
            f"{counted(backtest.refused, 'order')} of {portfolio.name} refused: too little cash, "
            "less than a lot, or a sale of what it did not hold (nothing is sold short)."
        )


def _of_lots_too_dear(run: Prepared, traded: AllTraded) -> Iterator[str]:
    """Which portfolios never bought anything since a single lot cost more than they had."""
    reasons = [
        (portfolio, reason)
        for portfolio, backtest in traded
        if backtest.trades.empty and (reason := _too_dear(run, backtest))
    ]
    for portfolio, reason in reasons:
        if not portfolio.repeats:
            yield f"{portfolio.name} bought nothing: {reason}."
    repeats = [portfolio.name for portfolio, _ in reasons if portfolio.repeats]
    if repeats:
        yield f"For the same reason {listed(repeats)} bought nothing."


def _too_dear(run: Prepared, backtest: Backtest) -> str:
    """The cheapest lot that was wanted, or the cheapest there was at all; empty: it had enough."""
    market, wanted = run.market, backtest.too_dear
    lot = market.account.costs.lot_size
    if wanted is not None:
        when = pd.Timestamp(wanted.time_ns, tz="UTC")
        return (
            f"the cheapest lot it wanted, {lot:g} of {wanted.symbol}, would have cost "
            f"{wanted.lot_cost:,.2f} on {when:%Y-%m-%d}, and {wanted.money:,.2f} was there for it "
            f"(cash {wanted.cash:,.2f})"
        )
    closes = {
        symbol: float(frame.loc[market.start : market.end, "close"].min())
        for symbol, frame in run.candles.frames.items()
        if len(frame.loc[market.start : market.end])
    }
    symbol = min(closes, key=closes.__getitem__)
    if closes[symbol] * lot <= market.account.cash:
        return ""
    return (
        f"no lot was ever cheaper than {closes[symbol] * lot:,.2f} ({lot:g} of {symbol}), and its "
        f"cash is {market.account.cash:,.2f}"
    )
