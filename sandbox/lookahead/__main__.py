"""`python -m sandbox.lookahead STRATEGY.py`: prove that a strategy does not look ahead.

Exit status 0 where every strategy is clean, 1 where one is not or decided nothing.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.cli import add_run_options, add_strategy_files, config_of, guarded
from sandbox.cli import parser as new_parser
from sandbox.errors import ConfigError, StrategyError
from sandbox.interrupts import leave
from sandbox.lookahead.proof import CUTS, Difference, Proof, prove
from sandbox.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from sandbox.lookahead.rerun import Reached
    from sandbox.run.portfolios import Loaded
    from sandbox.run.prepare import Prepared
    from sandbox.run.reads import Touch
    from sandbox.run.trials import Trials

DECISIONS_SHOWN = 5
READS_SHOWN = 5

USUALLY = {
    "repeat": "random numbers without a seed, the machine's clock, or something kept on the class "
    "or in the module that a new run finds changed. Until it repeats, nothing else can be proved.",
    "future": "the strategy or its signal reads a bar that has not closed yet, or a figure over "
    "the whole sample (a mean, a rank, a fit) with later bars in it.",
    "history": "an indicator that needs more bars than that or never forgets its first ones (a "
    "long EMA, a running sum), or a rule that counts bars, such as len(data). Live, it would trade "
    "something else.",
}


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    proofs: list[Proof] = []
    given = list(sys.argv[1:] if argv is None else argv)
    status = guarded(lambda: _prove_all(args, given, proofs.append), debug=args.debug)
    return status or int(not all(proof.clean for proof in proofs))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sandbox.lookahead",
        "Prove that strategies do not look ahead: run them again with the future altered and with "
        "other amounts of history, and compare every decision.",
        "STRATEGY.py [STRATEGY.py ...] [options]; --help lists them",
    )
    add_strategy_files(parser)
    parser.add_argument(
        "--cuts", type=int, default=CUTS, metavar="N",
        help=f"bars after which the future is altered (default: {CUTS})",
    )  # fmt: skip
    add_run_options(parser)
    return parser


def _prove_all(
    args: argparse.Namespace, given: Sequence[str], keep: Callable[[Proof], None]
) -> None:
    config = config_of(args)
    if args.cuts < 1:  # before anything is started
        raise ConfigError(f"--cuts {args.cuts}: at least 1 is needed")
    from sandbox.run.prepare import (
        prepare,  # brings the heavy libraries, which --help can do without
    )
    from sandbox.run.trials import Trials

    with Trials(of_a_run(given)) as trials:  # before any code of a strategy runs here
        seen = {Path(text): _seen_loading(text) for text in config.strategy.strategies}
        run = prepare(config)
        trials.import_as_here()
        for loaded in run.strategies:
            proof = _prove(run, loaded, args.cuts, trials, seen[loaded.path])
            for line in lines(loaded.name, proof, run.market.start, run.market.end):
                print(line)
            keep(proof)


def of_a_run(given: Sequence[str]) -> list[str]:
    """The command line of the run that is proved: the same without what only a proof has."""
    left = iter(given)
    words = []
    for text in left:
        name, equals, _ = text.partition("=")
        if name not in ("--cu", "--cut", "--cuts"):  # argparse takes what is begun
            words.append(text)
        elif not equals:
            next(left, None)
    return words


def _seen_loading(path: str) -> tuple[Touch, ...]:
    """What the file reaches for when it is loaded here, where it could know of the proof."""
    from sandbox.run.reads import watched
    from sandbox.trading.strategy_file import load_strategy

    with watched() as reads:
        load_strategy(path)
    return tuple(reads.touches)


def _prove(
    run: Prepared, loaded: Loaded, cuts: int, trials: Trials, seen: Sequence[Touch]
) -> Proof:
    from sandbox.config import NO_STORE
    from sandbox.lookahead.rerun import Rerun
    from sandbox.run.reads import data_files

    folder = run.config.model.store
    store = [] if folder == NO_STORE else [f"{Path(folder).resolve()}{os.sep}"]
    rerun = Rerun(
        trials=trials, loaded=loaded, source=run.forecaster.source, sampling=run.config.sampling
    )
    data = [*data_files(run.config.candles.data), *store]
    try:
        return prove(rerun, run.market, cuts=cuts, data=data, seen=seen, bar=progress_bar)
    except Exception as error:
        shown = error.__cause__  # an error of the strategy's own, with the line it is from
        raise shown if isinstance(shown, StrategyError) else error from None


def lines(name: str, proof: Proof, start: pd.Timestamp, end: pd.Timestamp) -> list[str]:
    """What a trader reads about one strategy."""
    if not proof.decisions:
        return [f"{name}: nothing proved. It decided nothing from {_when(start)} to {_when(end)}."]
    if not proof.futures and not proof.differences:
        return [f"{name}: nothing proved. A run of one bar has no future to alter."]
    word = "clean" if proof.clean else "NOT clean"
    shown = [f"{name}: {word}. {_compared(proof)}"]
    for difference in proof.differences:
        shown += _difference_lines(difference)
    outside = "  It goes outside, where nothing is altered: it"
    shown += _first_few([f"{outside} {seen.touch.words()} {_at(seen)}" for seen in proof.reached])
    noted = [f"  Note: it {seen.touch.words()} {_at(seen)}" for seen in proof.noted]
    return shown + _first_few(noted)


def _at(seen: Reached) -> str:
    return f"at {_when(seen.bar)}" if seen.bar is not None else "while it was loaded"


def _first_few(shown: list[str]) -> list[str]:
    more = len(shown) - READS_SHOWN
    return [*shown[:READS_SHOWN], f"  ... and {more} more"] if more > 0 else shown


def _compared(proof: Proof) -> str:
    decisions = f"{proof.decisions:,} decisions compared"
    if not proof.futures:
        return f"{decisions} with those of the same run again."
    futures = f"{decisions} on {_count(proof.futures, 'altered future')}"
    if not proof.history_bars:
        return f"{futures}; the data begin at the start, so no other amount of history was tried."
    amounts = f"{futures} and {_count(len(proof.history_bars), 'amount')} of history"
    if not proof.history_apart:
        return f"{amounts}."
    return (
        f"{amounts}, where sizes and prices differ by rounding, {proof.history_apart:.0e} at most."
    )


def _difference_lines(difference: Difference) -> list[str]:
    return [
        f"  {_finding(difference)}",
        f"    as run:   {_decided(difference.as_run)}",
        f"    changed:  {_decided(difference.when_varied)}",
        f"    Usually:  {USUALLY[difference.check]}",
    ]


def _finding(difference: Difference) -> str:
    bar, cut, varied = _when(difference.bar), difference.cut, difference.varied
    if cut is not None:
        return (
            f"It looks ahead. Candles after {_when(cut)} were altered ({varied}), and the decision "
            f"at {bar} changed."
        )
    if difference.check == "history":
        return f"It depends on the start. With {varied}, the decision at {bar} changed."
    return f"It does not repeat itself. The same run again decided something else at {bar}."


def _decided(decisions: Sequence[str]) -> str:
    shown = "; ".join(decisions[:DECISIONS_SHOWN]) or "nothing"
    more = len(decisions) - DECISIONS_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _when(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    leave(main())
