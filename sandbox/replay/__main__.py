"""`python -m sandbox.replay`: candles served as an exchange, to rehearse paper trading with."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sandbox.cli import a_date, add_data_options, guarded, option, records_of
from sandbox.cli import parser as new_parser
from sandbox.config import NO_CALENDAR, CandleOptions
from sandbox.errors import ConfigError
from sandbox.interrupts import leave, tidied
from sandbox.progress import progress_bar
from sandbox.replay.options import FULL_SPEED, ReplayConfig, speed_of

if TYPE_CHECKING:
    from feeds import Candles
    from sandbox.replay.server import Exchange

IDLE_SECS = 120.0  # after the last bar, without a question
MISSING = "a replay needs aiohttp, which comes with ccxt: pip install 'kronos-sandbox[paper]'"


def main(argv: Sequence[str] | None = None, *, idle_secs: float = IDLE_SECS) -> int:
    args = _parser().parse_args(argv)
    return guarded(lambda: _replay(args, idle_secs), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sandbox.replay",
        "Serve candles as an exchange on this machine, which speaks as Binance does: paper trading "
        "is rehearsed against it as --exchange replay:PORT. Its clock stands still until the first "
        "request; once the last bar has closed and nobody has asked for half a minute, it ends.",
    )
    add_data_options(parser)
    group = parser.add_argument_group("replay")

    def add(name: str, help_text: str, **kind: Any) -> None:
        option(group, name, help_text, of=ReplayConfig, **kind)

    add("port", "of 127.0.0.1; 0 takes a free one", type=int, metavar="PORT")
    add(
        "speed", f"as many times as fast as real time, or {FULL_SPEED}: as the client keeps up",
        metavar="3600x|max",
    )  # fmt: skip
    add(
        "start", "first day that is replayed; bars before it are history (default: after 600 bar "
        "times, or half of the data if that is less)", type=a_date, metavar="DATE",
    )  # fmt: skip
    add("end", "last day; bars after it are left out", type=a_date, metavar="DATE")
    add(
        "faults", "let a share of requests, frames and candles go wrong, 0 to 1; the same seed, "
        "the same faults", metavar="SEED:RATE",
    )  # fmt: skip
    return parser


def _replay(args: argparse.Namespace, idle_secs: float) -> None:
    config = records_of(args, ReplayConfig)
    options, speed = config.replay, speed_of(config.replay.speed)
    try:
        import aiohttp  # noqa: F401 - ccxt brings it, and is not needed here itself
    except ImportError:
        raise ConfigError(MISSING) from None
    from sandbox.replay.faults import NONE, FaultPlan
    from sandbox.replay.market import Markets
    from sandbox.replay.server import Exchange

    plan = NONE if options.faults is None else FaultPlan.parse(options.faults)
    markets = Markets.of(_candles(config.candles), options.start, options.end)
    with progress_bar("Replaying", "bar times") as progress:
        exchange = Exchange(markets, speed, progress, plan)
        with tidied(lambda: _tell_faults(exchange)):
            asyncio.run(_serve(exchange, options.port, idle_secs))
    _tell_faults(exchange)


def _candles(options: CandleOptions) -> Candles:
    from feeds import SpecError, load

    try:
        candles = load(options.data, repair=options.repair, stamps=options.stamps)
    except SpecError as error:
        raise ConfigError(f"--data {options.data}: {error}") from error
    if options.calendar is None:
        return candles
    named = None if options.calendar == NO_CALENDAR else options.calendar
    if named is not None and named != candles.calendar:
        print(f"note: clients are told of {named}; times in files are read without it",
              file=sys.stderr)  # fmt: skip
    return replace(candles, calendar=named)


async def _serve(exchange: Exchange, port: int, idle_secs: float) -> None:
    from sandbox.replay.server import HOST, listening

    async with listening(exchange, port) as found:
        print(f"listening on http://{HOST}:{found}", flush=True)
        await exchange.pace.over(idle_secs)


def _tell_faults(exchange: Exchange) -> None:
    if exchange.faults.planned:
        print(exchange.faults.told(), file=sys.stderr)


if __name__ == "__main__":
    leave(main())
