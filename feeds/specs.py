"""From one string to candles: the data specs of the command line, config files and Python."""

from __future__ import annotations

from .candles import Candles, When
from .errors import SpecError
from .files import load_files
from .sample import load_sample
from .words import nearest

KNOWN_SPECS = (
    "sample",
    "sample:ph",
    "sample:AAPL,NVDA",
    "sample:ph:ALI,BDO",
    "csv:PATH_OR_GLOB",
    "parquet:PATH_OR_GLOB",
)


def load(
    spec: str, *, start: When | None = None, end: When | None = None, repair: bool = False
) -> Candles:
    """Validated candles of a data spec, one of the forms in `KNOWN_SPECS`.

    start, end: first and last moment of the bars wanted, both inclusive; a date means the whole
    day (UTC). repair: fix what can be fixed and say so in `Candles.repairs`, instead of refusing.
    Raises `SpecError` for a spec or a date that cannot be understood, `SourceError` for a file
    that cannot be read and `CandleError` for candles that break the contract.
    """
    scheme, _, rest = spec.strip().partition(":")
    match scheme.lower():
        case "sample":
            candles = load_sample(rest)
        case "csv" | "parquet" if rest:
            candles = load_files(scheme.lower(), rest, repair=repair)
        case _:
            raise _unknown(spec, scheme)
    return candles.between(start, end)


def _unknown(spec: str, scheme: str) -> SpecError:
    near = nearest(scheme, ("sample", "csv", "parquet"))
    hint = f"did you mean {near}? " if near and near != scheme.lower() else ""
    remedy = f"{hint}known are {' · '.join(KNOWN_SPECS)}"
    return SpecError(f"data spec {spec!r} is not known; {remedy}", value=spec, remedy=remedy)
