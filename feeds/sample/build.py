"""Makes the shipped samples again from the two wheels they come from.

    python -m feeds.sample.build [--wheels DIR] [--out DIR] [--check]

The steps are those that README.md beside this file describes. The list of capital changes is an
input (nobody publishes one): it is read from this folder, never derived.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import FeedError, SourceError
from ..interrupts import LINE, raise_instead

FOLDER = Path(__file__).parent
CHANGES = "ph_capital_changes.csv"
PRICES = ["open", "high", "low", "close"]


class Origin(NamedTuple):
    """A file inside a wheel."""

    package: str
    version: str
    member: str
    sha256: str

    @property
    def wheel(self) -> str:
        return f"{self.package}-{self.version}-py3-none-any.whl"


US = Origin(
    "roboquant",
    "2.0.1",
    "roboquant/feeds/resources/us10.parquet",
    "0030ad55893977e522f07b3dbbbb0bc37ed86ea5e7838a4197e9018cce869ccd",
)
PH = Origin(
    "fastquant",
    "0.1.8.1",
    "fastquant/data/merged_stock_data.zip",
    "97aa1057449ab84a78a0a7c6171c489e9cddf8c36ad0b627698181952abea127",
)
# Until these dates the symbol was another company in effect.
PH_BEGINS = {"COSCO": "2013-06-03", "FNI": "2016-11-15", "MAXS": "2014-09-01"}
PH_FIRST = "2013-01-01"


def us_table(blob: bytes) -> pd.DataFrame:
    """The US sample [25160, 7] from roboquant's Parquet file."""
    raw = pd.read_parquet(io.BytesIO(blob))
    values = np.array(raw["prices"].tolist(), dtype=np.float32)  # [rows, 5]: four prices, volume
    table = pd.DataFrame(values[:, :4], columns=PRICES)
    table.insert(0, "symbol", raw["asset"].str.split(":").str[1])  # "Stock:AAPL:USD"
    table.insert(1, "date", raw["time"].dt.tz_convert("America/New_York").dt.date)
    # Adjustment left fractions of a share in 54 volumes; halves round to even.
    table["volume"] = np.rint(values[:, 4]).astype(np.int64)
    return _sorted(table)


def ph_table(blob: bytes, changes: pd.DataFrame) -> pd.DataFrame:
    """The Philippine sample [145074, 8] from fastquant's archive and the list of changes."""
    rows = _usable(_long(blob))
    rows = rows[rows["symbol"].isin(_universe(rows)) & (rows["date"] >= PH_FIRST)]
    for symbol, begins in PH_BEGINS.items():
        rows = rows[(rows["symbol"] != symbol) | (rows["date"] >= begins)]
    rows = _adjusted(rows, changes)
    volume = (rows["value"] / rows["close"]).round().astype(np.int64)
    table = rows[["symbol", "date"]].assign(date=pd.to_datetime(rows["date"]).dt.date)
    table[PRICES] = rows[PRICES].round(4).astype(np.float32)
    return _sorted(table.assign(volume=volume, amount=rows["value"]))


def _long(blob: bytes) -> pd.DataFrame:
    """The archive's one member, a CSV of two header rows (symbol; field), as one long table."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        (member,) = archive.infolist()
        # Read, never extracted: the member's name is an absolute path.
        wide = pd.read_csv(io.BytesIO(archive.read(member)), header=[0, 1], index_col=0)
    rows = wide.stack(level=0, future_stack=True).dropna(how="all")
    return pd.DataFrame(rows).rename_axis(["date", "symbol"]).reset_index()


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with every price and the value above 0, high and low widened to hold open and close."""
    usable = rows[(rows[[*PRICES, "value"]] > 0).all(axis=1)]
    high = usable[["open", "high", "close"]].max(axis=1)
    low = usable[["open", "low", "close"]].min(axis=1)
    return usable.assign(high=high, low=low)


def _universe(rows: pd.DataFrame) -> set[str]:
    """Symbols that were among the 50 most traded (median value of the last 250 sessions, a day
    without a trade counting 0) at some year's start from 2013 to 2021, and whose median close
    since 2013 is 2 pesos or more."""
    since = rows[rows["date"] >= "2012-01-01"]
    value = since.pivot(index="date", columns="symbol", values="value").fillna(0.0)
    traded: set[str] = set()
    for year in range(2013, 2022):
        before = value[value.index < f"{year}-01-01"].tail(250)
        traded |= set(before.median().nlargest(50).index)
    close = rows[rows["date"] >= PH_FIRST].groupby("symbol")["close"].median()
    return traded & set(close.index[close >= 2.0])


