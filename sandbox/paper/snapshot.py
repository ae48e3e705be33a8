"""What is shown of a trading account at one moment, gathered from its engine and its feed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.paper.view_snapshot import OrderLine, Outlook, Snapshot, SymbolLine

if TYPE_CHECKING:
    from feeds.ccxt import Feed, Status
    from sandbox.paper.account import AccountFile
    from sandbox.paper.trader import Trader


def snapshot_of(trader: Trader, feed: Feed, status: Status, account: AccountFile) -> Snapshot:
    """Everything that a view shows."""
    engine, books = trader.engine, trader.books
    speed = feed.speed if feed.is_replay else 1.0
    left_ns = status.next_close_ns - status.clock_ns
    return Snapshot(
        name=trader.traded.strategy.name,
        exchange=feed.exchange,
        timeframe=feed.timeframe,
        symbols=_symbol_lines(trader),
        orders=[OrderLine(symbol=w.symbol, side=w.side, size=w.size, kind=w.kind, price=w.price)
                for w in engine.waiting],
        cash=engine.cash,
        value=books.value,
        total_return=books.value / trader.traded.account.cash - 1,
        drawdown=books.value / books.highest - 1,
        bar_ns=trader.last_ns if trader.bars_traded else None,
        bars=trader.bars_traded,
        caught_up=account.count("caught_up"),
        horizon=trader.traded.config.sampling.horizon,
        next_close_ns=status.next_close_ns,
        countdown_secs=left_ns / 1e9 / speed if speed else None,
        connected=status.connected,
        since_ns=status.since_ns,
        speed=feed.speed,
        waiting_for=status.waiting_for,
    )  # fmt: skip


def _symbol_lines(trader: Trader) -> list[SymbolLine]:
    value = trader.books.value
    held = {position.symbol: position for position in trader.engine.positions}
    lines = []
    for symbol, bars in trader.forecasts.latest_bars().items():
        position, forecast = held.get(symbol), trader.forecasts.shown.get(symbol)
        worth = position.size * position.close if position else 0.0
        lines.append(
            SymbolLine(
                symbol=symbol,
                time_ns=bars.time_ns,
                close=bars.close,
                change=bars.change,
                outlook=Outlook.of(forecast) if forecast is not None else None,
                missing=trader.forecasts.why_missing.get(symbol, ""),
                size=position.size if position else 0.0,
                value=worth,
                share=worth / value if value else 0.0,
            )
        )
    return lines
