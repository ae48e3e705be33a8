"""Scores as Qlib's signal frame: what `SignalStrategy` and `TopkDropoutStrategy` of pyqlib take.

    scores = pd.read_parquet("scores.parquet")  # or pd.read_csv(FILE, index_col=[0, 1],
    #                                                              parse_dates=["datetime"])
    TopkDropoutStrategy(signal=scores, topk=50, n_drop=5)

Qlib trades on the score of the bar before, so a score stands at the bar that it was known after.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from feeds import Candles, times_ns
from feeds.qlib import zone_of
from kronos.prepare import session_dates
from sandbox.errors import ConfigError, SandboxError
from sandbox.files import write_whole
from sandbox.forecast.horizon import is_daily

COLUMNS = ("symbol", "asof", "score")
LEVELS = ("datetime", "instrument")
SUFFIXES = (".parquet", ".csv")


def write_signal(scores: pd.DataFrame, candles: Candles, path: Path) -> None:
    """Write `signal_frame(scores, candles)` to a file, `.parquet` or `.csv`.

    Raises ConfigError for another ending (pickles are not written) and SandboxError where the file
    cannot be written or the scores cannot be used.
    """
    check_ending(path)
    frame, content = signal_frame(scores, candles), io.BytesIO()
    if path.suffix.lower() == ".csv":
        frame.to_csv(content)
    else:
        frame.to_parquet(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    except OSError as error:
        raise SandboxError(f"{path} cannot be written: {error.strerror or error}") from error


def check_ending(path: Path, flag: str = "") -> None:
    """Raises ConfigError for a file that is neither Parquet nor CSV."""
    if path.suffix.lower() not in SUFFIXES:
        named = f"{flag} {path}".strip()
        raise ConfigError(f"{named}: a Qlib signal is written as {' or '.join(SUFFIXES)}")


def signal_frame(scores: pd.DataFrame, candles: Candles) -> pd.DataFrame:
    """One column `score` by `datetime, instrument`, in their order.

    scores: a row for each symbol and asof, with columns `symbol`, `asof` (the close of one of its
    bars, UTC) and `score` (higher is better, any unit); rows without a score (NaN) are left out.
    candles: those that the scores are of. Their bars tell what `datetime` is, which has no zone in
    Qlib: the date of the session of a daily bar, the opening of a shorter one, which is a time of
    Shanghai where all symbols are Chinese, else of UTC.
    Raises SandboxError for a score of a bar that there is not, two scores of one symbol and asof,
    or no score at all.
    """
    known = scores.loc[scores["score"].notna(), list(COLUMNS)].reset_index(drop=True)
    if known.empty:
        raise SandboxError("no score to write as a Qlib signal")
    doubled = known.duplicated(["symbol", "asof"])
    if doubled.any():
        first = known[doubled].iloc[0]
        raise SandboxError(
            f"{first['symbol']} has two scores as of {first['asof']:%Y-%m-%d %H:%M}: a Qlib signal "
            "is of one source and one horizon"
        )
    zone = zone_of(candles.symbols)
    stamps = pd.Series(index=known.index, dtype="datetime64[ns]")
    for symbol, own in known.groupby("symbol", observed=True):
        stamps[own.index] = _stamps(candles, str(symbol), pd.DatetimeIndex(own["asof"]), zone)
    table = pd.DataFrame(
        {"datetime": stamps, "instrument": known["symbol"].astype("str"), "score": known["score"]}
    )
    return table.set_index(list(LEVELS)).sort_index().astype(np.float64)


def _stamps(
    candles: Candles, symbol: str, asofs: pd.DatetimeIndex, zone: str
) -> pd.DatetimeIndex:  # fmt: skip
    """What Qlib calls the bars of a symbol that closed then."""
    closes_ns, wanted_ns = times_ns(candles[symbol]), asofs.as_unit("ns").asi8
    places = np.minimum(closes_ns.searchsorted(wanted_ns), len(closes_ns) - 1)
    strange = closes_ns[places] != wanted_ns
    if strange.any():
        when = asofs[strange][0]
        raise SandboxError(f"{symbol} has a score as of {when}, and none of its bars closes then")
    if len(closes_ns) > 1 and bool(is_daily(closes_ns[None])[0]):
        return pd.DatetimeIndex(session_dates(wanted_ns))
    opens = pd.DatetimeIndex(candles.opens[symbol][places], tz="UTC")
    return opens.tz_convert(zone).tz_localize(None)
