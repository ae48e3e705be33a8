"""From one string to candles: the data specs of the command line, config files and Python."""

from __future__ import annotations

from .candles import Candles, When
from .errors import SpecError
from .files import load_files
from .sample import load_sample
from .sessions import Sessions
from .stamps import Stamps
from .words import nearest

KNOWN_SPECS = (
    "sample",
    "sample:ph",
    "sample:AAPL,NVDA",
    "sample:ph:ALI,BDO",
    "csv:PATH_OR_GLOB",
    "parquet:PATH_OR_GLOB",
    "qlib:DIR?instruments=csi300&freq=day",
    "ccxt:EXCHANGE?symbols=A,B&timeframe=1h&since=2024-01-01",
    "paper:STATE.sqlite",
)
# sources that say when each bar opened and closed
TIMES_KNOWN = ("sample", "qlib", "ccxt", "paper")


def load(
    spec: str,
    *,
    start: When | None = None,
    end: When | None = None,
    repair: bool = False,
    stamps: Stamps | None = None,
    sessions: Sessions | None = None,
) -> Candles:
    """Validated candles of a data spec, one of the forms in `KNOWN_SPECS`.

    start, end: first and last moment of the bars wanted, both inclusive; a date means the whole
    day (UTC). repair: fix what can be fixed and say so in `Candles.repairs`, instead of refusing.
    stamps: whether the times of a file are those at which its bars opened or closed; by default
    dates stand for whole days and other times for closes, unless their column or the sessions show
    that they are openings (`Candles.timing` says what was taken). sessions: the trading calendar
    that the bars of a file follow.
    Raises `SpecError` for a spec or a date that cannot be understood, `SourceError` for a file
    that cannot be read, `ExchangeError` for an exchange that does not answer and `CandleError` for
    candles that break the contract.
    """
    scheme, _, rest = spec.strip().partition(":")
    if stamps is not None and scheme.lower() in TIMES_KNOWN:
        raise SpecError(
            f"stamps={stamps!r} (--stamps {stamps}): when the bars of {spec} opened and closed is "
            "known; leave it out",
            value=stamps,
        )
    match scheme.lower():
        case "sample":
            candles = load_sample(rest)
        case "csv" | "parquet" if rest:
            candles = load_files(
                scheme.lower(), rest, repair=repair, stamps=stamps, sessions=sessions
            )
        case "qlib" if rest:
            from .qlib import load_qlib

            candles = load_qlib(rest, repair=repair, sessions=sessions)
        case "ccxt" if "?" in rest:
            from .ccxt.history import load_history  # with a client of exchanges: only where asked

            candles = load_history(rest)
        case "paper" if rest:
            from .recorded import load_recorded

            candles = load_recorded(rest)
        case _:
            raise _unknown(spec, scheme)
    return candles.between(start, end)


def _unknown(spec: str, scheme: str) -> SpecError:
    near = nearest(scheme, ("sample", "csv", "parquet", "qlib", "ccxt", "paper"))
    hint = f"did you mean {near}? " if near and near != scheme.lower() else ""
    remedy = f"{hint}known are {' · '.join(KNOWN_SPECS)}"
    return SpecError(f"data spec {spec!r} is not known; {remedy}", value=spec, remedy=remedy)
