"""A paper account opened: a new one from an exchange's history, an older one as it was left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from feeds import Candles
from feeds.ccxt import Feed
from feeds.ccxt.frames import frame_and_opens
from feeds.recorded import load_recorded, meta_of, reading
from feeds.spacing import DAILY_NS
from sandbox.config import NO_STORE, CandleOptions, RunConfig, Window
from sandbox.errors import AccountError, ConfigError
from sandbox.forecast.data import calendar_of
from sandbox.forecast.past import calibration_bars
from sandbox.paper import account as accounts
from sandbox.paper.account import AccountFile
from sandbox.paper.terms import Traded, exchange_kind, expect_same, terms_of
from sandbox.run.portfolios import Loaded
from sandbox.run.prepare import Forecaster, account_of, forecaster_of, load_strategies
from sandbox.trading.source import WARMUP_BARS, Candle
from sandbox.words import counted


def on_account(config: RunConfig, path: Path) -> RunConfig:
    """The options of a run on what an account at `path` recorded, all of it."""
    return replace(
        config,
        candles=CandleOptions(data=f"paper:{path}", calendar=config.candles.calendar),
        window=Window(),
        model=replace(config.model, store=NO_STORE),
    )


def the_strategy(config: RunConfig) -> Loaded:
    """The one that trades; raises ConfigError for more."""
    loaded = load_strategies(config.strategy)
    if len(loaded) > 1:
        raise ConfigError(
            f"{len(loaded)} strategies, and an account is of one: start one command for each, with "
            "a --state of its own"
        )
    return loaded[0]


def default_path(strategy: str, exchange: str, timeframe: str | None) -> Path:
    """Where an account is kept unless it is named."""
    parts = [strategy, exchange_kind(exchange), *([timeframe] if timeframe else [])]
    return Path("paper") / f"{'-'.join(parts)}.sqlite"


def recorded_terms(path: Path) -> dict[str, Any] | None:
    """What an account that is there was opened with; None where there is none."""
    if not path.exists():
        return None
    with reading(path) as account:
        return meta_of(account, "account", path)


class Opened(NamedTuple):
    """An account that can be traded."""

    account: AccountFile
    traded: Traded
    candles: Candles  # so far
    forecaster: Forecaster


@contextmanager
def opened_account(config: RunConfig, strategy: Loaded, feed: Feed, path: Path) -> Iterator[Opened]:
    """The account at `path`, which is made where there is none.

    Raises AccountError where it is that of something else.
    """
    is_new = not path.exists()
    candles = _of_exchange(config, feed, path) if is_new else load_recorded(str(path))
    calendar = calendar_of(config.candles.calendar, candles)
    forecaster = forecaster_of(config, calendar)
    traded = Traded(
        config=config,
        strategy=strategy,
        weights=forecaster.checkpoint,
        calendar=None if calendar is None else calendar.name,
        account=account_of(config, candles),
        exchange=feed.exchange,
        timeframe=feed.timeframe,
        length_ns=feed.length_ns,
        symbols=tuple(market.name for market in feed.markets),
    )
    terms = json.loads(json.dumps(terms_of(traded, candles.started_ns or 0)))
    if is_new:
        meta = {"account": terms, "exchange": _facts(feed, candles)}
        accounts.create(path, meta, _rows(candles))
        candles = load_recorded(str(path))
    with accounts.opened(path) as account:
        if not is_new:
            expect_same(account.meta("account"), terms, str(path))
        yield Opened(account, traded, candles, forecaster)


def _of_exchange(config: RunConfig, feed: Feed, path: Path) -> Candles:
    """The warm-up of a new account."""
    sampling = config.sampling
    intraday = feed.length_ns < DAILY_NS
    bars = (
        calibration_bars(sampling, intraday=intraday)
        if config.model.calibrate
        else sampling.lookback
    )
    warmup = feed.warmup(max(WARMUP_BARS, bars))
    for name, rows in warmup.candles.items():
        if not rows:
            raise AccountError(
                f"{name} has no candle of {feed.timeframe} on {feed.exchange} yet: leave it out"
            )
    most = max(len(rows) for rows in warmup.candles.values())
    if most < config.sampling.lookback:
        raise ConfigError(
            f"--lookback {config.sampling.lookback}: no market of {feed.exchange} has more than "
            f"{counted(most, 'candle')} of {feed.timeframe} yet, so that nothing could be forecast"
        )
    presets = {market.costs for market in feed.markets}
    if len(presets) > 1:
        raise ConfigError(
            f"the markets have different costs ({', '.join(sorted(presets))}): name one with "
            "--costs, or trade them in accounts of their own"
        )
    candles = {name: frame_and_opens(rows, feed.length_ns) for name, rows in warmup.candles.items()}
    return Candles(
        frames={name: frame for name, (frame, _) in candles.items()},
        spec=f"paper:{path}",
        costs=presets.pop(),
        calendar=next((market.calendar for market in feed.markets), None),
        opens={name: opens for name, (_, opens) in candles.items()},
        steps={market.name: market.steps for market in feed.markets},
        ended={},
        started_ns=warmup.frontier_ns,
    )


def _facts(feed: Feed, candles: Candles) -> dict[str, Any]:
    """What the exchange says of its markets, fixed from now on."""
    return {
        "name": exchange_kind(feed.exchange),
        "costs": candles.costs,
        "calendar": candles.calendar,
        "markets": {
            market.name: {"symbol": market.symbol, "steps": asdict(market.steps)}
            for market in feed.markets
        },
    }


def _rows(candles: Candles) -> list[tuple[str, int, Candle]]:
    return [
        (symbol, int(time.value), Candle(int(opened_ns), *map(float, values)))
        for symbol, frame in candles.frames.items()
        for time, opened_ns, values in zip(
            frame.index, candles.opens[symbol], frame.to_numpy(), strict=True
        )
    ]
