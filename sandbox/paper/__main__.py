"""`python -m sandbox.paper STRATEGY.py --exchange NAME`: trade a strategy on paper, live."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.cli import (
    add_cost_options,
    add_model_options,
    add_strategy_files,
    add_strategy_options,
    config_of,
    guarded,
    option,
)
from sandbox.cli import parser as new_parser
from sandbox.interrupts import leave

INTERRUPTED = "the account holds every bar that was traded, and the same command goes on from there"


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    return guarded(lambda: _paper(args, given), debug=args.debug, interrupted=INTERRUPTED)


def _paper(args: argparse.Namespace, given: Sequence[str]) -> None:
    config = config_of(args)
    from sandbox.paper.command import Command, trade_on_paper  # brings the heavy libraries

    trade_on_paper(
        config,
        Command(
            exchange=args.exchange,
            symbols=args.symbols,
            timeframe=args.timeframe,
            state=args.state,
            bars=args.bars,
            once=args.once,
            port=args.dashboard,
            quiet=args.quiet,
            out=args.out,
            given=tuple(given),
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sandbox.paper",
        "Trade a strategy on paper, on an exchange's live candles, in an account that survives "
        "whatever happens to this process.",
        "STRATEGY.py --exchange NAME --symbols A,B --timeframe 1h [options]; --help lists them",
    )
    add_strategy_files(parser)
    market = parser.add_argument_group("market")
    market.add_argument(
        "--exchange", required=True, metavar="NAME",
        help="an exchange as ccxt calls it, or replay:PORT",
    )  # fmt: skip
    market.add_argument(
        "--symbols", type=_symbols, metavar="A,B",
        help="what is traded: BTC/USDT,ETH/USDT (default: the account's, or all of a replay)",
    )  # fmt: skip
    market.add_argument(
        "--timeframe", metavar="T",
        help="of a bar, such as 1h (default: the account's, or that of a replay)",
    )  # fmt: skip
    option(
        market, "calendar", "trading calendar that bars follow, such as XNYS; none: they go on as "
        "observed (default: that of a replay's data)", metavar="NAME",
    )  # fmt: skip
    sitting = parser.add_argument_group("account")
    sitting.add_argument(
        "--state", type=_file, metavar="FILE",
        help="the account; it goes on where it is there (default: paper/STRATEGY-EXCHANGE.sqlite)",
    )  # fmt: skip
    until = sitting.add_mutually_exclusive_group()
    until.add_argument("--bars", type=_count, metavar="N", help="stop after so many bars")
    until.add_argument(
        "--once", action="store_true", help="trade the bars that have closed, and stop: for cron"
    )
    sitting.add_argument(
        "--out", type=Path, metavar="DIR",
        help="the run folder that is written at the end (default: runs/STRATEGY-paper-STATE; with "
        "--once none)",
    )  # fmt: skip
    shown = parser.add_argument_group("shown")
    shown.add_argument(
        "--dashboard", type=_port, metavar="PORT", help="a page on 127.0.0.1; 0 takes a free port"
    )
    shown.add_argument(
        "--quiet", action="store_true", help="nothing on screen, lines of JSON in STATE.log"
    )
    add_strategy_options(parser, sweep=False)
    add_model_options(parser, store=False)
    add_cost_options(parser)
    return parser


def _symbols(text: str) -> list[str]:
    symbols = [symbol.strip() for symbol in text.split(",")]
    if not all(symbols):
        raise argparse.ArgumentTypeError(f"{text!r}: write symbols as BTC/USDT,ETH/USDT")
    return symbols


def _file(text: str) -> Path:
    return Path(text).expanduser()  # no shell does it in --state=~/a.sqlite, and data specs do


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a number of bars is 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r}: a port is 0 to 65535")
    return int(text)


if __name__ == "__main__":
    leave(main())