def _adjusted(rows: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """Rows with the prices before each capital change divided by its factor, change by change."""
    prices = rows[PRICES].to_numpy(np.float64, copy=True)
    symbols, dates = rows["symbol"].to_numpy(), rows["date"].to_numpy()
    for change in changes.to_dict("records"):
        prices[(symbols == change["symbol"]) & (dates < change["date"])] /= change["factor"]
    return rows.assign(**dict(zip(PRICES, prices.T, strict=True)))


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    table = table.sort_values(["symbol", "date"], ignore_index=True)
    return table.astype({"symbol": "category"})


def read_changes(folder: Path = FOLDER) -> pd.DataFrame:
    """The capital changes [17, 3]: before `date` (YYYY-MM-DD) prices are divided by `factor`."""
    return pd.read_csv(folder / CHANGES, dtype={"date": "str", "symbol": "str"})


def fetch(folder: Path, *, timeout_secs: float = 300.0) -> None:
    """Download the two wheels into `folder` with pip; raises `SourceError` if it cannot."""
    wanted = [f"{origin.package}=={origin.version}" for origin in (US, PH)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), *wanted]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout_secs)
    except subprocess.TimeoutExpired:
        reason = f"no answer within {timeout_secs:g} s"
    except subprocess.CalledProcessError as error:
        reason = (str(error.stderr).strip().splitlines() or ["no message"])[-1]
    else:
        return
    raise SourceError(f"pip could not download {' and '.join(wanted)} ({reason}); use --wheels DIR")


def read_origin(origin: Origin, wheels: Path) -> bytes:
    """The bytes of a wheel's file, checked; raises `SourceError` if absent or not those known."""
    path = wheels / origin.wheel
    try:
        with zipfile.ZipFile(path) as wheel:
            blob = wheel.read(origin.member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path}: no {origin.member} in it ({error}); give the folder of {origin.wheel}",
            source=str(path),
        ) from error
    digest = hashlib.sha256(blob).hexdigest()
    if digest != origin.sha256:
        raise SourceError(
            f"{path}: {origin.member} has SHA-256 {digest}, not {origin.sha256}; "
            f"take the wheel of {origin.package} {origin.version} from PyPI",
            source=str(path),
            value=digest,
        )
    return blob


def build(wheels: Path) -> dict[str, pd.DataFrame]:
    """File name to table, for the three files of the sample."""
    changes = read_changes()
    return {
        "us_daily.parquet": us_table(read_origin(US, wheels)),
        "ph_daily.parquet": ph_table(read_origin(PH, wheels), changes),
        CHANGES: changes,
    }


def difference(name: str, table: pd.DataFrame, folder: Path = FOLDER) -> str | None:
    """How `table` differs from the file of that name, in one line; None if it does not."""
    path = folder / name
    if not path.is_file():
        return f"{name}: not in {folder}"
    stored = read_changes(folder) if name == CHANGES else pd.read_parquet(path)
    try:
        pd.testing.assert_frame_equal(stored, table, check_exact=True)
    except AssertionError as error:
        return f"{name}: the file is not what its source gives ({' '.join(str(error).split())})"
    return None


def encoded(name: str, table: pd.DataFrame) -> bytes:
    """A table as the bytes of its file: CSV for the changes, Parquet for candles."""
    if name == CHANGES:
        return table.to_csv(index=False, float_format="%g", lineterminator="\n").encode()
    buffer = io.BytesIO()
    floats = list(table.select_dtypes("float").columns)
    table.to_parquet(
        buffer,
        index=False,
        compression="zstd",
        compression_level=19,
        use_dictionary=["symbol"],
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    )
    return buffer.getvalue()


def write(name: str, table: pd.DataFrame, folder: Path) -> None:
    """Write a table beside its final name, then rename: the file is whole or as it was."""
    content = encoded(name, table)
    handle, aside = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(aside).chmod(0o644)
        os.replace(aside, folder / name)
    finally:
        Path(aside).unlink(missing_ok=True)


def run(wheels: Path, out: Path, *, check: bool) -> int:
    """Build from the wheels in a folder and check or write; the exit status."""
    tables = build(wheels)
    if check:
        wrong = [line for name, table in tables.items() if (line := difference(name, table, out))]
        print("\n".join(wrong or [f"{len(tables)} files hold what their sources give"]))
        return 1 if wrong else 0
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write(name, table, out)
        print(f"{out / name}: {len(table)} rows")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed or different, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m feeds.sample.build", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="wheels' folder, else PyPI")
    parser.add_argument("--out", type=Path, metavar="DIR", default=FOLDER, help="sample's folder")
    parser.add_argument("--check", action="store_true", help="compare with --out, write nothing")
    chosen = parser.parse_args(argv)
    raise_instead()
    try:
        if chosen.wheels is not None:
            return run(chosen.wheels, chosen.out, check=chosen.check)
        with tempfile.TemporaryDirectory() as folder:
            fetch(Path(folder))
            return run(Path(folder), chosen.out, check=chosen.check)
    except FeedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(LINE, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
